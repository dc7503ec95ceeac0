"""Laws of the directed Laplacian and of the priors on it, and their optima by another solver."""

import cvxpy as cp
import numpy as np
import pytest
import torch

from gsp_unroll.graph import EdgeList, Graph, MixedGraph, grid_graph, path_graph
from gsp_unroll.learners import MahalanobisLearner
from gsp_unroll.models.reach import num_products, reach_of_solve
from gsp_unroll.operators import DirectedLaplacian, Identity, Laplacian, SamplingMask
from gsp_unroll.problems import DGLR, DGTV, Interpolation, LeastSquares, Problem, start
from gsp_unroll.solvers import ADMM, ConjugateGradient, Status
from gsp_unroll.testing import check_adjoint, check_metric, check_prox, dense_matrix
from gsp_unroll.unroll import DGLRUnroll, DGTVUnroll, GuardedCG, MixedUnroll
from tests.registries import DIRECTED, edges
from tests.registries_operators import CAUSAL, ONE_WAY, numbers, weighted

TIGHT = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
PRIORS = {"DGTV": lambda g: DGTV(g, 0.3), "DGLR": lambda g: DGLR(g, 0.7)}
every_prior = pytest.mark.parametrize("build", PRIORS.values(), ids=PRIORS.keys())
every_topology = pytest.mark.parametrize("build", DIRECTED.values(), ids=DIRECTED.keys())
SEQUENCE = path_graph(30, lags=(1, 3), directed=True)


def random(*shape, grad=False):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


