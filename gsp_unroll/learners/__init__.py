"""Learned graphs: node features and a topology in, edge weights out."""

from .base import GraphLearner, bounded_exp
from .dot_product import DotProductLearner
from .mahalanobis import MahalanobisLearner
from .precision import full_precision

__all__ = [
    "DotProductLearner",
    "GraphLearner",
    "MahalanobisLearner",
    "bounded_exp",
    "full_precision",
]
