"""The operators, priors and data terms that the laws are checked on: a new one joins by a line."""

import torch

from gsp_unroll.graph import BalancedGraph, EdgeList, Graph, grid_graph, knn_graph, path_graph
from gsp_unroll.operators import (
    Adjacency,
    AxisGradient,
    BalancedLaplacian,
    BayerMosaic,
    Blur,
    ColorMosaic,
    Diagonal,
    DirectedLaplacian,
    Downsample,
    Gradient,
    GradientDifferences,
    GradientGraph,
    GradientLaplacian,
    Identity,
    Incidence,
    Laplacian,
    LaplacianPower,
    MatrixFree,
    PlaneFit,
    Polarized,
    SamplingMask,
    Stack,
)
from gsp_unroll.problems import GLR, GTF, GTV, FirmGTV, Interpolation, LeastSquares, VectorGTV
from tests.registries import cloud, edges

IMAGE = grid_graph((3, 4))
POINTS = knn_graph(cloud(7), 3)
SCATTERED = EdgeList(edges((1, 2), (2, 4), (5, 6)), 9)
BATCH = knn_graph(cloud(7), 2, batch=torch.tensor([1, 0, 1, 0, 0, 3, 1]))
TWO = knn_graph(cloud(16), 4, batch=torch.arange(16) % 2)
CAUSAL = path_graph(6, lags=(1, 3), directed=True)
BOTH = IMAGE.both_directions()
ONE_WAY = EdgeList(
    edges((0, 1), (1, 0), (3, 1), (4, 5)), 7, torch.tensor([0, 0, 1, 0, 1, 1, 2]), directed=True
)

X_TRANS = (
    (1, 2, 1, 1, 0, 1),
    (0, 1, 0, 2, 1, 2),
    (1, 2, 1, 1, 0, 1),
    (1, 0, 1, 1, 2, 1),
    (2, 1, 2, 0, 1, 0),
    (1, 0, 1, 1, 2, 1),
)


def numbers(*shape, dtype=torch.float64, seed=0):
    """Reproducible numbers between 0.1 and 1.1."""
    draw = torch.Generator().manual_seed(seed)
    return (0.1 + torch.rand(*shape, generator=draw, dtype=torch.float64)).to(dtype)


def bools(*shape, seed=0):
    """A reproducible mask that keeps about half, the first node in any case."""
    kept = numbers(*shape, seed=seed) > 0.6
    kept[..., 0, :] = True
    return kept


def weighted(topology, *batch, dtype=torch.float64):
    return Graph(topology, numbers(*batch, topology.num_edges, dtype=dtype, seed=1))


def squared(graph):
    """A second graph on the same edges."""
    return Graph.unchecked(graph.topology, graph.weight**2)


def slopes_on(topology, *batch, dtype=torch.float64):
    """A gradient graph: along the axes of a lattice, of fitted planes elsewhere."""
    points = cloud(topology.num_nodes, seed=5).to(dtype)
    F = None if topology.lattice else PlaneFit(topology, points)
    return GradientGraph.of(weighted(topology, *batch, dtype=dtype), F)


def signed(topology, *batch, dtype=torch.float64):
    """A balanced graph of two camps."""
    signs = 2 * bools(topology.num_nodes, 1, seed=3).to(dtype) - 1
    return BalancedGraph(weighted(topology, *batch, dtype=dtype), signs)


def matrix(dtype, rows=3, columns=5, on_channels=False):
    """A dense matrix as a user's own operator, on the nodes or on the channels of each node."""
    M = numbers(rows, columns, dtype=dtype) - 0.6
    if on_channels:
        return MatrixFree(lambda x: x @ M.T, lambda y: y @ M, couples_channels=True)
    bound = (M.T @ M).abs().sum(1, keepdim=True)
    return MatrixFree(lambda x: M @ x, lambda y: M.T @ y, columns, rows, gram_majorizer=bound)


def kernel(*values, dtype):
    return torch.tensor(values, dtype=dtype)


# ---- operators: name -> a function of the dtype that gives (operator, shape of an input) ----

