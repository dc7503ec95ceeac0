"""The prior that is not convex: its threshold, when a problem with it is convex, and its bias."""

import pytest
import torch

from gsp_unroll.graph import EdgeList, Graph, grid_graph, path_graph
from gsp_unroll.operators import (
    Diagonal,
    Gradient,
    Identity,
    Incidence,
    Laplacian,
    SamplingMask,
    gershgorin_bound,
)
from gsp_unroll.problems import (
    GTV,
    FirmGTV,
    Interpolation,
    LeastSquares,
    Problem,
    firm_threshold,
    soft_threshold,
)
from gsp_unroll.solvers import ADMM, Status
from gsp_unroll.testing import check_prox, dense_matrix
from gsp_unroll.unroll import FirmGTVUnroll, GTVUnroll
from tests.registries import TOPOLOGIES
from tests.registries_operators import BATCH, IMAGE, weighted


def rand(*shape):
    return torch.rand(*shape, dtype=torch.float64)


def assert_same(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def parts(got, expected, advice):
    return pytest.raises(ValueError, match=f"(?s)Got {got}.*Expected {expected}.*{advice}")


# ---- the threshold --------------------------------------------------------------------------


def cost(v, z, t, knee):
    size = v.abs().clamp(max=knee)
    return t * (size - size**2 / (2 * knee)) + 0.5 * (v - z) ** 2


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("knee", [0.2, 0.7, 1.0, 4.0, 1e6])
def test_the_firm_threshold_is_the_best_of_all_values(t, knee):
    z = 6 * rand(40) - 3
    v = torch.linspace(-4, 4, 80001, dtype=torch.float64).unsqueeze(-1)
    best = cost(v, z, t, knee).amin(0)
    found = cost(firm_threshold(z, t, knee), z, t, knee)
    assert (found <= best + 1e-12).all()
    assert (found >= best - 1e-7).all()


def test_the_firm_threshold_lies_between_the_soft_one_and_the_value():
    z = 3 * torch.randn(200, dtype=torch.float64)
    soft, firm = soft_threshold(z, 0.5), firm_threshold(z, 0.5, 2.0)
    assert (firm.abs() >= soft.abs()).all()
    assert (firm.abs() <= z.abs() + 1e-15).all()
    assert torch.equal(firm[z.abs() > 2], z[z.abs() > 2])
    assert not firm[z.abs() < 0.5].any()
    assert_same(firm_threshold(z, 0.5, 1e9), soft, 1e-8)
    assert torch.equal(firm_threshold(z, 0.0, 2.0), z)


def test_the_firm_threshold_is_continuous_while_a_line_is_left():
    z = torch.linspace(0, 3, 30001, dtype=torch.float64)
    v = firm_threshold(z, 0.5, 2.0)
    assert (v.diff().abs() < 2 * 2.0 / 1.5 * 1e-4).all()


def test_the_firm_threshold_is_differentiable_by_value_threshold_and_knee():
    z = (2 * torch.randn(4, 20, 2, dtype=torch.float64)).requires_grad_()
    t, knee = (0.2 + rand(4, 1, 1)).requires_grad_(), (1.5 + rand(4, 1, 1)).requires_grad_()
    assert torch.autograd.gradcheck(firm_threshold, (z, t, knee))
    assert torch.autograd.gradgradcheck(firm_threshold, (z, t, knee))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("t", "knee"), [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, 2.0)])
def test_the_firm_threshold_has_finite_derivatives_at_its_corners(dtype, t, knee):
    z = torch.tensor([0.0, t, knee, -knee], dtype=dtype, requires_grad=True)
    t, knee = (torch.tensor(v, dtype=dtype, requires_grad=True) for v in (t, knee))
    value = firm_threshold(z, t, knee)
    assert value.dtype == dtype
    for derivative in torch.autograd.grad(value.sum(), (z, t, knee)):
        assert derivative.isfinite().all()


@pytest.mark.parametrize("step", [0.5, 3.0, 30.0])
def test_the_proximal_map_is_the_minimiser_convex_or_not(step):
    z = torch.randn(IMAGE.num_edges, 2, dtype=torch.float64)
    check_prox(FirmGTV(weighted(IMAGE), 0.3, 1.0), z, step)


# ---- the bound ------------------------------------------------------------------------------


