"""The mixed prior: its value, its optimum by two other solvers, and the layer that unrolls it.

The laws that every layer keeps are in test_unroll.py.
"""

import math

import cvxpy as cp
import numpy as np
import pytest
import torch

from gsp_unroll.graph import EdgeList, Graph, MixedGraph, knn_graph, path_graph, space_time_graph
from gsp_unroll.operators import Blur, Identity, SamplingMask
from gsp_unroll.problems import (
    DGLR,
    DGTV,
    GLR,
    Interpolation,
    LeastSquares,
    MixedPrior,
    Problem,
)
from gsp_unroll.solvers import ADMM, ConjugateGradient, Status, admm_start, admm_step
from gsp_unroll.testing import (
    check_adjoint,
    check_diagonal,
    check_majorizer,
    check_metric,
    check_positive_semidefinite,
    check_prox,
    dense_matrix,
)
from gsp_unroll.unroll import GuardedCG, MixedUnroll
from tests.registries import cloud
from tests.registries_operators import numbers

TIGHT = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
PLACES, STEPS = 5, 6
SPATIAL, TEMPORAL = space_time_graph(knn_graph(cloud(PLACES), 2), STEPS, lags=2)
N = PLACES * STEPS


def mixed(*batch, seed=1, dtype=torch.float64):
    return MixedGraph(
        Graph(SPATIAL, numbers(*batch, SPATIAL.num_edges, seed=seed, dtype=dtype)),
        Graph(TEMPORAL, numbers(*batch, TEMPORAL.num_edges, seed=seed + 1, dtype=dtype)),
    )


def random(*shape, grad=False):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


def rand(*shape):
    return torch.rand(*shape, dtype=torch.float64)


