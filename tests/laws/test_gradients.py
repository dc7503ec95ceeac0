"""Gradients as a guarantee: unrolled, implicit and by differences they agree, corners have one that
is written down, and no input that is allowed makes one that is not finite."""

import pytest
import torch

from gsp_unroll.graph import Graph, grid_graph, knn_graph, path_graph
from gsp_unroll.kernels import backend
from gsp_unroll.operators import Identity, Laplacian
from gsp_unroll.problems import (
    GLR,
    GTF,
    GTV,
    FirmGTV,
    LeastSquares,
    Problem,
    VectorGTV,
    firm_threshold,
    group_soft_threshold,
    soft_threshold,
)
from gsp_unroll.solvers import ADMM, ConjugateGradient
from gsp_unroll.unroll import BoundedMomentum, GTVUnroll, GuardedCG
from tests.laws.test_learners import LEARNERS, D
from tests.registries_layers import LAYERS
from tests.studies import gradients as study

every_topology = pytest.mark.parametrize("name", study.TOPOLOGIES)


# ---- three ways to one gradient -------------------------------------------------------------


@every_topology
def test_glr_unrolled_implicit_and_differences_agree(name):
    topology = study.TOPOLOGIES[name]
    inputs = study.inputs_on(topology, study.MU)
    exact = study.gradient(study.glr_exact(topology), inputs)
    for solver in (ConjugateGradient(1e-14), ConjugateGradient(1e-14, gradient="implicit")):
        found = study.gradient(study.glr_solved(topology, solver), inputs)
        assert study.disagreement(found, exact) < 1e-10
    for kind, steps, allowed in ((GuardedCG, 30, 1e-10), (BoundedMomentum, 200, 1e-6)):
        found = study.gradient(study.glr_layer(topology, steps, kind), inputs)
        assert study.disagreement(found, exact) < allowed
    found = study.by_differences(study.glr_solved(topology, ConjugateGradient(1e-15)), inputs)
    assert study.disagreement(found, exact) < 1e-8


@every_topology
def test_the_implicit_gradient_is_as_good_as_its_tolerance(name):
    topology = study.TOPOLOGIES[name]
    inputs = study.inputs_on(topology, study.MU)
    exact = study.gradient(study.glr_exact(topology), inputs)
    for rtol in (1e-2, 1e-5, 1e-8):
        solver = ConjugateGradient(rtol, gradient="implicit")
        found = study.gradient(study.glr_solved(topology, solver), inputs)
        assert study.disagreement(found, exact) < 10 * rtol


@every_topology
def test_gtv_unrolled_reaches_the_derivative_of_its_plateaus(name):
    topology = study.TOPOLOGIES[name]
    inputs = study.inputs_on(topology, study.LAM)
    exact = study.gradient(study.gtv_exact(topology, inputs), inputs)
    far, near = (
        study.disagreement(study.gradient(study.gtv_layer(topology, n), inputs), exact)
        for n in (10, 150)
    )
    assert near < 1e-8 < 1e-3 < far
    for kind in ("unrolled", "implicit"):
        inner = ConjugateGradient(1e-13, gradient=kind)
        found = study.gradient(study.gtv_solved(topology, 100, inner), inputs)
        assert study.disagreement(found, exact) < 1e-6


@pytest.mark.parametrize("kind", [GuardedCG, BoundedMomentum])
def test_iterations_past_convergence_leave_the_gradient_alone(kind):
    topology = study.TOPOLOGIES["path"]
    inputs = study.inputs_on(topology, study.LAM)
    exact = study.gradient(study.gtv_exact(topology, inputs), inputs)
    found = study.gradient(study.gtv_layer(topology, 400, kind), inputs)
    assert study.disagreement(found, exact) < 1e-10


