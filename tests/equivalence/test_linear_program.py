"""The paper's GTV iteration against its equations in NumPy, and against the linear program.

Everything on the reference side is written from Do et al. 2024 with dense matrices and knows
nothing of the library: $C$ with one row `w (e_i - e_j)` per directed edge, `H` of one row per
sample, equations (17)-(22) with the multipliers $[\\mu_d;\\mu_e]$ in (21).
"""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from gsp_unroll.graph import EdgeList, Graph, grid_graph
from gsp_unroll.operators import Incidence, Laplacian, SamplingMask
from gsp_unroll.problems import GTV, Interpolation, Problem
from gsp_unroll.solvers import ADMM
from gsp_unroll.unroll import GTVLinearProgramUnroll, GTVUnroll, GuardedCG, HeavyBall

NODES, SAMPLES, GAMMA = 24, 8, 10.0


class Instance(NamedTuple):
    """A graph as its weight matrix, the edges in the library's order, and the samples."""

    W: np.ndarray
    edges: np.ndarray
    samples: np.ndarray
    y: np.ndarray

    def rows(self, kind):
        """`(tail, head, weight)` of every row of C: undirected `W`, or its 2M normalised rows."""
        tail, head = self.edges
        if kind == "undirected":
            return tail, head, self.W[tail, head]
        W = self.W / self.W.sum(1, keepdims=True)
        if kind == "merged":
            return tail, head, W[tail, head] + W[head, tail]
        tail, head = np.hstack([tail, head]), np.hstack([head, tail])
        return tail, head, W[head, tail]  # the row of i = head, which listens to j = tail

    def C(self, kind):
        tail, head, w = self.rows(kind)
        C, row = np.zeros((len(w), len(self.W))), np.arange(len(w))
        C[row, head], C[row, tail] = w, -w
        return C

    @property
    def H(self):
        return np.eye(len(self.W))[self.samples]

    # ---- the same for the library

    def graph(self, kind):
        weight = torch.from_numpy(self.W[self.edges[0], self.edges[1]])
        graph = Graph(EdgeList(torch.from_numpy(self.edges), len(self.W)), weight)
        return graph.normalized({"undirected": "none", "directed": "row"}.get(kind, kind))

    @property
    def data(self):
        full = torch.full((len(self.W), 1), torch.nan, dtype=torch.float64)
        full[self.samples, 0] = torch.from_numpy(self.y)
        return Interpolation(SamplingMask(~full.isnan()), full)


def instance(seed):
    """Points of the plane joined when near, Gaussian weights: connected, 24 nodes, 8 samples."""
    random = np.random.default_rng(seed)
    points = random.random((NODES, 2))
    square = ((points[:, None] - points) ** 2).sum(-1)
    W = np.exp(-square / 0.05) * (np.argsort(np.argsort(square, 1), 1) <= 4)
    W = np.maximum(W, W.T)
    order = np.argsort(points[:, 0])  # a path keeps the graph connected
    W[order[:-1], order[1:]] = W[order[1:], order[:-1]] = np.maximum(
        W[order[:-1], order[1:]], random.uniform(0.05, 0.5, NODES - 1)
    )
    np.fill_diagonal(W, 0)
    edges = np.array(np.triu(W).nonzero())
    return Instance(W, edges, random.permutation(NODES)[:SAMPLES], random.random(SAMPLES))


# ---- the reference --------------------------------------------------------------------------


class Variables(NamedTuple):
    """The iterates, in the letters of the paper and of `LPState`."""

    x: np.ndarray
    z: np.ndarray
    q1: np.ndarray
    q2: np.ndarray
    qt1: np.ndarray
    qt2: np.ndarray
    mu_a: np.ndarray
    mu_b: np.ndarray
    mu_c: np.ndarray
    mu_d: np.ndarray
    mu_e: np.ndarray


def lp_start(C, H, x, multiplier=0.1):
    q1, q2 = np.abs(C @ x) - C @ x, np.abs(C @ x) + C @ x
    m, k = np.full(len(C), multiplier), np.full(len(H), multiplier)
    return Variables(x, np.abs(C @ x), q1, q2, q1, q2, m, m, k, m, m)


