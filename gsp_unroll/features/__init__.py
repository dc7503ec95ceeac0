"""Node features per domain: images, points, signals in space and time."""

from .bilateral import BilateralFeatures
from .grid_cnn import GridCNN
from .on_grid import OnGrid, as_image, as_signal, image_shape
from .point_mlp import EdgeConvFeatures, PointMLP
from .temporal import CausalTemporalConv

__all__ = [
    "BilateralFeatures",
    "CausalTemporalConv",
    "EdgeConvFeatures",
    "GridCNN",
    "OnGrid",
    "PointMLP",
    "as_image",
    "as_signal",
    "image_shape",
]
