"""Laws of implicit gradients: those of the exact solution, twice, from one adjoint solve."""

from functools import partial

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gsp_unroll.graph import EdgeList, Graph, grid_graph, path_graph
from gsp_unroll.operators import Blur, Diagonal, Identity, Laplacian, MatrixFree, SamplingMask
from gsp_unroll.operators.base import SelfAdjoint
from gsp_unroll.problems import GLR, GTV, Interpolation, LeastSquares, Problem
from gsp_unroll.solvers import ADMM, ConjugateGradient, Status
from gsp_unroll.testing import dense_matrix
from gsp_unroll.unroll import ConvergedSolve, GLRUnroll, GTVUnroll, GuardedCG
from tests.registries import edges
from tests.registries_operators import BATCH, IMAGE, POINTS, bools, numbers, weighted

IMPLICIT = ConjugateGradient(1e-13, gradient="implicit")
UNROLLED = ConjugateGradient(1e-13)
both_terms = pytest.mark.parametrize("term", [LeastSquares, Interpolation])


def variable(x):
    return x.detach().clone().requires_grad_()


def restore(term, H, topology, normalization="none", solver=IMPLICIT):
    """The restored signal as a function of observation, edge weights and weight of the prior."""

    def x(y, w, mu):
        graph = Graph.unchecked(topology, topology.mask_edges(w))
        return solver.solve(*term.unchecked(H, y).system(GLR(graph, mu, normalization).Q)).x

    return x


def inputs_of(topology, *channels, items=(), heads=()):
    y = numbers(*items, topology.num_nodes, *channels, seed=3) - 0.6
    w = numbers(*heads, topology.num_edges, seed=4)
    return variable(y), variable(w), variable(torch.tensor(0.7, dtype=torch.float64))


def close(a, b, tolerance=1e-9):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def assert_derivatives(x, inputs):
    """The first and the second, against differences in random directions."""
    assert gradcheck(x, inputs, fast_mode=True)
    assert gradgradcheck(x, inputs, fast_mode=True)


# ---- the derivatives are right, the first and the second ------------------------------------


@both_terms
@pytest.mark.parametrize("topology", [IMAGE, POINTS, BATCH], ids=["image", "points", "batch"])
@pytest.mark.parametrize("normalization", ["none", "sym"])
def test_first_and_second_derivatives(term, topology, normalization):
    mask = bools(topology.num_nodes, 2)
    mask[-2:] = True  # a sample in every part of the batch
    x = restore(term, SamplingMask(mask), topology, normalization)
    inputs = inputs_of(topology, 2)
    assert_derivatives(x, inputs)


@both_terms
def test_derivatives_of_items_and_heads(term):
    # an observation without the axis of heads that the weights have, and a mask for each item
    x = restore(term, SamplingMask(bools(2, 1, 12, 2)), IMAGE)
    inputs = inputs_of(IMAGE, 2, items=(2, 1), heads=(2,))
    assert x(*inputs).shape == (2, 2, 12, 2)
    assert_derivatives(x, inputs)


def test_derivatives_behind_a_blur():
    x = restore(LeastSquares, Blur((3, 4), numbers(3, 3)), IMAGE)
    assert_derivatives(x, inputs_of(IMAGE, 2))


class Mixing(SelfAdjoint):
    """A user's operator: `x -> M'M x C'C`, with tensors that nobody else knows of."""

    couples_channels = True

    def __init__(self, M, C):
        self.M, self.C = M, C

    def _apply(self, x):
        return self.M.T @ (self.M @ x) @ self.C.T @ self.C


def test_derivatives_by_what_only_the_operator_knows():
    def x(M, C, b):
        return IMPLICIT.solve(Mixing(M, C) + Identity(), b).x

    inputs = variable(numbers(4, 4) - 0.6), variable(numbers(2, 2, seed=1)), variable(numbers(4, 2))
    assert_derivatives(x, inputs)


