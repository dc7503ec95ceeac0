"""The layers that the laws of unrolling are checked on: a new one joins by a line."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from gsp_unroll.graph import Graph, MixedGraph, grid_graph, knn_graph
from gsp_unroll.learners import MahalanobisLearner
from gsp_unroll.operators import GradientGraph, PlaneFit, SamplingMask
from gsp_unroll.problems import GLR, GTV, DataTerm, Interpolation, LeastSquares, VectorGTV
from gsp_unroll.unroll import (
    BoundedMomentum,
    DGLRUnroll,
    DGTVUnroll,
    FirmGTVUnroll,
    GGLRUnroll,
    GGTVUnroll,
    GLRUnroll,
    GTFUnroll,
    GTVLinearProgramUnroll,
    GTVUnroll,
    GuardedCG,
    HeavyBall,
    MixedUnroll,
    SumUnroll,
    VectorGTVUnroll,
)

T, K = 3, 4


def plain(graph):
    """The graph as it is."""
    return graph


def with_slopes(graph):
    """The graph as one on slopes, its nodes in their order on a line."""
    w = graph.weight
    points = torch.arange(graph.num_nodes, dtype=w.dtype, device=w.device).unsqueeze(-1)
    return GradientGraph.of(graph, PlaneFit(graph.topology, points))


@dataclass(frozen=True)
class Case:
    """A layer `build(heads)`, the data term it is made for, and what it is known to do."""

    build: Callable
    data_term: type[DataTerm]
    #: Entries of parameters that nothing reads, by the end of their name: how many per head.
    dead: int = 0
    couples_channels: bool = False
    row_weights: bool = False
    #: Makes the graph that the layer is called with.
    graph_of: Callable = plain
    #: The weights in space, and their rows as the directed graph in time.
    mixed: bool = False

    def layer(self, heads=None, dtype=torch.float64, seed=0):
        """The layer with every parameter moved a little, so that no two heads or steps agree."""
        layer = self.build(heads).to(dtype)
        noise = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in layer.parameters():
                p += 0.1 * p.abs() * torch.rand(p.shape, generator=noise, dtype=torch.float64)
        return layer

    def graph(self, topology, weight):
        """The graph that the layer is meant for, from weights on an undirected topology."""
        graph = Graph.unchecked(topology, topology.mask_edges(weight))
        if self.mixed:
            return MixedGraph(graph, graph.normalized("row"))
        return self.graph_of(graph.normalized("row") if self.row_weights else graph)

    def data(self, mask, y):
        return self.data_term(SamplingMask(mask), y)

    def __call__(self, layer, mask, y, topology, weight, x0=None):
        return layer(self.data(mask, y), self.graph(topology, weight), x0)


LAYERS = {
    "GLR, hard": Case(lambda h: GLRUnroll(K, heads=h), Interpolation),
    "GLR, soft": Case(lambda h: GLRUnroll(K, heads=h, mu=0.7), LeastSquares),
    "GLR sym, hard": Case(lambda h: GLRUnroll(K, heads=h, normalization="sym"), Interpolation),
    "GLR sym, soft": Case(
        lambda h: GLRUnroll(K, heads=h, mu=0.7, normalization="sym"), LeastSquares
    ),
    "GLR, heavy ball": Case(
        lambda h: GLRUnroll(K, heads=h, solver=HeavyBall), Interpolation, dead=1
    ),
    "GLR, guarded CG": Case(
        lambda h: GLRUnroll(K, heads=h, mu=0.7, solver=GuardedCG), LeastSquares
    ),
    "GTV, hard": Case(lambda h: GTVUnroll(T, K, heads=h), Interpolation),
    "GTV, soft": Case(lambda h: GTVUnroll(T, K, heads=h, rho=0.8), LeastSquares),
    "GTV, heavy ball": Case(
        lambda h: GTVUnroll(T, K, heads=h, rho=0.8, solver=HeavyBall), LeastSquares, dead=T
    ),
    "GTV, guarded CG": Case(lambda h: GTVUnroll(T, K, heads=h, solver=GuardedCG), Interpolation),
    "vector GTV, hard": Case(
        lambda h: VectorGTVUnroll(T, K, heads=h), Interpolation, couples_channels=True
    ),
    "vector GTV, soft": Case(
        lambda h: VectorGTVUnroll(T, K, heads=h, rho=0.8), LeastSquares, couples_channels=True
    ),
    "GTF, hard": Case(lambda h: GTFUnroll(T, K, heads=h), Interpolation),
    "GTF of order 2, soft": Case(
        lambda h: GTFUnroll(T, K, order=2, heads=h, lam=0.1, rho=0.8), LeastSquares
    ),
    "GTF, guarded CG": Case(
        lambda h: GTFUnroll(T, K, heads=h, rho=0.8, solver=GuardedCG), LeastSquares
    ),
    "GGLR, hard": Case(lambda h: GGLRUnroll(K, heads=h), Interpolation, graph_of=with_slopes),
    "GGLR, soft": Case(
        lambda h: GGLRUnroll(K, heads=h, mu=0.7),
        LeastSquares,
        graph_of=with_slopes,
    ),
    "GGTV, hard": Case(
        lambda h: GGTVUnroll(T, K, heads=h),
        Interpolation,
        graph_of=with_slopes,
    ),
    "GGTV, soft": Case(
        lambda h: GGTVUnroll(T, K, heads=h, rho=0.8),
        LeastSquares,
        graph_of=with_slopes,
    ),
    "firm GTV, hard": Case(lambda h: FirmGTVUnroll(T, K, heads=h), Interpolation),
    "firm GTV, soft": Case(lambda h: FirmGTVUnroll(T, K, heads=h, knee=0.2, rho=0.8), LeastSquares),
    "GTV + GLR, hard": Case(lambda h: SumUnroll([GTV, GLR], T, K, heads=h), Interpolation),
    "GTV + GLR, soft": Case(
        lambda h: SumUnroll([GTV, GLR], T, K, heads=h, lam=[0.03, 0.4], rho=0.8), LeastSquares
    ),
    "GTV + vector GTV, soft": Case(
        lambda h: SumUnroll([GTV, VectorGTV], T, K, heads=h, rho=0.8),
        LeastSquares,
        couples_channels=True,
    ),
    "directed GLR, hard": Case(lambda h: DGLRUnroll(K, heads=h), Interpolation, row_weights=True),
    "directed GLR, soft": Case(
        lambda h: DGLRUnroll(K, heads=h, mu=0.7), LeastSquares, row_weights=True
    ),
    "directed GTV, hard": Case(
        lambda h: DGTVUnroll(T, K, heads=h), Interpolation, row_weights=True
    ),
    "directed GTV, soft": Case(
        lambda h: DGTVUnroll(T, K, heads=h, rho=0.8), LeastSquares, row_weights=True
    ),
    "mixed, hard": Case(lambda h: MixedUnroll(T, K, heads=h), Interpolation, mixed=True),
    "mixed, soft": Case(lambda h: MixedUnroll(T, K, heads=h, rho=0.8), LeastSquares, mixed=True),
    "mixed, guarded CG": Case(
        lambda h: MixedUnroll(T, K, heads=h, rho=0.8, solver=GuardedCG), LeastSquares, mixed=True
    ),
    "linear program": Case(
        lambda h: GTVLinearProgramUnroll(T, K, heads=h), Interpolation, dead=T, row_weights=True
    ),
    "linear program, bounded": Case(
        lambda h: GTVLinearProgramUnroll(T, K, heads=h, solver=BoundedMomentum),
        Interpolation,
        row_weights=True,
    ),
    "linear program, guarded CG, undirected": Case(
        lambda h: GTVLinearProgramUnroll(T, K, heads=h, solver=GuardedCG), Interpolation
    ),
}


def learned_problems(dtype):
    """1000 graphs: 20 topologies, 25 sets of features each, 2 heads; features up to 100 in size."""
    for i in range(20):
        draw = torch.Generator().manual_seed(i)

        def rand(*shape, draw=draw):
            return torch.rand(*shape, dtype=dtype, generator=draw)

        if i % 2:
            topology = knn_graph(rand(20 + i, 2 + i % 3), 3 + i % 4)
        else:
            topology = grid_graph((4 + i % 3, 5 + i % 2), window=3 if i % 4 else 5)
        n, normalization = topology.num_nodes, ("merged", "sym", "none", "row")[i // 2 % 4]
        scale = 10 ** (3 * rand(25, 1, 1, 1) - 1)
        features = scale * torch.randn(25, 2, n, 3, dtype=dtype, generator=draw)
        learner = MahalanobisLearner(3, heads=2, normalization=normalization).to(dtype)
        mask = rand(25, 1, n, 1) < 0.1 + 0.3 * rand(25, 1, 1, 1)
        yield topology, features, learner, SamplingMask(mask), rand(25, 1, n, 2)
