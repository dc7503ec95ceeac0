"""Restoration problems: a data term plus a prior."""

from .balanced import BalancedGLR, polarized
from .data_terms import DataTerm, Interpolation, LeastSquares
from .directed import DGLR, DGTV, DirectedPrior
from .mixed import MixedPrior
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
    "BalancedGLR",
    "DGLR",
    "DGTV",
    "GGLR",
    "GGTV",
    "GLR",
    "GTF",
    "GTV",
    "DataTerm",
    "FirmGTV",
    "DirectedPrior",
    "GraphPrior",
    "Interpolation",
    "LeastSquares",
    "MixedPrior",
    "Prior",
    "Problem",
    "SumPrior",
    "VectorGTV",
    "firm_threshold",
    "group_soft_threshold",
    "polarized",
    "soft_threshold",
    "start",
]
