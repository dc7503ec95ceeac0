"""gsp_unroll: restore signals on graphs by unrolled, learned graph smoothness priors.

Public names are resolved on first use, so that `import gsp_unroll` and command-line help texts do
not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .features import (
        BilateralFeatures as BilateralFeatures,
    )
    from .features import (
        CausalTemporalConv as CausalTemporalConv,
    )
    from .features import (
        EdgeConvFeatures as EdgeConvFeatures,
    )
    from .features import (
        GridCNN as GridCNN,
    )
    from .features import (
        GridUNet as GridUNet,
    )
    from .features import (
        OnGrid as OnGrid,
    )
    from .features import (
        PointMLP as PointMLP,
    )
    from .graph import (
        BothDirections as BothDirections,
    )
    from .graph import (
        EdgeList as EdgeList,
    )
    from .graph import (
        Graph as Graph,
    )
    from .graph import (
        Grid as Grid,
    )
    from .graph import (
        Systems as Systems,
    )
    from .graph import (
        Topology as Topology,
    )
    from .graph import (
        grid_graph as grid_graph,
    )
    from .graph import (
        knn_graph as knn_graph,
    )
    from .graph import (
        path_graph as path_graph,
    )
    from .graph import (
        product_graph as product_graph,
    )
    from .graph import (
        radius_graph as radius_graph,
    )
    from .kernels import (
        backend as backend,
    )
    from .kernels import (
        show_backends as show_backends,
    )
    from .learners import (
        DotProductLearner as DotProductLearner,
    )
    from .learners import (
        GraphLearner as GraphLearner,
    )
    from .learners import (
        MahalanobisLearner as MahalanobisLearner,
    )
    from .models import (
        DemosaicNetwork as DemosaicNetwork,
    )
    from .models import (
        UnrolledBlock as UnrolledBlock,
    )
    from .models import (
        UnrolledNetwork as UnrolledNetwork,
    )
    from .models import (
        from_pretrained as from_pretrained,
    )
    from .models import (
        restore_mosaic as restore_mosaic,
    )
    from .models import (
        restore_tiled as restore_tiled,
    )
    from .operators import (
        Adjacency as Adjacency,
    )
    from .operators import (
        BayerMosaic as BayerMosaic,
    )
    from .operators import (
        Blur as Blur,
    )
    from .operators import (
        ColorMosaic as ColorMosaic,
    )
    from .operators import (
        Diagonal as Diagonal,
    )
    from .operators import (
        Downsample as Downsample,
    )
    from .operators import (
        Gradient as Gradient,
    )
    from .operators import (
        Identity as Identity,
    )
    from .operators import (
        Incidence as Incidence,
    )
    from .operators import (
        Laplacian as Laplacian,
    )
    from .operators import (
        LinearOperator as LinearOperator,
    )
    from .operators import (
        MatrixFree as MatrixFree,
    )
    from .operators import (
        SamplingMask as SamplingMask,
    )
    from .operators import (
        Selection as Selection,
    )
    from .problems import (
        GLR as GLR,
    )
    from .problems import (
        GTV as GTV,
    )
    from .problems import (
        DataTerm as DataTerm,
    )
    from .problems import (
        GraphPrior as GraphPrior,
    )
    from .problems import (
        Interpolation as Interpolation,
    )
    from .problems import (
        LeastSquares as LeastSquares,
    )
    from .problems import (
        Prior as Prior,
    )
    from .problems import (
        Problem as Problem,
    )
    from .problems import (
        VectorGTV as VectorGTV,
    )
    from .problems import (
        start as start,
    )
    from .solvers import (
        ADMM as ADMM,
    )
    from .solvers import (
        ConjugateGradient as ConjugateGradient,
    )
    from .solvers import (
        DampedJacobi as DampedJacobi,
    )
    from .solvers import (
        Solution as Solution,
    )
    from .solvers import (
        Status as Status,
    )
    from .unroll import (
        ADMMUnroll as ADMMUnroll,
    )
    from .unroll import (
        BoundedMomentum as BoundedMomentum,
    )
    from .unroll import (
        ConvergedSolve as ConvergedSolve,
    )
    from .unroll import (
        GLRUnroll as GLRUnroll,
    )
    from .unroll import (
        GTVLinearProgramUnroll as GTVLinearProgramUnroll,
    )
    from .unroll import (
        GTVUnroll as GTVUnroll,
    )
    from .unroll import (
        GuardedCG as GuardedCG,
    )
    from .unroll import (
        HeavyBall as HeavyBall,
    )
    from .unroll import (
        VectorGTVUnroll as VectorGTVUnroll,
    )

_HOME = {
    "graph": (
        "BothDirections EdgeList Graph Grid Systems Topology grid_graph knn_graph path_graph "
        "product_graph radius_graph"
    ),
    "kernels": "backend show_backends",
    "operators": (
        "Adjacency BayerMosaic Blur ColorMosaic Diagonal Downsample Gradient Identity Incidence "
        "Laplacian LinearOperator MatrixFree SamplingMask Selection"
    ),
    "problems": (
        "GLR GTV DataTerm GraphPrior Interpolation LeastSquares Prior Problem VectorGTV start"
    ),
    "solvers": "ADMM ConjugateGradient DampedJacobi Solution Status",
    "unroll": (
        "ADMMUnroll BoundedMomentum ConvergedSolve GLRUnroll GTVLinearProgramUnroll GTVUnroll "
        "GuardedCG HeavyBall VectorGTVUnroll"
    ),
    "learners": "DotProductLearner GraphLearner MahalanobisLearner",
    "features": (
        "BilateralFeatures CausalTemporalConv EdgeConvFeatures GridCNN GridUNet OnGrid PointMLP"
    ),
    "models": (
        "DemosaicNetwork UnrolledBlock UnrolledNetwork from_pretrained restore_mosaic restore_tiled"
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}
_SUBMODULES = [*_HOME, "metrics", "testing", "viz"]

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
