"""Sensor networks: places on the globe, and fields that a few sensors know at some of them."""

from .field import Estimate, GraphField
from .geography import great_circle, local_plane, on_sphere

__all__ = ["Estimate", "GraphField", "great_circle", "local_plane", "on_sphere"]
