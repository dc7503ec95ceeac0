"""ADMM reaches the optimum that an interior-point solver finds, and its gap never claims too much.

The reference is Clarabel, called through CVXPY with tolerances of 1e-11 on a problem that is
written down here once more, from the edges.
"""

from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import pytest
import torch

from gsp_unroll.graph import EdgeList, Graph, Topology, grid_graph, knn_graph, path_graph
from gsp_unroll.operators import (
    BayerMosaic,
    Blur,
    Downsample,
    Identity,
    LinearOperator,
    SamplingMask,
)
from gsp_unroll.problems import (
    GLR,
    GTV,
    Interpolation,
    LeastSquares,
    Prior,
    Problem,
    VectorGTV,
    start,
)
from gsp_unroll.solvers import ADMM, ConjugateGradient, Status
from gsp_unroll.testing import dense_matrix
from tests.registries import cloud

#: How far the objective may be from the optimum, relative to max(1, |objective|).
TOLERANCE = 1e-6
#: What the interior-point solver itself may be off, and the rounding of a sum of 1000 terms.
ROUNDING = 1e-9

TIGHT = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}


def draw(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)


@dataclass
class Case:
    """A restoration problem. Axes of items and heads stand before those of signal and weights."""

    topology: Topology
    prior: type[GTV]
    term: type
    channels: int = 1
    lam: float = 0.1
    rate: float = 0.4  # share of values that are observed
    items: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()
    decades: float = 0.0  # between the lightest and the heaviest edge
    empty: tuple[int, ...] = ()  # nodes that are never observed
    forward: LinearOperator | None = None
    row_weights: bool = False
    rho: float | None = None
    relaxation: float = 1.0
    noise: float = 1.0  # beside a step of 0.5 in the middle

    def build(self, seed):
        """The problem, and what the reference needs: mask and observation on the nodes."""
        rand, n = draw(seed), self.topology.num_nodes
        w = 0.1 + rand(*self.heads, self.topology.num_edges)
        w = w * 10 ** (self.decades * (rand(*w.shape) - 1))
        graph = Graph(self.topology, w)
        if self.row_weights:
            graph = graph.normalized("row")
        mask = rand(*self.items, n, self.channels) < self.rate
        mask[..., list(self.empty), :] = False
        y = 0.5 * (torch.arange(n) >= n // 2).double().unsqueeze(-1)
        y = y + self.noise * rand(*mask.shape)
        H = SamplingMask(mask)
        if self.forward is not None:
            H = self.forward
            mask = dense_matrix(H.T @ H, n, self.channels).diagonal() > 0
            mask = mask.reshape(n, self.channels)
        data = self.term(H, H(y))
        return Problem(data, self.prior(graph, self.lam)), mask, y


SOFT, HARD = LeastSquares, Interpolation
IMAGE = grid_graph((5, 6))
POINTS = knn_graph(cloud(40), 4)
SEQUENCE = path_graph(50, lags=2)
VOLUME = grid_graph((3, 4, 3), neighbors=6)
PARTS = EdgeList(  # two clouds of 15 points, and 5 nodes without an edge
    torch.cat([knn_graph(cloud(15, seed=s), 3).edge_index + 15 * s for s in range(2)], 1), 35
)
BATCH = knn_graph(cloud(45), 3, batch=torch.arange(45) % 3)
CASES = {
    "image, hard": Case(IMAGE, GTV, HARD),
    "image, soft, a mask per channel": Case(IMAGE, GTV, SOFT, channels=3),
    "image, hard vector, a mask per channel": Case(IMAGE, VectorGTV, HARD, channels=2),
    "image, soft vector": Case(IMAGE, VectorGTV, SOFT, channels=2, relaxation=1.7),
    "mosaic, hard": Case(IMAGE, GTV, HARD, channels=3, forward=BayerMosaic(5, 6)),
    "mosaic, hard vector": Case(IMAGE, VectorGTV, HARD, channels=3, forward=BayerMosaic(5, 6)),
    # wide plateaus, whose level takes long to settle, are helped by a low penalty
    "plateaus, soft": Case(IMAGE, GTV, SOFT, noise=0.1, rho=0.02, relaxation=1.7),
    "downsampled, hard": Case(IMAGE, GTV, HARD, forward=Downsample((5, 6), 2)),
    "points, hard, a mask per channel": Case(POINTS, GTV, HARD, channels=2),
    "points, soft": Case(POINTS, GTV, SOFT, lam=0.02),
    "points, hard vector": Case(POINTS, VectorGTV, HARD, channels=3, rate=0.2),
    "points, soft vector": Case(POINTS, VectorGTV, SOFT, channels=2, lam=0.02, relaxation=1.7),
    "uneven weights, hard": Case(POINTS, GTV, HARD, decades=3),
    "uneven weights, soft vector": Case(IMAGE, VectorGTV, SOFT, channels=2, decades=3, lam=0.5),
    "parts, one without a sample, hard": Case(PARTS, GTV, HARD, channels=2, empty=tuple(range(15))),
    "parts, one without a sample, soft vector": Case(
        PARTS, VectorGTV, SOFT, channels=2, empty=tuple(range(15, 35))
    ),
    "batch of graphs, hard": Case(BATCH, GTV, HARD, channels=2),
    "batch of graphs, soft vector": Case(BATCH, VectorGTV, SOFT, channels=2),
    "items and heads, hard": Case(PARTS, GTV, HARD, items=(2, 1), heads=(2,)),
    "items and heads, soft": Case(IMAGE, GTV, SOFT, items=(2, 1), heads=(2,), rate=0.7),
    "denoising a sequence": Case(SEQUENCE, GTV, SOFT, forward=Identity(), lam=0.3),
    "volume, soft": Case(VOLUME, GTV, SOFT, channels=2, rate=0.6),
    "the paper's 2M rows, hard": Case(IMAGE, GTV, HARD, row_weights=True),
}


# ---- the reference --------------------------------------------------------------------------


def differences(topology):
    """One row per edge, written from edge_index."""
    tail, head = topology.edge_index.numpy()
    D = np.zeros((topology.num_edges, topology.num_nodes))
    rows = np.arange(topology.num_edges)
    np.add.at(D, (rows, head), 1.0)
    np.add.at(D, (rows, tail), -1.0)
    return D


def terms_per_edge(prior, w, lam, z):
    """The terms of the total variation, (edges, channels) or (edges, 1), in NumPy."""
    size = np.abs(z) if prior is GTV else np.linalg.norm(z, axis=-1, keepdims=True)
    return lam * w[:, None] * size


def per_system(values, graph_of_row, num_graphs):
    total = np.zeros((num_graphs, values.shape[1]))
    np.add.at(total, graph_of_row, values)
    return total


def objective(case, problem, x, mask, y, w):
    """The objective of each graph and channel (of each graph, if channels are coupled)."""
    topology = problem.prior.graph.topology
    systems = topology.systems
    graph_of_node = np.zeros(topology.num_nodes, int) if systems.batch is None else systems.batch
    graph_of_node = np.asarray(graph_of_node)
    graph_of_edge = graph_of_node[topology.edge_index[0].numpy()]
    terms = terms_per_edge(case.prior, w, case.lam, differences(topology) @ x)
    misfit = np.where(mask, 0.5 * (x - y) ** 2, 0) if case.term is SOFT else np.zeros_like(x)
    if case.prior is VectorGTV:
        misfit = misfit.sum(-1, keepdims=True)
    return per_system(terms, graph_of_edge, systems.num_graphs) + per_system(
        misfit, graph_of_node, systems.num_graphs
    )


def reference(case, problem, mask, y, w):
    """A minimiser for one item and head, found by Clarabel."""
    topology = problem.prior.graph.topology
    x = cp.Variable(y.shape)
    used = w > 0
    z = differences(topology)[used] @ x
    if case.prior is GTV:
        variation = cp.sum(cp.multiply(w[used][:, None], cp.abs(z)))
    else:
        variation = cp.sum(cp.multiply(w[used], cp.norm(z, 2, axis=1)))
    seen = mask.astype(float)
    misfit = cp.multiply(seen, x - y)
    hard = case.term is HARD
    cost = case.lam * variation + (0 if hard else 0.5 * cp.sum_squares(misfit))
    solved = cp.Problem(cp.Minimize(cost), [misfit == 0] if hard else [])
    solved.solve(solver=cp.CLARABEL, **TIGHT)
    assert solved.status == cp.OPTIMAL
    return np.where(mask, y, x.value) if hard else x.value


def items_of(*tensors):
    """Corresponding parts of tensors (t, axes that are not batch axes), as NumPy arrays."""
    batch = torch.broadcast_shapes(*(t.shape[: t.ndim - kept] for t, kept in tensors))
    flat = [t.expand(*batch, *t.shape[t.ndim - kept :]) for t, kept in tensors]
    flat = [f.reshape(-1, *f.shape[len(batch) :]).numpy() for f in flat]
    return batch, zip(*flat, strict=True)


# ---- the comparison -------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_admm_reaches_the_optimum_and_its_gap_is_valid(name):
    case = CASES[name]
    problem, mask, y = case.build(seed=list(CASES).index(name))
    w, first = problem.prior.graph.weight, start(problem.data, case.topology)
    batch, items = items_of((first, 2), (mask, 2), (y, 2), (w, 1))
    best = [reference(case, problem, *item) for _, *item in items]
    best = np.reshape(best, (*batch, *best[0].shape))

    def values(x):
        _, items = items_of((x, 2), (mask, 2), (y, 2), (w, 1))
        found = [objective(case, problem, *item) for item in items]
        return np.reshape(found, (*batch, *found[0].shape))

    before, optimal = values(first), values(torch.from_numpy(best))
    size = np.maximum(1, optimal)
    assert (before > optimal + 1e-3 * size).any(), "there was nothing to minimise"
    # ADMM takes its tolerance relative to the objective of the start
    rtol = 0.9 * TOLERANCE * float((size / np.maximum(before, 1e-9)).min())
    solution = ADMM(rho=case.rho, rtol=rtol, relaxation=case.relaxation).solve(problem)
    reached = values(solution.x)
    assert solution.status is Status.CONVERGED
    np.testing.assert_array_less(reached - optimal, TOLERANCE * size)
    np.testing.assert_allclose(problem.objective(solution.x), reached, rtol=1e-12, atol=1e-12)
    # the gap bounds what is left to gain, in each system; the optimum is known to ROUNDING
    gap = solution.duality_gap.numpy()
    assert gap.shape == reached.shape
    assert np.isfinite(gap).all()
    np.testing.assert_array_less(reached - optimal, gap + ROUNDING * size)
    if case.term is HARD:
        assert not torch.where(mask, solution.x - y, 0).any()


@pytest.mark.parametrize("name", ["points, hard, a mask per channel", "image, soft vector"])
def test_the_gap_is_valid_long_before_convergence(name):
    case = CASES[name]
    problem, mask, y = case.build(seed=100)
    w = problem.prior.graph.weight.numpy()
    best = reference(case, problem, mask.numpy(), y.numpy(), w)
    optimal = objective(case, problem, best, mask.numpy(), y.numpy(), w)
    gaps = []
    for max_steps in (1, 3, 10, 30, 100):
        solution = ADMM(max_steps=max_steps).solve(problem)
        assert (solution.status, solution.num_steps) == (Status.MAX_STEPS, max_steps)
        left = problem.objective(solution.x).numpy() - optimal
        gap = solution.duality_gap.numpy()
        assert (left > 1e-6).any()
        assert (gap >= left - ROUNDING).all()
        gaps.append(gap.max())
    assert gaps[-1] < 0.1 * gaps[0]


@pytest.mark.parametrize("rho", [0.1, 1.0, None])
@pytest.mark.parametrize("relaxation", [1.0, 1.7])
def test_penalty_and_relaxation_change_the_speed_only(rho, relaxation):
    case = CASES["points, soft"]
    problem, mask, y = case.build(seed=3)
    w = problem.prior.graph.weight.numpy()
    best = reference(case, problem, mask.numpy(), y.numpy(), w)
    solution = ADMM(rho=rho, rtol=1e-6, relaxation=relaxation).solve(problem)
    assert solution.status is Status.CONVERGED
    left = problem.objective(solution.x).numpy() - objective(
        case, problem, best, mask.numpy(), y.numpy(), w
    )
    assert left.max() < TOLERANCE


# ---- without a bound ------------------------------------------------------------------------


@pytest.mark.parametrize(("prior", "masked"), [(GTV, False), (VectorGTV, True)])
def test_behind_a_blur_admm_reaches_the_optimum_without_a_bound(prior, masked):
    rand, topology = draw(7), grid_graph((4, 5), neighbors=4)
    H = Blur((4, 5), 0.1 + rand(3, 3))
    if masked:
        H = SamplingMask(rand(20, 1) < 0.6) @ H
    graph = Graph(topology, 0.1 + rand(topology.num_edges))
    y = H((torch.arange(20) >= 10).double().unsqueeze(-1)) + 0.1 * rand(20, 2)
    problem = Problem(LeastSquares(H, y), prior(graph, 0.05))
    solution = ADMM(rho=0.3, rtol=1e-7).solve(problem)
    assert solution.status is Status.CONVERGED_WITHOUT_BOUND
    assert solution.converged
    assert solution.duality_gap.isnan().all()
    x = cp.Variable((20, 2))
    z, w = differences(topology) @ x, graph.weight.numpy()
    norms = cp.abs(z) if prior is GTV else cp.norm(z, 2, axis=1)
    weights = w[:, None] if prior is GTV else w
    M = dense_matrix(H, 20).numpy()
    cost = 0.5 * cp.sum_squares(M @ x - y.numpy()) + 0.05 * cp.sum(cp.multiply(weights, norms))
    optimum = cp.Problem(cp.Minimize(cost)).solve(solver=cp.CLARABEL, **TIGHT)
    assert abs(problem.objective(solution.x).sum().item() - optimum) < TOLERANCE


def test_a_quadratic_prior_has_a_bound_and_the_solution_of_its_linear_system():
    rand = draw(8)
    graph = Graph(POINTS, 0.1 + rand(POINTS.num_edges))
    for term in (LeastSquares, Interpolation):
        for normalization in ("none", "sym"):
            data = term(SamplingMask(rand(40, 2) < 0.5), rand(40, 2))
            prior = GLR(graph, 0.7, normalization)
            solver = ADMM(rho=1.0, rtol=1e-10, linear_solver=ConjugateGradient(1e-12))
            solution = solver.solve(Problem(data, prior))
            assert solution.status is Status.CONVERGED
            exact = ConjugateGradient(1e-13).solve(*data.system(prior.Q)).x
            torch.testing.assert_close(solution.x, exact, rtol=0, atol=1e-5)


class Huber(Prior):
    """A prior of a user: differences along a sequence, squared up to 1 and absolute beyond."""

    def __init__(self, topology):
        self.topology = topology

    @property
    def K(self):
        from gsp_unroll.operators import Gradient

        return Gradient(self.topology)

    def penalty(self, z):
        return torch.where(z.abs() <= 1, 0.5 * z**2, z.abs() - 0.5)

    def prox(self, z, step):
        return torch.where(z.abs() <= 1 + step, z / (1 + step), z - step * z.sign())


def test_a_users_prior_has_no_bound_and_the_optimum():
    rand = draw(9)
    mask, y = rand(50, 1) < 0.6, 5 * rand(50, 1)
    problem = Problem(LeastSquares(SamplingMask(mask), y), Huber(SEQUENCE))
    solution = ADMM(rho=1.0, rtol=1e-10).solve(problem)
    assert solution.status is Status.CONVERGED_WITHOUT_BOUND
    assert solution.duality_gap.isnan().all()
    x = cp.Variable((50, 1))
    misfit = cp.multiply(mask.double().numpy(), x - y.numpy())
    # CVXPY's huber is twice ours
    cost = 0.5 * cp.sum_squares(misfit) + 0.5 * cp.sum(cp.huber(differences(SEQUENCE) @ x, 1))
    optimum = cp.Problem(cp.Minimize(cost)).solve(solver=cp.CLARABEL, **TIGHT)
    assert abs(problem.objective(solution.x).item() - optimum) < TOLERANCE * max(1, optimum)


# ---- ends of the range ----------------------------------------------------------------------


@pytest.mark.parametrize("lam", [0.0, torch.zeros(1, 1, dtype=torch.float64)])
def test_a_prior_of_weight_zero_returns_the_data(lam):
    rand = draw(10)
    graph, y = Graph(POINTS, rand(POINTS.num_edges)), rand(40, 2)
    solution = ADMM().solve(Problem(LeastSquares(Identity(), y), GTV(graph, lam)))
    assert solution.status is Status.CONVERGED
    torch.testing.assert_close(solution.x, y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("prior", [GTV, VectorGTV])
def test_a_prior_of_great_weight_returns_the_mean_of_each_part(prior):
    rand = draw(11)
    y = rand(35, 2)
    problem = Problem(
        LeastSquares(Identity(), y), prior(Graph(PARTS, 1 + rand(PARTS.num_edges)), 50.0)
    )
    x = ADMM(rtol=1e-10).solve(problem).x
    for part in (slice(0, 15), slice(15, 30)):
        torch.testing.assert_close(x[part], y[part].mean(0).expand(15, 2), rtol=0, atol=1e-4)
    torch.testing.assert_close(x[30:], y[30:], rtol=0, atol=1e-6)


@pytest.mark.parametrize("prior", [GTV, VectorGTV])
@pytest.mark.parametrize("term", [LeastSquares, Interpolation])
def test_a_constant_comes_back_at_once(prior, term):
    mask = draw(12)(40, 2) < 0.3
    y = torch.full((40, 2), 0.7, dtype=torch.float64)
    problem = Problem(
        term(SamplingMask(mask), y), prior(Graph(POINTS, torch.ones(POINTS.num_edges).double()))
    )
    solution = ADMM().solve(problem)
    assert solution.status is Status.CONVERGED
    assert solution.num_steps <= 10
    torch.testing.assert_close(solution.x, y, rtol=0, atol=1e-15)
    assert not (solution.duality_gap.abs() > 1e-12).any()


def test_no_sample_at_all():
    data = Interpolation(
        SamplingMask(torch.zeros(40, dtype=torch.bool)), torch.full((40, 1), torch.nan)
    )
    graph = Graph(POINTS, torch.ones(POINTS.num_edges))
    solution = ADMM().solve(Problem(data, GTV(graph)))
    assert solution.status is Status.CONVERGED
    assert not solution.x.any()


@pytest.mark.parametrize("term", [LeastSquares, Interpolation])
def test_shifting_the_observation_shifts_the_solution(term):
    rand, shifts = draw(13), (0.0, 100.0)
    graph, mask, y = Graph(POINTS, rand(POINTS.num_edges)), rand(40, 1) < 0.5, rand(40, 1)
    solutions = [
        ADMM().solve(Problem(term(SamplingMask(mask), y + shift), GTV(graph, 0.1)))
        for shift in shifts
    ]
    # what is minimised is the same; the minimiser may not be unique
    problem = Problem(term(SamplingMask(mask), y), GTV(graph, 0.1))
    values = [problem.objective(s.x - shift) for s, shift in zip(solutions, shifts, strict=True)]
    torch.testing.assert_close(values[1], values[0], rtol=0, atol=1e-6)
