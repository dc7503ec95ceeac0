"""Node features per domain: images, points, signals in space and time."""

from .grid_cnn import GridCNN
from .point_mlp import EdgeConvFeatures, PointMLP
from .temporal import CausalTemporalConv

__all__ = ["CausalTemporalConv", "EdgeConvFeatures", "GridCNN", "PointMLP"]