def assert_same(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def data_of(term, channels=2):
    """The past, with gaps; the last two steps and one sensor are to be filled in."""
    mask = rand(N, channels) < 0.7
    mask[PLACES * (STEPS - 2) :] = False
    mask[2::PLACES] = False
    level = torch.arange(N).div(PLACES * 2, rounding_mode="floor").double().unsqueeze(-1)
    return term(SamplingMask(mask), 0.4 * level + rand(N, channels))


# ---- the prior ------------------------------------------------------------------------------


def test_the_value_is_the_sum_of_its_terms():
    graph, x = mixed(2), random(3, 1, N, 2)
    prior = MixedPrior(graph, 0.3, 0.5, 0.7)
    terms = GLR(graph.spatial, 0.3), DGLR(graph.temporal, 0.5), DGTV(graph.temporal, 0.7)
    assert_same(prior(x), sum(term(x) for term in terms))


def test_the_parts_keep_their_laws():
    prior = MixedPrior(mixed(), 0.3, 0.5, 0.7)
    check_metric(prior, (N, 2))
    check_adjoint(prior.K, (N, 2))
    check_prox(prior, random(N, 2), step=0.7)
    A = prior.quadratic(0.4)
    check_positive_semidefinite(A, N)
    check_diagonal(A, N)
    check_majorizer(A, N)
    L_u = dense_matrix(GLR(prior.graph.spatial).normal, N)
    assert_same(dense_matrix(A, N), 0.3 * L_u + 0.9 * dense_matrix(prior.K.gram, N))


def test_derivatives_of_the_value():
    w_u, w_d = numbers(SPATIAL.num_edges), numbers(TEMPORAL.num_edges)
    x, weights = random(N, 1), torch.tensor([0.3, 0.5, 0.7]).double()

    def value(w_u, w_d, x, weights):
        graph = MixedGraph(Graph.unchecked(SPATIAL, w_u), Graph.unchecked(TEMPORAL, w_d))
        return MixedPrior(graph, *weights)(x)

    inputs = [t.requires_grad_() for t in (w_u, w_d, x, weights)]
    assert torch.autograd.gradcheck(value, inputs)
    assert torch.autograd.gradgradcheck(value, inputs)


def test_graphs_of_a_batch_are_valued_apart():
    batch = torch.tensor([0, 1, 0, 1, 0, 1])
    space = EdgeList(torch.tensor([[0, 1], [2, 3]]), 6, batch)
    time = EdgeList(torch.tensor([[0, 1, 2], [4, 5, 4]]), 6, batch, directed=True)
    w_u, w_d, x = numbers(2), numbers(3, seed=2), random(6, 1)
    together = MixedPrior(MixedGraph(Graph(space, w_u), Graph(time, w_d)))(x)
    assert together.shape == (2, 1)
    first = MixedGraph(
        Graph(EdgeList(torch.tensor([[0], [1]]), 3), w_u[:1]),
        Graph(EdgeList(torch.tensor([[0, 1], [2, 2]]), 3, directed=True), w_d[[0, 2]]),
    )
    assert_same(together[:1], MixedPrior(first)(x[::2]))


# ---- the optimum ----------------------------------------------------------------------------


def matrices(graph):
    """L^u and L_r^d in NumPy, from the edges."""
    n = graph.num_nodes
    W = np.zeros((2, n, n))
    for k, part in enumerate((graph.spatial, graph.temporal)):
        for (j, i), w in zip(part.topology.edge_index.T.tolist(), part.weight, strict=True):
            W[k, i, j] = w
    W[0] += W[0].T
    degree = W[1].sum(1, keepdims=True)
    rows = np.divide(W[1], degree, out=np.zeros_like(W[1]), where=degree > 0)
    return np.diag(W[0].sum(1)) - W[0], np.diag((degree[:, 0] > 0).astype(float)) - rows


@pytest.mark.parametrize("term", [LeastSquares, Interpolation])
@pytest.mark.parametrize("weights", [(0.3, 0.5, 0.1), (0.3, 0.0, 0.1), (0.0, 0.2, 0.1)])
def test_admm_reaches_the_optimum(term, weights):
    data, graph, (mu_u, mu_d, lam) = data_of(term), mixed(), weights
    problem = Problem(data, MixedPrior(graph, mu_u, mu_d, lam))
    solution = ADMM(rtol=1e-9, max_steps=50_000).solve(problem)
    assert solution.status is Status.CONVERGED_WITHOUT_BOUND
    assert solution.preconditioner == "jacobi"
    (L_u, L_d), x = matrices(graph), cp.Variable((N, 2))
    root = np.linalg.cholesky(L_u + 1e-13 * np.eye(N)).T
    misfit = cp.multiply(data.observed.double().numpy(), x - data.backprojected.numpy())
    cost = 0.5 * mu_u * cp.sum_squares(root @ x) + 0.5 * mu_d * cp.sum_squares(L_d @ x)
    cost += lam * cp.sum(cp.abs(L_d @ x))
    hard = term is Interpolation
    cost += 0 if hard else 0.5 * cp.sum_squares(misfit)
    optimum = cp.Problem(cp.Minimize(cost), [misfit == 0] if hard else []).solve(
        solver=cp.CLARABEL, **TIGHT
    )
    assert abs(problem.objective(solution.x).sum().item() - optimum) < 1e-6 * max(1, optimum)


def three_copies(mask, y, L_u, L_d, mu_u, mu_2, mu_1, rho, steps):
    """The iteration of the paper on min |y-Hx|^2 + mu_u x'L_u x + mu_2 |L_d x|^2 + mu_1 |L_d x|_1,
    one copy of x and one system for each quadratic term, one penalty for all splittings."""
    n, eye = len(y), np.eye(len(y))
    x = z_u = z_d = np.zeros(n)
    phi, gamma, gamma_u, gamma_d = (np.zeros(n) for _ in range(4))
    gram = L_d.T @ L_d
    inverse = np.linalg.inv(np.diag(mask) + rho / 2 * gram + rho * eye)
    inverse_u = np.linalg.inv(mu_u * L_u + rho / 2 * eye)
    inverse_d = np.linalg.inv(mu_2 * gram + rho / 2 * eye)
    for _ in range(steps):
        x = inverse @ (
            mask * y
            + L_d.T @ (gamma + rho * phi) / 2
            + rho * (z_u + z_d) / 2
            - (gamma_u + gamma_d) / 2
        )
        z_u = inverse_u @ (gamma_u + rho * x) / 2
        z_d = inverse_d @ (gamma_d + rho * x) / 2
        v = L_d @ x - gamma / rho
        phi = np.sign(v) * np.maximum(np.abs(v) - mu_1 / rho, 0)
        gamma = gamma + rho * (phi - L_d @ x)
        gamma_u, gamma_d = gamma_u + rho * (x - z_u), gamma_d + rho * (x - z_d)
    return x


def test_the_three_systems_of_the_paper_have_the_same_minimiser():
    data, graph = data_of(LeastSquares, channels=1), mixed()
    mask, y = data.observed[:, 0].double().numpy(), data.backprojected[:, 0].numpy()
    theirs = three_copies(mask, y, *matrices(graph), 0.3, 0.5, 0.2, rho=0.7, steps=20_000)
    # neither the data term nor the quadratic terms have a half there: the weight of the norm halves
    prior = MixedPrior(graph, mu_u=0.3, mu_d=0.5, lam=0.1)
    ours = ADMM(rtol=1e-11, max_steps=50_000).solve(Problem(data, prior))
    assert ours.converged
    assert_same(ours.x[:, 0], torch.from_numpy(theirs), 1e-6)


def test_behind_a_blur():
    H = SamplingMask(rand(N, 1) < 0.8) @ Blur(
        (STEPS, PLACES), torch.tensor([[0.2, 0.6, 0.2]]).double()
    )
    problem = Problem(LeastSquares(H, H(rand(N, 1))), MixedPrior(mixed(), 0.3, 0.3, 0.0))
    x = ADMM(rtol=1e-11, max_steps=50_000).solve(problem).x
    A, b = problem.data.system(problem.prior.quadratic(0.0))
    assert_same(x, ConjugateGradient(1e-13).solve(A, b).x, 1e-5)


def test_without_edges_in_time_only_space_is_left():
    spatial, temporal = space_time_graph(knn_graph(cloud(PLACES), 2), steps=1, lags=3)
    w = numbers(spatial.num_edges)
    graph = MixedGraph(Graph(spatial, w), Graph(temporal, torch.zeros(0).double()))
    data = LeastSquares(SamplingMask(torch.arange(PLACES) < 3), rand(PLACES, 1))
    solution = ADMM(rtol=1e-11).solve(Problem(data, MixedPrior(graph, 0.7)))
    exact = ConjugateGradient(1e-13).solve(*data.system(GLR(graph.spatial, 0.7).Q)).x
    assert solution.converged
    assert_same(solution.x, exact, 1e-8)


def test_a_place_without_neighbours_is_restored_from_its_past():
    space = EdgeList(torch.tensor([[0], [1]]), 3)
    spatial, temporal = space_time_graph(space, steps=4)
    graph = MixedGraph(
        Graph(spatial, torch.ones(4).double()), Graph(temporal, torch.ones(9).double())
    )
    y = torch.tensor([1.0, 2.0, 5.0]).double().repeat(4).unsqueeze(-1)
    data = Interpolation(SamplingMask(torch.arange(12) < 6), y)
    x = ADMM(rtol=1e-10).solve(Problem(data, MixedPrior(graph, 0.0))).x
    assert_same(x, y, 1e-6)


@pytest.mark.parametrize("term", [LeastSquares, Interpolation])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_comes_back(term, dtype):
    graph = mixed(dtype=dtype)
    data = term(SamplingMask(torch.arange(N) < 12), torch.full((N, 2), 0.7, dtype=dtype))
    layer = MixedUnroll(rho=1.0 if term is LeastSquares else None).to(dtype)
    solution = ADMM().solve(Problem(data, MixedPrior(graph)))
    assert solution.converged
    for x in (solution.x, layer(data, graph)):
        torch.testing.assert_close(x, data.y, rtol=0, atol=1e-5)


# ---- the layer ------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [None, 0.8])
def test_the_layer_is_the_plain_steps(rho):
    layer = MixedUnroll(6, 60, rho=rho, solver=GuardedCG).double()
    with torch.no_grad():
        for p in layer.parameters():  # other numbers in every iteration
            p += 0.3 * torch.randn_like(p)
    data, graph = data_of(Interpolation if rho is None else LeastSquares), mixed()
    x0 = data.feasible(rand(N, 2))
    numbers_of = [layer.log_mu_u, layer.log_mu_d, layer.log_lam]
    mu_u, mu_d, lam = ([float(v) for v in p.detach().exp()] for p in numbers_of)
    rhos = [1.0] * 6 if rho is None else layer.log_rho.detach().exp().tolist()
    tight = ConjugateGradient(1e-14)
    state = None
    for t, unrolled in enumerate(layer.iterates(data, graph, x0)):
        prior = MixedPrior(graph, mu_u[t], mu_d[t], lam[t])
        state = admm_start(prior, x0) if state is None else state
        state = state._replace(u=state.u * (rhos[max(t - 1, 0)] / rhos[t]))
        state = admm_step(data, prior, state, rhos[t], lambda A, b, x: tight.solve(A, b, x).x)
        for ours, theirs in zip(unrolled, state, strict=True):
            assert_same(ours.detach(), theirs, 1e-7)


@pytest.mark.parametrize("rho", [None, 0.5])
def test_a_long_layer_reaches_the_optimum(rho):
    layer = MixedUnroll(300, 25, lam=0.1, rho=rho, solver=GuardedCG).double()
    data, graph = data_of(Interpolation if rho is None else LeastSquares), mixed()
    numbers_of = (layer.log_mu_u, layer.log_mu_d, layer.log_lam)
    problem = Problem(data, MixedPrior(graph, *(math.exp(p[0].item()) for p in numbers_of)))
    best = ADMM(rtol=1e-10, max_steps=50_000).solve(problem)
    with torch.no_grad():
        x = data.feasible(layer(data, graph))
    assert_same(problem.objective(x), best.objective, 1e-7)


def test_every_learned_number_is_positive_and_acts():
    layer = MixedUnroll(2, 3, heads=2, mu_u=0.2, mu_d=0.4, lam=0.05, rho=2.0).double()
    assert layer.log_mu_u.shape == layer.log_rho.shape == (2, 2)
    prior = layer.prior(mixed(2), 1)
    for value, expected in ((prior.mu_u, 0.2), (prior.mu_d, 0.4), (prior.lam, 0.05)):
        assert value.shape == (2, 1, 1)
        assert value.flatten().tolist() == pytest.approx([expected, expected])
    assert layer.rho(0).flatten().tolist() == pytest.approx([2.0, 2.0])
    assert MixedUnroll(2, 3).rho(1) == 1.0
    x = layer(data_of(LeastSquares).per_head(), mixed(2))
    for gradient in torch.autograd.grad(x.square().sum(), layer.parameters()):
        assert bool((gradient.abs() > 1e-12).all())


# ---- wrong use ------------------------------------------------------------------------------


def parts(got, expected, advice):
    return pytest.raises(ValueError, match=f"(?s)Got {got}.*Expected {expected}.*{advice}")


def test_graphs_that_are_no_mixed_graph():
    graph = mixed()
    with parts("a spatial graph with directed=True", "an undirected graph in space", "this order"):
        MixedGraph(graph.temporal, graph.spatial)
    path = path_graph(4, directed=True)
    time = Graph(path, torch.ones(path.num_edges).double())
    with parts("a spatial graph on 30 nodes", "the same nodes", "space_time_graph"):
        MixedGraph(graph.spatial, time)
    with parts(
        "the temporal weights of dtype torch.float32", "the dtype of the spatial", "Convert"
    ):
        MixedGraph(graph.spatial, graph.temporal.to(torch.float32))


@pytest.mark.parametrize("name", ["mu_u", "mu_d", "lam"])
def test_weights_that_are_no_weights(name):
    for value in (-1.0, float("inf"), float("nan")):
        with parts(f"{name}=", "a finite number of at least 0", f"Set {name} to 0"):
            MixedPrior(mixed(), **{name: value})
        with parts(f"{name}=", "a finite number above 0", f"Set {name} above 0"):
            MixedUnroll(**{name: value})
    with parts("rho=0", "a finite number above 0", "Set rho above 0"):
        MixedUnroll(rho=0)
    with parts("num_iterations=0", "a whole number of at least 1", "Set num_iterations"):
        MixedUnroll(0)


def test_a_penalty_that_does_not_fit_the_data():
    graph = mixed()
    with parts("Interpolation data for a MixedUnroll that learns rho", "a layer without rho", ""):
        MixedUnroll(rho=1.0).double()(data_of(Interpolation), graph)
    with parts("LeastSquares data for a MixedUnroll without rho", "a layer with a learned rho", ""):
        MixedUnroll().double()(data_of(LeastSquares), graph)


def test_data_and_heads_that_do_not_fit():
    layer = MixedUnroll(heads=2, rho=1.0).double()
    with parts("an observation of shape", "an axis of length 1 for the heads", "per_head"):
        layer(LeastSquares(Identity(), rand(3, N, 1)), mixed(2))
    with parts("edge weights of shape", r"\(\*batch, 2, edges\)", "heads=2"):
        layer(LeastSquares(Identity(), rand(1, N, 1)), mixed(3))
    with parts("the observation of dtype torch.float32", "the dtype of the edge weights", ""):
        MixedUnroll(rho=1.0)(LeastSquares(Identity(), torch.rand(N, 1)), mixed())
    with parts("data on 7 nodes and a prior on 30", "the same nodes", ""):
        Problem(LeastSquares(SamplingMask(torch.ones(7).bool()), rand(7, 1)), MixedPrior(mixed()))
