"""Restoration networks: stages of features, learned graph and unrolled solver."""

from .block import HeadMixture, UnrolledBlock
from .demosaic import DemosaicNetwork, bilateral_graph, bilinear, green_first
from .image import ImageNetwork
from .mosaic import MosaicNetwork, MosaicStage
from .named import NETWORKS, load_network, save_network
from .network import UnrolledNetwork
from .published import PublishedNetwork
from .stage import Stage
from .tiling import in_tiles, restore_tiled

__all__ = [
    "DemosaicNetwork",
    "HeadMixture",
    "ImageNetwork",
    "MosaicNetwork",
    "MosaicStage",
    "NETWORKS",
    "PublishedNetwork",
    "UnrolledBlock",
    "UnrolledNetwork",
    "bilateral_graph",
    "bilinear",
    "Stage",
    "green_first",
    "in_tiles",
    "load_network",
    "restore_tiled",
    "save_network",
]
