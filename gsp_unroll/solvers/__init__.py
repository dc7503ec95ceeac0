"""Plain solvers: convergent, certified, without a learned parameter."""

from .admm import ADMM, ADMMState, LinearSolve, admm_start, admm_step
from .conjugate_gradient import (
    CGState,
    ConjugateGradient,
    Preconditioner,
    cg_move,
    cg_start,
    cg_step,
    jacobi,
)
from .damped_jacobi import DampedJacobi
from .log_degree import LearnedGraph, log_degree_graph
from .solution import Solution, Status

__all__ = [
    "ADMM",
    "ADMMState",
    "CGState",
    "ConjugateGradient",
    "DampedJacobi",
    "LearnedGraph",
    "LinearSolve",
    "Preconditioner",
    "Solution",
    "Status",
    "admm_start",
    "admm_step",
    "cg_move",
    "cg_start",
    "cg_step",
    "jacobi",
    "log_degree_graph",
]
