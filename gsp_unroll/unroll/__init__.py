"""Learned solvers: the plain steps, a fixed number of times, with trained coefficients."""

from .admm import ADMMUnroll, GTVUnroll, VectorGTVUnroll
from .balanced import BalancedUnroll
from .converged import ConvergedSolve
from .directed import DGLRUnroll, DGTVUnroll
from .firm import FirmGTVUnroll
from .glr import GLRUnroll
from .gradient import GGLRUnroll, GGTVUnroll
from .linear_program import GTVLinearProgramUnroll, LPState
from .linear_solve import BoundedMomentum, GuardedCG, HeavyBall, LearnedSolve, LinearSolveFactory
from .mixed import MixedUnroll
from .quadratic import QuadraticUnroll
from .sums import SumUnroll
from .trend import GTFUnroll

__all__ = [
    "ADMMUnroll",
    "BalancedUnroll",
    "BoundedMomentum",
    "ConvergedSolve",
    "DGLRUnroll",
    "DGTVUnroll",
    "FirmGTVUnroll",
    "GGLRUnroll",
    "GGTVUnroll",
    "GLRUnroll",
    "GTFUnroll",
    "GTVLinearProgramUnroll",
    "GTVUnroll",
    "GuardedCG",
    "HeavyBall",
    "LPState",
    "LearnedSolve",
    "LinearSolveFactory",
    "MixedUnroll",
    "QuadraticUnroll",
    "SumUnroll",
    "VectorGTVUnroll",
]
