"""Point clouds: files, distances, and clouds brought back towards their surface."""

from .chords import ChordGLR, ChordHeight
from .cloud import PointCloud
from .denoise import CloudDenoiser
from .distances import chamfer_distance, plane_distance, surface_distance
from .files import read_cloud, write_cloud
from .fits import SurfaceFits, fit_surfaces

__all__ = [
    "ChordGLR",
    "ChordHeight",
    "CloudDenoiser",
    "PointCloud",
    "SurfaceFits",
    "chamfer_distance",
    "fit_surfaces",
    "plane_distance",
    "read_cloud",
    "surface_distance",
    "write_cloud",
]
