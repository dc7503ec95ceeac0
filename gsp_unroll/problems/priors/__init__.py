"""Smoothness priors: what a good signal looks like."""

from .base import GraphPrior, Prior
from .laplacian import GLR, QuadraticPrior
from .sums import SumPrior
from .thresholds import group_soft_threshold, soft_threshold
from .trend import GTF
from .variation import GTV, VectorGTV

__all__ = [
    "GLR",
    "GTF",
    "GTV",
    "GraphPrior",
    "Prior",
    "QuadraticPrior",
    "SumPrior",
    "VectorGTV",
    "group_soft_threshold",
    "soft_threshold",
]
