"""Hostile input at the doors of problems, solvers, learners, layers and `restore`.

How to draw thousands of cases stands in `test_graphs_and_operators.py`.
"""

import warnings

import pytest
import torch
from hypothesis import assume, strategies as st

from gsp_unroll import restore
from gsp_unroll.graph import Graph
from gsp_unroll.learners import DotProductLearner, LocallyScaledLearner, MahalanobisLearner
from gsp_unroll.operators import Diagonal, Identity, SamplingMask
from gsp_unroll.problems import (
    GLR,
    GTF,
    GTV,
    FirmGTV,
    Interpolation,
    LeastSquares,
    Problem,
    VectorGTV,
    start,
)
from gsp_unroll.restoration import SURE, Fixed, HoldOut, OnGlobe, place_graph
from gsp_unroll.solvers import ADMM, ConjugateGradient, DampedJacobi, Status, log_degree_graph
from tests.hostile.law import answer, assert_answer, assert_close, hostile
from tests.hostile.strategies import (
    DTYPES,
    HUGE,
    LAYOUTS,
    SIZES,
    TAME,
    TINY,
    graphs,
    laid_out,
    masks,
    numbers,
    points,
    signals,
    spoilt,
    topologies,
)
from tests.registries_layers import LAYERS

PRIORS = {
    "GLR": lambda g: GLR(g, 0.7),
    "GLR sym": lambda g: GLR(g, 0.7, "sym"),
    "GTV": lambda g: GTV(g, 0.3),
    "vector GTV": lambda g: VectorGTV(g, 0.3),
    "GTF": lambda g: GTF(g, 0.3, 1),
    "firm GTV": lambda g: FirmGTV(g, 0.3, 2.0),
    "GTV + GLR": lambda g: GTV(g, 0.3) + GLR(g, 0.7),
}


@st.composite
def problems(draw, name, dtype, sizes=TAME, y_sizes=TAME):
    """A problem on any graph, with gaps that hold NaN."""
    graph = draw(graphs(dtype, sizes=sizes))
    y = draw(signals(graph.num_nodes, dtype, sizes=y_sizes, batch=False))
    mask = draw(masks(graph.num_nodes))
    y = torch.where(mask, y, torch.nan)
    term = draw(st.sampled_from([LeastSquares, Interpolation]))
    return Problem(term(SamplingMask(mask), y), PRIORS[name](graph)), y, mask


@hostile(st.data(), examples=60)
def test_an_observation_is_taken_or_refused(data):
    dtype, n = data.draw(DTYPES), data.draw(st.integers(0, 6))
    y = spoilt(data.draw, data.draw(signals(n, dtype)))
    mask = data.draw(masks(n))
    for term in (LeastSquares, Interpolation):
        made = answer(lambda term=term: term(SamplingMask(mask), y))
        read = torch.where(mask, y, 0)
        assert (made is not None) == bool(read.isfinite().all())


@pytest.mark.parametrize("name", PRIORS)
@hostile(st.data())
def test_priors_and_starts_are_finite(name, data):
    problem, y, _ = data.draw(problems(name, data.draw(DTYPES)))
    topology = problem.prior.summands[0].graph.topology
    x = start(problem.data, topology)
    assert_answer(x, y.shape, y.dtype)
    assert bool(problem.objective(x).isfinite().all())
    assert bool((problem.prior(x) >= 0).all())


@pytest.mark.parametrize("name", PRIORS)
@hostile(st.data(), examples=10)
def test_a_solution_is_finite_or_says_that_it_is_not(name, data):
    """Values and weights of any size. No value is NaN unless the status says so."""
    dtype = data.draw(DTYPES)
    problem, y, _ = data.draw(problems(name, dtype, SIZES, SIZES))
    solver = data.draw(st.sampled_from([ADMM(max_steps=30), ADMM(rho=1.0, max_steps=20)]))
    solution = answer(lambda: solver.solve(problem))
    if solution is None:
        return
    assert solution.x.shape == y.shape
    assert solution.x.dtype == y.dtype
    if solution.status is not Status.NOT_FINITE:
        assert bool(solution.x.isfinite().all())
        assert bool(solution.objective.isfinite().all())