OTHERS = {
    "vector GTV": lambda graph, lam: VectorGTV(graph, lam),
    "GTV + GLR": lambda graph, lam: GTV(graph, lam) + GLR(graph, 0.3),
    "GTF": lambda graph, lam: GTF(graph, lam, 1),
    "firm GTV": lambda graph, lam: FirmGTV(graph, lam, 5.0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_unrolled_gradients_are_those_of_the_solution_for_other_priors(name):
    topology = study.TOPOLOGIES["grid"]

    def solved(steps):
        inner = ConjugateGradient(1e-13)
        solver = ADMM(1.0, 1e-300, steps, check_every=steps, linear_solver=inner)

        def solve(y, w, lam):
            y = torch.cat([y, y.flip(0) + 0.5 * y], -1)  # two channels, of different jumps
            graph = Graph.unchecked(topology, topology.mask_edges(w))
            data = LeastSquares.unchecked(Identity(), y)
            return solver.solve(Problem(data, OTHERS[name](graph, lam))).x

        return solve

    inputs = study.inputs_on(topology, 0.05)
    unrolled = study.gradient(solved(150), inputs)
    # along one direction in all inputs: the differences of the solution itself
    way = torch.randn(len(unrolled), dtype=torch.float64)
    sizes, h = [t.numel() for t in inputs], 1e-6
    flat = torch.cat([t.flatten() for t in inputs])
    c = torch.randn(20, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def value(v):
        parts = [p.view(t.shape) for p, t in zip(v.split(sizes), inputs, strict=True)]
        return (c * solved(150)(*parts)).sum()

    with torch.no_grad():
        slope = (value(flat + h * way) - value(flat - h * way)) / (2 * h)
    torch.testing.assert_close(unrolled @ way, slope, rtol=1e-5, atol=1e-6)


# ---- corners --------------------------------------------------------------------------------


def derivative(function, *inputs):
    leaves = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in inputs]
    return [g.tolist() for g in torch.autograd.grad(function(*leaves).sum(), leaves)]


def test_at_its_threshold_a_value_counts_as_inside():
    # inside, the result is 0 and so are both derivatives
    for z in (1.0, -1.0):
        assert derivative(soft_threshold, [z], 1.0) == [[0.0], 0.0]
        assert derivative(lambda v: soft_threshold(v, 1.0), [z]) == [[0.0]]
        assert derivative(group_soft_threshold, [[z]], 1.0) == [[[0.0]], 0.0]
        assert derivative(lambda v: firm_threshold(v, 1.0, 2.0), [z]) == [[0.0]]
    assert derivative(group_soft_threshold, [[3.0, 4.0]], 5.0) == [[[0.0, 0.0]], 0.0]
    # just outside it is 1, and -1 by the threshold
    above = 1 + 1e-12
    assert derivative(soft_threshold, [above], 1.0) == [[1.0], -1.0]


def test_at_its_knee_a_value_counts_as_on_the_line():
    assert derivative(lambda v: firm_threshold(v, 1.0, 2.0), [2.0, -2.0]) == [[2.0, 2.0]]
    assert derivative(lambda v: firm_threshold(v, 1.0, 2.0), [2.1]) == [[1.0]]


def test_where_neighbours_are_equal_a_total_variation_has_the_derivative_zero():
    graph = Graph(path_graph(3), torch.tensor([1.0, 1.0, 0.0]).double())
    for prior in (GTV(graph), VectorGTV(graph), FirmGTV(graph), GTF(graph, order=0)):
        x = torch.tensor([[1.0], [1.0], [3.0]]).double().requires_grad_()
        (found,) = torch.autograd.grad(prior(x).sum(), x)
        assert found[0] == 0  # of the edge between equal values nothing comes
        y = torch.full((3, 2), 0.7).double().requires_grad_()
        assert not torch.autograd.grad(prior(y).sum(), y)[0].any()


def test_a_kernel_takes_the_same_side_of_a_corner():
    # log_lam = log_rho = 0: the threshold is exactly 1, and so is the jump of the start
    topology = grid_graph((1, 2))
    layer = GTVUnroll(1, 3, lam=1.0, rho=1.0).double()
    found = []
    for name in ("native", "torch", "reference"):
        x0 = torch.tensor([[0.0], [1.0]]).double().requires_grad_()
        w = topology.mask_edges(torch.ones(topology.num_edges).double()).requires_grad_()
        with backend(name):
            graph = Graph.unchecked(topology, w)
            data = LeastSquares(Identity(), torch.tensor([[0.2], [0.9]]).double())
            x = layer(data, graph, x0)
        found.append(torch.autograd.grad(x[0].sum(), [x0, w, *layer.parameters()]))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


# ---- always finite --------------------------------------------------------------------------

SQUARE = grid_graph((3, 4))
CLOUD = knn_graph(torch.rand(12, 2, generator=torch.Generator().manual_seed(0)), 3)


def without_a_node(topology):
    """Weights that leave node 5 no edge."""
    tail, head = topology.edge_index
    return ((tail != 5) & (head != 5)).double()


WEIGHTS = {
    "all zero": lambda topology: torch.zeros(topology.num_edges).double(),
    "an isolated node": without_a_node,
    "some zero": lambda topology: (torch.arange(topology.num_edges) % 3 > 0).double(),
    "as small as exp(-30)": lambda topology: torch.full((topology.num_edges,), 1e-13).double(),
    "of very different size": lambda topology: (
        10 ** torch.linspace(-12, 3, topology.num_edges).double()
    ),
}
SIGNALS = {
    "random": lambda: torch.randn(12, 2, generator=torch.Generator().manual_seed(1)).double(),
    "constant": lambda: torch.full((12, 2), 0.4).double(),
    "zero": lambda: torch.zeros(12, 2).double(),
}


@pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layers_have_finite_gradients_on_degenerate_graphs_and_flat_signals(case, dtype):
    layer = case.layer(dtype=dtype)
    for topology in (SQUARE, CLOUD):
        # every weight with every signal, as a batch
        w = torch.stack([weight(topology) for weight in WEIGHTS.values() for _ in SIGNALS])
        y = torch.stack([signal() for _ in WEIGHTS for signal in SIGNALS.values()])
        y, w = y.to(dtype).requires_grad_(), w.to(dtype).requires_grad_()
        mask = torch.arange(12).unsqueeze(-1) % 3 < 2
        x = case(layer, mask, y, topology, w)
        wanted = [y, w, *layer.parameters()]
        factors = torch.linspace(-1, 2, x.numel(), dtype=dtype).view(x.shape)
        for value in (x, *torch.autograd.grad((factors * x).sum(), wanted)):
            assert bool(value.isfinite().all())


FEATURES = {
    "all equal": lambda: torch.ones(12, D).double(),
    "zero": lambda: torch.zeros(12, D).double(),
    "pairs of equal nodes": lambda: (
        torch.arange(12).div(2, rounding_mode="floor").double().unsqueeze(-1).expand(12, D).clone()
    ),
    "far apart": lambda: 1e3 * torch.arange(12 * D).double().view(12, D),
    "farther than a square can tell": lambda: 1e30 * torch.arange(12 * D).double().view(12, D),
    "one far": lambda: torch.ones(12, D).double().index_fill(0, torch.tensor([5]), 1e8),
}


@pytest.mark.parametrize("kind", LEARNERS.values(), ids=LEARNERS.keys())
@pytest.mark.parametrize("normalization", ["none", "sym", "row", "merged"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_learners_have_finite_gradients_for_equal_and_far_features(kind, normalization, dtype):
    learner = kind(D, normalization=normalization).to(dtype)
    for topology in (SQUARE, CLOUD):
        f = torch.stack([features() for features in FEATURES.values()]).to(dtype).requires_grad_()
        weight = learner(f, topology).weight
        factors = torch.linspace(-1, 2, weight.shape[-1], dtype=dtype)
        wanted = [f, *learner.parameters()]
        for value in (weight, *torch.autograd.grad((factors * weight).sum(), wanted)):
            assert bool(value.isfinite().all())


def test_a_learned_graph_and_a_layer_in_one_have_finite_gradients():
    for kind in LEARNERS.values():
        for features in FEATURES.values():
            learner, layer = kind(D).double(), GTVUnroll(3, 4, rho=1.0).double()
            f = features().requires_grad_()
            y = torch.randn(12, 2).double().requires_grad_()
            x = layer(LeastSquares(Identity(), y), learner(f, SQUARE))
            wanted = [f, y, *learner.parameters(), *layer.parameters()]
            for value in torch.autograd.grad(x.square().sum(), wanted):
                assert bool(value.isfinite().all())


@pytest.mark.parametrize("normalization", ["none", "sym", "rw"])
def test_second_derivatives_at_an_isolated_node_are_finite(normalization):
    w = without_a_node(SQUARE)[: SQUARE.num_edges].requires_grad_()
    x = torch.randn(12, 1).double().requires_grad_()
    graph = Graph.unchecked(SQUARE, SQUARE.mask_edges(w))
    first = torch.autograd.grad(
        Laplacian(graph, normalization)(x).square().sum(), (w, x), create_graph=True
    )
    total = sum(g.square().sum() for g in first)
    for value in (*first, *torch.autograd.grad(total, (w, x))):
        assert bool(value.isfinite().all())
