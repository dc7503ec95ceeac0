"""Learned solvers: the plain steps, a fixed number of times, with trained coefficients."""

from .admm import ADMMUnroll, GTVUnroll, VectorGTVUnroll
from .converged import ConvergedSolve
from .glr import GLRUnroll
from .linear_program import GTVLinearProgramUnroll, LPState
from .linear_solve import BoundedMomentum, GuardedCG, HeavyBall, LearnedSolve, LinearSolveFactory
from .quadratic import QuadraticUnroll

__all__ = [
    "ADMMUnroll",
    "BoundedMomentum",
    "ConvergedSolve",
    "GLRUnroll",
    "GTVLinearProgramUnroll",
    "GTVUnroll",
    "GuardedCG",
    "HeavyBall",
    "LPState",
    "LearnedSolve",
    "LinearSolveFactory",
    "QuadraticUnroll",
    "VectorGTVUnroll",
]
