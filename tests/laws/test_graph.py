"""Laws of weighted graphs: what each normalisation sums to, and that empty nodes harm nothing."""

import networkx as nx
import pytest
import torch

from gsp_unroll.graph import EdgeList, Graph, grid_graph, path_graph
from gsp_unroll.graph.convert import to_edge_list
from tests.registries import DIRECTED, UNDIRECTED, edges

NORMALIZATIONS = ("none", "sym", "row", "merged")


def random_graph(topology, *batch):
    return Graph(topology, torch.rand(*batch, topology.num_edges, dtype=torch.float64) + 0.1)


@pytest.fixture(params=UNDIRECTED.values(), ids=UNDIRECTED.keys())
def graph(request):
    return random_graph(request.param())


@pytest.fixture(params=DIRECTED.values(), ids=DIRECTED.keys())
def directed(request):
    return random_graph(request.param())


def with_empty_nodes():
    """Node 3 has edges of weight 0 only, node 4 has one of them, node 5 has no edge at all."""
    topology = EdgeList(edges((0, 1), (1, 2), (2, 3), (3, 4)), 6)
    return topology, torch.tensor([0.5, 2.0, 0.0, 0.0], dtype=torch.float64)


def assert_same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def matrix_of(graph):
    """The weight matrix W: row i holds the edges j -> i; symmetric for an undirected graph."""
    listed = to_edge_list(graph)
    w = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=graph.weight.dtype)
    tail, head = listed.topology.edge_index
    w[head, tail] = listed.weight
    if not listed.topology.directed:
        w[tail, head] = listed.weight
    return w


def reference_of(graph):
    listed = to_edge_list(graph)
    reference = nx.empty_graph(graph.num_nodes)
    columns = zip(*listed.topology.edge_index.tolist(), listed.weight.tolist(), strict=True)
    reference.add_weighted_edges_from(columns)
    return reference


# ---- the paper's example --------------------------------------------------------------------


def triangle():
    """Do et al. 2024, figure 3: w12 = w13 = 1/2, w23 = 1/3."""
    w = torch.tensor([1 / 2, 1 / 2, 1 / 3], dtype=torch.float64)
    return Graph(EdgeList(edges((0, 1), (0, 2), (1, 2)), 3), w)


def test_row_weights_of_the_papers_triangle():
    w = matrix_of(triangle().normalized("row"))
    expected = [[0, 1 / 2, 1 / 2], [3 / 5, 0, 2 / 5], [3 / 5, 2 / 5, 0]]
    assert_same(w, torch.tensor(expected, dtype=torch.float64))


def test_gtv_laplacian_of_the_papers_triangle():
    # C = diag(w) grad, so C'C is the Laplacian of the weights squared
    graph = triangle().normalized("row")
    topology, w = graph.topology, graph.weight.unsqueeze(-1)
    rows = w * topology.gradient(torch.eye(3, dtype=torch.float64))
    assert rows.shape == (6, 3)
    assert_same(rows.sum(-1), torch.zeros(6, dtype=torch.float64))
    laplacian = topology.divergence(w * rows)
    expected = [[1.22, -0.61, -0.61], [-0.61, 0.93, -0.32], [-0.61, -0.32, 0.93]]
    assert_same(laplacian, torch.tensor(expected, dtype=torch.float64))
    squared = topology.laplacian(graph.weight**2, torch.eye(3, dtype=torch.float64))
    assert_same(laplacian, squared)


# ---- what the weights sum to ----------------------------------------------------------------


def test_degree_counts_each_edge_at_both_ends(graph):
    assert_same(graph.degree, matrix_of(graph).sum(1))
    assert_same(graph.degree.sum(), 2 * graph.weight.sum())


def test_degree_of_a_directed_graph_is_the_row_sum(directed):
    assert_same(directed.degree, matrix_of(directed).sum(1))
    assert_same(directed.degree.sum(), directed.weight.sum())