@pytest.mark.parametrize("build", TOPOLOGIES.values(), ids=TOPOLOGIES.keys())
@pytest.mark.parametrize(
    "operator", [Laplacian, lambda g: Incidence(g).gram], ids=["L", "C transposed C"]
)
def test_no_eigenvalue_is_above_the_bound_of_gershgorin(build, operator):
    graph = weighted(build())
    if not graph.num_nodes:
        return
    A = operator(graph)
    largest = torch.linalg.eigvalsh(dense_matrix(A, graph.num_nodes)).max()
    bound = gershgorin_bound(A)
    assert bound.shape == (graph.topology.systems.num_graphs, 1)
    assert largest <= bound.max() + 1e-12
    assert bound.max() <= 2.5 * largest + 1e-12


def test_the_bound_is_that_of_the_discs():
    graph = weighted(IMAGE)
    assert_same(gershgorin_bound(Laplacian(graph)).max(), 2 * graph.degree.max())
    squares = Graph(IMAGE, graph.weight**2).degree
    assert_same(gershgorin_bound(Incidence(graph).gram).max(), 2 * squares.max())
    assert gershgorin_bound(Identity()).item() == 2
    per_head = gershgorin_bound(Laplacian(weighted(IMAGE, 3)))
    assert_same(per_head.squeeze(), 2 * weighted(IMAGE, 3).degree.amax(-1))


def test_each_graph_of_a_batch_has_a_bound_of_its_own():
    graph = weighted(BATCH)
    bound = gershgorin_bound(Laplacian(graph)).squeeze(-1)
    for g in (0, 1, 3):
        assert_same(bound[g], 2 * graph.degree[BATCH.batch == g].max())
    assert bound[2] == 0  # no node, no eigenvalue


def test_an_operator_without_a_bound():
    with parts("a Gradient, which knows no majorizer", "an operator whose majorizer", "power"):
        gershgorin_bound(Gradient(IMAGE))


# ---- convexity ------------------------------------------------------------------------------


@pytest.mark.parametrize("build", TOPOLOGIES.values(), ids=TOPOLOGIES.keys())
def test_with_the_knee_of_gershgorin_denoising_is_convex(build):
    graph = weighted(build())
    n = graph.num_nodes
    prior = FirmGTV.convex(graph, 0.7)
    problem = Problem(LeastSquares(Identity(), rand(n, 1)), prior)
    a, b = 3 * torch.randn(2, 200, n, 1, dtype=torch.float64)
    middle, ends = (
        problem.objective((a + b) / 2),
        problem.objective(a) / 2 + problem.objective(b) / 2,
    )
    assert (middle <= ends + 1e-10).all()


def test_with_a_low_knee_denoising_is_not_convex():
    prior = FirmGTV(Graph(path_graph(2), torch.tensor([1.0, 0.0]).double()), 1.0, 0.5)
    problem = Problem(LeastSquares(Identity(), torch.zeros(2, 1).double()), prior)
    a, b = torch.tensor([[[0.0], [0.0]], [[-0.25], [0.25]]], dtype=torch.float64)
    assert problem.objective((a + b) / 2) > (problem.objective(a) + problem.objective(b)) / 2


def test_a_convex_problem_has_one_solution_from_every_start():
    graph, y = weighted(IMAGE), rand(12, 2)
    problem = Problem(LeastSquares(Identity(), y), FirmGTV.convex(graph, 0.1))
    solve = ADMM(rtol=1e-10).solve
    found = [solve(problem, x0) for x0 in (None, torch.zeros_like(y), 5 * rand(12, 2))]
    for solution in found:
        assert solution.status is Status.CONVERGED_WITHOUT_BOUND
        assert solution.duality_gap.isnan().all()
        assert_same(solution.x, found[0].x, 1e-6)


def test_a_knee_at_infinity_is_gtv():
    graph, data = weighted(IMAGE), LeastSquares(Identity(), rand(12, 2))
    firm, soft = Problem(data, FirmGTV(graph, 0.1, 1e9)), Problem(data, GTV(graph, 0.1))
    assert_same(ADMM(rtol=1e-9).solve(firm).x, ADMM(rtol=1e-9).solve(soft).x, 1e-6)


@pytest.mark.parametrize("term", [LeastSquares, Interpolation])
def test_with_missing_values_the_solution_is_stationary(term):
    graph, mask, y = weighted(IMAGE), rand(12, 1) < 0.6, rand(12, 1)
    problem = Problem(term(SamplingMask(mask), y), FirmGTV(graph, 0.1, 0.4))
    solution = ADMM(rtol=1e-10, max_steps=20000).solve(problem)
    assert solution.converged
    for _ in range(200):
        near = problem.data.feasible(solution.x + 1e-3 * torch.randn(12, 1, dtype=torch.float64))
        assert problem.objective(near) > problem.objective(solution.x) - 1e-6


