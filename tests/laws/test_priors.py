"""What each prior says of a signal: what it leaves alone, what it measures, and how sums behave."""

import pytest
import torch

from gsp_unroll.graph import EdgeList, Graph, grid_graph, knn_graph, path_graph
from gsp_unroll.operators import (
    BayerMosaic,
    Gradient,
    Identity,
    LaplacianPower,
    SamplingMask,
    Stack,
)
from gsp_unroll.problems import (
    GLR,
    GTF,
    GTV,
    Interpolation,
    LeastSquares,
    Prior,
    Problem,
    SumPrior,
    VectorGTV,
)
from gsp_unroll.solvers import ADMM
from gsp_unroll.testing import dense_matrix
from gsp_unroll.unroll import GTFUnroll, GTVUnroll, SumUnroll
from tests.registries import TOPOLOGIES, cloud
from tests.registries_operators import IMAGE, numbers, weighted

PATH = path_graph(12)
POINTS = knn_graph(cloud(12), 3)


def rand(*shape):
    return torch.rand(*shape, dtype=torch.float64)


def ones_on(topology):
    return Graph(topology, torch.ones(topology.num_edges, dtype=torch.float64))


def assert_same(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def parts(got, expected, advice):
    return pytest.raises(ValueError, match=f"(?s)Got {got}.*Expected {expected}.*{advice}")


# ---- trend filtering ------------------------------------------------------------------------


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_a_trend_of_its_order_costs_nothing_away_from_the_ends(order):
    t = torch.arange(12, dtype=torch.float64)
    prior, trend = GTF(ones_on(PATH), order=order), t**order - 3 * t ** max(order - 1, 0)
    inside = slice((order + 1) // 2, 11 - order // 2 - order % 2)
    assert prior.K(trend.unsqueeze(-1))[inside].abs().max() < 1e-10
    steeper = prior.K(t.unsqueeze(-1) ** (order + 1))[inside]
    assert (steeper.abs() > 0.5).all()
    # the ends of a path have one neighbour
    assert order == 0 or prior.K(trend.unsqueeze(-1))[0].abs() > 0.5


@pytest.mark.parametrize("order", [1, 2])
def test_a_knot_costs_at_its_place_only(order):
    t = torch.arange(12, dtype=torch.float64)
    bent = ((t - 5).clamp(min=0) ** order).unsqueeze(-1)
    found = GTF(ones_on(PATH), order=order).K(bent)[order:-2].abs().squeeze(-1) > 1e-12
    assert found.nonzero().flatten().tolist() == ([4] if order == 1 else [2, 3])


def differences(graph):
    tail, head = graph.topology.edge_index
    D = torch.zeros(graph.topology.num_edges, graph.num_nodes, dtype=torch.float64)
    D[torch.arange(len(tail)), head] += 1
    D[torch.arange(len(tail)), tail] -= 1
    return D


@pytest.mark.parametrize("build", TOPOLOGIES.values(), ids=TOPOLOGIES.keys())
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_the_analysis_is_that_of_the_source_with_a_weight_in_every_difference(build, order):
    graph = weighted(build())
    D, w, x = differences(graph), graph.weight.unsqueeze(-1), rand(graph.num_nodes, 2)
    z = x
    for _ in range((order + 1) // 2):
        z = D.T @ (w * (D @ z))
    if order % 2 == 0:
        z = w * (D @ z)
    prior = GTF(graph, 0.3, order)
    assert_same(prior.weigh(prior.K(x)), z)
    assert_same(prior(x).sum(), 0.3 * z.abs().sum())
    assert_same(prior.normal(x), LaplacianPower(graph, order + 1)(x), 1e-10)


def test_order_0_is_gtv():
    graph, x, z = weighted(IMAGE), rand(12, 2), rand(IMAGE.num_edges, 2)
    ours, theirs = GTF(graph, 0.3, 0), GTV(graph, 0.3)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.prox(z, 2.0), theirs.prox(z, 2.0))
    assert torch.equal(ours.normal(x), theirs.normal(x))
    data = LeastSquares(Identity(), x)
    assert torch.equal(ADMM().solve(Problem(data, ours)).x, ADMM().solve(Problem(data, theirs)).x)


@pytest.mark.parametrize("order", [-1, 1.0, True, None])
def test_orders_that_are_none(order):
    with parts("order=", "a whole number of at least 0", "1 for linear"):
        GTF(ones_on(PATH), order=order)
    with parts("order=", "a whole number of at least 0", "1 for linear"):
        GTFUnroll(order=order)


@pytest.mark.parametrize("power", [0, -1, 1.5])
def test_powers_that_are_none(power):
    with parts("power=", "a whole number of at least 1", "Set power to 1"):
        LaplacianPower(ones_on(PATH), power)


def test_a_path_of_two_slopes_is_found_again_by_trends_and_not_by_steps():
    t = torch.arange(60, dtype=torch.float64)
    clean = torch.where(t < 30, t, 60 - t).unsqueeze(-1) / 30
    y = clean + 0.1 * torch.randn(60, 1, dtype=torch.float64)
    graph = ones_on(path_graph(60))
    errors = {
        order: (
            ADMM(rtol=1e-6, max_steps=20000)
            .solve(Problem(LeastSquares(Identity(), y), GTF(graph, lam, order)))
            .x
            - clean
        )
        .square()
        .mean()
        for order, lam in ((0, 0.15), (1, 1.0))
    }
    assert errors[1] < 0.5 * errors[0]


# ---- sums -----------------------------------------------------------------------------------


def test_a_sum_opens_sums_and_folds_what_is_quadratic():
    graph = weighted(IMAGE)
    a, b, c = GTV(graph, 0.3), GLR(graph, 0.2), VectorGTV(graph, 0.1)
    total = a + b + (c + b)
    assert total.parts == (a, b, c, b)
    assert total.split == (a, c)
    assert total.folded == (b, b)
    x = rand(12, 2)
    assert_same(total.beside(x), 0.4 * b.normal(x))
    assert_same(total.quadratic(0.5)(x), 0.5 * total.normal(x) + total.beside(x))
    assert_same(total(x), (a(x) + 2 * b(x)).sum(-1, keepdim=True) + c(x))
    assert total.K.num_outputs == 2 * IMAGE.num_edges


def test_a_sum_of_quadratic_priors_is_quadratic():
    graph = weighted(IMAGE)
    total, x = GLR(graph, 0.3) + GLR(graph, 0.4), rand(12, 2)
    assert total.beside is None
    assert_same(total.Q(x), GLR(graph, 0.7).Q(x))
    assert_same(total(x), GLR(graph, 0.7)(x))
    assert (GTV(graph) + GLR(graph)).Q is None


def test_a_sum_of_one_is_that_one():
    graph, y = weighted(IMAGE), rand(12, 2)
    data = Interpolation(SamplingMask(rand(12, 2) < 0.6), y)
    alone = ADMM().solve(Problem(data, GTV(graph, 0.2)))
    wrapped = ADMM().solve(Problem(data, SumPrior((GTV(graph, 0.2),))))
    assert torch.equal(alone.x, wrapped.x)
    assert torch.equal(alone.duality_gap, wrapped.duality_gap)


def test_twice_a_prior_is_one_of_twice_the_weight():
    graph, y = weighted(IMAGE), rand(12, 2)
    data = LeastSquares(Identity(), y)
    twice = ADMM(rtol=1e-10).solve(Problem(data, GTV(graph, 0.1) + GTV(graph, 0.1))).x
    assert_same(twice, ADMM(rtol=1e-10).solve(Problem(data, GTV(graph, 0.2))).x, 1e-5)


def test_glr_of_weight_zero_adds_nothing():
    graph, y = weighted(IMAGE), rand(12, 2)
    data = LeastSquares(Identity(), y)
    both = ADMM(rtol=1e-10).solve(Problem(data, GTV(graph, 0.1) + GLR(graph, 0.0)))
    assert both.converged
    assert not both.duality_gap.isnan().any()
    assert_same(both.x, ADMM(rtol=1e-10).solve(Problem(data, GTV(graph, 0.1))).x, 1e-6)


def test_graphs_of_a_batch_are_summed_by_themselves():
    both = EdgeList(
        torch.cat([POINTS.edge_index, POINTS.edge_index + 12], 1), 24, torch.arange(24) // 12
    )
    w, y = numbers(POINTS.num_edges), rand(24, 2)

    def solved(topology, w, y):
        graph = Graph(topology, w)
        prior = GTV(graph, 0.1) + VectorGTV(graph, 0.1) + GLR(graph, 0.2) + GTF(graph, 0.1, 1)
        return ADMM(rho=1.0, max_steps=30).solve(Problem(LeastSquares(Identity(), y), prior))

    together = solved(both, torch.cat([w, w.flip(0)]), y)
    for part, weight in ((slice(0, 12), w), (slice(12, 24), w.flip(0))):
        assert_same(together.x[part], solved(POINTS, weight, y[part]).x, 1e-10)
    assert together.objective.shape == (2, 1)


def test_sums_that_do_not_fit():
    with parts("a sum of no priors", "at least one", "tuple"):
        SumPrior(())
    with parts(r"a sum of priors on \[12, 20\] nodes", "equal numbers", "for one signal"):
        GTV(weighted(IMAGE)) + GLR(weighted(grid_graph((4, 5))))
    sensors = LeastSquares(Identity(), torch.rand(12, 1))
    with parts("the observation of dtype torch.float32", "the dtype of the edge weights", ""):
        Problem(sensors, GTV(weighted(IMAGE)) + GLR(weighted(IMAGE)))
    with parts("a stack of no operators", "at least one", ""):
        Stack(())
    with parts(r"a stack of operators on \[12, 20\] nodes", "equal numbers", "for one signal"):
        Stack((Gradient(IMAGE), Gradient(grid_graph((4, 5)))))
    with parts("a stack of several operators that leave", "one such operator", "Diagonal"):
        Stack((Identity(), Identity()))


def test_a_sum_with_two_priors_of_unknown_length():
    class Ridge(Prior):
        K = Identity()

        def penalty(self, z):
            return z.abs()

        def prox(self, z, step):
            return z / (1 + step)

    with parts("a stack of several operators that leave", "one such operator", "Diagonal"):
        ADMM().solve(Problem(LeastSquares(Identity(), rand(5, 1)), Ridge() + Ridge()))


def test_the_parts_of_a_layer():
    with parts("0 priors and 0 initial weights", "at least one prior", "SumUnroll"):
        SumUnroll([])
    with parts("2 priors and 1 initial weights", ".*one weight for each", "SumUnroll"):
        SumUnroll([GTV, GLR], lam=[0.1])
    with parts("lam=-1", "a finite number above 0", ""):
        SumUnroll([GTV, GLR], lam=[0.1, -1])
    layer = SumUnroll([GTV, GLR], 2, heads=3, lam=[0.1, 0.5])
    assert layer.log_lam.shape == (2, 2, 3)
    assert_same(layer.log_lam.exp()[0, :, 2].double(), torch.tensor([0.1, 0.5]).double(), 1e-6)


def test_a_layer_of_one_part_is_the_layer_of_that_prior():
    y, graph = rand(12, 2), weighted(IMAGE)
    data = Interpolation(SamplingMask(rand(12, 2) < 0.6), y)
    assert_same(SumUnroll([GTV]).double()(data, graph), GTVUnroll().double()(data, graph))


def test_a_part_may_live_on_a_graph_of_its_own():
    y, graph, other = rand(12, 2), weighted(IMAGE), ones_on(grid_graph((3, 4), neighbors=4))
    data = LeastSquares(Identity(), y)
    layer = SumUnroll([GTV, lambda _, mu: GLR(other, mu)], 60, lam=[0.05, 0.3], rho=1.0).double()
    with torch.no_grad():
        x = layer(data, graph)
    problem = Problem(data, GTV(graph, 0.05) + GLR(other, 0.3))
    best = ADMM(rtol=1e-10).solve(problem).x
    assert_same(problem.objective(x), problem.objective(best), 1e-5)


def test_the_matrix_of_a_stack_is_that_of_its_parts():
    A, B = Gradient(IMAGE), Gradient(grid_graph((3, 4), neighbors=4))
    stacked = dense_matrix(Stack((A, B)), 12)
    assert torch.equal(stacked, torch.cat([dense_matrix(A, 12), dense_matrix(B, 12)]))
    with parts(r"outputs of \[1, 3\] channels", "equal numbers of channels", ""):
        Stack((BayerMosaic(3, 4), A))(rand(12, 3))
