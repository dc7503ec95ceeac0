"""Point clouds: files, distances, surfaces, clouds brought back to them, and colours."""

from .attributes import Inpainting, inpaint_attributes
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
    "Inpainting",
    "PointCloud",
    "SurfaceFits",
    "chamfer_distance",
    "fit_surfaces",
    "inpaint_attributes",
    "plane_distance",
    "read_cloud",
    "surface_distance",
    "write_cloud",
]
