"""Restoration problems: a data term plus a prior."""

from .balanced import BalancedGLR, polarized
from .data_terms import DataTerm, Interpolation, LeastSquares
from .directed import DGLR, DGTV, DirectedPrior
from .mixed import MixedPrior
from .priors import GLR, GTV, GraphPrior, Prior, VectorGTV, group_soft_threshold, soft_threshold
from .problem import Problem
from .start import start

__all__ = [
    "BalancedGLR",
    "DGLR",
    "DGTV",
    "GLR",
    "GTV",
    "DataTerm",
    "DirectedPrior",
    "GraphPrior",
    "Interpolation",
    "LeastSquares",
    "MixedPrior",
    "Prior",
    "Problem",
    "VectorGTV",
    "group_soft_threshold",
    "polarized",
    "soft_threshold",
    "start",
]