OPERATORS = {
    "identity": lambda t: (Identity(), (4, 2)),
    "diagonal": lambda t: (Diagonal(numbers(5, 1, dtype=t)), (5, 2)),
    "diagonal per channel": lambda t: (Diagonal(numbers(5, 2, dtype=t) - 0.6), (5, 2)),
    "diagonal per item": lambda t: (Diagonal(numbers(3, 5, 1, dtype=t)), (3, 5, 2)),
    "matrix-free": lambda t: (matrix(t), (5, 2)),
    "matrix-free on channels": lambda t: (matrix(t, 2, 3, on_channels=True), (4, 3)),
    "gradient": lambda t: (Gradient(IMAGE), (12, 2)),
    "gradient of points": lambda t: (Gradient(POINTS), (7, 2)),
    "incidence": lambda t: (Incidence(weighted(IMAGE, dtype=t)), (12, 2)),
    "incidence per head": lambda t: (Incidence(weighted(POINTS, 2, dtype=t)), (2, 7, 2)),
    "incidence of a directed graph": lambda t: (Incidence(weighted(CAUSAL, dtype=t)), (6, 2)),
    "laplacian": lambda t: (Laplacian(weighted(IMAGE, dtype=t)), (12, 2)),
    "laplacian of points": lambda t: (Laplacian(weighted(POINTS, dtype=t)), (7, 2)),
    "laplacian of a batch": lambda t: (Laplacian(weighted(BATCH, dtype=t)), (7, 2)),
    "laplacian of a directed graph": lambda t: (Laplacian(weighted(BOTH, dtype=t)), (12, 2)),
    "laplacian per head": lambda t: (Laplacian(weighted(IMAGE, 2, dtype=t)), (2, 12, 2)),
    "laplacian sym": lambda t: (Laplacian(weighted(SCATTERED, dtype=t), "sym"), (9, 2)),
    "laplacian sym per head": lambda t: (Laplacian(weighted(IMAGE, 2, dtype=t), "sym"), (2, 12, 2)),
    "laplacian rw": lambda t: (Laplacian(weighted(SCATTERED, dtype=t), "rw"), (9, 2)),
    "laplacian squared": lambda t: (LaplacianPower(weighted(IMAGE, dtype=t), 2), (12, 2)),
    "laplacian cubed, of a batch": lambda t: (LaplacianPower(weighted(BATCH, dtype=t), 3), (7, 2)),
    "laplacian squared, of a directed graph": lambda t: (
        LaplacianPower(weighted(BOTH, dtype=t), 2),
        (12, 2),
    ),
    "laplacian to the fourth, per head": lambda t: (
        LaplacianPower(weighted(POINTS, 2, dtype=t), 4),
        (2, 7, 2),
    ),
    "laplacian, balanced": lambda t: (BalancedLaplacian(signed(IMAGE, dtype=t)), (12, 2)),
    "laplacian, balanced, of a batch": lambda t: (
        BalancedLaplacian(signed(BATCH, dtype=t)),
        (7, 2),
    ),
    "laplacian, balanced, sym": lambda t: (
        BalancedLaplacian(signed(SCATTERED, 2, dtype=t), "sym"),
        (2, 9, 2),
    ),
    "blur, seen through a polarity": lambda t: (
        Polarized(Blur((3, 4), numbers(3, 3, dtype=t)), signed(IMAGE, dtype=t).polarity),
        (12, 2),
    ),
    "directed laplacian": lambda t: (DirectedLaplacian(weighted(CAUSAL, dtype=t)), (6, 2)),
    "directed laplacian of a batch": lambda t: (
        DirectedLaplacian(weighted(ONE_WAY, dtype=t)),
        (7, 2),
    ),
    "directed laplacian per head": lambda t: (
        DirectedLaplacian(weighted(BOTH, 2, dtype=t)),
        (2, 12, 2),
    ),
    "gram of the directed laplacian": lambda t: (
        DirectedLaplacian(weighted(ONE_WAY, dtype=t)).gram,
        (7, 2),
    ),
    "gram of the directed laplacian per head": lambda t: (
        DirectedLaplacian(weighted(CAUSAL, 2, dtype=t)).gram,
        (2, 6, 2),
    ),
    "adjacency": lambda t: (Adjacency(weighted(IMAGE, dtype=t)), (12, 2)),
    "adjacency of a directed graph": lambda t: (Adjacency(weighted(CAUSAL, dtype=t)), (6, 2)),
    "sampling mask": lambda t: (SamplingMask(bools(5, 1).squeeze(-1)), (5, 2)),
    "sampling mask per channel": lambda t: (SamplingMask(bools(5, 2)), (5, 2)),
    "sampling mask per item": lambda t: (SamplingMask(bools(3, 5, 2)), (3, 5, 2)),
    "color mosaic": lambda t: (ColorMosaic(torch.tensor([3, 0, 1, 3, 2]), 4), (5, 4)),
    **{
        f"bayer mosaic {phase}": lambda t, phase=phase: (BayerMosaic(3, 4, phase), (12, 3))
        for phase in ("RGGB", "BGGR", "GRBG", "GBRG")
    },
    "x-trans mosaic": lambda t: (ColorMosaic.periodic((7, 8), X_TRANS), (56, 3)),
    "downsample a sequence": lambda t: (Downsample((7,), 3, 1), (7, 2)),
    "downsample an image": lambda t: (Downsample((4, 5), (2, 3), (1, 0)), (20, 2)),
    "downsample a volume": lambda t: (Downsample((2, 3, 4), 2), (24, 2)),
    "slopes of an image": lambda t: (AxisGradient((3, 4)), (12, 2)),
    "slopes of a volume": lambda t: (AxisGradient((2, 1, 3)), (6, 2)),
    "slopes of points": lambda t: (PlaneFit(POINTS, cloud(7).to(t)), (7, 2)),
    "slopes of a batch of points": lambda t: (PlaneFit(BATCH, cloud(7).to(t)), (7, 2)),
    "slopes of points with one-way edges": lambda t: (
        PlaneFit(knn_graph(cloud(7), 3, symmetrize=None), cloud(7).to(t)),
        (7, 2),
    ),
    "differences of slopes": lambda t: (GradientDifferences(slopes_on(IMAGE, dtype=t)), (12, 2)),
    "differences of slopes of points": lambda t: (
        GradientDifferences(slopes_on(POINTS, dtype=t)),
        (7, 2),
    ),
    "laplacian of slopes": lambda t: (GradientLaplacian(slopes_on(IMAGE, dtype=t)), (12, 2)),
    "laplacian of slopes per head": lambda t: (
        GradientLaplacian(slopes_on(IMAGE, 2, dtype=t)),
        (2, 12, 2),
    ),
    "laplacian of slopes of points": lambda t: (
        GradientLaplacian(slopes_on(POINTS, dtype=t)),
        (7, 2),
    ),
    "laplacian of slopes of a batch": lambda t: (
        GradientLaplacian(slopes_on(TWO, dtype=t)),
        (16, 2),
    ),
    "blur a sequence": lambda t: (Blur((5,), kernel(1.0, 2.0, 1.0, dtype=t)), (5, 2)),
    "blur, asymmetric": lambda t: (Blur((4, 5), numbers(3, 5, dtype=t)), (20, 2)),
    "blur with a kernel beyond the image": lambda t: (Blur((2, 3), numbers(5, 7, dtype=t)), (6, 2)),
    "blur with negative taps": lambda t: (
        Blur((3, 4), numbers(3, 3, dtype=t) * kernel(-1.0, 1.0, 2.0, dtype=t)),
        (12, 2),
    ),
    "blur with empty taps": lambda t: (Blur((3, 4), torch.eye(3, dtype=t)), (12, 2)),
    "blur of one tap": lambda t: (Blur((4,), kernel(3.0, dtype=t)), (4, 2)),
    "blur a volume": lambda t: (Blur((2, 2, 3), numbers(3, 1, 3, dtype=t)), (12, 2)),
    "blur, then mask": lambda t: (
        SamplingMask(bools(12, 2)) @ Blur((3, 4), numbers(3, 3, dtype=t)),
        (12, 2),
    ),
    "blur, then mosaic": lambda t: (
        BayerMosaic(3, 4) @ Blur((3, 4), numbers(3, 3, dtype=t)),
        (12, 3),
    ),
    "blur, then downsample": lambda t: (
        Downsample((3, 4)) @ Blur((3, 4), numbers(3, 3, dtype=t)),
        (12, 2),
    ),
    "blur, then gains": lambda t: (
        Diagonal(3 * numbers(12, 1, dtype=t)) @ Blur((3, 4), numbers(3, 3, dtype=t)),
        (12, 2),
    ),
    "gradient, then its adjoint": lambda t: (Gradient(POINTS).T @ Gradient(POINTS), (7, 2)),
    "matrix on channels, then mask": lambda t: (
        SamplingMask(bools(4, 1)) @ matrix(t, 2, 3, on_channels=True),
        (4, 3),
    ),
    "sum of mask and laplacian": lambda t: (
        SamplingMask(bools(12, 2)) + Laplacian(weighted(IMAGE, dtype=t)),
        (12, 2),
    ),
    "sum with heads": lambda t: (
        SamplingMask(bools(12, 1)) + Laplacian(weighted(IMAGE, 2, dtype=t)).scaled(0.3),
        (2, 12, 2),
    ),
    "stack": lambda t: (
        Stack((Gradient(IMAGE), Identity(), Incidence(weighted(IMAGE, dtype=t)))),
        (12, 2),
    ),
    "stack with heads": lambda t: (
        Stack((Gradient(POINTS), Incidence(weighted(POINTS, 2, dtype=t)))),
        (2, 7, 2),
    ),
    "gram of a stack": lambda t: (
        Stack((Incidence(weighted(IMAGE, dtype=t)), SamplingMask(bools(12, 1)))).gram,
        (12, 2),
    ),
    "scaled": lambda t: (Laplacian(weighted(IMAGE, dtype=t)).scaled(2.5), (12, 2)),
    "scaled per head": lambda t: (
        Laplacian(weighted(IMAGE, dtype=t)).scaled(numbers(2, 1, 1, dtype=t)),
        (2, 12, 2),
    ),
    "scaled down through zero": lambda t: (Identity().scaled(-0.5), (4, 2)),
    "adjoint of incidence": lambda t: (Incidence(weighted(POINTS, dtype=t)).T, None),
    "adjoint of laplacian rw": lambda t: (Laplacian(weighted(SCATTERED, dtype=t), "rw").T, (9, 2)),
    "adjoint of downsample": lambda t: (Downsample((4, 5)).T, (6, 2)),
    "adjoint of mosaic": lambda t: (BayerMosaic(3, 4).T, (12, 1)),
    "gram of a matrix": lambda t: (matrix(t).gram, (5, 2)),
    "gram of blur": lambda t: (Blur((3, 4), numbers(3, 5, dtype=t)).gram, (12, 2)),
    "gram of a mosaic": lambda t: (BayerMosaic(3, 4).gram, (12, 3)),
    "gram of incidence": lambda t: (Incidence(weighted(IMAGE, dtype=t)).gram, (12, 2)),
}


