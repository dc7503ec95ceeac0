"""Laws of slopes and of the priors on them: planes cost nothing, and nothing else does."""

from functools import partial

import pytest
import torch

from gsp_unroll.graph import EdgeList, Graph, grid_graph, knn_graph, path_graph
from gsp_unroll.graph.convert import to_edge_list
from gsp_unroll.operators import (
    AxisGradient,
    GradientDifferences,
    GradientGraph,
    GradientLaplacian,
    Identity,
    PlaneFit,
    SamplingMask,
)
from gsp_unroll.problems import GGLR, GGTV, GLR, GTV, Interpolation, LeastSquares, Problem
from gsp_unroll.solvers import ADMM, ConjugateGradient, Status
from gsp_unroll.testing import (
    check_adjoint,
    check_gram,
    check_majorizer,
    check_metric,
    check_positive_semidefinite,
    check_prox,
    dense_matrix,
)
from gsp_unroll.unroll import GGLRUnroll, GGTVUnroll, GLRUnroll, GuardedCG
from tests.registries import cloud, edges
from tests.registries_operators import BATCH, IMAGE, POINTS, TWO, numbers, slopes_on, weighted

PRIORS = {"GGLR": partial(GGLR, mu=0.7), "GGTV": partial(GGTV, lam=0.3)}
every_prior = pytest.mark.parametrize("prior_on", PRIORS.values(), ids=PRIORS.keys())
GRIDS = {
    "image": grid_graph((4, 5)),
    "image, four neighbours": grid_graph((4, 5), neighbors=4),
    "image, wide window": grid_graph((5, 6), window=5),
    "one row": grid_graph((1, 6)),
    "sequence": path_graph(7, lags=2),
    "volume": grid_graph((3, 3, 4), neighbors=6),
}
every_grid = pytest.mark.parametrize("topology", GRIDS.values(), ids=GRIDS.keys())


def rand(*shape):
    return torch.rand(*shape, dtype=torch.float64)


def assert_same(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def parts(got, expected, advice):
    return pytest.raises(ValueError, match=f"(?s)Got {got}.*Expected {expected}.*{advice}")


def positions(topology):
    """Where the nodes of a lattice stand."""
    axes = [torch.arange(n, dtype=torch.float64) for n in topology.lattice]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)


def planes(points, count=3):
    return points @ torch.randn(points.shape[1], count, dtype=torch.float64) + rand(1, count)


# ---- slopes ---------------------------------------------------------------------------------


@every_grid
def test_slopes_along_the_axes_are_forward_differences(topology):
    F, x = AxisGradient(topology.lattice), rand(topology.num_nodes, 2)
    at, slopes = positions(topology), F(x).unflatten(-2, (len(topology.lattice), -1))
    exists = F.exists.unflatten(0, (len(topology.lattice), -1))
    for axis, size in enumerate(topology.lattice):
        unit = torch.eye(len(topology.lattice), dtype=torch.float64)[axis]
        for i in range(topology.num_nodes):
            there = (at == at[i] + unit).all(-1).nonzero()
            assert bool(exists[axis, i]) == bool(at[i, axis] + 1 < size) == bool(there.numel())
            expected = x[there[0, 0]] - x[i] if there.numel() else torch.zeros(2).double()
            assert_same(slopes[axis, i], expected)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_fit_finds_the_slope_of_a_plane_at_every_node(dimensions):
    points = cloud(30, dimensions)
    F, slope = PlaneFit(knn_graph(points, 6), points), torch.randn(dimensions, 1).double()
    assert F.exists.all()
    found = F(points @ slope + 0.4).reshape(dimensions, 30)
    assert_same(found, slope.expand(dimensions, 30), 1e-9)


@pytest.mark.parametrize("symmetrize", ["union", None])
def test_a_fit_is_the_least_squares_solution_of_each_node(symmetrize):
    points, x = cloud(15), rand(15, 2)
    topology = knn_graph(points, 4, symmetrize=symmetrize)
    found = PlaneFit(topology, points)(x).reshape(2, 15, 2)
    tail, head = topology.edge_index
    for i in range(15):
        near = tail[head == i]
        if symmetrize is not None:
            near = torch.cat([near, head[tail == i]])
        fit = torch.linalg.lstsq(points[near] - points[i], x[near] - x[i]).solution
        assert_same(found[:, i], fit, 1e-9)


