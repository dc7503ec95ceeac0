"""Laws of every unrolled layer: equivalences, gradients, constants, and the plain solver inside."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from gsp_unroll.graph import EdgeList, Graph, grid_graph, knn_graph, path_graph
from gsp_unroll.graph.convert import to_edge_list
from gsp_unroll.kernels import backend
from gsp_unroll.operators import BayerMosaic, Downsample, SamplingMask
from gsp_unroll.problems import GTV, Interpolation, LeastSquares, Problem, VectorGTV
from gsp_unroll.solvers import ADMM, ConjugateGradient, admm_start, admm_step
from gsp_unroll.unroll import (
    ADMMUnroll,
    BoundedMomentum,
    GGLRUnroll,
    GLRUnroll,
    GTVLinearProgramUnroll,
    GTVUnroll,
    GuardedCG,
    HeavyBall,
    LearnedSolve,
    QuadraticUnroll,
    VectorGTVUnroll,
)
from tests.registries import cloud
from tests.registries_layers import LAYERS, K, T, learned_problems, plain

IMAGE = grid_graph((4, 5))
POINTS = knn_graph(cloud(12), 3)
CHANNELS = 2


def over(layers):
    return pytest.mark.parametrize("case", layers.values(), ids=layers.keys())


every_layer = over(LAYERS)
heads_or_none = pytest.mark.parametrize("heads", [None, 2])


def rand(*shape):
    return torch.rand(*shape, dtype=torch.float64)


def problem(topology, heads=None, batch=(), channels=CHANNELS):
    """Random `mask, y, weight, x0` on undirected edges; every channel of node 0 is sampled."""
    one, head = ((), ()) if heads is None else ((1,), (heads,))
    n = topology.num_nodes
    mask = rand(*batch, *one, n, channels) < 0.5
    mask[..., 0, :] = True
    y, x0 = rand(*batch, *one, n, channels), rand(*batch, *one, n, channels)
    return mask, y, 0.1 + rand(*batch, *head, topology.num_edges), x0


def close(a, b, tolerance=1e-12):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


# ---- one result, however it is computed -----------------------------------------------------


@every_layer
@heads_or_none
def test_grid_is_edge_list(case, heads):
    layer, listed, kept = case.layer(heads), to_edge_list(IMAGE), IMAGE.edge_mask.nonzero()[:, 0]
    mask, *leaves = problem(IMAGE, heads)
    y, w, x0 = (leaf.requires_grad_() for leaf in leaves)
    wanted = [y, w, x0, *layer.parameters()]
    on_grid = case(layer, mask, y, IMAGE, w, x0)
    on_list = case(layer, mask, y, listed, w.index_select(-1, kept), x0)
    close(on_grid, on_list)
    along = torch.randn_like(on_grid)
    pairs = zip(*(grads(x, along, wanted) for x in (on_grid, on_list)), strict=True)
    for a, b in pairs:
        close(a, b, 1e-12 * max(1.0, a.abs().max().item()))


def grads(x, along, wanted):
    return torch.autograd.grad((x * along).sum(), wanted, materialize_grads=True)


@every_layer
@heads_or_none
def test_batch_is_its_members(case, heads):
    layer = case.layer(heads)
    mask, y, w, x0 = problem(IMAGE, heads, batch=(2, 2))
    together = case(layer, mask, y, IMAGE, w, x0)
    for i in np.ndindex(2, 2):
        close(together[i], case(layer, mask[i], y[i], IMAGE, w[i], x0[i]))


@every_layer
@heads_or_none
def test_graphs_of_a_batch_are_themselves_alone(case, heads):
    batch = torch.tensor([0, 1, 0, 1, 1, 0, 1, 0, 2, 1, 0, 0])  # interleaved; 2 is a single node
    topology = knn_graph(cloud(12), 3, batch=batch)
    layer = case.layer(heads)
    if case.graph_of is not plain:
        pytest.skip(
            "the nodes lie elsewhere in a graph alone; tests/laws/test_slopes.py has this law"
        )
    mask, y, w, _ = problem(topology, heads)
    mask[..., 1, :] = True
    together = case(layer, mask, y, topology, w)
    position = torch.full((12,), -1)
    for g in range(3):
        nodes = (batch == g).nonzero()[:, 0]
        position[nodes] = torch.arange(len(nodes))
        kept = batch[topology.edge_index[0]] == g
        alone = EdgeList(position[topology.edge_index[:, kept]], len(nodes))
        x = case(layer, mask[..., nodes, :], y[..., nodes, :], alone, w[..., kept])
        close(together[..., nodes, :], x)


def of_head(case, layer, h):
    """The layer without heads that does what head `h` does."""
    alone = case.layer(None)
    state = layer.state_dict()
    for name, value in alone.state_dict().items():
        state[name] = state[name] if state[name].shape == value.shape else state[name][..., h]
    alone.load_state_dict(state)
    return alone


@every_layer
def test_heads_are_themselves_alone(case):
    layer = case.layer(3)
    mask, y, w, x0 = problem(IMAGE, 3)
    together = case(layer, mask, y, IMAGE, w, x0)
    for h in range(3):
        alone = of_head(case, layer, h)
        close(together[h], case(alone, mask[0], y[0], IMAGE, w[h], x0[0]))
    assert (together[0] - together[1]).abs().max() > 1e-3


@every_layer
@heads_or_none
def test_channels_are_themselves_alone(case, heads):
    layer = case.layer(heads)
    mask, y, w, x0 = problem(IMAGE, heads)
    together = case(layer, mask, y, IMAGE, w, x0)
    alone = [
        case(layer, mask[..., c], y[..., c], IMAGE, w, x0[..., c])
        for c in (slice(0, 1), slice(1, 2))
    ]
    if case.couples_channels:
        assert (together - torch.cat(alone, -1)).abs().max() > 1e-3
    else:
        close(together, torch.cat(alone, -1))


@every_layer
def test_data_per_head_and_per_image(case):
    layer, (mask, y, w, _) = case.layer(2), problem(IMAGE, None, (3,))
    w = 0.1 + rand(3, 2, IMAGE.num_edges)
    data = case.data(mask, y)
    x = layer(data.per_head(), case.graph(IMAGE, w))
    assert x.shape == (3, 2, IMAGE.num_nodes, CHANNELS)
    close(x[1], layer(case.data(mask[1], y[1]).per_head(), case.graph(IMAGE, w[1])))


@every_layer
def test_a_call_leaves_nothing_behind(case):
    layer, (mask, y, w, _) = case.layer(), problem(POINTS)
    first = case(layer, mask, y, POINTS, w)
    case(layer, mask, 1 - y, POINTS, w)
    assert torch.equal(first, case(layer, mask, y, POINTS, w))


@every_layer
@heads_or_none
def test_iterates_end_at_forward(case, heads):
    layer, (mask, y, w, x0) = case.layer(heads), problem(POINTS, heads)
    data, graph = case.data(mask, y), case.graph(POINTS, w)
    with backend("reference"):
        states = list(layer.iterates(data, graph, x0))
        signals = [getattr(state, "x", state) for state in states]
        assert torch.equal(signals[-1], layer(data, graph, x0))
    assert len(signals) == (K if isinstance(layer, QuadraticUnroll) else T)
    close(signals[-1], layer(data, graph, x0))  # which a kernel may compute in one piece
    assert not torch.equal(signals[-1], signals[-2])


@every_layer
@heads_or_none
def test_state_dict_round_trip(case, heads):
    layer, other = case.layer(heads, seed=1), case.layer(heads, seed=2)
    mask, y, w, x0 = problem(POINTS, heads)
    x = case(layer, mask, y, POINTS, w, x0)
    learns = any(True for _ in layer.parameters())
    assert torch.equal(x, case(other, mask, y, POINTS, w, x0)) is not learns
    other.load_state_dict(layer.state_dict())
    assert torch.equal(x, case(other, mask, y, POINTS, w, x0))


@every_layer
@heads_or_none
def test_float32(case, heads):
    layer, (mask, y, w, _) = case.layer(heads), problem(POINTS, heads)
    double = case(layer, mask, y, POINTS, w)
    single = case(layer.float(), mask, y.float(), POINTS, w.float())
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-4)


# ---- gradients ------------------------------------------------------------------------------

TINY = grid_graph((2, 3), neighbors=4)


def as_function(case, heads):
    """The layer as a function of `y`, `x0`, edge weights and its parameters, at random values."""
    layer, (mask, y, w, x0) = (
        case.layer(heads),
        problem(TINY, heads, channels=2 - (heads or 1) // 2),
    )
    parameters = dict(layer.named_parameters())

    def function(y, x0, w, *values):
        given = dict(zip(parameters, values, strict=True))
        arguments = case.data(mask, y), case.graph(TINY, w), x0
        return torch.func.functional_call(layer, given, arguments)

    inputs = [y, x0, w, *(p.detach().clone() for p in parameters.values())]
    return function, [value.requires_grad_() for value in inputs]


@every_layer
@heads_or_none
def test_gradient(case, heads):
    function, inputs = as_function(case, heads)
    # along random directions; entry by entry the kernels, in test_kernels.py
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)


@pytest.mark.slow
@every_layer
def test_gradient_of_the_gradient(case):
    function, inputs = as_function(case, heads=2)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


def dead_entries(layer, x):
    """`(name, index)` of every entry of a parameter that does not move `x`."""
    names, parameters = zip(*layer.named_parameters(), strict=True)
    values = grads(x, torch.randn_like(x), parameters)
    return [
        (name, tuple(index))
        for name, value in zip(names, values, strict=True)
        for index in (value.abs() < 1e-12).nonzero().tolist()
    ]


@over({name: case for name, case in LAYERS.items() if list(case.build(None).parameters())})
@heads_or_none
def test_every_entry_of_every_parameter_moves_the_output(case, heads):
    layer, (mask, y, w, _) = case.layer(heads), problem(IMAGE, heads)
    dead = dead_entries(layer, case(layer, mask, y, IMAGE, w))
    assert len(dead) == case.dead * (heads or 1)
    for name, index in dead:  # the last momentum of every published solve, and nothing else
        assert name.split(".")[-1] == "beta"
        assert index[0] == K - 1


def test_dead_entries_of_the_published_block():
    # 5 gamma, and 5 x 10 alpha and beta for each of 4 heads, of which 5 x 4 beta are never read
    layer = GTVLinearProgramUnroll(5, 10, heads=4).double()
    mask, y, w, _ = problem(IMAGE, 4)
    graph = Graph(IMAGE, w).normalized("row")
    x = layer(Interpolation(SamplingMask(mask), y), graph)
    assert sum(p.numel() for p in layer.parameters()) == 405
    assert len(dead_entries(layer, x)) == 20


def test_stored_numbers_are_positive_by_construction():
    layer = GTVUnroll(2, 3, lam=0.05, rho=2.0)
    assert layer.log_lam.exp().tolist() == pytest.approx([0.05, 0.05])
    assert layer.rho(1).item() == pytest.approx(2.0)
    with torch.no_grad():
        layer.log_rho.fill_(-5.0)
    assert layer.rho(0).item() == pytest.approx(math.exp(-5))
    assert GLRUnroll(3, mu=0.4).prior(Graph(TINY, torch.ones(12))).mu.item() == pytest.approx(0.4)
    assert GTVUnroll(2, 3).rho(1) == 1.0


# ---- constants ------------------------------------------------------------------------------


@st.composite
def connected_graphs(draw):
    """A random tree with edges added, weights over six orders of magnitude, and samples."""
    n = draw(st.integers(2, 12))
    pairs = {(draw(st.integers(0, i - 1)), i) for i in range(1, n)}
    node = st.integers(0, n - 1)
    more = draw(st.lists(st.tuples(node, node), max_size=15))
    pairs |= {(min(p), max(p)) for p in more if p[0] != p[1]}
    exponents = draw(st.lists(st.floats(-6, 1, width=32), min_size=len(pairs), max_size=len(pairs)))
    observed = draw(st.sets(node, min_size=1))
    topology = EdgeList(torch.tensor(sorted(pairs)).T.contiguous(), n)
    mask = torch.zeros(n, dtype=torch.bool)
    mask[list(observed)] = True
    form = draw(st.sampled_from(["none", "sym", "merged", "row"]))
    return Graph(topology, 10 ** torch.tensor(exponents)).normalized(form), mask


DEFAULTS = {
    "GLR, hard": (GLRUnroll(), Interpolation),
    "GLR, soft": (GLRUnroll(mu=1.0), LeastSquares),
    "GTV, hard": (GTVUnroll(), Interpolation),
    "GTV, soft": (GTVUnroll(rho=1.0), LeastSquares),
    "vector GTV, hard": (VectorGTVUnroll(), Interpolation),
    "vector GTV, soft": (VectorGTVUnroll(rho=1.0), LeastSquares),
}
every_default = pytest.mark.parametrize(
    ("layer", "data_term"), DEFAULTS.values(), ids=DEFAULTS.keys()
)


@every_default
@given(connected_graphs(), st.floats(-100, 100, width=32))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_a_constant_comes_back(layer, data_term, drawn, level):
    graph, mask = drawn
    y = torch.full((graph.num_nodes, 2), level)
    with torch.no_grad():
        x = layer(data_term(SamplingMask(mask), torch.where(mask[:, None], y, torch.nan)), graph)
    close(x, y, 1e-5 * max(1.0, abs(level)))


def red_of_bayer():
    """The problem of paper.md 1.2: a constant image seen on its red Bayer pixels."""
    torch.manual_seed(0)
    topology, ones = grid_graph((16, 16), window=5), torch.ones(256, 1, dtype=torch.float64)
    features = 0.5 * torch.randn(256, 12, dtype=torch.float64)
    x_tail, x_head = topology.lift(features)
    graph = Graph(topology, (-(x_tail - x_head).square().sum(-1)).exp())
    red = SamplingMask(BayerMosaic(16, 16).observed[:, :1])
    return Interpolation(red, ones), graph, ones


@pytest.mark.parametrize("solver", [HeavyBall, BoundedMomentum, GuardedCG])
def test_the_published_glr_does_not_keep_constants(solver):
    data, graph, ones = red_of_bayer()
    published = GLRUnroll(50, normalization="sym", solver=solver).double()
    assert (published(data, graph) - ones).abs().max() > 0.5
    close(GLRUnroll(50, solver=BoundedMomentum).double()(data, graph), ones)


def test_the_published_gtv_keeps_constants_only_without_its_multipliers():
    data, graph, ones = red_of_bayer()
    graph = graph.normalized("row")
    published = GTVLinearProgramUnroll().double()(data, graph)
    assert 1e-3 < (published - ones).abs().max() < 1e-1
    close(GTVLinearProgramUnroll(multiplier=0.0).double()(data, graph), ones)


# ---- the plain solver inside ----------------------------------------------------------------


def splitting(kind, mask, y, graph, x, lams, rhos):
    """The splitting with one penalty per edge, in dense matrices of NumPy: one channel axis last,
    the dual unscaled."""
    hard = rhos is None
    n, (tail, head) = graph.num_nodes, graph.topology.edge_index.numpy()
    w, e = graph.weight.numpy()[:, None], np.arange(graph.weight.numel())
    grad = np.zeros((len(e), n))
    grad[e, head], grad[e, tail] = 1, -1
    L, y = grad.T @ (w * grad), np.where(mask, y, 0)
    rhos = np.ones(len(lams)) if hard else rhos
    x = np.where(mask, y, x) if hard else x
    dual = np.zeros((len(e), y.shape[1]))
    for lam, rho in zip(lams, rhos, strict=True):
        v = grad @ x + dual / rho
        size = np.linalg.norm(v, axis=1, keepdims=True) if kind is VectorGTVUnroll else np.abs(v)
        z = v * np.maximum(1 - (lam / rho) / np.maximum(size, 1e-300), 0)
        dual = dual + rho * (grad @ x - z)
        x, pull = np.empty_like(x), grad.T @ (w * (rho * z - dual))
        for c in range(y.shape[1]):
            m = mask[:, c].astype(float)
            A, b = np.diag(m) + rho * L, m * y[:, c] + pull[:, c]
            if hard:
                A = np.diag(m) + np.outer(1 - m, 1 - m) * rho * L
                b = m * y[:, c] + (1 - m) * (pull[:, c] - rho * L @ (m * y[:, c]))
            x[:, c] = np.linalg.solve(A, b)
    return x


@pytest.mark.parametrize("kind", [GTVUnroll, VectorGTVUnroll])
@pytest.mark.parametrize("rho", [None, 0.8])
def test_the_layer_is_the_written_splitting(kind, rho):
    # with other lam and rho in every iteration, so that the dual must be carried over rightly
    layer = kind(6, 60, rho=rho, solver=GuardedCG).double()
    mask, y, w, x0 = problem(POINTS)
    with torch.no_grad():
        for p in layer.parameters():
            p += torch.randn_like(p)
        x = layer(
            Interpolation(SamplingMask(mask), y)
            if rho is None
            else LeastSquares(SamplingMask(mask), y),
            Graph(POINTS, w),
            x0,
        )
    lams, rhos = (None if p is None else p.exp().tolist() for p in (layer.log_lam, layer.log_rho))
    wanted = splitting(kind, mask.numpy(), y.numpy(), Graph(POINTS, w), x0.numpy(), lams, rhos)
    close(x, torch.from_numpy(wanted), 1e-9)


@pytest.mark.parametrize(("kind", "prior"), [(GTVUnroll, GTV), (VectorGTVUnroll, VectorGTV)])
@pytest.mark.parametrize("rho", [None, 0.8])
def test_the_layer_is_the_plain_solver(kind, prior, rho):
    layer, (mask, y, w, _) = kind(9, 60, rho=rho, solver=GuardedCG).double(), problem(POINTS)
    H, graph, penalty = SamplingMask(mask), Graph(POINTS, w), 1.0 if rho is None else rho
    data = Interpolation(H, y) if rho is None else LeastSquares(H, y)
    with torch.no_grad():
        if rho is not None:
            layer.log_rho.fill_(math.log(rho))
        lam = layer.log_lam[0].exp().item()
        states = list(layer.iterates(data, graph))
    tight = ConjugateGradient(1e-13)
    admm = ADMM(penalty, rtol=1e-300, max_steps=9, relaxation=1.0, linear_solver=tight)
    solution = admm.solve(Problem(data, prior(graph, lam)))
    close(states[-1].x, solution.x, 1e-8)
    state = admm_start(prior(graph, lam), data.feasible(y))
    state = state._replace(**states[0]._asdict())
    for unrolled in states[1:]:
        state = admm_step(
            data, prior(graph, lam), state, penalty, lambda A, b, x: tight.solve(A, b, x).x
        )
        for ours, theirs in zip(unrolled, state, strict=True):
            close(ours, theirs, 1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "prior"), [(GTVUnroll, GTV), (VectorGTVUnroll, VectorGTV)])
@pytest.mark.parametrize("rho", [None, 0.5])
@pytest.mark.parametrize("solver", [BoundedMomentum, GuardedCG])
def test_a_long_unroll_reaches_the_optimum(kind, prior, rho, solver):
    steps = 500 if rho is None else 150
    layer, (mask, y, w, _) = kind(steps, 12, rho=rho, lam=0.1, solver=solver), problem(POINTS)
    H, graph, lam = SamplingMask(mask), Graph(POINTS, w), layer.log_lam[0].exp().item()
    data = Interpolation(H, y) if rho is None else LeastSquares(H, y)
    problem_ = Problem(data, prior(graph, lam))
    solution = ADMM(rtol=1e-9, max_steps=20000).solve(problem_)
    with torch.no_grad():
        x = data.feasible(layer.double()(data, graph))
    assert solution.converged
    close(problem_.objective(x), problem_.objective(solution.x), 1e-6)


@pytest.mark.parametrize("normalization", ["none", "sym"])
@pytest.mark.parametrize("mu", [None, 0.7])
def test_a_long_glr_is_the_solution_of_its_system(normalization, mu):
    layer = GLRUnroll(200, mu=mu, normalization=normalization).double()
    mask, y, w, _ = problem(POINTS)
    H, graph = SamplingMask(mask), Graph(POINTS, w)
    data = Interpolation(H, y) if mu is None else LeastSquares(H, y)
    L = layer.prior(graph).normal(torch.eye(12, dtype=torch.float64)).detach()
    x = layer(data, graph).detach()
    for c in range(CHANNELS):
        m = mask[:, c].double()
        if mu is None:  # paper.md 1.2: the unknown block against the known one
            known, gap = mask[:, c], ~mask[:, c]
            wanted = torch.linalg.solve(L[gap][:, gap], -L[gap][:, known] @ y[known, c])
            close(x[gap, c], wanted, 1e-8)
            close(x[known, c], y[known, c], 1e-8)
        else:
            learned = layer.log_mu.exp().item()
            close(x[:, c], torch.linalg.solve(m.diag() + learned * L, m * y[:, c]), 1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["GTV, hard", "vector GTV, soft"])
def test_a_thousand_learned_graphs_through_a_whole_layer_stay_finite(name):
    layer, data_term = DEFAULTS[name]
    for topology, features, learner, H, y in learned_problems(torch.float32):
        x = layer(data_term(H, y.requires_grad_()), learner(features.requires_grad_(), topology))
        assert bool(torch.isfinite(x).all())
        wanted = [features, y, *learner.parameters(), *layer.parameters()]
        for gradient in torch.autograd.grad(x.square().sum(), wanted):
            assert bool(torch.isfinite(gradient).all())


# ---- what is missing: values, edges, samples ------------------------------------------------


@every_layer
@heads_or_none
def test_what_is_not_observed_may_be_nan(case, heads):
    layer, (mask, y, w, _) = case.layer(heads), problem(POINTS, heads)
    wanted = [w.requires_grad_(), *layer.parameters()]
    results = []
    for filler in (torch.nan, torch.inf, 0.0):
        with_gaps = torch.where(mask, y, filler).requires_grad_()
        x = case(layer, mask, with_gaps, POINTS, w)
        results.append((x, *grads(x, torch.ones_like(x), [with_gaps, *wanted])))
    for values in results:
        assert all(bool(torch.isfinite(v).all()) for v in values)
        assert all(torch.equal(a, b) for a, b in zip(values, results[-1], strict=True))
    assert bool((results[0][1][~mask] == 0).all())


TWO_PARTS = EdgeList(torch.tensor([[0, 1, 2, 5, 6], [1, 2, 0, 6, 7]]), 9)  # and nodes 3, 4, 8


def level(layer, graph, x):
    """The weighted sum over nodes 5, 6, 7 that no step can change: the null vector of the system
    there, seen through the diagonal that the solve is scaled by."""
    weight = torch.ones_like(graph.degree[..., : graph.num_nodes])
    if isinstance(layer, ADMMUnroll | GGLRUnroll):
        quadratic = isinstance(layer, GGLRUnroll)
        prior = layer.prior(graph) if quadratic else layer.prior(graph, layer.lam(0))
        solve = layer.linear_solve if quadratic else layer.linear_solves[0]
        scaling = solve.scaling(prior.normal)
        weight = weight if scaling is None else scaling.squeeze(-1)
    elif getattr(layer, "normalization", None) == "sym":
        weight = graph.degree.sqrt()  # L_n has the diagonal 1 and the null vector D^1/2 1
    elif not has(layer, HeavyBall):
        squared = isinstance(layer, GTVLinearProgramUnroll)
        w = graph.weight**2 if squared else graph.weight
        weight = graph.topology.incident_sum(w.unsqueeze(-1)).squeeze(-1)
    return (weight.unsqueeze(-1) * x)[..., 5:8, :].sum(-2)


def has(layer, kind):
    return any(isinstance(module, kind) for module in layer.modules())


@every_layer
@heads_or_none
def test_parts_without_a_sample_stay_at_the_level_of_their_start(case, heads):
    layer, (mask, y, w, x0) = case.layer(heads), problem(TWO_PARTS, heads)
    mask[..., 3:8, :] = False  # node 8 has no edge either; it may be sampled
    leaves = [t.requires_grad_() for t in (y, w, x0)]
    x = case(layer, mask, y, TWO_PARTS, w, x0)
    for gradient in grads(x, torch.randn_like(x), [*leaves, *layer.parameters()]):
        assert bool(torch.isfinite(gradient).all())
    close(x[..., 3:5, :], x0.expand_as(x)[..., 3:5, :])
    if not case.mixed:  # whose solves are scaled by another diagonal in every iteration
        graph = case.graph(TWO_PARTS, w)
        close(level(layer, graph, x), level(layer, graph, x0))
    assert (x - x0)[..., 5:8, :].abs().max() > 1e-2


@over({name: case for name, case in LAYERS.items() if "sym" not in name})
@heads_or_none
def test_a_flat_part_without_a_sample_stays_flat(case, heads):
    layer, (mask, y, w, x0) = case.layer(heads), problem(TWO_PARTS, heads)
    mask[..., 3:8, :] = False
    x0[..., 5:8, :] = 0.25
    x = case(layer, mask, y, TWO_PARTS, w, x0)
    close(x[..., 5:8, :], x0.expand_as(x)[..., 5:8, :])


NO_EDGES = [grid_graph((2, 2), window=1), EdgeList(torch.zeros(2, 0, dtype=torch.int64), 4)]


@every_layer
@heads_or_none
def test_no_samples_and_no_start(case, heads):
    layer, (mask, y, w, _) = case.layer(heads), problem(POINTS, heads)
    leaves = [t.requires_grad_() for t in (y, w)]
    x = case(layer, torch.zeros_like(mask), y, POINTS, w)
    assert bool(torch.isfinite(x).all())
    for gradient in grads(x, torch.randn_like(x), [*leaves, *layer.parameters()]):
        assert bool(torch.isfinite(gradient).all())
    if not isinstance(layer, GTVLinearProgramUnroll):
        assert bool((x == 0).all())


@every_layer
@pytest.mark.parametrize("topology", NO_EDGES)
def test_a_graph_without_edges(case, topology):
    layer, (mask, y, w, x0) = case.layer(), problem(topology)
    mask[1:] = False
    leaves = [t.requires_grad_() for t in (y, w, x0)]
    x = case(layer, mask, y, topology, w, x0)
    for gradient in grads(x, torch.randn_like(x), [*leaves, *layer.parameters()]):
        assert bool(torch.isfinite(gradient).all())
    close(x[1:], x0[1:])
    if isinstance(layer, GTVLinearProgramUnroll):
        return  # its multipliers push the sampled node
    if has(layer, GuardedCG):
        close(x[0], y[0])
    else:
        assert bool(((x[0] - y[0]).abs() < (x0[0] - y[0]).abs()).all())


# ---- wrong use ------------------------------------------------------------------------------


def parts(got, expected, advice):
    return pytest.raises(ValueError, match=f"(?s)Got {got}.*Expected {expected}.*{advice}")


HARD = Interpolation(SamplingMask(torch.arange(6) % 2 == 0), torch.rand(6, 1))
SOFT = LeastSquares(SamplingMask(torch.arange(6) % 2 == 0), torch.rand(6, 1))
GRAPH = Graph(TINY, TINY.mask_edges(torch.ones(12)))
ADMM_LAYERS = [GTVUnroll, VectorGTVUnroll]
ALL_LAYERS = [GLRUnroll, *ADMM_LAYERS, GTVLinearProgramUnroll]


def test_a_weight_that_a_hard_constraint_leaves_nothing_to_do():
    for kind, name in [(GLRUnroll, "mu"), (GTVUnroll, "rho"), (VectorGTVUnroll, "rho")]:
        got = f"Interpolation data for a {kind.__name__} that learns {name}"
        with parts(got, f"a layer without {name}", f"{kind.__name__} without {name}=, or pass"):
            kind(**{name: 1.0})(HARD, GRAPH)


def test_a_missing_weight_for_noisy_data():
    for kind, name in [(GLRUnroll, "mu"), (GTVUnroll, "rho"), (VectorGTVUnroll, "rho")]:
        got = f"LeastSquares data for a {kind.__name__} without {name}"
        advice = rf"Construct {kind.__name__}\({name}=1.0\)"
        with parts(got, f"a layer with a learned {name}", advice):
            kind()(SOFT, GRAPH)


def test_the_linear_program_with_noisy_data():
    with parts("LeastSquares data", "Interpolation: the linear program", r"GTVUnroll\(rho=1.0\)"):
        GTVLinearProgramUnroll()(SOFT, GRAPH)


@pytest.mark.parametrize("kind", [*ADMM_LAYERS, GTVLinearProgramUnroll])
@pytest.mark.parametrize("count", [0, -1, 2.0, True])
def test_numbers_of_iterations(kind, count):
    with parts("num_iterations=", "a whole number of at least 1", "Set num_iterations to 1"):
        kind(count)


@pytest.mark.parametrize("kind", ALL_LAYERS)
@pytest.mark.parametrize("count", [0, -1, 2.0, True])
def test_numbers_of_steps_and_heads(kind, count):
    with parts("cg_steps=", "a whole number of at least 1", "Set cg_steps to 1"):
        kind(cg_steps=count)
    with parts("heads=", "a whole number of at least 1", "Set heads to 1"):
        kind(heads=count)


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan")])
def test_weights_that_are_not_positive(value):
    for kind, name in [
        (GLRUnroll, "mu"),
        (GTVUnroll, "lam"),
        (GTVUnroll, "rho"),
        (VectorGTVUnroll, "lam"),
        (GTVLinearProgramUnroll, "gamma"),
    ]:
        with parts(f"{name}=", "a finite number above 0", f"Set {name} above 0"):
            kind(**{name: value})


MISFITS = {
    "other nodes": (torch.rand(7, 1), "restored signal of shape", "6 on axis -2"),
    "transposed": (torch.rand(1, 6), "observation of shape", "on axis -2"),
    "no channels": (torch.rand(6), "observation of shape", "(*batch, nodes, channels)"),
    "integers": (torch.ones(6, 1).long(), "observation of dtype", "float32 or float64"),
    "other dtype": (
        torch.rand(6, 1).double(),
        "observation of dtype torch.float64",
        "edge weights",
    ),
}


@pytest.mark.parametrize("kind", ALL_LAYERS)
@pytest.mark.parametrize(("y", "got", "expected"), MISFITS.values(), ids=MISFITS.keys())
def test_data_that_do_not_fit_the_graph(kind, y, got, expected):
    mask = SamplingMask(torch.ones(max(len(y), 6)).bool())
    with parts("(an?|the) " + re.escape(got), ".*" + re.escape(expected), ""):
        kind()(Interpolation(mask, y), GRAPH)


@pytest.mark.parametrize("kind", ALL_LAYERS)
def test_a_wrong_start(kind):
    with pytest.raises(ValueError, match=r"(?s)Got .* of shape.*Expected 6 on axis -2"):
        kind()(HARD, GRAPH, torch.zeros(7, 1))
    with pytest.raises(ValueError, match=r"(?s)Got .* of dtype torch.float64.*Expected the dtype"):
        kind()(HARD, GRAPH, torch.zeros(6, 1).double())


@pytest.mark.parametrize("kind", ALL_LAYERS)
def test_a_layer_of_another_dtype(kind):
    with parts("the observation of dtype torch.float32", f"the dtype of this {kind.__name__}", ""):
        kind().double()(HARD, GRAPH)


@pytest.mark.parametrize("kind", ALL_LAYERS)
def test_heads_that_stand_elsewhere(kind):
    layer = kind(heads=2)
    y, three = torch.rand(3, 6, 1), Graph(TINY, TINY.mask_edges(torch.ones(3, 12)))
    with parts("an observation of shape", "an axis of length 1 for the heads", "per_head"):
        layer(Interpolation(HARD.H, y), GRAPH)
    with parts("edge weights of shape", r"\(\*batch, 2, edges\)", "Build the learner with heads=2"):
        layer(HARD.per_head(), three)


def test_every_layer_says_what_it_is():
    assert "num_iterations=4, heads=3" in repr(GTVUnroll(4, heads=3))
    assert "normalization='sym'" in repr(GLRUnroll(normalization="sym"))
    assert "num_iterations=4" in repr(GTVLinearProgramUnroll(4))
    assert "cg_steps=7" in repr(GTVUnroll(cg_steps=7))


def test_a_layer_without_a_prior_cannot_be_built():
    class Unfinished(ADMMUnroll):
        pass

    with pytest.raises(TypeError, match="prior"):
        Unfinished()


def test_a_solver_of_ones_own():
    class Richardson(LearnedSolve):
        def __init__(self, cg_steps, heads):
            super().__init__(cg_steps, heads)
            self.step = nn.Parameter(torch.tensor(0.3))

        def coefficients(self):
            return [self.step] * self.cg_steps, [torch.zeros(())] * (self.cg_steps - 1)

        def scaling(self, A):
            return None

    A_steps = GLRUnroll(300, solver=Richardson)(HARD, GRAPH)
    torch.testing.assert_close(A_steps, GLRUnroll(300)(HARD, GRAPH), rtol=0, atol=1e-4)


def test_other_selections_and_paths():
    # the layers see H only through the data term
    topology, y = path_graph(8, lags=2), torch.rand(4, 1)
    graph = Graph(topology, topology.mask_edges(torch.ones(16)))
    full = torch.full((8, 1), torch.nan)
    full[::2] = y
    for layer in (GLRUnroll(), GTVUnroll(), GTVLinearProgramUnroll()):
        sampled = layer(Interpolation(SamplingMask(~full.isnan()), full), graph)
        torch.testing.assert_close(layer(Interpolation(Downsample((8,)), y), graph), sampled)