def operator(name, dtype=torch.float64):
    """A registered operator and the shape of an input."""
    A, shape = OPERATORS[name](dtype)
    return A, (A.num_inputs, 2) if shape is None else shape


#: Those that are symmetric and positive semi-definite themselves.
POSITIVE = [
    "identity",
    "diagonal",
    "diagonal per item",
    *(name for name in OPERATORS if name.startswith("laplacian") and not name.endswith("rw")),
    *(name for name in OPERATORS if name.startswith(("sampling mask", "gram of", "sum"))),
    "gradient, then its adjoint",
    "scaled",
    "scaled per head",
]

#: Operators of a graph: name -> a function of the graph.
GRAPH_OPERATORS = {
    "incidence": Incidence,
    "gram of incidence": lambda graph: Incidence(graph).gram,
    "laplacian": Laplacian,
    "laplacian sym": lambda graph: Laplacian(graph, "sym"),
    "laplacian rw": lambda graph: Laplacian(graph, "rw"),
    "laplacian cubed": lambda graph: LaplacianPower(graph, 3),
    "adjacency": Adjacency,
}

# ---- priors: name -> a function of a graph --------------------------------------------------

PRIORS = {
    "GTV": lambda graph: GTV(graph, 0.3),
    "vector GTV": lambda graph: VectorGTV(graph, 0.3),
    "GLR": lambda graph: GLR(graph, 0.7),
    "GLR sym": lambda graph: GLR(graph, 0.7, "sym"),
    "GTF of order 0": lambda graph: GTF(graph, 0.3, 0),
    "GTF of order 1": lambda graph: GTF(graph, 0.3, 1),
    "GTF of order 2": lambda graph: GTF(graph, 0.3, 2),
    "GTF of order 3": lambda graph: GTF(graph, 0.3, 3),
    "firm GTV": lambda graph: FirmGTV(graph, 0.3, 2.0),
    "firm GTV + GLR": lambda graph: FirmGTV(graph, 0.3, 2.0) + GLR(graph, 0.2),
    "GTV + GTF": lambda graph: GTV(graph, 0.3) + GTF(graph, 0.2, 1) + GTF(graph, 0.1, 2),
    "GTV + GLR": lambda graph: GTV(graph, 0.3) + GLR(graph, 0.7),
    "GLR + GLR": lambda graph: GLR(graph, 0.7) + GLR(squared(graph), 0.2),
    "GTV + vector GTV + GLR": lambda graph: (
        GTV(graph, 0.3) + VectorGTV(squared(graph), 0.2) + GLR(graph, 0.1)
    ),
}

# ---- data terms: name -> a function of (operator, observation) ------------------------------

DATA_TERMS = {"least squares": LeastSquares, "interpolation": Interpolation}
