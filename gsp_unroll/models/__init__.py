"""Restoration networks: stages of features, learned graph and unrolled solver."""

from .block import HeadMixture, UnrolledBlock
from .demosaic import DemosaicNetwork, bilateral_graph, bilinear, green_first
from .network import UnrolledNetwork

__all__ = [
    "DemosaicNetwork",
    "HeadMixture",
    "UnrolledBlock",
    "UnrolledNetwork",
    "bilateral_graph",
    "bilinear",
    "green_first",
]