def test_a_node_whose_neighbours_lie_on_a_line_has_no_slope():
    # 0-1-2 on a line, 3 beside it with one edge, 4 alone
    points = torch.tensor([[0, 0], [1, 1], [2, 2], [1, 0], [5, 5]], dtype=torch.float64)
    F = PlaneFit(EdgeList(edges((0, 1), (1, 2), (1, 3)), 5), points)
    assert F.exists.reshape(2, 5).tolist() == [[False, True, False, False, False]] * 2
    x = planes(points)
    assert not F(x).reshape(2, 5, 3)[:, [0, 2, 3, 4]].any()
    assert F(x).reshape(2, 5, 3)[:, 1].abs().sum() > 0.1


def test_the_magnitudes_bound_the_coefficients():
    for F in (AxisGradient((3, 4)), PlaneFit(POINTS, cloud(7)), PlaneFit(BATCH, cloud(7))):
        M, bound = dense_matrix(F, F.num_inputs), dense_matrix(F.magnitude, F.num_inputs)
        assert (bound >= M.abs() - 1e-12).all()
        check_adjoint(F.magnitude, (F.num_inputs, 2))
    assert_same(dense_matrix(AxisGradient((3, 4)).magnitude, 12), dense_matrix(F_of(), 12).abs())


def F_of():
    return AxisGradient((3, 4))


# ---- planes ---------------------------------------------------------------------------------


@every_prior
@every_grid
def test_planes_on_a_lattice_cost_nothing_at_borders_either(prior_on, topology):
    prior, x = prior_on(weighted(topology)), planes(positions(topology))
    size = x.abs().max()
    assert prior.K(x).abs().max() < 1e-13 * size
    assert prior(x).max() < 1e-12 * size
    assert prior.normal(x).abs().max() < 1e-12 * size
    # while the priors on values do charge for them
    assert (GTV(weighted(topology))(x) > 1e-3).all()


@every_prior
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_planes_through_points_cost_nothing(prior_on, dimensions):
    points = cloud(40, dimensions)
    topology = knn_graph(points, 7)
    prior = prior_on(GradientGraph.of(weighted(topology), PlaneFit(topology, points)))
    x = planes(points)
    assert prior(x).max() < 1e-8
    assert (GTV(weighted(topology))(x) > 1e-3).all()


@pytest.mark.parametrize("shape", [(4, 5), (3, 6), (3, 3, 3)])
def test_nothing_but_planes_costs_nothing_on_a_lattice(shape):
    topology = grid_graph(shape)
    M = dense_matrix(GradientLaplacian(GradientGraph.of(weighted(topology))), topology.num_nodes)
    eigenvalues = torch.linalg.eigvalsh(M)
    assert (eigenvalues.abs() < 1e-10).sum() == 1 + len(shape)
    # a checkerboard too
    checker = (-1.0) ** positions(topology).sum(-1, keepdim=True)
    assert GGTV(weighted(topology))(checker) > 1


def test_nothing_but_planes_costs_nothing_on_points():
    points = cloud(40)
    topology = knn_graph(points, 6)
    graph = GradientGraph.of(weighted(topology), PlaneFit(topology, points))
    eigenvalues = torch.linalg.eigvalsh(dense_matrix(GradientLaplacian(graph), 40))
    assert (eigenvalues.abs() < 1e-8 * eigenvalues.max()).sum() == 3


def test_a_fit_does_not_see_a_checkerboard_on_a_lattice():
    # which is why AxisGradient is the default there
    topology = grid_graph((6, 6), neighbors=4)
    at = positions(topology)
    checker = (-1.0) ** at.sum(-1, keepdim=True)
    slopes = PlaneFit(topology, at)(checker).reshape(2, 6, 6)
    assert slopes[:, 1:-1, 1:-1].abs().max() < 1e-12


# ---- the laws of every prior ----------------------------------------------------------------