@st.composite
def linear_systems(draw, dtype, sizes=SIZES, weights=TAME):
    graph = draw(graphs(dtype, sizes=weights))
    b = draw(signals(graph.num_nodes, dtype, sizes=sizes, batch=False))
    return LeastSquares.unchecked(Identity(), b).system(GLR(graph, 0.5).Q)[0], b


@hostile(st.data(), st.sampled_from(["unrolled", "implicit"]), examples=60)
def test_conjugate_gradients_solve_right_hand_sides_of_any_size(data, gradient):
    dtype = data.draw(DTYPES)
    A, b = data.draw(linear_systems(dtype, weights=st.just("ordinary")))
    solution = answer(lambda: ConjugateGradient(1e-6, gradient=gradient).solve(A, b))
    assert_answer(solution.x, b.shape, dtype)
    # judged in a unit of its own
    unit = b.abs().amax(-2, keepdim=True) if b.numel() else b.new_ones(1, b.shape[-1])
    unit = torch.where(unit > 0, unit, 1)
    r = (b / unit - A(solution.x / unit)).norm(dim=-2)
    assert solution.status in (Status.CONVERGED, Status.STALLED)  # of sizes that are mixed
    assert bool((r <= 1e-4 * (b / unit).norm(dim=-2)).all())


@hostile(st.data(), examples=40)
def test_conjugate_gradients_with_weights_of_any_size(data):
    dtype = data.draw(DTYPES)
    A, b = data.draw(linear_systems(dtype, TAME, SIZES))
    solution = answer(lambda: ConjugateGradient(1e-6, max_steps=50).solve(A, b))
    assert bool(solution.x.isfinite().all()) or solution.status is Status.NOT_FINITE


@hostile(st.data(), examples=40)
def test_what_is_not_finite_is_refused_by_solvers(data):
    A, b = data.draw(linear_systems(torch.float64, TAME))
    bad = spoilt(data.draw, b)
    known = bool(bad.isfinite().all())
    assert (answer(lambda: ConjugateGradient(max_steps=5).solve(A, bad)) is not None) == known
    x0 = answer(lambda: ConjugateGradient(max_steps=5).solve(A, b, bad))
    assert (x0 is not None) == known


NUMBERS = st.floats() | st.integers(-2, 3) | st.sampled_from([True, 10**400])


@hostile(NUMBERS, NUMBERS, NUMBERS, examples=80)
def test_settings_of_any_value(a, b, c):
    graph = Graph(*_pair())
    for make in (
        lambda: ConjugateGradient(a, b),
        lambda: ADMM(rho=a, rtol=b, max_steps=c),
        lambda: ADMM(relaxation=a, check_every=c),
        lambda: DampedJacobi(a),
        lambda: GLR(graph, a),
        lambda: GTV(graph, a),
        lambda: GTF(graph, a, b),
        lambda: FirmGTV(graph, a, b),
        lambda: Fixed(GLR, a),
        lambda: SURE(a),
        lambda: HoldOut(folds=b, values=c),
        lambda: MahalanobisLearner(3 if b == 10**400 else b, init=a),
    ):
        answer(make)


def _pair():
    from gsp_unroll.graph import path_graph

    return path_graph(2), torch.ones(2)


