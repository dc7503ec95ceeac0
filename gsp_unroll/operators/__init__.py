"""Linear operators with exact adjoints."""

from .base import (
    Adjoint,
    Composition,
    Gram,
    LinearOperator,
    Scaled,
    Selection,
    SelfAdjoint,
    Split,
    Sum,
)
from .blur import Blur
from .bounds import gershgorin_bound
from .elementary import Diagonal, Identity, MatrixFree
from .graph import Adjacency, Gradient, Incidence, Laplacian
from .powers import LaplacianPower
from .sampling import BayerMosaic, ColorMosaic, Downsample, SamplingMask
from .stack import Stack, stacked

__all__ = [
    "Adjacency",
    "Adjoint",
    "BayerMosaic",
    "Blur",
    "ColorMosaic",
    "Composition",
    "Diagonal",
    "Downsample",
    "Gradient",
    "Gram",
    "Identity",
    "Incidence",
    "Laplacian",
    "LaplacianPower",
    "LinearOperator",
    "MatrixFree",
    "SamplingMask",
    "Scaled",
    "Selection",
    "SelfAdjoint",
    "Split",
    "Stack",
    "Sum",
    "gershgorin_bound",
    "stacked",
]