@both_terms
def test_the_gradient_is_that_of_the_dense_solution(term):
    H, (y, w, mu) = SamplingMask(bools(12, 2)), inputs_of(IMAGE, 2)
    A, b = term(H, y).system(GLR(Graph.unchecked(IMAGE, IMAGE.mask_edges(w)), mu).Q)
    dense = torch.linalg.solve(dense_matrix(A, 12, 2), b.flatten()).reshape(12, 2)
    weights = torch.randn(12, 2, dtype=torch.float64)
    ours = torch.autograd.grad(
        (weights * IMPLICIT.solve(A, b).x).sum(), (y, w, mu), retain_graph=True
    )
    theirs = torch.autograd.grad((weights * dense).sum(), (y, w, mu))
    for a, e in zip(ours, theirs, strict=True):
        close(a, e)


@both_terms
def test_a_converged_unroll_has_the_same_gradient(term):
    inputs = inputs_of(POINTS, 2)
    results = []
    for solver in (IMPLICIT, UNROLLED):
        x = restore(term, SamplingMask(bools(7, 2)), POINTS, solver=solver)(*inputs)
        results.append(torch.autograd.grad((x**3).sum(), inputs))
    for a, e in zip(*results, strict=True):
        close(a, e, 1e-8)


@pytest.mark.parametrize("rtol", [1e-2, 1e-4, 1e-6])
def test_the_error_of_the_gradient_follows_the_tolerance(rtol):
    topology = grid_graph((12, 12))
    inputs = inputs_of(topology, 1)
    H = SamplingMask(bools(144, 1))
    grads = []
    for tolerance in (rtol, 1e-13):
        solver = ConjugateGradient(tolerance, gradient="implicit")
        x = restore(LeastSquares, H, topology, solver=solver)(*inputs)
        grads.append(torch.cat([g.flatten() for g in torch.autograd.grad((x**2).sum(), inputs)]))
    assert (grads[0] - grads[1]).norm() < 20 * rtol * grads[1].norm()


# ---- the policy changes how the gradient is had, and nothing else ---------------------------


@both_terms
@pytest.mark.parametrize("x0", [None, 0.3])
def test_the_solution_is_the_same(term, x0):
    A, b = term(SamplingMask(bools(12, 2)), numbers(12, 2)).system(GLR(weighted(IMAGE)).Q)
    x0 = None if x0 is None else torch.full_like(b, x0)
    one, other = (
        ConjugateGradient(1e-12, gradient=policy).solve(A, variable(b), x0)
        for policy in ("unrolled", "implicit")
    )
    close(one.x, other.x, 1e-10)
    assert one.status is other.status is Status.CONVERGED
    assert one.primal_residual.shape == other.primal_residual.shape
    assert one.x.requires_grad
    assert other.x.requires_grad


def test_without_a_gradient_to_take_there_is_none():
    A, b = Identity() + Laplacian(weighted(IMAGE)), numbers(12, 1)
    assert not IMPLICIT.solve(A, b).x.requires_grad
    with torch.no_grad():
        assert not IMPLICIT.solve(A, variable(b)).x.requires_grad


def test_the_start_has_no_gradient():
    A, b, x0 = Identity() + Laplacian(weighted(IMAGE)), variable(numbers(12, 1)), numbers(12, 1)
    x0 = variable(x0)
    (slope,) = torch.autograd.grad(IMPLICIT.solve(A, b, x0).x.sum(), x0, allow_unused=True)
    assert slope is None
    assert UNROLLED.solve(A, b, x0).x.grad_fn is not None


def test_an_exact_start_has_the_gradient_of_the_solution():
    d = variable(torch.tensor([[2.0], [0.5]]))
    b = variable(torch.tensor([[6.0], [4.0]]))
    solution = IMPLICIT.solve(Diagonal(d), b, torch.tensor([[3.0], [8.0]]))
    assert solution.num_steps == 0
    by_b, by_d = torch.autograd.grad(solution.x.sum(), (b, d))
    assert by_b.flatten().tolist() == [0.5, 2.0]
    assert by_d.flatten().tolist() == [-1.5, -16.0]


def test_a_graph_that_is_kept_can_be_walked_twice():
    inputs = inputs_of(IMAGE, 1)
    loss = (restore(LeastSquares, SamplingMask(bools(12, 1)), IMAGE)(*inputs) ** 2).sum()
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    for a, b in zip(first, torch.autograd.grad(loss, inputs), strict=True):
        assert torch.equal(a, b)


# ---- what it costs --------------------------------------------------------------------------