# ---- layers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
@hostile(st.data(), examples=8)
def test_layers_are_finite_forwards_and_backwards(name, data):
    case, dtype = LAYERS[name], data.draw(DTYPES)
    topology = data.draw(topologies().filter(lambda t: not t.directed))
    assume(topology.num_nodes > 0 or "GG" not in name)
    n = topology.num_nodes
    lead = data.draw(st.lists(st.integers(0, 2), max_size=1))
    w = numbers(data.draw, [topology.num_edges], dtype, data.draw(TAME)).abs().requires_grad_()
    # nothing bounds the published steps, as their page says
    heaviest = float(w.detach().max()) if w.numel() else 0.0
    assume("heavy ball" not in name or heaviest <= 1)
    # the system of the linear program has squares of the weights, and its gradient their squares
    assume("linear program" not in name or heaviest <= 1e3 or dtype == torch.float64)
    y = numbers(data.draw, [*lead, n, 2], dtype, data.draw(TAME))
    y = laid_out(y, data.draw(LAYOUTS))
    mask = data.draw(masks(n))
    layer = case.layer(dtype=dtype)
    x = answer(lambda: case(layer, mask, y, topology, w))
    if x is None:
        assert "GG" in name  # planes need neighbours
        return
    assert_answer(x, y.shape, dtype)
    assert_close(x, case(layer, mask, y.contiguous(), topology, w).detach(), 1e-4)
    if x.requires_grad:
        x.sum().backward()
        assert w.grad is None or bool(w.grad.isfinite().all())
        for p in layer.parameters():
            assert p.grad is None or bool(p.grad.isfinite().all())


@pytest.mark.parametrize("name", ["GLR, soft", "GLR, hard", "GTV, soft", "GTV, hard"])
@hostile(st.data(), examples=15)
def test_layers_carry_values_of_any_size(name, data):
    """An observation near overflow or underflow is restored like any other."""
    case, dtype = LAYERS[name], data.draw(DTYPES)
    graph = data.draw(graphs(dtype, sizes=st.just("ordinary")))
    n = graph.num_nodes
    size = data.draw(st.sampled_from([1e-3 * HUGE[dtype], TINY[dtype]]))
    y = numbers(data.draw, [n, 2], dtype, "ordinary") * size
    x = case(case.layer(dtype=dtype), data.draw(masks(n)), y, graph.topology, graph.weight)
    assert_answer(x, y.shape, dtype)


@pytest.mark.parametrize("learner", [MahalanobisLearner, LocallyScaledLearner, DotProductLearner])
@hostile(st.data(), st.sampled_from(["none", "sym", "row", "merged"]), examples=40)
def test_learners_give_weights_for_any_features(learner, data, normalization):
    dtype = data.draw(DTYPES)
    topology = data.draw(topologies())
    made = answer(lambda: learner(2, normalization=normalization))
    if made is None:
        return
    f = data.draw(signals(topology.num_nodes, dtype, channels=2))
    f = f.clone().requires_grad_()
    graph = answer(lambda: made.to(dtype)(f, topology))
    if graph is None:
        return
    assert graph.weight.dtype == dtype
    assert bool(graph.weight.isfinite().all())
    assert bool((graph.weight >= 0).all())
    graph.weight.sum().backward()
    assert bool(f.grad.isfinite().all())


@hostile(st.data(), examples=30)
def test_a_graph_from_any_signals(data):
    dtype = data.draw(DTYPES)
    topology = data.draw(topologies())
    x = data.draw(signals(topology.num_nodes, dtype))
    found = answer(lambda: log_degree_graph(x, topology, max_steps=50))
    if found is not None and found.status is not Status.NOT_FINITE:
        assert bool(found.graph.weight.isfinite().all())
        assert bool((found.graph.weight >= 0).all())


# ---- one call -------------------------------------------------------------------------------


@st.composite
def readings(draw, n, dtype, sizes=SIZES):
    y = draw(signals(n, dtype, sizes=sizes, batch=False))
    return torch.where(draw(masks(n, y.shape[-1])), y, torch.nan)


CHOICES = st.sampled_from([None, Fixed(GLR, 1.0), Fixed(GTV, 0.1), HoldOut(folds=2)])