GRAPHS = {
    "image": lambda: slopes_on(IMAGE),
    "points": lambda: slopes_on(POINTS),
    "batch": lambda: slopes_on(TWO),
    "no edges": lambda: slopes_on(EdgeList(edges(), 4)),
    "single node": lambda: slopes_on(grid_graph((1, 1))),
}
every_graph = pytest.mark.parametrize("build", GRAPHS.values(), ids=GRAPHS.keys())


@every_prior
@every_graph
def test_laws_of_a_prior(prior_on, build):
    graph = build()
    n, prior = graph.num_nodes, prior_on(graph)
    x = torch.randn(n, 2, dtype=torch.float64)
    check_adjoint(prior.K, x)
    check_metric(prior, x)
    check_prox(prior, torch.randn_like(prior.K(x)), 2.0)
    check_positive_semidefinite(prior.normal, n, 2)
    check_majorizer(prior.normal, n, 2)
    check_gram(prior.K, x)
    assert prior(x).shape == (graph.topology.systems.num_graphs, 2)


@every_prior
def test_the_value_is_written_pair_by_pair(prior_on):
    graph, x = slopes_on(POINTS), rand(7, 2)
    slopes, prior, expected = graph.F(x).reshape(2, 7, 2), prior_on(graph), 0.0
    exists = graph.F.exists.reshape(2, 7)
    for e, (i, j) in enumerate(graph.topology.edge_index.T.tolist()):
        for a in range(2):
            if exists[a, i] and exists[a, j]:
                d = slopes[a, i] - slopes[a, j]
                term = 0.35 * d**2 if prior_on is PRIORS["GGLR"] else 0.3 * d.abs()
                expected = expected + graph.weight[e] * term
    assert_same(prior(x).squeeze(0), expected)


@every_prior
def test_a_lattice_is_its_list_of_edges(prior_on):
    graph = weighted(grid_graph((4, 5), window=5))
    on_grid, on_list = GradientGraph.of(graph), to_edge_list(graph)
    listed = prior_on(GradientGraph.of(on_list, on_grid.F))
    x = rand(20, 2)
    assert_same(prior_on(on_grid)(x), listed(x))
    assert_same(prior_on(on_grid).normal(x), listed.normal(x))
    assert_same(prior_on(on_grid).normal.majorizer(), listed.normal.majorizer())