class Counting(SelfAdjoint):
    """An operator that counts its products."""

    def __init__(self, A):
        self.A, self.count = A, 0

    def _apply(self, x):
        self.count += 1
        return self.A(x)

    def diagonal(self):
        return self.A.diagonal()


def sequence(w, n=400):
    return Identity().scaled(1e-3) + Laplacian(Graph.unchecked(path_graph(n), w))


def saved_by(call):
    """The bytes that autograd keeps, each storage once."""
    kept = {}

    def pack(t):
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        result = call()
    return sum(kept.values()), result


def test_what_is_kept_does_not_depend_on_the_number_of_steps():
    topology = path_graph(400)
    w, b = variable(topology.mask_edges(numbers(topology.num_edges))), numbers(400, 1)
    kept = {}
    for policy in ("implicit", "unrolled"):
        for max_steps in (2, 5, 50):
            solver = ConjugateGradient(1e-12, max_steps, policy)
            kept[policy, max_steps], solution = saved_by(partial(solver.solve, sequence(w), b))
            assert solution.num_steps == max_steps
    signal = 400 * 8
    assert kept["implicit", 2] == kept["implicit", 5] == kept["implicit", 50] < 8 * signal
    assert kept["unrolled", 50] > kept["unrolled", 5] + 45 * signal


def test_a_first_derivative_takes_one_adjoint_solve():
    topology = path_graph(400)
    w = variable(topology.mask_edges(numbers(topology.num_edges)))
    A, b = Counting(sequence(w)), variable(numbers(400, 1))
    solution = ConjugateGradient(1e-8, gradient="implicit").solve(A, b)
    forward, A.count = A.count, 0
    # the residual at the start and at the end, and the two that carry the derivatives
    assert forward == solution.num_steps + 4
    g = numbers(400, 1, seed=5) - 0.6
    alone = ConjugateGradient(1e-8).solve(A.A, g)
    torch.autograd.grad(solution.x, (w, b), g)
    assert A.count <= alone.num_steps + 6
    assert alone.num_steps > 50


# ---- parts that nothing determines ----------------------------------------------------------

PARTS = EdgeList(edges((0, 1), (1, 2), (3, 4), (4, 5), (3, 5)), 7)
SEEN = torch.tensor([True, False, True, False, False, False, False])


