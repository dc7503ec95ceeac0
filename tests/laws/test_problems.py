"""Laws of problems: proximal maps, one metric, systems that give the minimiser, valid bounds."""

import re
from pathlib import Path

import pytest
import torch

from gsp_unroll.graph import EdgeList, Graph, grid_graph, knn_graph, path_graph
from gsp_unroll.operators import (
    Adjacency,
    BayerMosaic,
    Blur,
    ColorMosaic,
    Diagonal,
    Downsample,
    Identity,
    Incidence,
    Laplacian,
    SamplingMask,
)
from gsp_unroll.problems import (
    GLR,
    GTF,
    GTV,
    Interpolation,
    LeastSquares,
    Prior,
    Problem,
    VectorGTV,
    group_soft_threshold,
    soft_threshold,
    start,
)
from gsp_unroll.testing import (
    check_adjoint,
    check_diagonal,
    check_majorizer,
    check_metric,
    check_positive_semidefinite,
    check_prox,
    dense_matrix,
)
from tests.registries import TOPOLOGIES, UNDIRECTED, edges
from tests.registries_operators import (
    BATCH,
    DATA_TERMS,
    IMAGE,
    POINTS,
    PRIORS,
    SCATTERED,
    bools,
    numbers,
    weighted,
)

PACKAGE = Path(__file__).resolve().parents[2] / "gsp_unroll"

every_prior = pytest.mark.parametrize("build", PRIORS.values(), ids=PRIORS.keys())
both_terms = pytest.mark.parametrize("term", DATA_TERMS.values(), ids=DATA_TERMS.keys())
topologies = pytest.mark.parametrize(
    "topology", [IMAGE, POINTS, SCATTERED, BATCH], ids=["image", "points", "parts", "batch"]
)


def random(*shape, grad=False):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


def assert_same(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


# ---- thresholds -----------------------------------------------------------------------------


def ternary_search(objective, low, high):
    """The minimiser of convex functions of one number each, by nothing but their values."""
    for _ in range(100):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        left = objective(a) <= objective(b)
        low, high = torch.where(left, low, a), torch.where(left, b, high)
    return (low + high) / 2


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, 100.0])
def test_soft_threshold_is_the_minimiser_found_by_search(t):
    z = torch.cat([3 * random(50), torch.tensor([0.0, t, -t]).double()])
    found = ternary_search(
        lambda v: t * v.abs() + 0.5 * (v - z) ** 2, z.clamp(max=0), z.clamp(min=0)
    )
    # a minimum is flat: where its value is known to 1e-16, its place is only to the root of that
    assert_same(soft_threshold(z, t), found, 1e-7 * (1 + t))
    assert_same(soft_threshold(z, t), z.sign() * (z.abs() - t).clamp(min=0), 1e-14)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, 100.0])
def test_group_soft_threshold_is_the_minimiser_found_by_search(t):
    z = torch.cat([2 * random(50, 3), torch.zeros(1, 3).double()])
    # the minimiser is a shorter z: search for its length
    norm = z.norm(dim=-1)
    length = ternary_search(
        lambda r: t * r + 0.5 * (r - norm) ** 2, torch.zeros_like(norm), norm.clone()
    )
    way = torch.where(norm > 0, 1 / norm, 0).unsqueeze(-1) * z
    assert_same(group_soft_threshold(z, t), length.unsqueeze(-1) * way, 1e-7)


def test_group_soft_threshold_of_one_channel_is_soft_threshold():
    z = random(50, 1)
    assert_same(group_soft_threshold(z, 0.7), soft_threshold(z, 0.7), 1e-15)


@pytest.mark.parametrize("threshold", [soft_threshold, group_soft_threshold])
def test_thresholds_do_not_lengthen_distances_and_keep_zero(threshold):
    a, b = random(2, 50, 3)
    moved = (threshold(a, 0.5) - threshold(b, 0.5)).norm()
    assert moved <= (a - b).norm()
    assert not threshold(torch.zeros(4, 3), 0.5).any()
    assert torch.equal(threshold(a, 0.0), a)


