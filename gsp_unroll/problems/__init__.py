"""Restoration problems: a data term plus a prior."""

from .data_terms import DataTerm, Interpolation, LeastSquares
from .priors import (
    GLR,
    GTF,
    GTV,
    GraphPrior,
    Prior,
    SumPrior,
    VectorGTV,
    group_soft_threshold,
    soft_threshold,
)
from .problem import Problem
from .start import start

__all__ = [
    "GLR",
    "GTF",
    "GTV",
    "DataTerm",
    "GraphPrior",
    "Interpolation",
    "LeastSquares",
    "Prior",
    "Problem",
    "SumPrior",
    "VectorGTV",
    "group_soft_threshold",
    "soft_threshold",
    "start",
]
