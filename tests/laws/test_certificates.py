"""What a result promises: gaps and error bounds that hold, and a reason where none is known.

The optimum comes from Clarabel, or for a quadratic prior from a dense matrix.
"""

import re
from functools import cache

import cvxpy as cp
import numpy as np
import pytest
import torch

from gsp_unroll.graph import Graph, path_graph
from gsp_unroll.operators import Blur, Diagonal, Identity, MatrixFree, SamplingMask
from gsp_unroll.problems import (
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
)
from gsp_unroll.solvers import ADMM, ConjugateGradient, Status
from gsp_unroll.testing import check_claims, dense_matrix
from tests.registries_convex import CONVEX
from tests.registries_operators import IMAGE, bools, numbers, slopes_on, weighted

TIGHT = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}


def random(*shape, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype)


# ---- the optimum, found by others -----------------------------------------------------------


def root(M):
    """`F` with `F'F = M`, for a matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh((M + M.mT) / 2)
    return (values.clamp(min=0).sqrt() * vectors).mT.numpy()


def written(prior, x):
    """The prior as an expression of CVXPY, from matrices and the factors of its terms."""
    n, channels = x.shape
    flat = cp.reshape(x, (n * channels,), order="C")
    terms = []
    for part in prior.summands:
        form = part.beside if part.Q is None else part.Q
        if form is not None:
            F = root(dense_matrix(form, n, channels))
            terms.append(0.5 * cp.sum_squares(F @ flat))
        if part.Q is None:
            K = dense_matrix(part.K, n).numpy()
            one = torch.zeros(len(K), channels, dtype=torch.float64)
            one[:, 0] = 1.0
            factors = part.penalty(one)[:, :1].numpy()
            z = K @ x
            size = cp.norm(z, 2, axis=1) if isinstance(part, VectorGTV) else cp.sum(cp.abs(z), 1)
            terms.append(cp.sum(cp.multiply(factors[:, 0], size)))
    return sum(terms)


def optimum(problem, channels):
    """The least objective, and a minimiser."""
    n, data = problem.num_nodes, problem.data
    x = cp.Variable((n, channels))
    H = dense_matrix(data.H, n, channels).numpy()
    misfit = H @ cp.reshape(x, (n * channels,), order="C") - data.y.flatten().numpy()
    hard = isinstance(data, Interpolation)
    cost = written(problem.prior, x) + (0 if hard else 0.5 * cp.sum_squares(misfit))
    seen = np.flatnonzero(np.abs(H).sum(1))
    solved = cp.Problem(cp.Minimize(cost), [misfit[seen] == 0] if hard else [])
    solved.solve(solver=cp.CLARABEL, **TIGHT)
    assert solved.status == cp.OPTIMAL
    return solved.value, torch.from_numpy(x.value)


SETTINGS = ("all observed", "some observed", "exact samples", "behind gains")


@cache
def case(name, setting):
    """A problem, its least objective, a minimiser."""
    build, channels = CONVEX[name]
    prior = build(torch.float64)
    n = prior.K.num_inputs
    y, mask = random(n, channels), bools(n, channels)
    data = {
        "all observed": lambda: LeastSquares(Identity(), y),
        "some observed": lambda: LeastSquares(SamplingMask(mask), mask * y),
        "exact samples": lambda: Interpolation(SamplingMask(mask), mask * y),
        "behind gains": lambda: LeastSquares(Diagonal(0.5 + numbers(n, 1)), y),
    }[setting]()
    problem = Problem(data, prior)
    return problem, *optimum(problem, channels)


def known_range(x):
    """A range in which that minimiser lies."""
    return float(x.min()) - 0.5, float(x.max()) + 0.5


def cases(test):
    test = pytest.mark.parametrize("setting", SETTINGS)(test)
    return pytest.mark.parametrize("name", CONVEX)(test)


def candidates_near(problem, x, scale, seed):
    """Edge signals about a size, the right answer of the dual problem not among them."""
    return scale * random(*problem.prior.K(x).shape, dtype=x.dtype, seed=seed)


# ---- the gap --------------------------------------------------------------------------------


@cases
def test_the_gap_is_above_what_is_left_to_gain_or_there_is_a_reason(name, setting):
    plain, best, x = case(name, setting)
    bounded = Problem(plain.data, plain.prior, within=known_range(x))
    assert bounded.no_gap is None
    for problem in (plain, bounded):
        for seed, distance in enumerate((1.0, 0.1, 1e-3, 0.0)):
            near = problem.data.feasible(x + distance * random(*x.shape, seed=seed))
            for scale in (0.0, 0.1, 1.0):
                gap = problem.duality_gap(near, candidates_near(problem, near, scale, seed))
                if problem.no_gap is None:
                    left = problem.objective(near).sum() - best
                    assert gap.sum() >= left - 1e-7 * max(1, best)
                else:
                    assert gap.isnan().all()
                    assert re.fullmatch(r"[A-Z].*\.", problem.no_gap)


#: Priors that clipping may raise, by how their names begin.
OPEN = ("GTF of order 1", "GTF of order 2", "GTF of order 3", "GTV + GTF", "GGLR", "GGTV", "DG")
OPEN += ("mixed", "GLR about a plane", "GLR of chords")


@cases
def test_where_a_gap_is_known(name, setting):
    problem, _, _ = case(name, setting)
    if setting == "behind gains":
        assert "Diagonal selects no single values" in problem.no_gap
    elif setting == "all observed" or not name.startswith(OPEN):
        assert problem.no_gap is None
    else:
        assert "clipping a signal may raise" in problem.no_gap


@cases
def test_the_gap_closes_at_the_solution(name, setting):
    problem, best, x = case(name, setting)
    problem = Problem(problem.data, problem.prior, within=known_range(x))
    if problem.prior.Q is not None:
        A, b = problem.system()
        start = torch.zeros_like(x)
        solution = ConjugateGradient(1e-12, max_steps=5000).solve(A, b, start)
        found, gap = solution.x, problem.duality_gap(solution.x)
    else:
        solution = ADMM(rtol=1e-4, max_steps=20000).solve(problem)
        assert solution.status is Status.CONVERGED
        found, gap = solution.x, solution.duality_gap
    left = problem.objective(found).sum() - best
    start = problem.objective(problem.data.feasible(torch.zeros_like(x))).sum()
    assert left - 1e-7 <= gap.sum() <= 1e-3 * max(1, start)


@cases
def test_the_gap_in_float32(name, setting):
    plain, best, x = case(name, setting)
    prior = CONVEX[name][0](torch.float32)
    H = plain.data.H
    H = Diagonal(H.d.float()) if isinstance(H, Diagonal) else H
    data = type(plain.data)(H, plain.data.y.float())
    problem = Problem(data, prior, within=known_range(x))
    for seed, distance in enumerate((1.0, 0.1, 0.0)):
        near = data.feasible((x + distance * random(*x.shape, seed=seed)).float())
        p = candidates_near(problem, near, 0.1, seed)
        objective, gap = problem.objective(near), problem.duality_gap(near, p)
        assert gap.dtype == torch.float32
        # both are sums of terms of about this size
        size = float(objective.sum() + gap.abs().sum()) + best
        assert gap.sum() >= objective.sum() - best - 1e-5 * size


def test_a_gap_needs_a_candidate_for_a_norm_and_none_for_a_form():
    data = LeastSquares(SamplingMask(bools(12, 2)), random(12, 2))
    x = random(12, 2)
    assert Problem(data, GTV(weighted(IMAGE))).duality_gap(x).isnan().all()
    assert Problem(data, GLR(weighted(IMAGE))).duality_gap(x).isfinite().all()
    assert Problem(data, GLR(weighted(IMAGE))).lower_bound() is not None


def test_where_all_is_observed_the_gap_of_a_form_is_half_the_squared_residual():
    problem = Problem(LeastSquares(Identity(), random(12, 2)), GLR(weighted(IMAGE), 0.7))
    x = random(12, 2, seed=1)
    A, b = problem.system()
    expected = 0.5 * (b - A(x)).square().sum(0, keepdim=True)
    torch.testing.assert_close(problem.duality_gap(x), expected)


def test_reasons():
    y = random(12, 2)
    some, all_of_it = LeastSquares(SamplingMask(bools(12, 2)), y), LeastSquares(Identity(), y)
    blurred = LeastSquares(Blur((3, 4), numbers(3, 3)), y)
    graph = weighted(IMAGE)

    class Untold(Prior):
        K = Identity()

        def penalty(self, z):
            return z.abs()

        def prox(self, z, step):
            return z

    for problem, reason in {
        Problem(all_of_it, FirmGTV(graph)): "FirmGTV is not convex",
        Problem(all_of_it, Untold()): "Untold is neither a norm nor a quadratic form",
        Problem(blurred, GTV(graph)): r"Blur selects no single values.*within=\(lowest, highest\)",
        Problem(some, GGTV(slopes_on(IMAGE))): r"clipping a signal may raise GGTV.*within=",
    }.items():
        assert re.search(reason, problem.no_gap)
    assert Problem(blurred, GTV(graph), within=(0, 1)).no_gap is None
    # a range turns no other prior into one that is known
    assert Problem(all_of_it, FirmGTV(graph), within=(0, 1)).no_gap is not None


@pytest.mark.parametrize("within", [(1.0, 0.0), (0.0, torch.inf), (torch.nan, 1.0)])
def test_a_range_that_is_none(within):
    data = LeastSquares(Identity(), random(12, 1))
    with pytest.raises(ValueError, match=r"Got within=.*two finite numbers.*or leave it out"):
        Problem(data, GTV(weighted(IMAGE)), within=within)


def test_a_range_constrains_nothing():
    data = LeastSquares(SamplingMask(bools(12, 1)), random(12, 1))
    plain, bounded = (
        ADMM().solve(Problem(data, GTV(weighted(IMAGE)), within=within)).x
        for within in (None, (-0.1, 0.1))
    )
    assert torch.equal(plain, bounded)


@pytest.mark.parametrize("name", CONVEX)
def test_every_prior_is_what_it_says(name):
    build, channels = CONVEX[name]
    prior = build(torch.float64)
    check_claims(prior, (prior.K.num_inputs, channels))


# ---- the distance to the solution -----------------------------------------------------------


@pytest.mark.parametrize("setting", ["all observed", "behind gains"])
@pytest.mark.parametrize("name", CONVEX)
def test_the_distance_to_the_solution_is_below_its_bound(name, setting):
    problem, _, best = case(name, setting)
    problem = Problem(problem.data, problem.prior, within=known_range(best))
    x = ADMM(max_steps=30).solve(problem).x
    p = candidates_near(problem, x, 0.1, 0)
    for near in (x, best + 0.1 * random(*best.shape), best):
        error = (near - best).norm()
        bound = problem.error_bound(near, p)
        assert error <= bound.square().sum().sqrt() + 1e-5
    # Clarabel's minimiser is itself off by about a millionth
    if problem.prior.Q is not None:
        assert problem.error_bound(best).max() < 1e-4


def test_the_bound_by_a_residual_takes_the_lowest_eigenvalue():
    mask = bools(12, 1)
    problem = Problem(LeastSquares(SamplingMask(mask), random(12, 1)), GLR(weighted(IMAGE)))
    A, b = problem.system()
    M = dense_matrix(A, 12)
    best, x = torch.linalg.solve(M, b), random(12, 1, seed=3)
    lowest = float(torch.linalg.eigvalsh(M)[0])
    assert problem.error_bound(x).isnan().all()  # what is not observed may be anything
    bound = problem.error_bound(x, lowest=lowest)
    assert (x - best).norm() <= bound.item()
    # and no smaller number would do: along the lowest eigenvector it is the error itself
    way = torch.linalg.eigh(M).eigenvectors[:, :1]
    off = problem.error_bound(best + way, lowest=lowest)
    torch.testing.assert_close(off.item(), 1.0, rtol=1e-9, atol=0)
    with pytest.raises(ValueError, match="Got lowest=0"):
        problem.error_bound(x, lowest=0.0)


def test_the_residual_of_a_solve_bounds_its_error():
    data = LeastSquares(Identity(), random(12, 2))
    A, b = Problem(data, GLR(weighted(IMAGE), 3.0)).system()
    best = torch.linalg.solve(dense_matrix(A, 12), b)
    for steps in range(1, 12):
        solution = ConjugateGradient(1e-14, max_steps=steps).solve(A, b)
        error = (solution.x - best).norm(dim=-2, keepdim=True)
        assert (error <= solution.primal_residual + 1e-12).all()  # no eigenvalue is below 1


# ---- the status -----------------------------------------------------------------------------


def ill_conditioned():
    n = 100
    w = torch.cat([10 ** torch.linspace(-6, 6, n - 1), torch.zeros(1)])
    A = LeastSquares(Identity(), torch.randn(n, 1)).H.gram
    return A.scaled(1e-6) + GLR(Graph(path_graph(n), w)).Q, torch.randn(n, 1)


def denoising(prior, y=None):
    return Problem(LeastSquares(Identity(), random(12, 1) if y is None else y), prior)


PROVOKED = {
    "ConjugateGradient": {
        Status.CONVERGED: lambda: ConjugateGradient().solve(
            *denoising(GLR(weighted(IMAGE))).system()
        ),
        Status.MAX_STEPS: lambda: ConjugateGradient(max_steps=1).solve(
            *denoising(GLR(weighted(IMAGE))).system()
        ),
        Status.STALLED: lambda: ConjugateGradient(1e-9, max_steps=20000).solve(*ill_conditioned()),
        Status.NOT_FINITE: lambda: ConjugateGradient().solve(
            MatrixFree(lambda x: x / 0, lambda y: y / 0), torch.ones(3, 1)
        ),
    },
    "ADMM": {
        Status.CONVERGED: lambda: ADMM().solve(denoising(GTV(weighted(IMAGE)))),
        Status.CONVERGED_WITHOUT_BOUND: lambda: ADMM().solve(
            denoising(FirmGTV.convex(weighted(IMAGE), 0.1))
        ),
        Status.MAX_STEPS: lambda: ADMM(max_steps=1).solve(denoising(GTV(weighted(IMAGE)))),
        Status.NOT_FINITE: lambda: ADMM(rho=1.0).solve(
            denoising(GTV(weighted(IMAGE)), 1e200 * random(12, 1))
        ),
    },
}


@pytest.mark.parametrize(
    ("solver", "status"), [(s, status) for s, each in PROVOKED.items() for status in each]
)
def test_every_status_can_be_provoked(solver, status):
    solution = PROVOKED[solver][status]()
    assert solution.status is status
    assert solution.converged == (status in (Status.CONVERGED, Status.CONVERGED_WITHOUT_BOUND))
    assert status.name in repr(solution)


def test_no_status_is_left_out():
    assert set().union(*PROVOKED.values()) == set(Status)


def test_the_status_of_higher_orders_turns_into_a_certificate_with_a_range():
    graph = weighted(IMAGE)
    data = LeastSquares(SamplingMask(bools(12, 1)), random(12, 1))
    plain = ADMM(max_steps=20000).solve(Problem(data, GTF(graph, 0.1, 1)))
    bounded = ADMM(max_steps=20000).solve(Problem(data, GTF(graph, 0.1, 1), within=(-5, 5)))
    assert plain.status is Status.CONVERGED_WITHOUT_BOUND
    assert bounded.status is Status.CONVERGED
    assert bounded.duality_gap.isfinite().all()
