"""Point clouds: files, distances, and clouds brought back towards their surface."""

from .cloud import PointCloud
from .distances import chamfer_distance, plane_distance, surface_distance
from .files import read_cloud, write_cloud

__all__ = [
    "PointCloud",
    "chamfer_distance",
    "plane_distance",
    "read_cloud",
    "surface_distance",
    "write_cloud",
]
