"""Learned solvers: the plain steps, a fixed number of times, with trained coefficients."""

from .admm import ADMMUnroll, GTVUnroll, VectorGTVUnroll
from .balanced import BalancedUnroll
from .converged import ConvergedSolve
from .directed import DGLRUnroll, DGTVUnroll
from .glr import GLRUnroll
from .linear_program import GTVLinearProgramUnroll, LPState
from .linear_solve import BoundedMomentum, GuardedCG, HeavyBall, LearnedSolve, LinearSolveFactory
from .mixed import MixedUnroll
from .quadratic import QuadraticUnroll

__all__ = [
    "ADMMUnroll",
    "BalancedUnroll",
    "BoundedMomentum",
    "ConvergedSolve",
    "DGLRUnroll",
    "DGTVUnroll",
    "GLRUnroll",
    "GTVLinearProgramUnroll",
    "GTVUnroll",
    "GuardedCG",
    "HeavyBall",
    "LPState",
    "LearnedSolve",
    "LinearSolveFactory",
    "MixedUnroll",
    "QuadraticUnroll",
    "VectorGTVUnroll",
]
