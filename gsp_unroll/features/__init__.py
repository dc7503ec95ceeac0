"""Node features per domain: images, points, signals in space and time."""

from .bilateral import BilateralFeatures
from .grid_cnn import GridCNN
from .grid_unet import GridUNet
from .on_grid import OnGrid, as_image, as_signal, image_shape
from .point_mlp import EdgeConvFeatures, PointMLP
from .reach import Reach, reach_of
from .temporal import CausalTemporalConv

__all__ = [
    "BilateralFeatures",
    "CausalTemporalConv",
    "EdgeConvFeatures",
    "GridCNN",
    "GridUNet",
    "OnGrid",
    "PointMLP",
    "Reach",
    "as_image",
    "as_signal",
    "image_shape",
    "reach_of",
]
