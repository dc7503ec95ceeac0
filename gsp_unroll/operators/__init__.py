"""Linear operators with exact adjoints."""

from .balanced import BalancedLaplacian, Polarized
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
from .directed import DirectedGram, DirectedLaplacian
from .elementary import Diagonal, Identity, MatrixFree
from .graph import Adjacency, Gradient, Incidence, Laplacian
from .sampling import BayerMosaic, ColorMosaic, Downsample, SamplingMask

__all__ = [
    "Adjacency",
    "Adjoint",
    "BalancedLaplacian",
    "BayerMosaic",
    "Blur",
    "ColorMosaic",
    "Composition",
    "Diagonal",
    "DirectedGram",
    "DirectedLaplacian",
    "Downsample",
    "Gradient",
    "Gram",
    "Identity",
    "Incidence",
    "Laplacian",
    "LinearOperator",
    "MatrixFree",
    "Polarized",
    "SamplingMask",
    "Scaled",
    "Selection",
    "SelfAdjoint",
    "Split",
    "Sum",
]