@hostile(st.data(), CHOICES, examples=40)
def test_restore_is_finite_where_anything_is_known(data, choose):
    dtype = data.draw(DTYPES)
    graph = data.draw(graphs(dtype, sizes=TAME))
    y = data.draw(readings(graph.num_nodes, dtype))
    result = answer(lambda: restore(y, graph, choose))
    if result is None:
        return
    assert result.x.shape == y.shape
    assert result.x.dtype == y.dtype
    if result.certificate.status is not Status.NOT_FINITE:
        # NaN exactly where no reading is in that part of the graph
        assert torch.equal(result.x.isnan(), result.undetermined)
        assert not bool(result.x.isinf().any())


@hostile(st.data(), st.sampled_from([1e290, 1e-290, 1e140, 1e-140, -3.0]), examples=20)
def test_restore_scales_with_the_readings(data, factor):
    graph = data.draw(graphs(torch.float64, sizes=st.just("ordinary")))
    y = data.draw(
        readings(graph.num_nodes, torch.float64, st.sampled_from(["ordinary", "constant"]))
    )
    for choose in (Fixed(GLR, 1.0), Fixed(GTV, 0.1)):
        alone = answer(lambda choose=choose: restore(y, graph, choose))
        if alone is None:
            return
        scaled = restore(factor * y, graph, choose)
        x = scaled.x / factor
        assert torch.equal(x.isnan(), alone.x.isnan())
        assert_close(x.nan_to_num(0), alone.x.nan_to_num(0), 1e-4)


@hostile(st.data(), examples=40)
def test_restore_takes_any_places(data):
    dtype = data.draw(DTYPES)
    p = (
        spoilt(data.draw, data.draw(points(dtype)))
        if data.draw(st.booleans())
        else data.draw(points(dtype))
    )
    graph = answer(lambda: place_graph(p))
    if graph is not None:
        assert bool(graph.weight.isfinite().all())
    y = data.draw(readings(len(p), dtype, TAME))
    result = answer(lambda: restore(y, p, Fixed(GLR, 1.0)))
    if result is not None:
        assert torch.equal(result.x.isnan(), result.undetermined)


@hostile(st.lists(st.tuples(st.floats(-400, 400) | st.just(float("nan")), st.floats()), max_size=5))
def test_places_on_the_globe(places):
    latitude, longitude = ([p[i] for p in places] for i in range(2))
    globe = answer(lambda: OnGlobe(latitude, longitude))
    fits = all(abs(a) <= 90 and -180 <= b <= 360 for a, b in places)
    assert (globe is not None) == fits


@hostile(st.data(), examples=20)
def test_a_table_is_restored_or_refused(data):
    np = pytest.importorskip("numpy")
    pd = pytest.importorskip("pandas")
    graph = data.draw(graphs(torch.float64, sizes=st.just("ordinary")))
    n = graph.num_nodes
    cell = st.floats() | st.integers(-5, 5) | st.sampled_from([None, "x", True, pd.NA])
    rows = data.draw(st.lists(st.lists(cell, min_size=n, max_size=n), max_size=3))
    cells = np.array(rows, dtype=object).reshape(len(rows), n)
    for values in (pd.DataFrame(cells), cells):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            result = answer(lambda values=values: restore(values, graph, Fixed(GLR, 1.0)))
        if result is not None:
            assert result.x.shape == values.shape
    assert answer(lambda: restore(rows, graph)) is None


@hostile(st.data(), examples=20)
def test_diagonals_of_any_value(data):
    dtype = data.draw(DTYPES)
    n = data.draw(st.integers(0, 5))
    d = spoilt(data.draw, numbers(data.draw, [n, 1], dtype, data.draw(SIZES)).abs())
    b = data.draw(signals(n, dtype, sizes=TAME, channels=1, batch=False))
    solution = answer(lambda: ConjugateGradient(max_steps=20).solve(Diagonal(d), b))
    if solution is not None:
        assert bool(solution.x.isfinite().all()) or solution.status is Status.NOT_FINITE