def lp_step(C, H, y, v, gamma, solve, misprint=False):
    """Equations (17)-(22); as printed, (21) adds mu_d to both halves."""
    z = (
        -np.ones(len(C)) / gamma
        - (v.mu_a + v.mu_b + v.mu_d + v.mu_e) / (2 * gamma)
        + (v.qt1 + v.qt2) / 2
    )
    right = (
        C.T @ (v.mu_a - v.mu_b + v.mu_d - v.mu_e) / (2 * gamma)
        - H.T @ v.mu_c / gamma
        - C.T @ (v.qt1 - v.qt2) / 2
        + H.T @ y
    )
    x = solve(C.T @ C + H.T @ H, right, v.x)
    q1 = (z - C @ x) / 2 + (v.mu_a - v.mu_d + gamma * v.qt1) / (2 * gamma)
    q2 = (z + C @ x) / 2 + (v.mu_b - v.mu_e + gamma * v.qt2) / (2 * gamma)
    qt1 = np.maximum(0, q1 + v.mu_d / gamma)
    qt2 = np.maximum(0, q2 + (v.mu_d if misprint else v.mu_e) / gamma)
    return Variables(
        x,
        z,
        q1,
        q2,
        qt1,
        qt2,
        v.mu_a + gamma * (z - C @ x - q1),
        v.mu_b + gamma * (z + C @ x - q2),
        v.mu_c + gamma * (H @ x - y),
        v.mu_d + gamma * (q1 - qt1),
        v.mu_e + gamma * (q2 - qt2),
    )


def exactly(A, b, _):
    return np.linalg.solve(A, b)


def heavy_ball(alpha, beta):
    """Appendix A.7: `g` the gradient, `v` the direction."""

    def solve(A, b, x):
        g = v = A @ x - b
        for t, a in enumerate(alpha):
            x = x - a * v
            g = g - a * (A @ v)
            v = g + beta[t] * v
        return x

    return solve


def lp_optimum(C, H, y):
    """The value of the linear program (12), by HiGHS."""
    (m, n), k = C.shape, len(H)
    bound = np.block([[C, -np.eye(m)], [-C, -np.eye(m)]])
    solution = linprog(
        np.r_[np.zeros(n), np.ones(m)],
        A_ub=bound,
        b_ub=np.zeros(2 * m),
        A_eq=np.hstack([H, np.zeros((k, m))]),
        b_eq=y,
        bounds=(None, None),
        method="highs",
    )
    assert solution.status == 0
    return solution.fun


# ---- the layer is the iteration -------------------------------------------------------------


def check_same_variables(state, v, samples, tolerance):
    for name, ours, theirs in zip(v._fields, state, v, strict=True):
        ours = ours.detach()[..., 0].numpy()
        ours = ours[samples] if name == "mu_c" else ours
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("kind", ["undirected", "directed"])
@pytest.mark.parametrize("inner", ["heavy ball", "exact"])
@pytest.mark.parametrize("multiplier", [0.1, 0.0, -0.3])
def test_the_layer_is_equations_17_to_22(kind, inner, multiplier):
    case, steps = instance(0), 7
    solver = HeavyBall if inner == "heavy ball" else GuardedCG
    layer = GTVLinearProgramUnroll(
        steps, 10 if inner == "heavy ball" else 60, multiplier=multiplier, solver=solver
    ).double()
    with torch.no_grad():  # other numbers in every iteration and step
        layer.gamma.uniform_(3, 12)
        for p in layer.linear_solves.parameters():
            p.uniform_(0.1, 0.4)
    x0 = torch.rand(NODES, 1, dtype=torch.float64)
    C, H = case.C(kind), case.H
    v = lp_start(C, H, x0[:, 0].numpy(), multiplier)
    states = list(layer.iterates(case.data, case.graph(kind), x0))
    assert len(states) == steps
    for state, gamma, run in zip(states, layer.gamma.tolist(), layer.linear_solves, strict=True):
        coefficients = [p.tolist() for p in run.parameters()]
        v = lp_step(C, H, case.y, v, gamma, heavy_ball(*coefficients) if coefficients else exactly)
        check_same_variables(state, v, case.samples, 1e-12 if coefficients else 1e-9)


def test_the_layer_with_a_dense_solve_is_equations_17_to_22():
    case, layer = instance(1), GTVLinearProgramUnroll(1).double()
    C, H = Incidence(case.graph("directed")), case.H
    data = Interpolation(case.data.H, case.data.backprojected)
    x0 = torch.rand(NODES, 1, dtype=torch.float64)
    state = layer.lp_start(data, C, x0)
    v = lp_start(case.C("directed"), H, x0[:, 0].numpy())
    gamma = torch.tensor(GAMMA, dtype=torch.float64)
    for _ in range(20):
        state = layer.lp_step(data, C, state, gamma, dense_solve)
        v = lp_step(case.C("directed"), H, case.y, v, GAMMA, exactly)
        check_same_variables(state, v, case.samples, 1e-12)


