"""Learned graphs: node features and a topology in, edge weights out."""

from .base import MAX_SCORE, GraphLearner, bounded_exp
from .dot_product import DotProductLearner
from .locally_scaled import LocallyScaledLearner
from .mahalanobis import MahalanobisLearner
from .precision import full_precision
from .temporal import TemporalLearner

__all__ = [
    "DotProductLearner",
    "GraphLearner",
    "LocallyScaledLearner",
    "MAX_SCORE",
    "MahalanobisLearner",
    "TemporalLearner",
    "bounded_exp",
    "full_precision",
]
