"""Restoration networks: stages of features, learned graph and unrolled solver."""

from .bayer import restore_mosaic
from .block import UnrolledBlock
from .demosaic import DemosaicNetwork, bilateral_graph, bilinear, green_first
from .heads import HeadMixture
from .image import ImageNetwork
from .mosaic import MosaicNetwork, MosaicStage
from .named import NETWORKS, load_network, save_network
from .network import UnrolledNetwork
from .pretrained import from_pretrained, pretrained_names
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
    "Stage",
    "UnrolledBlock",
    "UnrolledNetwork",
    "bilateral_graph",
    "bilinear",
    "from_pretrained",
    "green_first",
    "in_tiles",
    "load_network",
    "pretrained_names",
    "restore_mosaic",
    "restore_tiled",
    "save_network",
]