def dense_solve(A, b, _):
    return torch.linalg.solve(A(torch.eye(A.num_inputs, dtype=b.dtype)), b)


def test_equations_17_to_19_are_stationary():
    # the reference itself: x, z, q of one step minimise the augmented Lagrangian
    case = instance(2)
    C, H, y = case.C("directed"), case.H, case.y
    old = lp_start(C, H, np.random.default_rng(0).random(NODES))
    new = lp_step(C, H, y, old, GAMMA, exactly)
    x, z, q1, q2 = (torch.tensor(v, requires_grad=True) for v in (new.x, new.z, new.q1, new.q2))
    fixed = {name: torch.from_numpy(v) for name, v in old._asdict().items()}
    Ct, Ht, yt = (torch.from_numpy(v) for v in (C, H, y))
    residuals = {
        "mu_a": z - Ct @ x - q1,
        "mu_b": z + Ct @ x - q2,
        "mu_c": Ht @ x - yt,
        "mu_d": q1 - fixed["qt1"],
        "mu_e": q2 - fixed["qt2"],
    }
    lagrangian = z.sum() + sum(
        fixed[name] @ r + GAMMA / 2 * r.square().sum() for name, r in residuals.items()
    )
    for gradient in torch.autograd.grad(lagrangian, (x, z, q1, q2)):
        assert gradient.abs().max() < 1e-12


# ---- the iteration solves the linear program ------------------------------------------------


def run_to_convergence(case, kind, steps=4000):
    """The library's own `lp_step` with a dense solve, `steps` times."""
    graph, layer = case.graph(kind), GTVLinearProgramUnroll(1).double()
    C, data = Incidence(graph), Interpolation(case.data.H, case.data.backprojected)
    inverse = torch.linalg.inv((C.gram + data.H.gram)(torch.eye(NODES, dtype=torch.float64)))
    state = layer.lp_start(data, C, torch.full((NODES, 1), 0.5, dtype=torch.float64))
    gamma = torch.tensor(GAMMA, dtype=torch.float64)
    for _ in range(steps):
        state = layer.lp_step(data, C, state, gamma, lambda A, b, x: inverse @ b)
    return state.x[:, 0].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["undirected", "directed"])
@pytest.mark.parametrize("seed", range(3))
def test_the_iteration_reaches_the_optimum_of_the_linear_program(seed, kind):
    case = instance(seed)
    C, H = case.C(kind), case.H
    x = run_to_convergence(case, kind)
    assert abs(np.abs(C @ x).sum() - lp_optimum(C, H, case.y)) < 1e-6
    assert np.abs(H @ x - case.y).max() < 1e-9


@pytest.mark.parametrize("kind", ["undirected", "directed"])
@pytest.mark.parametrize("seed", range(3))
def test_as_printed_with_mu_d_twice_it_does_not(seed, kind):
    case = instance(seed)
    C, H = case.C(kind), case.H
    corrected = printed = lp_start(C, H, np.full(NODES, 0.5))
    inverse = np.linalg.inv(C.T @ C + H.T @ H)
    for _ in range(3000):
        corrected = lp_step(C, H, case.y, corrected, GAMMA, lambda A, b, x: inverse @ b)
        printed = lp_step(C, H, case.y, printed, GAMMA, lambda A, b, x: inverse @ b, misprint=True)
    optimum = lp_optimum(C, H, case.y)
    assert abs(np.abs(C @ corrected.x).sum() - optimum) < 1e-6
    assert abs(np.abs(C @ printed.x).sum() - optimum) > 1e-2
    assert np.abs(H @ printed.x - case.y).max() > 1e-2


# ---- one problem, several forms -------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_both_rows_of_an_edge_are_one_edge_of_summed_weight(seed):
    case = instance(seed)
    doubled = lp_optimum(case.C("directed"), case.H, case.y)
    assert doubled == pytest.approx(lp_optimum(case.C("merged"), case.H, case.y), abs=1e-8)
    graph = case.graph("directed")
    np.testing.assert_allclose(graph.merged().weight, case.rows("merged")[2], rtol=0, atol=1e-15)
    np.testing.assert_allclose(case.graph("merged").weight, graph.merged().weight, atol=1e-15)
    for g in (graph, graph.merged()):
        solution = ADMM(rtol=1e-7, max_steps=40000).solve(Problem(case.data, GTV(g)))
        assert solution.converged
        objective = np.abs(case.C("directed") @ solution.x[:, 0].numpy()).sum()
        assert abs(objective - doubled) < 1e-6