# ---- the bias -------------------------------------------------------------------------------


def noisy_step():
    clean = (torch.arange(60) >= 30).double().unsqueeze(-1)
    noise = torch.randn(60, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    graph = Graph(path_graph(60), torch.ones(60, dtype=torch.float64))
    return clean, LeastSquares(Identity(), clean + 0.05 * noise), graph


def height(x):
    return (x[30:].mean() - x[:30].mean()).item()


def test_a_step_keeps_its_height_where_gtv_takes_a_part_of_it():
    clean, data, graph = noisy_step()
    soft = ADMM(rtol=1e-8).solve(Problem(data, GTV(graph, 1.0))).x
    firm = ADMM(rtol=1e-8).solve(Problem(data, FirmGTV(graph, 1.0, 0.6))).x
    # the two ends of a flat part of 30 nodes are moved by lam / 30 each
    assert height(soft) == pytest.approx(height(data.y) - 2 / 30, abs=1e-4)
    assert height(firm) == pytest.approx(height(data.y), abs=1e-4)
    assert (firm - clean).square().mean() < 0.5 * (soft - clean).square().mean()
    # and both make the parts flat
    assert soft[:30].std() < 0.02
    assert firm[:30].std() < 0.02


def test_a_layer_keeps_the_height_too():
    _, data, graph = noisy_step()
    with torch.no_grad():
        soft = GTVUnroll(60, lam=1.0, rho=4.0).double()(data, graph)
        firm = FirmGTVUnroll(60, lam=1.0, knee=0.6, rho=4.0).double()(data, graph)
    assert abs(height(firm) - height(data.y)) < 0.2 * abs(height(soft) - height(data.y))


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0, 2.0])
def test_a_convex_denoising_does_not_go_to_and_fro(scale):
    # at twice the weak convexity a step turns the multiplier round for ever
    prior = FirmGTV.convex(weighted(IMAGE), 0.1)
    for seed in range(4):
        y = scale * torch.randn(12, 1, generator=torch.Generator().manual_seed(seed)).double()
        assert ADMM(max_steps=1000).solve(Problem(LeastSquares(Identity(), y), prior)).converged


# ---- wrong use ------------------------------------------------------------------------------


def test_penalties_below_the_weak_convexity():
    problem = Problem(LeastSquares(Identity(), rand(12, 1)), FirmGTV(weighted(IMAGE), 1.0, 0.5))
    with parts("rho=2.0 for a FirmGTV", "a penalty above .* 2\\b", "Raise rho to four times that"):
        ADMM(rho=2.0).solve(problem)
    assert ADMM(rho=2.1, max_steps=3).solve(problem).num_steps == 3
    tensor = FirmGTV(weighted(IMAGE, 2), torch.tensor([0.1, 1.0]).view(2, 1, 1).double(), 0.5)
    with parts("rho=1.0 for a FirmGTV", "a penalty above .* 2\\b", "leave it out"):
        ADMM(rho=1.0).solve(Problem(problem.data, tensor))


@pytest.mark.parametrize("knee", [0, -1.0, float("inf"), float("nan")])
def test_knees_that_are_none(knee):
    with parts("knee=", "a finite number above 0", "Set knee above 0"):
        FirmGTV(weighted(IMAGE), knee=knee)
    with parts("knee=", "a finite number above 0", "Set knee above 0"):
        FirmGTVUnroll(knee=knee)


def test_a_graph_without_edges_has_a_convex_knee():
    empty = Graph(EdgeList(torch.zeros(2, 0, dtype=torch.int64), 3), torch.zeros(0).double())
    y = rand(3, 1)
    assert_same(ADMM().solve(Problem(LeastSquares(Identity(), y), FirmGTV.convex(empty))).x, y)


def test_gains_keep_a_problem_convex_with_a_higher_knee():
    # H'H >= 4 I: a quarter of the knee will do
    graph, y = weighted(grid_graph((3, 4))), rand(12, 1)
    knee = FirmGTV.convex(graph, 0.3).knee / 4
    problem = Problem(LeastSquares(Diagonal(2 + rand(12, 1)), y), FirmGTV(graph, 0.3, knee))
    a, b = 3 * torch.randn(2, 200, 12, 1, dtype=torch.float64)
    middle, ends = (
        problem.objective((a + b) / 2),
        problem.objective(a) / 2 + problem.objective(b) / 2,
    )
    assert (middle <= ends + 1e-10).all()