def test_none_is_the_graph_itself(graph):
    assert graph.normalized("none") is graph


def test_row_weights_sum_to_one_where_there_is_an_edge(graph):
    row = graph.normalized("row")
    assert row.topology.directed
    assert_same(row.degree, (graph.degree > 0).double())
    degree = graph.degree.clamp(min=1e-300).unsqueeze(-1)
    assert_same(matrix_of(row), matrix_of(graph) / degree)


def test_row_weights_of_a_directed_graph_stay_on_its_edges(directed):
    row = directed.normalized("row")
    assert row.topology is directed.topology
    assert_same(row.degree, (directed.degree > 0).double())


def test_merged_weights_are_the_row_weights_of_both_directions_added(graph):
    merged, row = graph.normalized("merged"), graph.normalized("row")
    assert merged.topology is graph.topology
    assert_same(merged.weight, row.merged().weight)
    assert row.merged().topology is graph.topology
    assert_same(matrix_of(merged), matrix_of(row) + matrix_of(row).T)


def test_merged_rows_have_the_same_total_variation(graph):
    x = torch.randn(graph.num_nodes, 2, dtype=torch.float64)
    totals = [
        (g.weight.unsqueeze(-1) * g.topology.gradient(x).abs()).sum()
        for g in (graph.normalized("merged"), graph.normalized("row"))
    ]
    assert_same(*totals)


def test_sym_weights_are_the_offdiagonal_of_the_normalized_laplacian(graph):
    scale = graph.degree.clamp(min=1e-300).rsqrt() * (graph.degree > 0)
    expected = scale[:, None] * matrix_of(graph) * scale
    assert_same(matrix_of(graph.normalized("sym")), expected)


def test_both_directions_carry_the_weight_twice(graph):
    both = graph.both_directions()
    assert_same(matrix_of(both), matrix_of(graph))
    assert_same(both.degree, graph.degree)
    assert_same(both.merged().weight, 2 * graph.weight)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_scaling_all_weights_scales_no_normalised_weight(graph, normalization):
    scaled = Graph(graph.topology, 7 * graph.weight).normalized(normalization)
    factor = 7 if normalization == "none" else 1
    assert_same(scaled.weight, factor * graph.normalized(normalization).weight)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_batched_weights_equal_each_alone(normalization):
    graph = random_graph(grid_graph((3, 3)), 2, 3)
    together = graph.normalized(normalization)
    assert graph.degree.shape == (2, 3, 9)
    for i in range(2):
        for j in range(3):
            alone = Graph(graph.topology, graph.weight[i, j])
            assert_same(graph.degree[i, j], alone.degree)
            assert_same(together.weight[i, j], alone.normalized(normalization).weight)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_padded_slots_stay_zero(normalization):
    topology = grid_graph((2, 3), window=5)
    graph = Graph(topology, torch.ones(topology.num_edges)).normalized(normalization)
    assert not graph.weight[~graph.topology.edge_mask].any()
    assert graph.weight[graph.topology.edge_mask].all()


def test_what_stands_on_padded_slots_is_dropped():
    path = path_graph(3)
    for rubbish in (torch.nan, torch.inf, -1.0):
        assert Graph(path, torch.tensor([1.0, 2.0, rubbish])).weight.tolist() == [1.0, 2.0, 0.0]


# ---- empty nodes ----------------------------------------------------------------------------


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_empty_nodes_have_zero_weights_and_harm_nobody(normalization):
    topology, w = with_empty_nodes()
    weights = matrix_of(Graph(topology, w).normalized(normalization))
    assert not weights[3:].any()
    assert not weights[:, 3:].any()
    # the rest is what it would be without them
    alone = Graph(EdgeList(edges((0, 1), (1, 2)), 3), w[:2]).normalized(normalization)
    assert_same(weights[:3, :3], matrix_of(alone))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e-18, 1e-25, 1e-37])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_gradients_are_finite_at_empty_and_faint_nodes(normalization, scale, dtype):
    topology, w = with_empty_nodes()
    w = w.to(dtype)
    w[1:] = w[1:] * scale  # a node whose edges all but vanish
    w.requires_grad_()
    normalized = Graph(topology, w).normalized(normalization).weight
    assert normalized.isfinite().all()
    (gradient,) = torch.autograd.grad(normalized, w, torch.randn_like(normalized))
    assert gradient.isfinite().all()


