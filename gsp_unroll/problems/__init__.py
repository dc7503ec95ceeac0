"""Restoration problems: a data term plus a prior."""

from .data_terms import DataTerm, Interpolation, LeastSquares
from .priors import GLR, GTV, GraphPrior, Prior, VectorGTV, group_soft_threshold, soft_threshold
from .problem import Problem
from .start import start

__all__ = [
    "GLR",
    "GTV",
    "DataTerm",
    "GraphPrior",
    "Interpolation",
    "LeastSquares",
    "Prior",
    "Problem",
    "VectorGTV",
    "group_soft_threshold",
    "soft_threshold",
    "start",
]