def assert_same(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def written(graph):
    """I - D^-1 W with zero rows at sources, from the edges, of one weight vector."""
    n, topology = graph.num_nodes, graph.topology
    W = np.zeros((n, n))
    for (j, i), w in zip(topology.edge_index.T.tolist(), graph.weight.tolist(), strict=True):
        if i != j:  # a padded slot
            W[i, j] += w
    degree = W.sum(1)
    listens = degree > 0
    rows = np.divide(W, degree[:, None], out=np.zeros_like(W), where=listens[:, None])
    return torch.from_numpy(np.diag(listens.astype(float)) - rows)


# ---- the operator ---------------------------------------------------------------------------


@every_topology
def test_the_operator_is_the_written_matrix(build):
    graph = weighted(build())
    L, expected = DirectedLaplacian(graph), written(graph)
    assert_same(dense_matrix(L, graph.num_nodes), expected)
    assert_same(dense_matrix(L.T, graph.num_nodes), expected.T)
    assert_same(dense_matrix(L.gram, graph.num_nodes), expected.T @ expected)
    assert_same(L.diagonal().flatten(), expected.diagonal())
    assert_same(L.gram.diagonal().flatten(), (expected.T @ expected).diagonal())


@every_topology
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constants_vanish_exactly(build, dtype):
    topology = build()
    L = DirectedLaplacian(weighted(topology, 2, dtype=dtype))
    assert not L(torch.full((2, topology.num_nodes, 3), 1 / 3, dtype=dtype)).any()


def test_a_source_has_a_zero_row_and_a_node_that_hears_nothing_too():
    topology = EdgeList(edges((0, 1), (1, 2), (3, 2)), 5, directed=True)
    graph = Graph(topology, torch.tensor([0.0, 2.0, 6.0]).double())
    M = dense_matrix(DirectedLaplacian(graph), 5)
    assert not M[[0, 1, 3, 4]].any()  # 1 has an edge of weight 0 only
    assert_same(M[2], torch.tensor([0, -0.25, 1, -0.75, 0]).double())


def test_the_scale_of_a_row_does_not_matter():
    graph = weighted(CAUSAL)
    scaled = Graph(CAUSAL, graph.weight * (1 + CAUSAL.edge_index[1]))
    x = random(6, 2)
    assert_same(DirectedLaplacian(scaled)(x), DirectedLaplacian(graph)(x))
    assert_same(DirectedLaplacian(graph.normalized("row"))(x), DirectedLaplacian(graph)(x))


def test_on_both_directions_it_is_the_random_walk_laplacian():
    graph = weighted(grid_graph((3, 4)))
    x = random(12, 2)
    assert_same(DirectedLaplacian(graph.both_directions())(x), Laplacian(graph, "rw")(x))


def test_derivatives_by_weights_and_signal():
    w, x = numbers(2, ONE_WAY.num_edges).requires_grad_(), random(2, 7, 2, grad=True)

    def product(w, x, which):
        L = DirectedLaplacian(Graph.unchecked(ONE_WAY, w))
        return {"L": L, "L'": L.T, "gram": L.gram}[which](x)

    for which in ("L", "L'", "gram"):
        assert torch.autograd.gradcheck(product, (w, x, which))
        assert torch.autograd.gradgradcheck(product, (w, x, which))


@pytest.mark.parametrize("lost", [0, 4])
def test_derivatives_are_finite_where_nothing_is_heard(lost):
    w = numbers(ONE_WAY.num_edges)
    w[lost:] = 0
    w.requires_grad_()
    y = DirectedLaplacian(Graph.unchecked(ONE_WAY, w))(random(7, 2))
    (by_w,) = torch.autograd.grad(y.square().sum(), w, materialize_grads=True)
    assert by_w.isfinite().all()


# ---- the priors -----------------------------------------------------------------------------


@every_prior
@pytest.mark.parametrize("step", [0.2, 1.0, 5.0])
def test_the_proximal_map_is_the_minimiser(build, step):
    prior = build(weighted(CAUSAL))
    z = random(6, 2)
    z[0] = 0
    check_prox(prior, z, step)


@pytest.mark.parametrize("topology", DIRECTED.values(), ids=DIRECTED.keys())
@every_prior
def test_values_and_metric(build, topology):
    graph = weighted(topology())
    prior, x = build(graph), random(graph.num_nodes, 2)
    check_metric(prior, x)
    check_adjoint(prior.K, x)
    z = written(graph) @ x
    expected = 0.3 * z.abs() if isinstance(prior, DGTV) else 0.35 * z**2
    assert_same(prior(x).sum(-2), expected.sum(0))


@every_prior
def test_values_of_a_batch_of_graphs_equal_each_alone(build):
    graph, x = weighted(ONE_WAY), random(7, 2)
    together = build(graph)(x)
    assert together.shape == (3, 2)
    for g in range(3):
        node = (ONE_WAY.batch == g).nonzero()[:, 0]
        own = (ONE_WAY.batch[ONE_WAY.edge_index[0]] == g).nonzero()[:, 0]
        number = torch.full((7,), -1)
        number[node] = torch.arange(len(node))
        topology = EdgeList(number[ONE_WAY.edge_index[:, own]], len(node), directed=True)
        assert_same(together[g], build(Graph(topology, graph.weight[own]))(x[node])[0])


@every_prior
def test_heads_and_items_equal_each_alone(build):
    w, x = numbers(2, CAUSAL.num_edges), random(3, 1, 6, 2)
    together = build(Graph(CAUSAL, w))
    for item in range(3):
        for head in range(2):
            alone = build(Graph(CAUSAL, w[head]))
            assert_same(together(x)[item, head], alone(x[item, 0]))
            assert_same(together.normal(x)[item, head], alone.normal(x[item, 0]))


@every_prior
def test_derivatives_of_the_value(build):
    w, x = numbers(CAUSAL.num_edges).requires_grad_(), random(6, 2, grad=True)

    def value(w, x):
        return build(Graph.unchecked(CAUSAL, CAUSAL.mask_edges(w)))(x)

    assert torch.autograd.gradcheck(value, (w, x))
    assert torch.autograd.gradgradcheck(value, (w, x))


# ---- the optimum ----------------------------------------------------------------------------


def problem_on(topology, prior, term, seed, channels=2):
    draw = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=draw, dtype=torch.float64)

    n = topology.num_nodes
    mask = rand(n, channels) < 0.6
    y = 0.5 * (torch.arange(n) >= n // 2).double().unsqueeze(-1) + rand(n, channels)
    graph = Graph(topology, 0.1 + rand(topology.num_edges))
    return Problem(term(SamplingMask(mask), y), prior(graph)), mask.numpy(), y.numpy()


@pytest.mark.parametrize("term", [LeastSquares, Interpolation])
@pytest.mark.parametrize("topology", [SEQUENCE, ONE_WAY], ids=["sequence", "batch"])
def test_admm_reaches_the_optimum_of_the_total_variation(term, topology):
    problem, mask, y = problem_on(topology, lambda g: DGTV(g, 0.2), term, seed=1)
    solution = ADMM(rtol=1e-9, max_steps=50_000).solve(problem)
    assert solution.status is Status.CONVERGED_WITHOUT_BOUND
    L, x = written(problem.prior.graph).numpy(), cp.Variable(y.shape)
    misfit = cp.multiply(mask.astype(float), x - y)
    hard = term is Interpolation
    cost = 0.2 * cp.sum(cp.abs(L @ x)) + (0 if hard else 0.5 * cp.sum_squares(misfit))
    optimum = cp.Problem(cp.Minimize(cost), [misfit == 0] if hard else []).solve(
        solver=cp.CLARABEL, **TIGHT
    )
    assert abs(problem.objective(solution.x).sum().item() - optimum) < 1e-6


@pytest.mark.parametrize("term", [LeastSquares, Interpolation])
def test_the_quadratic_prior_is_one_linear_system(term):
    problem, mask, y = problem_on(SEQUENCE, lambda g: DGLR(g, 0.7), term, seed=2)
    solved = ConjugateGradient(1e-12).solve(*problem.system())
    assert solved.converged
    assert solved.preconditioner == "jacobi"
    L, x = written(problem.prior.graph).numpy(), cp.Variable(y.shape)
    misfit = cp.multiply(mask.astype(float), x - y)
    hard = term is Interpolation
    cost = 0.35 * cp.sum_squares(L @ x) + (0 if hard else 0.5 * cp.sum_squares(misfit))
    optimum = cp.Problem(cp.Minimize(cost), [misfit == 0] if hard else []).solve(
        solver=cp.CLARABEL, **TIGHT
    )
    assert abs(problem.objective(solved.x).sum().item() - optimum) < 1e-7
    split = ADMM(1.0, rtol=1e-10, max_steps=50_000).solve(problem)
    assert_same(split.x, solved.x, 1e-5)


def test_the_plain_priors_forecast_a_level_that_is_carried_on():
    topology = path_graph(12, lags=2, directed=True)
    graph = Graph(topology, torch.ones(topology.num_edges).double())
    y = torch.where(torch.arange(12) < 5, 0.2, 0.9).double().unsqueeze(-1)
    seen = SamplingMask(torch.arange(12) < 8)
    x = ADMM(rtol=1e-10).solve(Problem(Interpolation(seen, y), DGTV(graph))).x
    assert_same(x, y, 1e-6)


@pytest.mark.parametrize("term", [LeastSquares, Interpolation])
def test_a_long_layer_reaches_the_plain_solver(term):
    hard = term is Interpolation
    path = path_graph(12, lags=2, directed=True)
    problem, *_ = problem_on(path, lambda g: DGTV(g, 0.1), term, seed=3)
    data, graph = problem.data, problem.prior.graph
    number = None if hard else 0.7
    layer = DGLRUnroll(300, mu=number, solver=GuardedCG).double()
    mu = 1.0 if hard else layer.mu.item()
    exact = ConjugateGradient(1e-13).solve(*data.system(DGLR(graph, mu).Q)).x
    assert_same(layer(data, graph).detach(), exact, 1e-7)
    layer = DGTVUnroll(150, 20, lam=0.1, rho=number, solver=GuardedCG).double()
    prior = DGTV(graph, layer.log_lam[0].exp().item())
    best = ADMM(rtol=1e-10, max_steps=50_000).solve(Problem(data, prior))
    with torch.no_grad():
        x = data.feasible(layer(data, graph))
    assert best.converged
    assert_same(prior(x) + data.value(x, prior.systems), best.objective, 1e-6)


def test_a_start_is_filled_in_from_where_edges_come():
    y = torch.tensor([[1.0], [torch.nan], [5.0], [torch.nan]], dtype=torch.float64)
    data = Interpolation(SamplingMask(~y.isnan()), y)
    assert start(data, path_graph(4, directed=True)).flatten().tolist() == [1.0, 1.0, 5.0, 5.0]


def test_a_constant_comes_back():
    for topology in (CAUSAL, ONE_WAY):
        graph, n = weighted(topology), topology.num_nodes
        data = LeastSquares(Identity(), torch.full((n, 2), 0.7).double())
        for layer in (DGLRUnroll(mu=1.0), DGTVUnroll(rho=1.0)):
            assert_same(layer.double()(data, graph), data.y)


@pytest.mark.parametrize("normalization", ["none", "row"])
@pytest.mark.parametrize(
    ("layer", "mixed"),
    [
        (DGLRUnroll(3, mu=0.7), False),
        (DGTVUnroll(2, 2, lam=3.0, rho=0.7), False),  # above every difference: all is linear
        (MixedUnroll(2, 2, lam=3.0, rho=0.7), True),
    ],
)
def test_no_value_depends_on_what_is_further_than_the_reach(layer, mixed, normalization):
    path = path_graph(41)
    learner = MahalanobisLearner(2, normalization=normalization).double()
    f, y = 0.3 * random(41, 2), random(41, 1)
    inputs = f.requires_grad_(), y.requires_grad_()
    graph = learner(f, path)
    rows = graph if graph.topology.directed else graph.both_directions()
    if mixed:
        rows = MixedGraph(Graph.unchecked(path, path.mask_edges(numbers(41))), rows)
    x = layer.double()(LeastSquares(Identity(), y), rows)
    for value, allowed in zip(
        inputs, (reach_of_solve(learner, layer, 1).pixels, num_products(layer)), strict=True
    ):
        (g,) = torch.autograd.grad(x[20].sum(), value, retain_graph=True)
        seen = (g.abs().sum(-1) > 0).nonzero().flatten()
        assert 20 - allowed <= int(seen.min()) < int(seen.max()) <= 20 + allowed
        assert int(seen.max()) > 20 + allowed // 2  # a product moves a value by two edges


# ---- wrong use ------------------------------------------------------------------------------


def test_undirected_graphs_are_refused():
    graph = weighted(grid_graph((3, 4)))
    for build in (DirectedLaplacian, DGLR, DGTV):
        with pytest.raises(
            ValueError, match=r"(?s)Got .*undirected.*Expected a directed.*Laplacian\(graph, 'rw'\)"
        ):
            build(graph)


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_weights_of_priors_are_checked(value):
    graph = weighted(CAUSAL)
    for build, name in ((DGLR, "mu"), (DGTV, "lam")):
        with pytest.raises(ValueError, match=rf"Got {name}=.*Expected a finite.*Set {name}"):
            build(graph, value)


def test_signals_of_another_kind_are_refused():
    L = DirectedLaplacian(weighted(CAUSAL))
    for A in (L, L.T, L.gram):
        with pytest.raises(ValueError, match=r"Got .* torch.float32.*Expected .*float64.*Convert"):
            A(torch.rand(6, 1))
        with pytest.raises(ValueError, match=r"Got .* of shape.*Expected 6 on axis -2"):
            A(torch.rand(5, 1).double())


def test_only_a_quadratic_prior_has_a_system():
    problem = Problem(LeastSquares(Identity(), random(6, 1)), DGTV(weighted(CAUSAL)))
    with pytest.raises(
        ValueError, match=r"Got a problem with the prior DGTV.*Expected a quadratic prior.*ADMM"
    ):
        problem.system()
