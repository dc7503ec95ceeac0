"""Learned solvers: the plain steps, a fixed number of times, with trained coefficients."""

from .admm import ADMMUnroll, GTVUnroll, VectorGTVUnroll
from .converged import ConvergedSolve
from .firm import FirmGTVUnroll
from .glr import GLRUnroll, QuadraticUnroll
from .gradient import GGLRUnroll, GGTVUnroll
from .linear_program import GTVLinearProgramUnroll, LPState
from .linear_solve import BoundedMomentum, GuardedCG, HeavyBall, LearnedSolve, LinearSolveFactory
from .sums import SumUnroll
from .trend import GTFUnroll

__all__ = [
    "ADMMUnroll",
    "BoundedMomentum",
    "ConvergedSolve",
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
    "QuadraticUnroll",
    "SumUnroll",
    "VectorGTVUnroll",
]
