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
from .bounds import gershgorin_bound
from .directed import DirectedGram, DirectedLaplacian
from .elementary import Diagonal, Identity, MatrixFree
from .gradient_graph import GradientDifferences, GradientGraph, GradientLaplacian
from .graph import Adjacency, Gradient, Incidence, Laplacian
from .node_gradient import AxisGradient, NodeGradient, PlaneFit
from .powers import LaplacianPower
from .sampling import BayerMosaic, ColorMosaic, Downsample, SamplingMask
from .stack import Stack, stacked

__all__ = [
    "Adjacency",
    "Adjoint",
    "AxisGradient",
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
    "GradientDifferences",
    "GradientGraph",
    "GradientLaplacian",
    "Gram",
    "Identity",
    "Incidence",
    "Laplacian",
    "LaplacianPower",
    "LinearOperator",
    "MatrixFree",
    "NodeGradient",
    "PlaneFit",
    "Polarized",
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