@pytest.mark.parametrize("normalization", ["sym", "row", "merged"])
def test_an_edge_of_weight_zero_can_still_learn(normalization):
    # its weight is 0 but its ends have other edges: the derivative is not cut off
    topology = EdgeList(edges((0, 1), (2, 3), (1, 2)), 4)
    w = torch.tensor([1.0, 4.0, 0.0], dtype=torch.float64, requires_grad=True)
    normalized = Graph(topology, w).normalized(normalization)
    (gradient,) = torch.autograd.grad(normalized.weight[2], w)
    expected = {"sym": 1 / 2, "row": 1 / 4, "merged": 1 + 1 / 4}[normalization]
    assert gradient[2].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_normalisations_are_twice_differentiable(normalization):
    topology = UNDIRECTED["two parts and isolated nodes"]()
    w = torch.tensor([0.3, 1.0, 2.5], dtype=torch.float64, requires_grad=True)

    def normalized(w):
        return Graph.unchecked(topology, w).normalized(normalization).weight

    assert torch.autograd.gradcheck(normalized, (w,))
    assert torch.autograd.gradgradcheck(normalized, (w,))


# ---- against NetworkX -----------------------------------------------------------------------


def test_laplacian_is_that_of_networkx(graph):
    if graph.num_nodes == 0:
        pytest.skip("NetworkX knows no Laplacian without nodes")
    expected = torch.from_numpy(nx.laplacian_matrix(reference_of(graph)).toarray()).double()
    eye = torch.eye(graph.num_nodes, dtype=torch.float64)
    assert_same(graph.topology.laplacian(graph.weight, eye), expected)


def test_sym_weights_are_those_of_networkx(graph):
    if graph.num_nodes == 0:
        pytest.skip("NetworkX knows no Laplacian without nodes")
    laplacian = nx.normalized_laplacian_matrix(reference_of(graph)).toarray()
    expected = -torch.from_numpy(laplacian).double()
    expected.fill_diagonal_(0)
    assert_same(matrix_of(graph.normalized("sym")), expected)


def test_the_laplacian_of_sym_weights_is_not_the_normalized_laplacian():
    graph = triangle()
    reference = torch.from_numpy(nx.normalized_laplacian_matrix(reference_of(graph)).toarray())
    of_weights = graph.topology.laplacian(graph.normalized("sym").weight, torch.eye(3).double())
    ones = torch.ones(3, dtype=torch.float64)
    assert (of_weights @ ones).abs().max() < 1e-15
    assert (reference @ ones).abs().max() > 0.01


# ---- values ---------------------------------------------------------------------------------


def test_to_changes_the_weights_and_keeps_the_structure(graph):
    moved = graph.to(torch.float32)
    assert moved.weight.dtype == torch.float32
    assert torch.equal(moved.weight, graph.weight.float())
    assert torch.equal(moved.topology.edge_index, graph.topology.edge_index)
    assert torch.equal(graph.to("cpu").weight, graph.weight)


def test_detached_weights_carry_no_gradient():
    w = torch.ones(2, requires_grad=True)
    graph = Graph(path_graph(2), w).detach()
    assert not graph.weight.requires_grad
    assert graph.weight.tolist() == [1.0, 0.0]


def test_a_graph_does_not_change():
    graph = triangle()
    with pytest.raises(AttributeError):
        graph.weight = torch.ones(3)


def test_unchecked_takes_the_tensor_as_it_is():
    w = torch.tensor([1.0, -1.0])
    graph = Graph.unchecked(path_graph(2), w)
    assert graph.weight is w
