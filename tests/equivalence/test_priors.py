"""Every convex prior reaches the optimum that an interior-point solver finds for the same problem.

The reference is Clarabel, called through CVXPY on a problem written down once more, from the edges.
"""

import cvxpy as cp
import numpy as np
import pytest
import torch

from gsp_unroll.graph import EdgeList, Graph, grid_graph, knn_graph, path_graph
from gsp_unroll.operators import Blur, Identity, SamplingMask
from gsp_unroll.problems import (
    GGLR,
    GGTV,
    GLR,
    GTF,
    GTV,
    FirmGTV,
    Interpolation,
    LeastSquares,
    Prior,
    Problem,
    VectorGTV,
    soft_threshold,
)
from gsp_unroll.solvers import ADMM, ConjugateGradient, Status
from tests.registries import cloud

TIGHT = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
#: How far the objective may be from the optimum, relative to max(1, |objective|).
TOLERANCE = 1e-6

IMAGE, POINTS, PATH = grid_graph((5, 6)), knn_graph(cloud(30), 4), path_graph(40)
PARTS = EdgeList(torch.cat([knn_graph(cloud(15), 3).edge_index, torch.tensor([[15], [16]])], 1), 20)
TOPOLOGIES = {"image": IMAGE, "points": POINTS, "path": PATH, "parts and isolated nodes": PARTS}


def rand(*shape):
    return torch.rand(*shape, dtype=torch.float64)


def graph_on(topology):
    return Graph(topology, 0.5 + rand(topology.num_edges))


def differences(graph):
    """`D` and the weights, one row per edge, written from edge_index."""
    tail, head = graph.topology.edge_index.numpy()
    D, rows = np.zeros((len(tail), graph.num_nodes)), np.arange(len(tail))
    np.add.at(D, (rows, head), 1.0)
    np.add.at(D, (rows, tail), -1.0)
    return D, graph.weight.numpy()


# ---- each prior once more, as an expression of CVXPY ----------------------------------------


def variation(graph, lam, x):
    D, w = differences(graph)
    return lam * cp.sum(cp.abs(w[:, None] * D @ x))


def vector_variation(graph, lam, x):
    D, w = differences(graph)
    return lam * cp.sum(cp.norm(w[:, None] * D @ x, 2, axis=1))


def energy(graph, mu, x):
    D, w = differences(graph)
    return 0.5 * mu * cp.sum_squares(np.sqrt(w)[:, None] * D @ x)