@pytest.mark.parametrize("threshold", [soft_threshold, group_soft_threshold])
def test_thresholds_are_differentiable_by_value_and_threshold(threshold):
    z, t = random(4, 30, 2, grad=True), numbers(4, 1, 1).requires_grad_()
    assert torch.autograd.gradcheck(threshold, (z, t))
    assert torch.autograd.gradgradcheck(threshold, (z, t))


@pytest.mark.parametrize("threshold", [soft_threshold, group_soft_threshold])
@pytest.mark.parametrize("t", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_thresholds_have_finite_derivatives_at_zero(threshold, t, dtype):
    z = torch.zeros(3, 2, dtype=dtype, requires_grad=True)
    t = torch.tensor(t, dtype=dtype, requires_grad=True)
    value = threshold(z, t)
    assert value.dtype == dtype
    for derivative in torch.autograd.grad(value.sum(), (z, t)):
        assert derivative.isfinite().all()


def test_the_threshold_is_written_once():
    # |z| - t under a maximum with 0, or z minus its clamp to [-t, t]
    forms = re.compile(
        r"\.sign\(|\brelu\(|softshrink|hardshrink|clamp\([^)]*min=0|clamp_min\(|clamp\([^)]*-t"
    )
    found = {
        (path.relative_to(PACKAGE).as_posix(), line.strip())
        for folder in ("graph", "operators", "problems", "solvers", "unroll")
        for path in (PACKAGE / folder).rglob("*.py")
        for line in path.read_text().splitlines()
        if forms.search(line)
    }
    assert found == {
        ("problems/priors/thresholds.py", "return torch.where(z.abs() <= t, 0, z - t * z.sign())"),
        ("solvers/log_degree.py", "return z.clamp(min=0)"),  # weights of at least 0
        ("unroll/linear_program.py", "qt1 = torch.relu(q1 + mu_d / gamma)"),
        ("unroll/linear_program.py", "qt2 = torch.relu(q2 + mu_e / gamma)"),
    }


# ---- priors ---------------------------------------------------------------------------------


@every_prior
@topologies
@pytest.mark.parametrize("step", [0.2, 1.0, 5.0])
def test_the_proximal_map_is_the_minimiser_in_the_metric_of_the_weights(build, topology, step):
    prior = build(weighted(topology))
    z = torch.randn_like(prior.K(random(topology.num_nodes, 2)))
    z[0] = 0
    check_prox(prior, z, step)


# the normalised Laplacian needs an undirected graph
ON_TOPOLOGIES = [
    pytest.param(TOPOLOGIES[topology], prior, id=f"{name}, {topology}")
    for name, prior in PRIORS.items()
    for topology in (UNDIRECTED if name == "GLR sym" else TOPOLOGIES)
]


@pytest.mark.parametrize(("build", "prior_on"), ON_TOPOLOGIES)
def test_normal_and_pull_back_are_in_one_metric(build, prior_on):
    graph = weighted(build())
    prior = prior_on(graph)
    x = random(graph.num_nodes, 2)
    z = torch.randn_like(prior.K(x))
    w = prior.weigh(torch.ones_like(z))
    assert (w >= 0).all()
    assert_same(prior.pull_back(z), prior.K.T(w * z))
    assert_same(prior.normal(x), prior.K.T(w * prior.K(x)))
    check_metric(prior, x)
    check_adjoint(prior.K, x)


@every_prior
@topologies
def test_the_normal_operator_can_be_solved_with(build, topology):
    prior = build(weighted(topology))
    check_positive_semidefinite(prior.normal, topology.num_nodes, 2)
    if prior.normal.diagonal() is not None:
        check_diagonal(prior.normal, topology.num_nodes, 2)
    check_majorizer(prior.normal, topology.num_nodes, 2)


def values(topology, w, x):
    """Total variation, vector total variation and Laplacian energy, edge by edge."""
    tv, vector, energy = 0.0, 0.0, 0.0
    for e, (i, j) in enumerate(topology.edge_index.T.tolist()):
        difference = x[j] - x[i]
        tv = tv + w[e] * difference.abs()
        vector = vector + w[e] * difference.norm()
        energy = energy + 0.5 * w[e] * difference**2
    return tv, vector, energy


@topologies
def test_values_count_each_edge_once(topology):
    graph, x = weighted(topology), random(topology.num_nodes, 2)
    tv, vector, energy = values(topology, graph.weight, x)
    assert_same(GTV(graph, 0.3)(x).sum(-2), 0.3 * tv)
    assert_same(VectorGTV(graph, 0.3)(x).sum(-2), 0.3 * vector.reshape(1))
    assert_same(GLR(graph, 0.3)(x).sum(-2), 0.3 * energy)
    assert_same(GTV(graph)(x).sum(), Incidence(graph)(x).abs().sum())
    L = Laplacian(graph)
    assert_same(GLR(graph)(x).sum(), 0.5 * (x * L(x)).sum())
    sym = Laplacian(graph, "sym")
    assert_same(GLR(graph, 2.0, "sym")(x).sum(), (x * sym(x)).sum())


@every_prior
def test_values_of_a_batch_of_graphs_equal_each_alone(build):
    graph, x = weighted(BATCH), random(7, 2)
    together = build(graph)(x)
    batch = BATCH.batch
    assert together.shape[-2] == 4
    for g in range(4):
        node = (batch == g).nonzero().squeeze(-1)
        own = (batch[BATCH.edge_index[0]] == g).nonzero().squeeze(-1)
        if not node.numel():
            assert not together[g].any()
            continue
        number = torch.full((7,), -1)
        number[node] = torch.arange(node.numel())
        alone = Graph(EdgeList(number[BATCH.edge_index[:, own]], node.numel()), graph.weight[own])
        assert_same(together[g], build(alone)(x[node]).squeeze(-2))


@every_prior
def test_heads_and_items_equal_each_alone(build):
    w, x = numbers(2, IMAGE.num_edges), random(3, 1, 12, 2)
    together = build(Graph(IMAGE, w))
    z = torch.randn_like(together.K(random(3, 2, 12, 2)))
    for item in range(3):
        for head in range(2):
            alone = build(Graph(IMAGE, w[head]))
            assert_same(together(x)[item, head], alone(x[item, 0]))
            assert_same(together.prox(z, 0.7)[item, head], alone.prox(z[item, head], 0.7))
            assert_same(together.pull_back(z)[item, head], alone.pull_back(z[item, head]))


@every_prior
def test_derivatives_of_the_value(build):
    w = numbers(POINTS.num_edges).requires_grad_()
    x = random(7, 2, grad=True)

    def value(w, x):
        return build(Graph.unchecked(POINTS, w))(x)

    assert torch.autograd.gradcheck(value, (w, x))
    assert torch.autograd.gradgradcheck(value, (w, x))


@every_prior
def test_the_value_of_a_constant_has_finite_derivatives(build):
    # every difference is zero, as it always is on the padded slots of a grid
    w = torch.rand(IMAGE.num_edges, dtype=torch.float64, requires_grad=True)
    x = torch.full((12, 2), 0.3, dtype=torch.float64, requires_grad=True)
    value = build(Graph.unchecked(IMAGE, IMAGE.mask_edges(w)))(x).sum()
    for derivative in torch.autograd.grad(value, (w, x)):
        assert derivative.isfinite().all()


def test_only_vector_priors_couple_channels():
    graph = weighted(IMAGE)
    assert VectorGTV(graph).systems.couples_channels
    assert VectorGTV(graph)(random(12, 3)).shape == (1, 1)
    for prior in (GTV(graph), GLR(graph)):
        assert not prior.systems.couples_channels
        assert prior(random(12, 3)).shape == (1, 3)


def test_a_users_prior_needs_three_methods():
    class Ridge(Prior):
        K = Identity()

        def penalty(self, z):
            return 0.5 * z**2

        def prox(self, z, step):
            return z / (1 + step)

    x = random(5, 2)
    assert_same(Ridge()(x), 0.5 * (x**2).sum(-2, keepdim=True))
    check_prox(Ridge(), x, 2.0)
    check_metric(Ridge(), x)


# ---- systems give the minimiser -------------------------------------------------------------


def kkt_solution(Q, c, H, y):
    """The minimiser of x'Qx/2 - c'x subject to Hx = y, from the dense KKT system."""
    n, m = Q.shape[0], H.shape[0]
    matrix = torch.zeros(n + m, n + m, dtype=Q.dtype)
    matrix[:n, :n], matrix[:n, n:], matrix[n:, :n] = Q, H.T, H
    return torch.linalg.lstsq(matrix, torch.cat([c, y]), driver="gelsd").solution[:n]


def dense_solution(A, b):
    nodes, channels = b.shape
    return torch.linalg.solve(dense_matrix(A, nodes, channels), b.flatten()).reshape(b.shape)


GLR_PRIORS = {"none": lambda g: GLR(g, 0.7), "sym": lambda g: GLR(g, 0.7, "sym")}
FORWARD = {
    "mask": lambda: SamplingMask(bools(12, 1)),
    "mask per channel": lambda: SamplingMask(bools(12, 3)),
    "mosaic": lambda: BayerMosaic(3, 4),
    "any filter": lambda: ColorMosaic(torch.tensor([0, 2, 2, 1, 0, 0, 1, 2, 0, 1, 1, 0]), 3),
    "downsample": lambda: Downsample((3, 4)),
    "identity": Identity,
}
SOFT_ONLY = {
    "blur": lambda: Blur((3, 4), numbers(3, 3)),
    "gains": lambda: Diagonal(numbers(12, 1)),
    "blur, then mask": lambda: SamplingMask(bools(12, 3)) @ Blur((3, 4), numbers(3, 3)),
}


@pytest.mark.parametrize("prior", GLR_PRIORS.values(), ids=GLR_PRIORS.keys())
@pytest.mark.parametrize("forward", FORWARD.values(), ids=FORWARD.keys())
@pytest.mark.parametrize("linear", [False, True])
def test_interpolation_gives_the_solution_of_the_kkt_system(prior, forward, linear):
    H = forward()
    y = H(random(12, 3))
    c = random(12, 3) if linear else None
    Q = prior(weighted(IMAGE)).Q
    A, b = Interpolation(H, y).system(Q, c)
    x = dense_solution(A, b)
    assert_same(H(x), y)
    M = dense_matrix(H, 12, 3)
    seen = M.any(1)  # a zero-filled observation has rows that say nothing
    flat_c = torch.zeros(36).double() if c is None else c.flatten()
    expected = kkt_solution(dense_matrix(Q, 12, 3), flat_c, M[seen], y.flatten()[seen])
    assert_same(x.flatten(), expected, 1e-8)


@pytest.mark.parametrize("prior", GLR_PRIORS.values(), ids=GLR_PRIORS.keys())
@pytest.mark.parametrize("name", [*FORWARD, *SOFT_ONLY])
@pytest.mark.parametrize("linear", [False, True])
def test_least_squares_gives_the_solution_of_the_normal_equations(prior, name, linear):
    H = {**FORWARD, **SOFT_ONLY}[name]()
    y = H(random(12, 3)) + 0.1
    c = random(12, 3) if linear else None
    Q = prior(weighted(IMAGE)).Q
    A, b = LeastSquares(H, y).system(Q, c)
    x = dense_solution(A, b)
    M, L = dense_matrix(H, 12, 3), dense_matrix(Q, 12, 3)
    right = M.T @ y.flatten() + (0 if c is None else c.flatten())
    assert_same(x.flatten(), torch.linalg.solve(M.T @ M + L, right), 1e-8)


@both_terms
@pytest.mark.parametrize("prior", GLR_PRIORS.values(), ids=GLR_PRIORS.keys())
def test_the_system_is_stationary_for_the_objective(term, prior):
    H = SamplingMask(bools(12, 3))
    problem = Problem(term(H, random(12, 3)), prior(weighted(IMAGE)))
    x = dense_solution(*problem.data.system(problem.prior.Q)).requires_grad_()
    (slope,) = torch.autograd.grad(problem.objective(x).sum(), x)
    if term is Interpolation:
        slope = torch.where(H.mask, 0, slope)
    assert slope.abs().max() < 1e-10


@both_terms
@every_prior
def test_systems_can_be_solved_by_conjugate_gradients(term, build):
    H = SamplingMask(bools(12, 2))
    A, _ = term(H, random(12, 2)).system(build(weighted(IMAGE)).normal.scaled(0.4))
    check_positive_semidefinite(A, 12, 2)
    if A.diagonal() is not None:
        check_diagonal(A, 12, 2)
    check_majorizer(A, 12, 2)


@both_terms
def test_what_was_not_observed_is_never_read(term):
    H = SamplingMask(bools(12, 2))
    w = numbers(IMAGE.num_edges).requires_grad_()
    clean = random(12, 2)
    spoiled = clean.masked_fill(~H.mask, torch.nan).requires_grad_()
    results = []
    for y in (clean, spoiled):
        graph = Graph.unchecked(IMAGE, IMAGE.mask_edges(w))
        data = term(H, y)
        A, b = data.system(GLR(graph).Q)
        x = data.feasible(b + A(b))
        problem = Problem(data, GTV(graph))
        p = random(IMAGE.num_edges, 2)
        torch.manual_seed(1)
        results.append(
            [
                *(b, x, start(data, IMAGE), data.backprojected, data.estimate()[0]),
                *(data.around(x.detach()).backprojected, problem.objective(x)),
                problem.duality_gap(x, torch.zeros_like(p)),
            ]
        )
    for value, expected in zip(results[1], results[0], strict=True):
        assert torch.equal(value, expected)
    total = sum(value.sum() for value in results[1])
    for derivative in torch.autograd.grad(total, (spoiled, w)):
        assert derivative.isfinite().all()


@both_terms
@pytest.mark.parametrize("forward", [FORWARD["mosaic"], FORWARD["downsample"]])
def test_nan_where_an_operator_does_not_look_reaches_no_result(term, forward):
    # an image that is NaN wherever the sensor does not see it
    H = forward()
    x = random(12, 3).masked_fill(~H.observed, torch.nan).requires_grad_()
    data = term(H, H(x))
    A, b = data.system(GLR(weighted(IMAGE)).Q)
    total = (b**2).sum() + (A(b) ** 2).sum() + start(data, IMAGE).sum()
    assert total.isfinite()
    (derivative,) = torch.autograd.grad(total, x)
    assert derivative.isfinite().all()
    assert not derivative[~H.observed.expand(12, 3)].any()


# ---- around, per head, feasible -------------------------------------------------------------


@both_terms
@pytest.mark.parametrize("forward", FORWARD.values(), ids=FORWARD.keys())
def test_around_a_base_the_solution_is_the_difference(term, forward):
    H = forward()
    y, base = H(random(12, 3)), random(12, 3)
    data, Q = term(H, y), GLR(weighted(IMAGE)).Q
    # the prior on x is a prior on (x - base) plus a linear term
    x = dense_solution(*data.system(Q))
    difference = dense_solution(*data.around(base).system(Q, -Q(base)))
    assert_same(base + difference, x, 1e-10)
    assert type(data.around(base)) is type(data)


PER_HEAD = [
    (LeastSquares, SamplingMask(bools(3, 12, 2))),
    (Interpolation, SamplingMask(bools(3, 12, 2))),
    (Interpolation, SamplingMask(bools(12, 2))),
    (Interpolation, BayerMosaic(3, 4)),
    (LeastSquares, Diagonal(numbers(3, 12, 1))),
    (LeastSquares, SamplingMask(bools(3, 12, 2)) @ Blur((3, 4), numbers(3, 3))),
    (LeastSquares, (Diagonal(numbers(3, 12, 1)) + Identity()).scaled(numbers(3, 1, 1))),
]


@pytest.mark.parametrize(("term", "H"), PER_HEAD)
def test_a_data_term_per_head_equals_each_item_alone(term, H):
    channels = 3 if isinstance(H, BayerMosaic) else 2
    y = H(random(3, 12, channels))
    # as many heads as items: the case in which a wrong axis would go unnoticed
    Q = Laplacian(Graph(IMAGE, numbers(3, IMAGE.num_edges)))
    A, b = term(H, y).per_head().system(Q)
    x = random(3, 3, 12, channels)
    plain_A, plain_b = term(H, y).system(Laplacian(Graph(IMAGE, numbers(3, IMAGE.num_edges)[0])))
    assert b.broadcast_to(x.shape).shape == x.shape
    for item in range(3):
        lone = x[item, 0].expand(3, 12, channels)
        assert_same(A(x)[item, 0], plain_A(lone)[item])
        assert_same(b.broadcast_to(x.shape)[item, 0], plain_b[item])


def test_feasible_is_the_nearest_signal_that_the_term_allows():
    H, y, x = SamplingMask(bools(12, 2)), random(12, 2), random(12, 2)
    hard, soft = Interpolation(H, y), LeastSquares(H, y)
    assert torch.equal(soft.feasible(x), x)
    allowed = hard.feasible(x)
    assert torch.equal(H(allowed), H(y))
    assert torch.equal(torch.where(H.mask, 0, allowed), torch.where(H.mask, 0, x))


@pytest.mark.parametrize("name", [*FORWARD, *SOFT_ONLY])
def test_the_misfit_is_half_the_sum_of_squares(name):
    H = {**FORWARD, **SOFT_ONLY}[name]()
    y, x = H(random(12, 3)), random(12, 3)
    value = LeastSquares(H, y).value(x, GLR(weighted(IMAGE)).systems)
    assert_same(value.sum(), 0.5 * ((H(x) - y) ** 2).sum())


# ---- objectives per system ------------------------------------------------------------------


@both_terms
@every_prior
def test_objectives_and_gaps_of_a_batch_of_graphs_equal_each_alone(term, build):
    graph, x, y, mask = weighted(BATCH), random(7, 2), random(7, 2), bools(7, 2)
    problem, near = Problem(term(SamplingMask(mask), y), build(graph)), random(7, 2)
    x = problem.data.feasible(x)
    objective, gap = problem.objective(x), problem.duality_gap(x, problem.prior.K(near))
    for g in range(4):
        node = (BATCH.batch == g).nonzero().squeeze(-1)
        own = (BATCH.batch[BATCH.edge_index[0]] == g).nonzero().squeeze(-1)
        if not node.numel():
            continue
        number = torch.full((7,), -1)
        number[node] = torch.arange(node.numel())
        topology = EdgeList(number[BATCH.edge_index[:, own]], node.numel())
        alone = Problem(
            term(SamplingMask(mask[node]), y[node]), build(Graph(topology, graph.weight[own]))
        )
        assert_same(objective[g], alone.objective(x[node]).squeeze(-2))
        expected = alone.duality_gap(x[node], alone.prior.K(near[node])).squeeze(-2)
        torch.testing.assert_close(gap[g], expected, rtol=1e-12, atol=1e-12, equal_nan=True)


@both_terms
@pytest.mark.parametrize("name", ["GTV", "vector GTV", "GTV + GLR", "GTV + vector GTV + GLR"])
@topologies
def test_the_gap_bounds_what_any_signal_can_still_gain(term, name, topology):
    # weak duality, with nothing optimal on either side
    n = topology.num_nodes
    prior = PRIORS[name](weighted(topology))
    problem = Problem(term(SamplingMask(bools(n, 2)), random(n, 2)), prior)
    others = [
        problem.data.feasible(s * random(n, 2)) for s in (0.0, 0.1, 0.5, 1.0) for _ in range(20)
    ]
    best = torch.stack([problem.objective(x) for x in others]).amin(0)
    for scale in (0.0, 0.1, 1.0, 10.0):
        x, p = others[-1], scale * torch.randn_like(prior.K(others[-1]))
        gap = problem.duality_gap(x, p)
        assert gap.isfinite().all()
        assert (problem.objective(x) - gap <= best + 1e-12).all()


def test_the_gap_of_a_denoising_is_that_of_its_dual_in_closed_form():
    # min |x - y|^2 / 2 + <v, x> lies at x = y - v
    graph, x, y = weighted(IMAGE), random(12, 2), random(12, 2)
    prior = GTV(graph, 0.3)
    p = random(IMAGE.num_edges, 2).clamp(-0.3, 0.3)
    v = prior.pull_back(p)
    dual = (v * y - 0.5 * v**2).sum(0, keepdim=True)
    problem = Problem(LeastSquares(Identity(), y), prior)
    assert_same(problem.duality_gap(x, p), problem.objective(x) - dual)


def test_the_gap_of_an_interpolation_takes_the_best_of_the_box_at_unknown_nodes():
    graph, y = weighted(IMAGE), random(12, 1)
    mask, p = bools(12, 1), random(IMAGE.num_edges, 1).clamp(-0.3, 0.3)
    problem = Problem(Interpolation(SamplingMask(mask), y), GTV(graph, 0.3))
    v = problem.prior.pull_back(p)
    lo, hi = y[mask].min(), y[mask].max()
    dual = (v * y)[mask].sum() + torch.minimum(v * lo, v * hi)[~mask].sum()
    x = problem.data.feasible(random(12, 1))
    assert_same(problem.duality_gap(x, p), problem.objective(x) - dual)


def test_more_candidates_never_widen_the_gap():
    problem = Problem(LeastSquares(SamplingMask(bools(12, 2)), random(12, 2)), GTV(weighted(IMAGE)))
    x, p, q = random(12, 2), random(IMAGE.num_edges, 2), random(IMAGE.num_edges, 2)
    both = problem.duality_gap(x, p, q)
    assert torch.equal(both, torch.minimum(problem.duality_gap(x, p), problem.duality_gap(x, q)))


def test_no_gap_is_claimed_where_none_is_known():
    x, y = random(12, 2), random(12, 2)
    p = random(IMAGE.num_edges, 2)
    graph = weighted(IMAGE)
    unknown = [
        Problem(LeastSquares(SamplingMask(bools(12, 2)), y), GTF(graph)),
        Problem(LeastSquares(Blur((3, 4), numbers(3, 3)), y), GTV(graph)),
        Problem(LeastSquares(Diagonal(numbers(12, 1)), y), VectorGTV(graph)),
    ]
    for problem in unknown:
        assert problem.duality_gap(x, p).isnan().all()


# ---- the start ------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [build for build in UNDIRECTED.values() if build().num_nodes])
@both_terms
def test_a_constant_observation_gives_a_constant_start(build, term):
    topology = build()
    n = topology.num_nodes
    mask = bools(n, 2)
    if topology.systems.num_graphs > 1:  # at least one sample in every graph
        mask[:-1] = True
    y = torch.full((n, 2), 0.7, dtype=torch.float64)
    x = start(term(SamplingMask(mask), y), topology)
    assert_same(x, y, 1e-15)


@both_terms
@pytest.mark.parametrize("forward", FORWARD.values(), ids=FORWARD.keys())
def test_samples_are_kept(term, forward):
    H = forward()
    y = H(random(12, 3))
    assert torch.equal(H(start(term(H, y), IMAGE)), y)


def test_a_part_without_a_sample_gets_the_mean_of_its_graph():
    # nodes 0-1 and 2-3 are two graphs; node 4 is alone in the first
    topology = EdgeList(edges((0, 1), (2, 3)), 5, torch.tensor([0, 0, 1, 1, 0]))
    mask = torch.tensor([True, True, True, False, False])
    y = torch.tensor([[1.0], [2.0], [5.0], [torch.nan], [torch.nan]])
    x = start(Interpolation(SamplingMask(mask), y), topology)
    assert x.flatten().tolist() == [1.0, 2.0, 5.0, 5.0, 1.5]


def test_a_channel_without_a_sample_starts_at_zero():
    mask = torch.tensor([[True, False], [False, False], [True, False]])
    y = torch.full((3, 2), torch.nan).masked_fill(mask, 2.0)
    x = start(Interpolation(SamplingMask(mask), y), path_graph(3))
    assert x[:, 0].tolist() == [2.0, 2.0, 2.0]
    assert x[:, 1].tolist() == [0.0, 0.0, 0.0]


def test_one_sweep_on_a_window_of_five_is_the_tent_formula():
    # Do et al. 2024, appendix A.8: weights (1 - |dy| / 3) (1 - |dx| / 3) over known neighbours
    h, w = 7, 6
    mask, y = bools(h * w, 1, seed=3), random(h * w, 1)
    x = start(Interpolation(SamplingMask(mask), y), grid_graph((h, w), window=5), sweeps=1)
    known, image = mask.reshape(h, w), y.reshape(h, w)
    for r in range(h):
        for c in range(w):
            if known[r, c]:
                assert x.reshape(h, w)[r, c] == image[r, c]
                continue
            total, weight = 0.0, 0.0
            for i in range(max(r - 2, 0), min(r + 3, h)):
                for j in range(max(c - 2, 0), min(c + 3, w)):
                    if known[i, j]:
                        tent = (1 - abs(i - r) / 3) * (1 - abs(j - c) / 3)
                        total, weight = total + tent * image[i, j], weight + tent
            assert x.reshape(h, w)[r, c].item() == pytest.approx(float(total / weight), rel=1e-12)


def test_each_sweep_reaches_one_neighbourhood_further():
    mask = torch.zeros(6, dtype=torch.bool)
    mask[0], mask[1] = True, True
    y = torch.tensor([[0.0], [3.0], [9.0], [9.0], [9.0], [9.0]])
    data = Interpolation(SamplingMask(mask), y)
    for sweeps in (1, 2, 4):
        x = start(data, path_graph(6), sweeps).flatten()
        assert x[2 : 2 + sweeps].tolist() == [3.0] * sweeps
        # the rest takes the mean of the samples
        assert torch.equal(x[2 + sweeps :], torch.tensor(1.5).expand(4 - sweeps))


def test_on_any_graph_a_start_is_the_plain_average_of_known_neighbours():
    mask, y = bools(7, 1), random(7, 1)
    x = start(Interpolation(SamplingMask(mask), y), POINTS, sweeps=1)
    W = Adjacency(Graph(POINTS, torch.ones(POINTS.num_edges, dtype=torch.float64)))
    average = W(mask * y) / W(mask.double())
    assert (~mask).any()
    assert_same(x, torch.where(mask, y, average))


def test_starts_of_a_batch_equal_each_alone():
    first, second = knn_graph(torch.rand(8, 2), 2), knn_graph(torch.rand(9, 2), 2)
    both = EdgeList(
        torch.cat([first.edge_index, second.edge_index + 8], 1),
        17,
        torch.tensor([0] * 8 + [1] * 9),
    )
    mask, y = random(17, 2) < -0.7, random(17, 2)
    mask[[0, 8]] = True
    together = start(Interpolation(SamplingMask(mask), y), both)
    for part, topology in ((slice(0, 8), first), (slice(8, 17), second)):
        alone = start(Interpolation(SamplingMask(mask[part]), y[part]), topology)
        assert_same(together[part], alone)


def test_starts_of_items_equal_each_alone():
    mask, y = bools(3, 12, 2), random(3, 12, 2)
    together = start(LeastSquares(SamplingMask(mask), y), IMAGE)
    for i in range(3):
        alone = start(LeastSquares(SamplingMask(mask[i]), y[i]), IMAGE)
        assert_same(together[i], alone)


def test_a_start_behind_a_blur_keeps_constants():
    H = Blur((3, 4), numbers(3, 3))
    constant = torch.full((12, 1), 0.7, dtype=torch.float64)
    assert_same(start(LeastSquares(H, H(constant)), IMAGE), constant)
    part = SamplingMask(bools(12, 1)) @ H
    assert_same(start(LeastSquares(part, part(constant)), IMAGE), constant)


def test_a_start_keeps_the_type_of_the_observation():
    for dtype in (torch.float32, torch.float64):
        y = numbers(12, 1, dtype=dtype)
        assert start(Interpolation(SamplingMask(bools(12, 1)), y), IMAGE).dtype == dtype


def test_a_start_is_differentiable_by_the_observation():
    mask = bools(12, 1)
    y = random(12, 1, grad=True)
    assert torch.autograd.gradcheck(
        lambda y: start(Interpolation(SamplingMask(mask), y), IMAGE), (y,)
    )


def test_a_prior_of_weight_zero_leaves_the_data():
    y = random(12, 1)
    problem = Problem(LeastSquares(Identity(), y), GTV(weighted(IMAGE), 0.0))
    assert not problem.objective(y).any()
    assert not problem.duality_gap(y, random(IMAGE.num_edges, 1)).any()