@every_prior
def test_graphs_of_a_batch_equal_each_alone(prior_on):
    points, x = cloud(24), rand(24, 2)
    both = knn_graph(points, 4, batch=torch.arange(24) % 2)
    w = numbers(both.num_edges)
    together = prior_on(GradientGraph.of(Graph(both, w), PlaneFit(both, points)))
    for g in range(2):
        node = torch.arange(g, 24, 2)
        own = both.batch[both.edge_index[0]] == g
        alone = EdgeList(both.edge_index[:, own] // 2, 12)
        graph = GradientGraph.of(Graph(alone, w[own]), PlaneFit(alone, points[node]))
        assert_same(together(x)[g], prior_on(graph)(x[node]).squeeze(0))
        assert_same(together.normal(x)[node], prior_on(graph).normal(x[node]))


@every_prior
def test_heads_and_items_equal_each_alone(prior_on):
    w, x = numbers(2, IMAGE.num_edges), rand(3, 1, 12, 2)
    together = prior_on(Graph(IMAGE, w))
    z = torch.randn_like(together.K(rand(3, 2, 12, 2)))
    for item in range(3):
        for head in range(2):
            alone = prior_on(Graph(IMAGE, w[head]))
            assert_same(together(x)[item, head], alone(x[item, 0]))
            assert_same(together.prox(z, 0.7)[item, head], alone.prox(z[item, head], 0.7))
            assert_same(together.pull_back(z)[item, head], alone.pull_back(z[item, head]))


@every_prior
@pytest.mark.parametrize("topology", [IMAGE, POINTS], ids=["image", "points"])
def test_derivatives_of_value_and_system(prior_on, topology):
    points, n = cloud(topology.num_nodes), topology.num_nodes
    F = None if topology.lattice else PlaneFit(topology, points)
    w = numbers(topology.num_edges).requires_grad_()
    x = torch.randn(n, 2, dtype=torch.float64, requires_grad=True)

    def prior(w):
        return prior_on(GradientGraph.of(Graph.unchecked(topology, topology.mask_edges(w)), F))

    for function in (
        lambda w, x: prior(w)(x),
        lambda w, x: prior(w).normal(x),
        lambda w, x: prior(w).normal.majorizer() * x,
    ):
        assert torch.autograd.gradcheck(function, (w, x))
        assert torch.autograd.gradgradcheck(function, (w, x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_that_of_the_weights(dtype):
    for topology in (IMAGE, POINTS):
        prior = GGTV(slopes_on(topology, dtype=dtype))
        x = torch.rand(topology.num_nodes, 1, dtype=dtype)
        for value in (prior(x), prior.normal(x), prior.normal.majorizer(), prior.K(x)):
            assert value.dtype == dtype


# ---- solutions ------------------------------------------------------------------------------


def test_a_noisy_roof_is_made_of_planes():
    topology = grid_graph((12, 12), neighbors=4)
    at = positions(topology)
    clean = (6 - (at[:, :1] - 5.5).abs()) / 6
    noise = torch.randn(144, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    data = LeastSquares(Identity(), clean + 0.05 * noise)
    graph = Graph(topology, torch.ones(topology.num_edges, dtype=torch.float64))

    def error(prior):
        x = ADMM(rtol=1e-5, max_steps=20000).solve(Problem(data, prior)).x
        return (x - clean).square().mean().item()

    flat = min(error(GTV(graph, lam)) for lam in (0.03, 0.1))
    assert min(error(GGTV(graph, lam)) for lam in (0.1, 0.3)) < 0.7 * flat


@pytest.mark.parametrize("points", [False, True])
def test_samples_of_a_plane_give_the_plane(points):
    at = cloud(40) if points else positions(GRIDS["image"])
    topology = knn_graph(at, 6) if points else GRIDS["image"]
    graph = GradientGraph.of(weighted(topology), PlaneFit(topology, at) if points else None)
    plane, seen = planes(at), torch.arange(len(at)) % 4 == 0
    data = Interpolation(SamplingMask(seen), plane)
    problem = Problem(data, GGLR(graph))
    found = ConjugateGradient(1e-13, max_steps=5000).solve(*problem.system()).x
    assert_same(found, plane, 1e-5)
    layer = GGLRUnroll(2000, solver=GuardedCG).double()
    assert_same(layer(data, graph), plane, 1e-5)
    assert (GLRUnroll(500).double()(data, weighted(topology)) - plane).abs().max() > 1e-2


def test_a_gap_is_known_where_every_value_is_observed():
    y, graph = rand(12, 2), weighted(IMAGE)
    full = ADMM(max_steps=20000).solve(Problem(LeastSquares(Identity(), y), GGTV(graph, 0.1)))
    assert full.status is Status.CONVERGED
    data = LeastSquares(SamplingMask(rand(12, 1) < 0.7), y)
    some = ADMM(max_steps=20000).solve(Problem(data, GGTV(graph, 0.1)))
    assert some.status is Status.CONVERGED_WITHOUT_BOUND
    assert some.duality_gap.isnan().all()


def test_slopes_and_values_in_one_sum():
    y, graph = rand(12, 2), weighted(IMAGE)
    prior = GGTV(graph, 0.1) + GTV(graph, 0.05) + GGLR(graph, 0.1) + GLR(graph, 0.1)
    check_metric(prior, (12, 2))
    solution = ADMM(max_steps=20000).solve(Problem(LeastSquares(Identity(), y), prior))
    assert solution.status is Status.CONVERGED


# ---- wrong use ------------------------------------------------------------------------------


def test_slopes_that_do_not_fit():
    with parts("a graph on EdgeList for a prior on slopes", "a lattice, or slopes", "PlaneFit"):
        GGTV(weighted(POINTS))
    with parts("a graph on EdgeList for a prior on slopes", "a lattice, or slopes", "PlaneFit"):
        GGLRUnroll().double()(
            Interpolation(SamplingMask(rand(7) > 0), rand(7, 1)), weighted(POINTS)
        )
    with parts("slopes on 12 nodes for a graph of 7", "the same nodes", "Build F"):
        GradientGraph.of(weighted(POINTS), AxisGradient((3, 4)))
    with parts("slopes on 12 nodes for a graph of 7", "the same nodes", "Build F"):
        GradientGraph(POINTS, numbers(POINTS.num_edges), AxisGradient((3, 4)))
    with parts("1 negative edge weights", "weights of 0 or more", ""):
        GradientGraph(IMAGE, -numbers(1).expand(IMAGE.num_edges) * one_hot(), AxisGradient((3, 4)))
    with parts("a point cloud of shape", "7 on axis -2", ""):
        PlaneFit(POINTS, cloud(8))
    with parts("points of shape .* NaN", r"\(7, dimensions\), finite", "one point for each"):
        PlaneFit(POINTS, cloud(7) * torch.nan)
    with parts("lam=-1", "a finite number of at least 0", ""):
        GGTV(weighted(IMAGE), -1)


def one_hot():
    return (torch.arange(IMAGE.num_edges) == 0).double()


def test_a_gradient_graph_keeps_its_slopes():
    graph = slopes_on(POINTS)
    assert GradientGraph.of(graph) is graph
    assert graph.detach().F is graph.F
    assert GradientDifferences(graph).num_outputs == 2 * POINTS.num_edges


@pytest.mark.parametrize("on", [POINTS, IMAGE], ids=["points", "lattice"])
def test_a_gradient_graph_of_another_dtype_keeps_its_slopes(on):
    graph = slopes_on(on)
    x = rand(on.num_nodes, 2)
    moved = graph.to(torch.float32)
    assert moved.weight.dtype == torch.float32
    assert_same(GGTV(moved)(x.float()).double(), GGTV(graph)(x), 1e-5)
    assert_same(GGTV(moved.to(torch.float64))(x), GGTV(graph)(x), 1e-5)


def test_places_far_from_the_origin_keep_their_slopes_in_float32():
    points = cloud(40) + 5e6
    topology = knn_graph(points, 6)
    graph = GradientGraph(topology, torch.ones(topology.num_edges), PlaneFit(topology, points))
    moved = graph.to(torch.float32)
    assert torch.equal(moved.F.exists, graph.F.exists)
    x = rand(40, 1)
    assert_same(moved.F(x.float()).double(), graph.F(x), 1e-4)


def test_a_layer_takes_the_graph_of_a_lattice_as_it_is():
    data, graph = LeastSquares(Identity(), rand(12, 2)), weighted(IMAGE)
    layer = GGTVUnroll(rho=1.0).double()
    assert torch.equal(layer(data, graph), layer(data, GradientGraph.of(graph)))


@pytest.mark.parametrize("layer", [GGLRUnroll(mu=0.5).double(), GGTVUnroll(rho=1.0).double()])
def test_a_batch_of_point_clouds_is_each_cloud_alone(layer):
    points, y = cloud(24), rand(24, 2)
    both = knn_graph(points, 4, batch=torch.arange(24) % 2)
    w, mask = numbers(both.num_edges), rand(24, 2) < 0.7

    def restored(topology, w, points, mask, y):
        graph = GradientGraph.of(Graph(topology, w), PlaneFit(topology, points))
        return layer(LeastSquares(SamplingMask(mask), y), graph)

    together = restored(both, w, points, mask, y)
    for g in range(2):
        node = torch.arange(g, 24, 2)
        own = both.batch[both.edge_index[0]] == g
        alone = EdgeList(both.edge_index[:, own] // 2, 12)
        assert_same(
            together[node], restored(alone, w[own], points[node], mask[node], y[node]), 1e-10
        )


@pytest.mark.parametrize(
    "layer", [GGLRUnroll(4, mu=0.5).double(), GGTVUnroll(2, 3, rho=1.0).double()]
)
def test_derivatives_of_a_layer_on_a_lattice(layer):
    topology, mask = grid_graph((3, 3), neighbors=4), rand(9, 1) < 0.7
    w, y = numbers(topology.num_edges).requires_grad_(), rand(9, 1).requires_grad_()

    def function(w, y):
        graph = Graph.unchecked(topology, topology.mask_edges(w))
        return layer(LeastSquares(SamplingMask(mask), y), graph)

    assert torch.autograd.gradcheck(function, (w, y))
    assert torch.autograd.gradgradcheck(function, (w, y), fast_mode=True)