def trend(graph, lam, x, order):
    D, w = differences(graph)
    L = D.T @ (w[:, None] * D)
    delta = np.linalg.matrix_power(L, (order + 1) // 2)
    if order % 2 == 0:
        delta = w[:, None] * D @ delta
    return lam * cp.sum(cp.abs(delta @ x))


def bends(graph, x):
    """The differences of forward slopes along every edge whose two ends have one, and weights."""
    height, width = graph.topology.lattice
    tail, head = graph.topology.edge_index.tolist()
    rows, weights = [], []
    for step, fits in (
        (width, lambda i: i // width + 1 < height),
        (1, lambda i: i % width + 1 < width),
    ):
        for e, (i, j) in enumerate(zip(tail, head, strict=True)):
            if i != j and fits(i) and fits(j):
                row = np.zeros(graph.num_nodes)
                for at, sign in ((j + step, 1), (j, -1), (i + step, -1), (i, 1)):
                    row[at] += sign
                rows.append(row)
                weights.append(graph.weight[e].item())
    return np.array(rows) @ x, np.array(weights)[:, None]


def bend_variation(graph, lam, x):
    z, w = bends(graph, x)
    return lam * cp.sum(cp.multiply(w, cp.abs(z)))


def bend_energy(graph, mu, x):
    z, w = bends(graph, x)
    return 0.5 * mu * cp.sum(cp.multiply(w, cp.square(z)))


WRITTEN = {
    GGTV: lambda p, x: bend_variation(p.graph, p.lam, x),
    GGLR: lambda p, x: bend_energy(p.graph, p.mu, x),
    GTV: lambda p, x: variation(p.graph, p.lam, x),
    VectorGTV: lambda p, x: vector_variation(p.graph, p.lam, x),
    GLR: lambda p, x: energy(p.graph, p.mu, x),
    GTF: lambda p, x: trend(p.graph, p.lam, x, p.order),
}


def written(prior, x):
    return sum(WRITTEN[type(part)](part, x) for part in getattr(prior, "parts", (prior,)))


def optimum(prior, y, mask, hard, H=None):
    """The least objective, and a minimiser."""
    x = cp.Variable(y.shape)
    y, seen = y.numpy(), mask.double().numpy()
    misfit = cp.multiply(seen, x - y) if H is None else H @ x - y
    cost = written(prior, x) + (0 if hard else 0.5 * cp.sum_squares(misfit))
    solved = cp.Problem(cp.Minimize(cost), [misfit == 0] if hard else [])
    solved.solve(solver=cp.CLARABEL, **TIGHT)
    assert solved.status == cp.OPTIMAL
    return solved.value, torch.from_numpy(x.value)


# ---- what is compared -----------------------------------------------------------------------

PRIORS = {
    "trend of order 0": lambda g: GTF(g, 0.1, 0),
    "trend of order 1": lambda g: GTF(g, 0.1, 1),
    "trend of order 2": lambda g: GTF(g, 0.02, 2),
    "GTV + GLR": lambda g: GTV(g, 0.1) + GLR(g, 0.3),
    "GLR + GTV on another graph": lambda g: (
        GLR(g, 0.3) + GTV(Graph(g.topology, g.weight.flip(0)), 0.1)
    ),
    "GTV + vector GTV": lambda g: GTV(g, 0.05) + VectorGTV(g, 0.1),
    "vector GTV + GLR": lambda g: VectorGTV(g, 0.1) + GLR(g, 0.3),
    "GTV + trend": lambda g: GTV(g, 0.05) + GTF(g, 0.05, 1),
    "trend + GLR": lambda g: GTF(g, 0.05, 1) + GLR(g, 0.1),
    "GLR + GLR": lambda g: GLR(g, 0.3) + GLR(Graph(g.topology, g.weight.flip(0)), 0.1),
}
#: Those with a duality gap where values are missing.
BOUNDED = set(PRIORS) - {"trend of order 1", "trend of order 2", "GTV + trend", "trend + GLR"}


def scene(topology, rate=1.0):
    """A step under noise, seen at some nodes."""
    n = topology.num_nodes
    y = (torch.arange(n) >= n // 2).double().unsqueeze(-1) + 0.3 * rand(n, 2)
    mask = rand(n, 2) < rate
    return y, mask


@pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES.keys())
@pytest.mark.parametrize("name", PRIORS)
def test_denoising_reaches_the_optimum(name, topology):
    y, mask = scene(topology)
    prior = PRIORS[name](graph_on(topology))
    best, x = optimum(prior, y, mask, hard=False)
    problem = Problem(LeastSquares(Identity(), y), prior)
    solution = ADMM(rtol=1e-7, max_steps=20000).solve(problem)
    assert solution.converged
    reached = problem.objective(solution.x).sum().item()
    assert abs(reached - best) < TOLERANCE * max(1, best)
    assert (solution.x - x).abs().max() < 1e-2
    # every value is observed, so that each of them has a bound
    assert solution.status is Status.CONVERGED
    assert reached - solution.duality_gap.sum() <= best + 1e-9


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("name", PRIORS)
def test_missing_values_are_filled_by_the_optimum(name, hard):
    y, mask = scene(POINTS, rate=0.5)
    prior = PRIORS[name](graph_on(POINTS))
    best, _ = optimum(prior, y, mask, hard)
    problem = Problem((Interpolation if hard else LeastSquares)(SamplingMask(mask), y), prior)
    solution = ADMM(rtol=1e-8, max_steps=20000).solve(problem)
    assert solution.converged
    assert abs(problem.objective(solution.x).sum().item() - best) < TOLERANCE * max(1, best)
    assert solution.duality_gap.isnan().all() == (name not in BOUNDED)
    if name in BOUNDED:
        assert (problem.objective(solution.x) - solution.duality_gap).sum() <= best + 1e-9


def test_behind_a_blur_a_sum_reaches_the_optimum_without_a_bound():
    H = Blur((5, 6), 0.1 + rand(3, 3))
    y = H(scene(IMAGE)[0])
    prior = PRIORS["GTV + GLR"](graph_on(IMAGE))
    M = H(torch.eye(30, dtype=torch.float64)).numpy()
    best, _ = optimum(prior, y, torch.ones(30, 2), hard=False, H=M)
    problem = Problem(LeastSquares(H, y), prior)
    solution = ADMM(rtol=1e-9).solve(problem)
    assert solution.status is Status.CONVERGED_WITHOUT_BOUND
    assert abs(problem.objective(solution.x).sum().item() - best) < TOLERANCE


SLOPES = {
    "GGTV": lambda g: GGTV(g, 0.1),
    "GGLR": lambda g: GGLR(g, 0.3),
    "GGTV + GLR": lambda g: GGTV(g, 0.1) + GLR(g, 0.1),
    "GTV + GGLR": lambda g: GTV(g, 0.05) + GGLR(g, 0.3),
    "GGTV + GTV": lambda g: GGTV(g, 0.1) + GTV(g, 0.05),
}


@pytest.mark.parametrize("rate", [1.0, 0.5])
@pytest.mark.parametrize("name", SLOPES)
def test_priors_on_slopes_reach_the_optimum(name, rate):
    y, mask = scene(IMAGE, rate)
    prior = SLOPES[name](graph_on(IMAGE))
    best, _ = optimum(prior, y, mask, hard=False)
    problem = Problem(LeastSquares(SamplingMask(mask), y), prior)
    solution = ADMM(rtol=1e-7, max_steps=20000).solve(problem)
    assert solution.converged
    assert abs(problem.objective(solution.x).sum().item() - best) < TOLERANCE * max(1, best)
    assert solution.duality_gap.isnan().all() == (rate < 1)


@pytest.mark.parametrize("name", SLOPES)
def test_priors_on_slopes_come_near_the_optimum_for_exact_samples(name):
    # without a quadratic part this is a linear program: thousands of steps lead to six digits
    y, mask = scene(IMAGE, rate=0.5)
    prior = SLOPES[name](graph_on(IMAGE))
    best, _ = optimum(prior, y, mask, hard=True)
    problem = Problem(Interpolation(SamplingMask(mask), y), prior)
    solution = ADMM(rtol=1e-6, max_steps=400).solve(problem)
    left = problem.objective(solution.x).sum().item() - best
    assert -1e-9 < left < 1e-3 * max(1, best)
    assert solution.duality_gap.isnan().all()


def test_a_quadratic_sum_is_the_solution_of_its_linear_system():
    y, mask = scene(POINTS, rate=0.5)
    graph = graph_on(POINTS)
    problem = Problem(LeastSquares(SamplingMask(mask), y), PRIORS["GLR + GLR"](graph))
    exact = ConjugateGradient(1e-13).solve(*problem.system()).x
    split = ADMM(rtol=1e-13).solve(problem).x
    torch.testing.assert_close(split, exact, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"(?s)Got .* prior SumPrior.*a quadratic prior.*ADMM"):
        Problem(problem.data, PRIORS["GTV + GLR"](graph)).system()


def test_the_gap_of_a_sum_is_valid_long_before_convergence():
    y, mask = scene(POINTS, rate=0.5)
    prior = PRIORS["vector GTV + GLR"](graph_on(POINTS))
    best, _ = optimum(prior, y, mask, hard=False)
    problem, gaps = Problem(LeastSquares(SamplingMask(mask), y), prior), []
    for steps in (1, 3, 10, 30, 100):
        solution = ADMM(max_steps=steps, rtol=1e-12).solve(problem)
        gaps.append(solution.duality_gap.item())
        assert gaps[-1] >= problem.objective(solution.x).item() - best - 1e-9
    assert gaps[-1] < 0.1 * gaps[0]


@pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES.keys())
def test_a_convex_problem_with_a_prior_that_is_not_reaches_its_optimum(topology):
    y, _ = scene(topology)
    graph, lam = graph_on(topology), 0.2
    prior = FirmGTV.convex(graph, lam)
    k = prior.knee.item()
    D, w = differences(graph)
    # what the convex data term spares is given to the penalty, and both parts are convex
    x = cp.Variable(y.shape)
    spared = np.eye(len(y)) - (lam / k) * D.T @ (w[:, None] * D)
    z = cp.abs(D @ x)
    penalty = cp.sum(cp.multiply(w[:, None], z + cp.square(cp.pos(z - k)) / (2 * k)))
    quadratic = sum(cp.quad_form(x[:, c], cp.psd_wrap(spared)) for c in range(2))
    y_, rest = y.numpy(), 0.5 * (y**2).sum().item()
    cost = 0.5 * quadratic - cp.sum(cp.multiply(y_, x)) + rest + lam * penalty
    solved = cp.Problem(cp.Minimize(cost))
    best = solved.solve(solver=cp.CLARABEL, **TIGHT)
    problem = Problem(LeastSquares(Identity(), y), prior)
    solution = ADMM(rtol=1e-9, max_steps=20000).solve(problem)
    assert solution.status is Status.CONVERGED_WITHOUT_BOUND
    assert abs(problem.objective(solution.x).sum().item() - best) < TOLERANCE * max(1, best)
    assert (solution.x - torch.from_numpy(x.value)).abs().max() < 1e-3


def test_a_sum_may_hold_a_prior_of_a_user():
    class Ridge(Prior):
        K = Identity()

        def penalty(self, z):
            return 0.1 * z.abs()

        def prox(self, z, step):
            return soft_threshold(z, 0.1 * step)

    y, mask = scene(POINTS)
    graph = graph_on(POINTS)
    x = cp.Variable(y.shape)
    cost = 0.5 * cp.sum_squares(x - y.numpy()) + variation(graph, 0.1, x) + 0.1 * cp.sum(cp.abs(x))
    best = cp.Problem(cp.Minimize(cost)).solve(solver=cp.CLARABEL, **TIGHT)
    problem = Problem(LeastSquares(SamplingMask(mask), y), GTV(graph, 0.1) + Ridge())
    solution = ADMM(rtol=1e-9).solve(problem)
    assert solution.status is Status.CONVERGED_WITHOUT_BOUND
    assert abs(problem.objective(solution.x).sum().item() - best) < TOLERANCE * max(1, best)