@both_terms
@pytest.mark.parametrize("normalization", ["none", "sym"])
def test_derivatives_where_a_part_has_no_sample(term, normalization):
    # the gradients of gradcheck ask for every entry, those of the undetermined parts too
    x = restore(term, SamplingMask(SEEN), PARTS, normalization)
    inputs = inputs_of(PARTS, 2)
    assert_derivatives(x, inputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("level", [0, 1e-12, 1e-9, 1e-6, 1e-3, 1, 1e3])
@pytest.mark.parametrize("known", [True, False], ids=["jacobi", "no diagonal"])
def test_a_gradient_out_of_reach_does_not_run_away(dtype, level, known):
    # A has the constants as null space: a part `level` of the gradient asks for their change
    topology = grid_graph((30, 30))
    L = Laplacian(weighted(topology, dtype=dtype))
    A = L if known else MatrixFree(L, L)
    rtol = 1e-10 if dtype is torch.float64 else 1e-6
    draw = torch.Generator().manual_seed(0)
    b, change, g = L(torch.randn(3, 900, 1, generator=draw, dtype=torch.float64).to(dtype))
    g = g / g.norm() + level * torch.full_like(g, 1 / 30)
    b = variable(b)
    solution = ConjugateGradient(rtol, gradient="implicit").solve(A, b)
    (slope,) = torch.autograd.grad(solution.x, b, g)
    # a change of b that A does reach changes the solution as the gradient says
    moved = ConjugateGradient(rtol).solve(A, change / change.norm()).x
    error = (slope * change / change.norm()).sum() - (g * moved).sum()
    assert error.abs() < 1e3 * rtol * g.norm() * moved.norm()
    assert slope.norm() < 1e3 * g.norm()


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_a_gradient_out_of_reach_has_no_unit(scale):
    topology = grid_graph((8, 9))
    A, (b, g) = Laplacian(weighted(topology)), numbers(2, 72, 1)
    b = variable(A(b))
    x = ConjugateGradient(1e-10, gradient="implicit").solve(A, b).x
    once, scaled = (torch.autograd.grad(x, b, s * g, retain_graph=True)[0] for s in (1, scale))
    torch.testing.assert_close(scaled / scale, once, rtol=1e-5, atol=1e-6 * float(once.norm()))


def test_a_system_that_ran_out_of_steps_keeps_its_truncated_gradient():
    topology = path_graph(400)
    w = variable(topology.mask_edges(numbers(topology.num_edges)))
    A, b = Counting(sequence(w)), variable(numbers(400, 1))
    solution = ConjugateGradient(1e-8, 20, gradient="implicit").solve(A, b)
    assert solution.status is Status.MAX_STEPS
    A.count = 0
    (slope,) = torch.autograd.grad(solution.x.sum(), b)
    assert A.count < 30
    assert slope.isfinite().all()


# ---- from a problem, and inside other solvers -----------------------------------------------


@both_terms
def test_a_quadratic_problem_is_one_system(term):
    H, y = SamplingMask(bools(12, 2)), numbers(12, 2)
    problem = Problem(term(H, y), GLR(weighted(IMAGE), 0.7))
    x = variable(UNROLLED.solve(*problem.system()).x)
    (slope,) = torch.autograd.grad(problem.objective(x).sum(), x)
    slope = torch.where(H.mask, 0, slope) if term is Interpolation else slope
    assert slope.abs().max() < 1e-10


def test_admm_takes_its_linear_solves_either_way():
    w, results = variable(numbers(POINTS.num_edges)), []
    for solver in (IMPLICIT, UNROLLED):
        data = LeastSquares(SamplingMask(bools(7, 1)), numbers(7, 1))
        problem = Problem(data, GTV(Graph.unchecked(POINTS, w), 0.05))
        solution = ADMM(rho=1.0, rtol=1e-300, max_steps=7, linear_solver=solver).solve(problem)
        results.append(torch.autograd.grad((solution.x**2).sum(), w)[0])
    close(*results, 1e-7)


TIGHT = partial(ConvergedSolve, rtol=1e-13)


@both_terms
def test_a_layer_with_converged_solves_has_the_gradient_of_long_unrolled_ones(term):
    weight = None if term is Interpolation else 0.7
    H, (y, w, _) = SamplingMask(bools(7, 2)), inputs_of(POINTS, 2)
    for build in (
        lambda steps, solver: GLRUnroll(steps, mu=weight, solver=solver),
        lambda steps, solver: GTVUnroll(3, steps, rho=weight, solver=solver),
    ):
        results = []
        for layer in (build(1000, TIGHT).double(), build(40, GuardedCG).double()):
            x = layer(term.unchecked(H, y), Graph.unchecked(POINTS, w))
            results.append(torch.autograd.grad((x**2).sum(), (y, w, *layer.parameters())))
        for a, e in zip(*results, strict=True):
            close(a, e, 1e-6)  # learned weights are stored as logarithms, and in float32 at first


def test_a_converged_solve_per_head_has_right_derivatives():
    layer = GLRUnroll(1000, heads=2, mu=0.7, solver=TIGHT).double()
    y, w, _ = inputs_of(IMAGE, 2, heads=(2,))
    H = SamplingMask(bools(12, 2))

    def x(y, w):
        graph = Graph.unchecked(IMAGE, IMAGE.mask_edges(w))
        return layer(LeastSquares.unchecked(H, y).per_head(), graph)

    assert_derivatives(x, (y, w))


def test_what_a_converged_layer_keeps_does_not_depend_on_its_steps():
    topology = grid_graph((24, 24))
    w = variable(topology.mask_edges(numbers(topology.num_edges)))
    data = LeastSquares(SamplingMask(bools(576, 1)), numbers(576, 1))
    kept = set()
    for rtol in (1e-2, 1e-12):
        layer = GLRUnroll(1000, mu=1.0, solver=partial(ConvergedSolve, rtol=rtol)).double()
        kept.add(saved_by(partial(layer, data, Graph.unchecked(topology, w)))[0])
    assert len(kept) == 1
    assert "rtol=0.01" in repr(ConvergedSolve(5, None, 0.01))
