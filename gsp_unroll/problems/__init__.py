"""Restoration problems: a data term plus a prior."""

from .data_terms import DataTerm, Interpolation, LeastSquares
from .priors import (
    GGLR,
    GGTV,
    GLR,
    GTF,
    GTV,
    FirmGTV,
    GraphPrior,
    Prior,
    SumPrior,
    VectorGTV,
    firm_threshold,
    group_soft_threshold,
    soft_threshold,
)
from .problem import Problem
from .start import start

__all__ = [
    "GGLR",
    "GGTV",
    "GLR",
    "GTF",
    "GTV",
    "DataTerm",
    "FirmGTV",
    "GraphPrior",
    "Interpolation",
    "LeastSquares",
    "Prior",
    "Problem",
    "SumPrior",
    "VectorGTV",
    "firm_threshold",
    "group_soft_threshold",
    "soft_threshold",
    "start",
]
