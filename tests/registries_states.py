"""What a stored state is loaded into: name -> how the module is built, fed and called.

A new class joins by a line, and `python -m tests.write_states` writes its file. Names are those of
files that are kept: a case may be added, but not renamed or changed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gsp_unroll import (
    BalancedGraph,
    BalancedUnroll,
    BayerMosaic,
    CausalTemporalConv,
    DotProductLearner,
    EdgeConvFeatures,
    GLRUnroll,
    Graph,
    GridCNN,
    GridUNet,
    GTVUnroll,
    Interpolation,
    LocallyScaledLearner,
    MahalanobisLearner,
    OnGrid,
    PointMLP,
    SamplingMask,
    TemporalLearner,
    UnrolledBlock,
    UnrolledNetwork,
    grid_graph,
    knn_graph,
    path_graph,
    space_time_graph,
)
from gsp_unroll.clouds import CloudDenoiser
from gsp_unroll.models import NETWORKS, DemosaicNetwork, MosaicNetwork
from gsp_unroll.problems import LeastSquares
from gsp_unroll.pyg import RestoreFeatures
from gsp_unroll.sensors import GraphField
from gsp_unroll.series import LinearForecast, SeriesNetwork
from tests.registries_layers import LAYERS

SHAPE = (3, 4)
IMAGE = grid_graph(SHAPE, window=3)
PLACES = path_graph(4)


@dataclass(frozen=True)
class State:
    """A module `build()`, the tensors `inputs()` and `call(module, **inputs)`, all in float64."""

    build: Callable
    inputs: Callable
    call: Callable
    #: parameters that would fill a file are not stored but made by `pattern`
    large: bool = False

    def module(self):
        return self.build().double().eval()


def pattern(shape, place):
    """Numbers from -0.1 to 0.1 that need no file: multiples of the golden ratio, wrapped."""
    count = torch.arange(torch.Size(shape).numel(), dtype=torch.float64) + 1000 * place
    return 0.1 * (2 * (count * 0.6180339887498949 % 1) - 1).reshape(shape)


def rand(*shape):
    return torch.rand(*shape, dtype=torch.float64)


def gaps(*shape):
    """A signal with a gap at every third value."""
    y = rand(*shape)
    y.view(-1)[::3] = torch.nan
    return y


def slug(name):
    """The name of a case as that of a file."""
    return re.sub("[^a-z0-9]+", "_", name.lower())


def layer(case, heads=2):
    def inputs():
        mask = torch.arange(24).reshape(12, 2) % 3 == 0
        return {"w": 0.1 + rand(heads, IMAGE.num_edges), "y": rand(1, 12, 2), "mask": mask}

    return State(
        lambda: case.build(heads),
        inputs,
        lambda module, w, y, mask: case(module, mask, y, IMAGE, w),
    )


def learner(build, topology=IMAGE):
    return State(
        build,
        lambda: {"features": rand(topology.num_nodes, 3)},
        lambda module, features: module(features, topology.to(features.device)).weight,
    )


def features(build, channels=2, topology=IMAGE):
    return State(
        build,
        lambda: {"x": rand(topology.num_nodes, channels)},
        lambda module, x: module(x, topology.to(x.device)),
    )


def image(build, shape=(4, 6), large=False):
    return State(
        build,
        lambda: {"y": rand(shape[0] * shape[1], 1)},
        lambda module, y: module(module.data_term(BayerMosaic(*shape, device=y.device), y), shape),
        large,
    )


def balanced(module, y, w):
    polarity = torch.ones(12, 1, dtype=y.dtype, device=y.device)
    polarity[::2] = -1
    graph = BalancedGraph(Graph(IMAGE, w), polarity)
    return module(LeastSquares(SamplingMask(~y.isnan()), y), graph)


def ball():
    points = torch.nn.functional.normalize(torch.randn(200, 3).double(), dim=-1)
    return {"y": points + 0.05 * torch.randn(200, 3)}


def block():
    return UnrolledBlock(
        GridCNN(1, 4, num_layers=2, width=3, heads=2),
        MahalanobisLearner(2, heads=2),
        GTVUnroll(2, 2, heads=2),
        correction=OnGrid(torch.nn.Conv2d(2, 1, 3, padding=1, bias=False)),
        residual=0.9,
    )


def series():
    points = torch.linspace(0, 1, 8).reshape(4, 2)
    forecast = LinearForecast(3, 2, 4, rank=2)
    return SeriesNetwork(knn_graph(points, 2), points, 5, forecast=forecast, cg_steps=3, clock=1)


MODULES = {
    **{slug(name): layer(case) for name, case in LAYERS.items()},
    "balanced": State(
        lambda: BalancedUnroll(GLRUnroll(3, mu=0.5)),
        lambda: {"y": gaps(12, 1), "w": 0.1 + rand(IMAGE.num_edges)},
        balanced,
    ),
    "mahalanobis": learner(lambda: MahalanobisLearner(3)),
    "locally_scaled": learner(lambda: LocallyScaledLearner(2)),
    "dot_product": learner(lambda: DotProductLearner(3, num_keys=2)),
    "temporal": learner(
        lambda: TemporalLearner(3, (1, 2), places=4), space_time_graph(PLACES, 4, (1, 2)).temporal
    ),
    "grid_cnn": features(lambda: GridCNN(2, 3, num_layers=2, width=4)),
    "grid_unet": features(lambda: GridUNet(2, 3, width=2), topology=grid_graph((4, 4))),
    "point_mlp": features(lambda: PointMLP(2, 3, width=4)),
    "edge_conv": features(lambda: EdgeConvFeatures(2, 3, width=4)),
    "causal_temporal_conv": features(
        lambda: CausalTemporalConv(2, 3, width=4, places=2), topology=path_graph(12)
    ),
    "unrolled_network": State(
        lambda: UnrolledNetwork([block()]),
        lambda: {"y": gaps(12, 1)},
        lambda module, y: module(Interpolation(SamplingMask(~y.isnan()), y), IMAGE),
    ),
    "network_demosaic": image(
        lambda: DemosaicNetwork(features=2, width=3, num_iterations=1, cg_steps=2)
    ),
    "network_mosaic": image(
        lambda: MosaicNetwork(2, width=4, depth=1, features=2, num_iterations=1, cg_steps=2)
    ),
    "network_mosaic_attention": image(
        lambda: MosaicNetwork(width=4, depth=1, features=2, weights="attention", noisy=True)
    ),
    **{
        f"network_{name}": image(NETWORKS[name], large=True)
        for name in ("ugtv", "uglr", "ugtv_splitting", "uglr_combinatorial")
    },
    "restore_features": State(
        lambda: RestoreFeatures(GLRUnroll(3, mu=0.5)),
        lambda: {"x": rand(12, 2), "w": 0.1 + rand(IMAGE.num_edges)},
        lambda module, x, w: module(x, Graph(IMAGE, w)),
    ),
    "graph_field": State(
        lambda: GraphField(MahalanobisLearner(2, normalization="none")),
        lambda: {"y": gaps(4, 1), "at": rand(4, 2)},
        lambda module, y, at: module(y, at, PLACES).x,
    ),
    "series_network": State(
        series,
        lambda: {"y": gaps(5, 4, 1), "clock": rand(5, 1)},
        lambda module, y, clock: module(y, clock),
    ),
    "cloud_denoiser": State(
        lambda: CloudDenoiser(rounds=1, width=4, cg_steps=3), ball, lambda module, y: module(y)
    ),
}
