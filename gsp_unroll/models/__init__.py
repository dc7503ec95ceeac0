"""Restoration networks: stages of features, learned graph and unrolled solver."""

from .block import HeadMixture, UnrolledBlock
from .demosaic import DemosaicNetwork, bilateral_graph, bilinear, green_first
from .network import UnrolledNetwork
from .tiling import block_reach, in_tiles, restore_tiled

__all__ = [
    "DemosaicNetwork",
    "HeadMixture",
    "UnrolledBlock",
    "UnrolledNetwork",
    "bilateral_graph",
    "bilinear",
    "block_reach",
    "green_first",
    "in_tiles",
    "restore_tiled",
]
