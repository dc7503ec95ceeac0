"""Smoothness priors: what a good signal looks like."""

from .base import GraphPrior, Prior
from .firm import FirmGTV
from .gradient import GGLR, GGTV, GradientPrior
from .laplacian import GLR, QuadraticPrior
from .sums import SumPrior
from .thresholds import firm_threshold, group_soft_threshold, soft_threshold
from .trend import GTF
from .variation import GTV, VectorGTV

__all__ = [
    "GGLR",
    "GGTV",
    "GLR",
    "GTF",
    "GTV",
    "FirmGTV",
    "GradientPrior",
    "GraphPrior",
    "Prior",
    "QuadraticPrior",
    "SumPrior",
    "VectorGTV",
    "firm_threshold",
    "group_soft_threshold",
    "soft_threshold",
]
