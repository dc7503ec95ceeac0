"""gsp_unroll: restore signals on graphs by unrolled, learned graph smoothness priors.

Public names are resolved on first use, so that `import gsp_unroll` and command-line help texts do
not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "graph": (
        "BothDirections EdgeList Graph Grid Systems Topology grid_graph knn_graph path_graph "
        "product_graph radius_graph"
    ),
    "operators": (
        "Adjacency BayerMosaic Blur ColorMosaic Diagonal Downsample Gradient Identity Incidence "
        "Laplacian LinearOperator MatrixFree SamplingMask Selection"
    ),
    "problems": (
        "GLR GTV DataTerm GraphPrior Interpolation LeastSquares Prior Problem VectorGTV start"
    ),
    "solvers": "ADMM ConjugateGradient Solution Status",
    "unroll": (
        "ADMMUnroll BoundedMomentum GLRUnroll GTVLinearProgramUnroll GTVUnroll GuardedCG HeavyBall "
        "VectorGTVUnroll"
    ),
    "learners": "DotProductLearner GraphLearner MahalanobisLearner",
    "features": "CausalTemporalConv EdgeConvFeatures GridCNN PointMLP",
    "models": "UnrolledBlock UnrolledNetwork",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}
_SUBMODULES = [*_HOME, "testing"]

__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
