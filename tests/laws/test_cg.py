"""Laws of conjugate gradients: the dense solution, each system on its own, honest reports."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from gsp_unroll.graph import EdgeList, Graph, Systems, grid_graph, knn_graph, path_graph
from gsp_unroll.operators import Diagonal, Identity, Laplacian, MatrixFree, SamplingMask
from gsp_unroll.problems import GLR, Interpolation, LeastSquares
from gsp_unroll.solvers import ConjugateGradient, Status, cg_start, cg_step, jacobi
from gsp_unroll.testing import dense_matrix
from tests.registries import cloud, edges
from tests.registries_operators import BATCH, IMAGE, POINTS, bools, numbers, weighted

PACKAGE = Path(__file__).resolve().parents[2] / "gsp_unroll"
TIGHT = ConjugateGradient(rtol=1e-13)


def random(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype)


def assert_same(actual, expected, tolerance=1e-10):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def dense_solution(A, b):
    M = dense_matrix(A, *b.shape[-2:])
    return torch.linalg.solve(M, b.flatten(-2).unsqueeze(-1)).reshape(b.shape)


# ---- the dense solution, on systems that Hypothesis makes up --------------------------------


@st.composite
def systems(draw):
    """A positive definite system on a random graph: (A, b, x0)."""
    n, channels = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    batch = draw(st.sampled_from([(), (2,), (2, 1)]))
    pairs = [(i, j) for i in range(n) for j in range(i)]
    kept = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))

    def rand(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    topology = EdgeList(edges(*kept), n)
    spread = draw(st.sampled_from([0.0, 2.0, 6.0]))  # decades between light and heavy edges
    weight = 10 ** (spread * (rand(*batch, len(kept)) - 0.5))
    if draw(st.booleans()) and kept:
        weight[..., 0] = 0
    prior = GLR(Graph(topology, weight), draw(st.sampled_from([0.01, 1.0, 30.0])))
    mask = rand(*batch, n, channels) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    A = SamplingMask(mask) + prior.Q + Diagonal(0.01 + rand(n, 1))
    b, x0 = 2 * rand(*batch, n, channels) - 1, 2 * rand(*batch, n, channels) - 1
    return A, b, draw(st.sampled_from([None, x0]))


@settings(deadline=None, max_examples=150)
@given(systems())
def test_the_solution_is_that_of_the_dense_system(system):
    A, b, x0 = system
    solution = TIGHT.solve(A, b, x0)
    # 1e-13 is below what rounding allows where light and heavy edges meet
    assert solution.status in (Status.CONVERGED, Status.STALLED)
    assert_same(solution.x, dense_solution(A, b), 1e-8)


@settings(deadline=None, max_examples=50)
@given(systems(), st.sampled_from([1e-1, 1e-3, 1e-5, 1e-8]))
def test_the_tolerance_holds_for_the_true_residual_of_every_system(system, rtol):
    A, b, x0 = system
    solution = ConjugateGradient(rtol).solve(A, b, x0)
    residual = (b - A(solution.x)).norm(dim=-2, keepdim=True)
    size = b.norm(dim=-2, keepdim=True)
    assert solution.status is Status.CONVERGED
    assert (residual <= rtol * size * (1 + 1e-6) + 1e-14).all()
    assert_same(solution.primal_residual, residual, 1e-14)


@settings(deadline=None, max_examples=50)
@given(systems(), st.sampled_from([1e-6, -3.0, 1e6]))
def test_the_solution_scales_with_the_right_hand_side(system, factor):
    A, b, x0 = system
    x = TIGHT.solve(A, b, x0).x
    scaled = TIGHT.solve(A, factor * b, None if x0 is None else factor * x0).x
    assert_same(scaled / factor, x, 1e-9)


@settings(deadline=None, max_examples=50)
@given(systems())
def test_the_energy_of_the_error_falls_with_every_step(system):
    A, b, x0 = system
    x = torch.zeros_like(b) if x0 is None else x0
    exact = dense_solution(A, b)
    precondition = jacobi(A.diagonal())
    state = cg_start(A, b, x, precondition)
    energy = A.systems.inner(state.x - exact, A(state.x - exact))
    for _ in range(12):
        state = cg_step(A, state, systems=A.systems, preconditioner=precondition)
        error = state.x - exact
        after = A.systems.inner(error, A(error))
        assert (after <= energy * (1 + 1e-9) + 1e-18).all()
        energy = after


@pytest.mark.parametrize("topology", [IMAGE, POINTS, BATCH], ids=["image", "points", "batch"])
@pytest.mark.parametrize("normalization", ["none", "sym"])
@pytest.mark.parametrize("term", [LeastSquares, Interpolation])
def test_laplacian_regularised_signals_are_those_of_the_dense_system(topology, normalization, term):
    n = topology.num_nodes
    mask = bools(n, 2)
    mask[-2:] = True  # a sample in every part of the batch
    prior = GLR(weighted(topology), 0.7, normalization)
    A, b = term(SamplingMask(mask), random(n, 2)).system(prior.Q)
    solution = ConjugateGradient(1e-12).solve(A, b)
    assert solution.status is Status.CONVERGED
    assert_same(solution.x, dense_solution(A, b), 1e-8)


def test_an_operator_that_mixes_channels_is_one_system():
    M = numbers(3, 3)
    mixing = MatrixFree(lambda x: x @ M.T, lambda y: y @ M, couples_channels=True)
    A = mixing.gram + Laplacian(weighted(IMAGE)) + Identity().scaled(0.1)
    b = random(12, 3)
    solution = TIGHT.solve(A, b)
    assert solution.primal_residual.shape == (1, 1)
    assert_same(solution.x, dense_solution(A, b), 1e-8)


# ---- each system on its own -----------------------------------------------------------------

LOOSE = ConjugateGradient(rtol=1e-2)  # so that systems stop at different steps


def test_channels_together_equal_channels_alone():
    mask, b = bools(12, 3), random(12, 3) * torch.tensor([1.0, 1e-3, 1e3])
    mask[1:, 1] = False  # one channel with a single sample, which converges late
    L = Laplacian(weighted(IMAGE))
    together = LOOSE.solve(SamplingMask(mask) + L, b)
    steps = []
    for c in range(3):
        alone = LOOSE.solve(SamplingMask(mask[:, [c]]) + L, b[:, [c]])
        steps.append(alone.num_steps)
        assert_same(together.x[:, [c]], alone.x)
        assert_same(together.primal_residual[:, [c]], alone.primal_residual)
    assert len(set(steps)) > 1
    assert together.num_steps == max(steps)


def test_items_and_heads_together_equal_each_alone():
    w = 10 ** (4 * numbers(3, 2, IMAGE.num_edges) - 3)
    mask, b = bools(3, 1, 12, 2), random(3, 2, 12, 2)
    together = LOOSE.solve(SamplingMask(mask) + Laplacian(Graph(IMAGE, w)), b)
    steps = set()
    for i in range(3):
        for j in range(2):
            A = SamplingMask(mask[i, 0]) + Laplacian(Graph(IMAGE, w[i, j]))
            alone = LOOSE.solve(A, b[i, j])
            steps.add(alone.num_steps)
            assert_same(together.x[i, j], alone.x)
    assert len(steps) > 1


def test_graphs_of_a_batch_together_equal_each_alone():
    sizes, parts = (9, 12, 30), []
    for k, n in enumerate(sizes):
        topology = knn_graph(cloud(n, seed=k), 3)
        parts.append((topology, 10.0 ** (2 * k) * numbers(topology.num_edges, seed=k)))
    offsets = [0, 9, 21]
    batch = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))
    edge_index = torch.cat([t.edge_index + o for (t, _), o in zip(parts, offsets, strict=True)], 1)
    whole = Graph(EdgeList(edge_index, 51, batch), torch.cat([w for _, w in parts]))
    mask, b = bools(51, 2), random(51, 2)
    together = LOOSE.solve(SamplingMask(mask) + Laplacian(whole), b)
    assert together.primal_residual.shape == (3, 2)
    steps = set()
    for (topology, w), start, n in zip(parts, offsets, sizes, strict=True):
        own = slice(start, start + n)
        alone = LOOSE.solve(SamplingMask(mask[own]) + Laplacian(Graph(topology, w)), b[own])
        steps.add(alone.num_steps)
        assert_same(together.x[own], alone.x)
    assert len(steps) > 1


def test_a_coupled_inner_product_would_show():
    # the same solve with one inner product over everything is another iteration
    A, b = SamplingMask(bools(12, 3)) + Laplacian(weighted(IMAGE)), random(12, 3)
    precondition = jacobi(A.diagonal())
    states = [cg_start(A, b, torch.zeros_like(b), precondition)] * 2
    kinds = Systems(), Systems(couples_channels=True)
    for _ in range(3):
        states = [
            cg_step(A, state, systems=systems, preconditioner=precondition)
            for state, systems in zip(states, kinds, strict=True)
        ]
    assert (states[0].x - states[1].x).abs().max() > 1e-3


# ---- special right-hand sides and starts ----------------------------------------------------


def test_a_right_hand_side_of_zero():
    A = SamplingMask(bools(12, 2)) + Laplacian(weighted(IMAGE))
    b = torch.zeros(12, 2, dtype=torch.float64)
    at_once = ConjugateGradient().solve(A, b)
    assert (at_once.status, at_once.num_steps) == (Status.CONVERGED, 0)
    assert not at_once.x.any()
    x0 = random(12, 2)
    from_afar = ConjugateGradient(1e-12).solve(A, b, x0)
    assert from_afar.status is Status.CONVERGED
    assert_same(from_afar.x, b, 1e-10)


def test_a_channel_of_zeros_beside_another():
    A, b = SamplingMask(bools(12, 1)) + Laplacian(weighted(IMAGE)), random(12, 2)
    b[:, 0] = 0
    solution = TIGHT.solve(A, b)
    assert not solution.x[:, 0].any()
    assert_same(solution.x, dense_solution(A, b), 1e-9)


def test_an_exact_start_is_returned_as_it_is():
    A, x0 = Diagonal(torch.tensor([[2.0], [0.5]])), torch.tensor([[3.0], [8.0]])
    solution = ConjugateGradient().solve(A, A(x0), x0)
    assert (solution.status, solution.num_steps) == (Status.CONVERGED, 0)
    assert torch.equal(solution.x, x0)


def test_the_start_does_not_matter_for_a_definite_system():
    A, b = SamplingMask(bools(12, 2)) + Laplacian(weighted(IMAGE)), random(12, 2)
    assert_same(TIGHT.solve(A, b, 10 * random(12, 2)).x, TIGHT.solve(A, b).x, 1e-10)


def test_nothing_to_solve():
    empty = Laplacian(Graph(EdgeList(edges(), 0), torch.empty(0)))
    assert ConjugateGradient().solve(empty, torch.empty(0, 2)).status is Status.CONVERGED
    idle = Laplacian(Graph(EdgeList(edges(), 3), torch.empty(0)))
    assert not ConjugateGradient().solve(idle, torch.zeros(3, 1)).x.any()


# ---- singular systems -----------------------------------------------------------------------

PARTS = EdgeList(edges((0, 1), (1, 2), (3, 4), (4, 5)), 7)


def test_a_singular_consistent_system():
    L = Laplacian(weighted(PARTS))
    b = L(random(7, 2))
    solution = ConjugateGradient(1e-12).solve(L, b)
    assert solution.status is Status.CONVERGED
    assert_same(L(solution.x), b, 1e-11)


def test_a_part_without_a_sample_stays_at_the_level_of_its_start():
    # nodes 3, 4, 5 form a part of their own, node 6 has no edge: neither has a sample
    graph = weighted(PARTS)
    mask = torch.tensor([True, False, True, False, False, False, False])
    y = torch.tensor([1.0, 0, 2, 0, 0, 0, 0], dtype=torch.float64).unsqueeze(-1)
    for term in (Interpolation, LeastSquares):
        A, b = term(SamplingMask(mask), y).system(GLR(graph).Q)
        level = torch.full((7, 1), 0.3, dtype=torch.float64)
        solution = ConjugateGradient(1e-12).solve(A, b, level)
        assert solution.status is Status.CONVERGED
        assert torch.equal(solution.x[3:], level[3:])
        # a start that is no constant becomes one, its mean (weighted by degree) kept
        x0 = random(7, 1)
        x = ConjugateGradient(1e-13).solve(A, b, x0).x
        d = graph.degree[3:6].unsqueeze(-1)
        mean = (d * x0[3:6]).sum() / d.sum()
        assert_same(x[3:6], mean.expand(3, 1), 1e-10)
        assert torch.equal(x[6], x0[6])
        assert_same(x[:3], solution.x[:3], 1e-10)


def test_no_sample_at_all():
    mask = torch.zeros(12, dtype=torch.bool)
    A, b = Interpolation(SamplingMask(mask), random(12, 1)).system(GLR(weighted(IMAGE)).Q)
    solution = ConjugateGradient().solve(A, b)
    assert solution.status is Status.CONVERGED
    assert not solution.x.any()


# ---- reports --------------------------------------------------------------------------------


def ill_conditioned(dtype=torch.float64, n=100):
    """A weak pull on a stiff path: the solution is 1e5 times as large as the right-hand side."""
    L = Laplacian(weighted(path_graph(n), dtype=dtype))
    return L + Identity().scaled(1e-5), numbers(n, 1, dtype=dtype)


def test_a_budget_that_runs_out():
    A, b = ill_conditioned()
    solution = ConjugateGradient(max_steps=7).solve(A, b)
    assert (solution.status, solution.num_steps) == (Status.MAX_STEPS, 7)
    assert not solution.converged
    assert_same(solution.primal_residual, (b - A(solution.x)).norm(dim=-2, keepdim=True), 1e-14)


def test_rounding_that_stops_progress_is_not_called_a_lack_of_steps():
    A, b = ill_conditioned(torch.float32)
    solution = ConjugateGradient(1e-7, max_steps=5000).solve(A, b)
    assert solution.status is Status.STALLED
    assert solution.num_steps < 5000
    assert not solution.converged
    assert ConjugateGradient(1e-7, max_steps=5000).solve(*ill_conditioned()).converged


def test_a_value_that_overflows():
    broken = MatrixFree(lambda x: x / 0, lambda y: y / 0)
    solution = ConjugateGradient(max_steps=3).solve(broken, torch.ones(3, 1))
    assert solution.status is Status.NOT_FINITE
    assert not solution.converged


def test_a_status_is_a_sentence_with_cause_and_remedy():
    for status in Status:
        assert re.fullmatch(r"[A-Z].*\.", status.value)
    remedies = {
        Status.MAX_STEPS: "raise max_steps",
        Status.STALLED: "Use float64",
        Status.NOT_FINITE: "Look for NaN",
        Status.CONVERGED_WITHOUT_BOUND: "tighter tolerance",
    }
    assert set(remedies) == set(Status) - {Status.CONVERGED}
    for status, remedy in remedies.items():
        assert remedy in status.value


def test_a_linear_solve_claims_no_dual_quantities():
    solution = ConjugateGradient().solve(Identity(), random(3, 2))
    assert solution.dual_residual.isnan().all()
    assert solution.duality_gap.isnan().all()
    assert solution.converged


def test_the_record_names_the_preconditioner():
    L, b = Laplacian(weighted(IMAGE)) + Identity(), random(12, 1)
    assert ConjugateGradient().solve(L, b).preconditioner == "jacobi"
    assert "none" in ConjugateGradient().solve(L @ L, b).preconditioner


def test_the_diagonal_preconditions():
    scales = Diagonal(10.0 ** torch.arange(12, dtype=torch.float64).unsqueeze(-1))
    b = random(12, 1)
    known = ConjugateGradient(1e-10).solve(scales, b)
    assert (known.num_steps, known.status) == (1, Status.CONVERGED)
    unknown = ConjugateGradient(1e-10).solve(MatrixFree(scales, scales), b)
    assert unknown.num_steps > 10


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_type_is_that_of_the_right_hand_side(dtype, default):
    previous = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        A = SamplingMask(bools(12, 1)) + Laplacian(weighted(IMAGE, dtype=dtype))
        solution = ConjugateGradient(1e-4).solve(A, numbers(12, 1, dtype=dtype))
    finally:
        torch.set_default_dtype(previous)
    assert solution.x.dtype == dtype
    assert solution.status is Status.CONVERGED


def test_inputs_are_left_as_they_were():
    A, b = ill_conditioned(n=20)
    x0 = random(20, 1)
    before = b.clone(), x0.clone()
    ConjugateGradient().solve(A, b, x0)
    assert torch.equal(b, before[0])
    assert torch.equal(x0, before[1])


# ---- one step -------------------------------------------------------------------------------


def steps(A, b, count):
    precondition = jacobi(A.diagonal())
    state = cg_start(A, b, torch.zeros_like(b), precondition)
    for _ in range(count):
        yield state
        state = cg_step(A, state, systems=A.systems, preconditioner=precondition)


def test_directions_are_conjugate_and_residuals_orthogonal():
    A, b = SamplingMask(bools(12, 2)) + Laplacian(weighted(IMAGE)), random(12, 2)
    states = list(steps(A, b, 6))
    for i, first in enumerate(states):
        for second in states[:i]:
            size = first.p.norm() * second.p.norm()
            assert (A.systems.inner(first.p, A(second.p)).abs() < 1e-10 * size).all()
            z = jacobi(A.diagonal())(second.r)
            assert (A.systems.inner(first.r, z).abs() < 1e-10 * first.r.norm() * z.norm()).all()


def test_the_state_carries_the_residual_of_its_iterate():
    A, b = SamplingMask(bools(12, 2)) + Laplacian(weighted(IMAGE)), random(12, 2)
    for state in steps(A, b, 6):
        assert_same(state.r, b - A(state.x), 1e-13)


def test_as_many_steps_as_distinct_eigenvalues():
    A = Diagonal(torch.tensor([1.0, 2.0, 2.0, 5.0, 5.0, 5.0], dtype=torch.float64).unsqueeze(-1))
    b, hidden = random(6, 1), MatrixFree(A, A)
    solution = ConjugateGradient(1e-12).solve(hidden, b)
    assert solution.num_steps == 3
    assert_same(solution.x, b / A.d, 1e-12)


def test_given_coefficients_are_used_as_they_are():
    A, b, x = Laplacian(weighted(IMAGE)), random(12, 1), random(12, 1)
    state = cg_start(A, b, x, jacobi(None))
    r, p = b - A(x), b - A(x)
    new = cg_step(A, state, 0.3, 0.7, systems=A.systems, preconditioner=jacobi(None))
    assert torch.equal(state.r, r)
    assert_same(new.x, x + 0.3 * p, 1e-15)
    assert_same(new.r, r - 0.3 * A(p), 1e-14)
    assert_same(new.p, new.r + 0.7 * p, 1e-15)


def test_a_step_after_convergence_moves_nothing_and_has_finite_derivatives():
    w = numbers(IMAGE.num_edges).requires_grad_()
    A = Identity() + Laplacian(Graph.unchecked(IMAGE, IMAGE.mask_edges(w)))
    b = torch.zeros(12, 1, dtype=torch.float64, requires_grad=True)
    *_, state = steps(A, b, 4)
    assert not state.x.any()
    for derivative in torch.autograd.grad(state.x.sum(), (w, b)):
        assert derivative.isfinite().all()


def test_jacobi_leaves_empty_rows_at_rest():
    d = torch.tensor([[2.0], [0.0]])
    assert jacobi(d)(torch.ones(2, 1)).flatten().tolist() == [0.5, 0.0]
    assert jacobi(None)(d) is d


def test_the_recurrence_is_written_once():
    # the residual's update and the direction's: `r - alpha * Ap`, `z + beta * p`
    forms = re.compile(
        r"\bAp\b|[-+] \w*alpha\w*(\[\w+\])? \* A|\bbeta\w*(\[\w+\])? \* \w*\.?[pv]\b"
    )
    found = {
        path.relative_to(PACKAGE).as_posix()
        for folder in ("graph", "operators", "problems", "solvers", "unroll", "models")
        for path in (PACKAGE / folder).rglob("*.py")
        for line in re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL).splitlines()
        if forms.search(line)
    }
    assert found == {"solvers/conjugate_gradient.py"}


# ---- against PyGSP --------------------------------------------------------------------------


def sensor_problem(seed):
    """A PyGSP graph with a noisy, partly observed signal, and the same graph as ours."""
    graphs = pytest.importorskip("pygsp.graphs")
    G = graphs.Sensor(60, seed=seed)
    reference = np.random.default_rng(seed)
    y, mask = reference.normal(size=60), reference.random(60) < 0.4
    W = G.W.tocoo()
    upper = W.row < W.col
    edge_index = torch.from_numpy(np.stack([W.row[upper], W.col[upper]])).long()
    graph = Graph(EdgeList(edge_index, 60), torch.from_numpy(W.data[upper]).double())
    return G, graph, y, mask


def restored(graph, term, y, mask, tau):
    # |Mx - y|^2 + tau x'Lx has the minimiser of our |Mx - y|^2 / 2 + (mu / 2) x'Lx with mu = tau
    H = SamplingMask(torch.from_numpy(mask))
    A, b = term(H, torch.from_numpy(y).unsqueeze(-1)).system(GLR(graph, tau).Q)
    return A, b, ConjugateGradient(1e-13).solve(A, b).x.squeeze(-1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tau", [0.1, 5.0])
def test_tikhonov_regression_is_that_of_pygsp(seed, tau):
    learning = pytest.importorskip("pygsp.learning")
    G, graph, y, mask = sensor_problem(seed)
    A, b, x = restored(graph, LeastSquares, y, mask, tau)
    theirs = torch.from_numpy(learning.regression_tikhonov(G, y, mask, tau))
    # their sparse path stops at SciPy's tolerance of 1e-5: it solves our system that well
    assert (b - A(theirs.unsqueeze(-1))).norm() <= 1.01e-5 * b.norm()
    # their dense path is exact; it multiplies y by the mask
    G.L = G.L.toarray()
    assert_same(x, torch.from_numpy(learning.regression_tikhonov(G, y, mask, tau)), 1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_interpolation_is_that_of_pygsp(seed):
    learning = pytest.importorskip("pygsp.learning")
    G, graph, y, mask = sensor_problem(seed)
    y[~mask] = np.nan
    _, _, x = restored(graph, Interpolation, y, mask, 1.0)
    assert_same(x, torch.from_numpy(learning.regression_tikhonov(G, y, mask, 0)), 1e-10)


def test_a_large_grid_converges_within_the_default_budget():
    topology = grid_graph((40, 40))
    mask = torch.rand(1600) < 0.1
    A, b = Interpolation(SamplingMask(mask), random(1600, 3)).system(GLR(weighted(topology)).Q)
    assert ConjugateGradient().solve(A, b).converged
