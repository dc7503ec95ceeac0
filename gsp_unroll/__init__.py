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
        CausalTemporalConv as CausalTemporalConv,
        EdgeConvFeatures as EdgeConvFeatures,
        GridCNN as GridCNN,
        GridUNet as GridUNet,
        OnGrid as OnGrid,
        PointMLP as PointMLP,
    )
    from .graph import (
        BalancedGraph as BalancedGraph,
        BothDirections as BothDirections,
        EdgeList as EdgeList,
        Graph as Graph,
        Grid as Grid,
        MixedGraph as MixedGraph,
        Systems as Systems,
        Topology as Topology,
        grid_graph as grid_graph,
        knn_graph as knn_graph,
        path_graph as path_graph,
        product_graph as product_graph,
        radius_graph as radius_graph,
        space_time_graph as space_time_graph,
    )
    from .kernels import (
        backend as backend,
        show_backends as show_backends,
    )
    from .learners import (
        DotProductLearner as DotProductLearner,
        GraphLearner as GraphLearner,
        LocallyScaledLearner as LocallyScaledLearner,
        MahalanobisLearner as MahalanobisLearner,
        TemporalLearner as TemporalLearner,
    )
    from .models import (
        DemosaicNetwork as DemosaicNetwork,
        UnrolledBlock as UnrolledBlock,
        UnrolledNetwork as UnrolledNetwork,
        from_pretrained as from_pretrained,
        restore_mosaic as restore_mosaic,
        restore_tiled as restore_tiled,
    )
    from .operators import (
        Adjacency as Adjacency,
        AxisGradient as AxisGradient,
        BalancedLaplacian as BalancedLaplacian,
        BayerMosaic as BayerMosaic,
        Blur as Blur,
        ColorMosaic as ColorMosaic,
        Diagonal as Diagonal,
        DirectedLaplacian as DirectedLaplacian,
        Downsample as Downsample,
        Gradient as Gradient,
        GradientGraph as GradientGraph,
        Identity as Identity,
        Incidence as Incidence,
        Laplacian as Laplacian,
        LaplacianPower as LaplacianPower,
        LinearOperator as LinearOperator,
        MatrixFree as MatrixFree,
        PlaneFit as PlaneFit,
        SamplingMask as SamplingMask,
        Selection as Selection,
        Stack as Stack,
        gershgorin_bound as gershgorin_bound,
    )
    from .problems import (
        DGLR as DGLR,
        DGTV as DGTV,
        GGLR as GGLR,
        GGTV as GGTV,
        GLR as GLR,
        GTF as GTF,
        GTV as GTV,
        BalancedGLR as BalancedGLR,
        DataTerm as DataTerm,
        FirmGTV as FirmGTV,
        GraphPrior as GraphPrior,
        Interpolation as Interpolation,
        LeastSquares as LeastSquares,
        MixedPrior as MixedPrior,
        Prior as Prior,
        Problem as Problem,
        SumPrior as SumPrior,
        VectorGTV as VectorGTV,
        start as start,
    )
    from .restoration import restore as restore
    from .solvers import (
        ADMM as ADMM,
        ConjugateGradient as ConjugateGradient,
        DampedJacobi as DampedJacobi,
        Solution as Solution,
        Status as Status,
        log_degree_graph as log_degree_graph,
    )
    from .unroll import (
        ADMMUnroll as ADMMUnroll,
        BalancedUnroll as BalancedUnroll,
        BoundedMomentum as BoundedMomentum,
        ConvergedSolve as ConvergedSolve,
        DGLRUnroll as DGLRUnroll,
        DGTVUnroll as DGTVUnroll,
        FirmGTVUnroll as FirmGTVUnroll,
        GGLRUnroll as GGLRUnroll,
        GGTVUnroll as GGTVUnroll,
        GLRUnroll as GLRUnroll,
        GTFUnroll as GTFUnroll,
        GTVLinearProgramUnroll as GTVLinearProgramUnroll,
        GTVUnroll as GTVUnroll,
        GuardedCG as GuardedCG,
        HeavyBall as HeavyBall,
        MixedUnroll as MixedUnroll,
        QuadraticUnroll as QuadraticUnroll,
        SumUnroll as SumUnroll,
        VectorGTVUnroll as VectorGTVUnroll,
    )

_HOME = {
    "graph": (
        "BalancedGraph BothDirections EdgeList Graph Grid MixedGraph Systems Topology grid_graph "
        "knn_graph path_graph product_graph radius_graph space_time_graph"
    ),
    "kernels": "backend show_backends",
    "operators": (
        "Adjacency AxisGradient BalancedLaplacian BayerMosaic Blur ColorMosaic Diagonal "
        "DirectedLaplacian Downsample Gradient GradientGraph Identity Incidence Laplacian "
        "LaplacianPower LinearOperator MatrixFree PlaneFit SamplingMask Selection Stack "
        "gershgorin_bound"
    ),
    "problems": (
        "DGLR DGTV GGLR GGTV GLR GTF GTV BalancedGLR DataTerm FirmGTV GraphPrior Interpolation "
        "LeastSquares MixedPrior Prior Problem SumPrior VectorGTV start"
    ),
    "solvers": "ADMM ConjugateGradient DampedJacobi Solution Status log_degree_graph",
    "unroll": (
        "ADMMUnroll BalancedUnroll BoundedMomentum ConvergedSolve DGLRUnroll DGTVUnroll "
        "FirmGTVUnroll GGLRUnroll GGTVUnroll GLRUnroll GTFUnroll GTVLinearProgramUnroll GTVUnroll "
        "GuardedCG HeavyBall MixedUnroll QuadraticUnroll SumUnroll VectorGTVUnroll"
    ),
    "learners": (
        "DotProductLearner GraphLearner LocallyScaledLearner MahalanobisLearner TemporalLearner"
    ),
    "features": (
        "BilateralFeatures CausalTemporalConv EdgeConvFeatures GridCNN GridUNet OnGrid PointMLP"
    ),
    "models": (
        "DemosaicNetwork UnrolledBlock UnrolledNetwork from_pretrained restore_mosaic restore_tiled"
    ),
    "restoration": "restore",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}
_SUBMODULES = [*_HOME, "clouds", "metrics", "pyg", "sensors", "series", "testing", "viz"]

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