def test_the_splitting_of_the_default_layer_has_the_same_optimum():
    case = instance(0)
    layer = GTVUnroll(1500, 8, lam=0.05, solver=GuardedCG).double()
    with torch.no_grad():
        x = layer(case.data, case.graph("directed").merged())
    optimum = lp_optimum(case.C("directed"), case.H, case.y)
    assert abs(np.abs(case.C("directed") @ x[:, 0].numpy()).sum() - optimum) < 1e-6
    np.testing.assert_allclose(case.H @ x[:, 0].numpy(), case.y, atol=1e-9)


def test_the_papers_example_of_row_normalisation():
    # appendix A.6, figure 3: nodes 1, 2, 3
    edges = EdgeList(torch.tensor([[0, 0, 1], [1, 2, 2]]), 3)
    graph = Graph(edges, torch.tensor([1 / 2, 1 / 2, 1 / 3], dtype=torch.float64))
    rows = graph.normalized("row")
    W = torch.zeros(3, 3, dtype=torch.float64)
    tail, head = rows.topology.edge_index
    W[head, tail] = rows.weight  # an edge j -> i belongs to row i
    wanted = [[0, 1 / 2, 1 / 2], [3 / 5, 0, 2 / 5], [3 / 5, 2 / 5, 0]]
    np.testing.assert_allclose(W, wanted, rtol=0, atol=1e-15)
    C = Incidence(rows)
    eye = torch.eye(3, dtype=torch.float64)
    np.testing.assert_allclose(C.gram(eye)[0, 1], -0.61, rtol=0, atol=1e-12)
    np.testing.assert_allclose(C.gram(eye)[1, 2], -0.32, rtol=0, atol=1e-12)
    np.testing.assert_allclose(C.gram(eye), C(eye).T @ C(eye), rtol=0, atol=1e-15)
    assert bool((C(torch.ones(3, 1, dtype=torch.float64)) == 0).all())
    assert not torch.allclose(Laplacian(rows)(eye), C.gram(eye))  # C'C holds squared weights


# ---- the reduced form of the iteration ------------------------------------------------------


@pytest.mark.parametrize("kind", ["undirected", "directed"])
def test_three_edge_arrays_carry_the_whole_state(kind):
    # q and its multiplier are never non-zero at the same entry, so one signed array holds both
    case, gamma = instance(0), GAMMA
    C, H, y = case.C(kind), case.H, case.y
    full = lp_step(C, H, y, lp_start(C, H, np.full(NODES, 0.5)), gamma, exactly)
    p1, p2 = full.q1 + 0.1 / gamma, full.q2 + 0.1 / gamma
    a, mu_c = full.mu_a / gamma, full.mu_c
    for _ in range(100):
        full = lp_step(C, H, y, full, gamma, exactly)
        s1, s2 = np.abs(p1), np.abs(p2)
        z = -1 / (2 * gamma) + (s1 + s2) / 2
        right = C.T @ (2 * a + 1 / gamma - (s1 - s2)) / 2 - H.T @ mu_c / gamma + H.T @ y
        x = np.linalg.solve(C.T @ C + H.T @ H, right)
        q1, q2 = (z - C @ x + a + s1) / 2, (z + C @ x - 1 / gamma - a + s2) / 2
        a = q1 - s1
        p1, p2 = q1 - np.maximum(-p1, 0), q2 - np.maximum(-p2, 0)
        mu_c = mu_c + gamma * (H @ x - y)
        np.testing.assert_allclose(x, full.x, rtol=0, atol=1e-12)
        np.testing.assert_allclose(np.maximum(p1, 0), full.qt1, rtol=0, atol=1e-12)
        np.testing.assert_allclose(gamma * np.minimum(p2, 0), full.mu_e, rtol=0, atol=1e-12)


def test_on_an_image_five_iterations_are_far_from_the_optimum():
    # paper.md 1.3: the layer is a truncated solver, and is tested against its iteration
    topology = grid_graph((6, 6), window=5)
    graph = Graph(topology, topology.mask_edges(torch.ones(topology.num_edges))).normalized("row")
    graph = graph.to(torch.float64)
    y = torch.rand(36, 1, dtype=torch.float64)
    data = Interpolation(SamplingMask(torch.arange(36) % 4 == 0), y)
    x = GTVLinearProgramUnroll(solver=GuardedCG).double()(data, graph)
    assert 1e-3 < (x - y)[::4].abs().max() < 0.5
