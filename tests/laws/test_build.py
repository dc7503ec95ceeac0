"""Laws of the builders: each against a brute-force search that is too slow but plainly right."""

import itertools

import networkx as nx
import pytest
import torch
from hypothesis import given, settings, strategies as st

from gsp_unroll.graph import (
    EdgeList,
    Graph,
    Grid,
    grid_graph,
    knn_graph,
    path_graph,
    points as points_module,
    product_graph,
    radius_graph,
)
from gsp_unroll.graph.convert import to_edge_list
from tests.registries import DIRECTED, TOPOLOGIES, cloud

FACTORS = {name: build for name, build in TOPOLOGIES.items() if "batch" not in name}


def pairs(topology):
    """The edges as a set; undirected ones with the smaller node first."""
    e = to_edge_list(topology).edge_index
    if not topology.directed:
        e = e.sort(0).values
    found = list(map(tuple, e.T.tolist()))
    assert len(set(found)) == len(found), "an edge is stored twice"
    return set(found)


def undirected(found):
    return {(min(e), max(e)) for e in found}


# ---- lattices -------------------------------------------------------------------------------


def brute_grid(shape, are_neighbours):
    nodes = list(itertools.product(*map(range, shape)))
    return {
        (i, j)
        for (i, p), (j, q) in itertools.product(enumerate(nodes), repeat=2)
        if i != j and are_neighbours([a - b for a, b in zip(q, p, strict=True)])
    }


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


@settings(max_examples=40, deadline=None)
@given(shapes, st.data(), st.booleans())
def test_a_window_joins_all_nodes_inside_it(shape, data, directed):
    odd = st.sampled_from([1, 3, 5])
    window = data.draw(st.one_of(odd, st.tuples(*[odd] * len(shape))))
    sides = [window] * len(shape) if isinstance(window, int) else window
    reach = [side // 2 for side in sides]
    expected = brute_grid(shape, lambda d: all(abs(a) <= r for a, r in zip(d, reach, strict=True)))
    grid = grid_graph(shape, window, directed=directed)
    assert pairs(grid) == (expected if directed else undirected(expected))


@settings(max_examples=40, deadline=None)
@given(shapes, st.data(), st.booleans())
def test_neighbours_are_the_nearest_ones(shape, data, directed):
    # neighbours of an inner node -> the largest squared distance among them
    shells = {
        1: {2: 1, 4: 4, 6: 9},
        2: {4: 1, 8: 2, 12: 4, 20: 5, 24: 8},
        3: {6: 1, 18: 2, 26: 3, 32: 4},
    }[len(shape)]
    neighbors = data.draw(st.sampled_from(list(shells)))
    expected = brute_grid(shape, lambda d: sum(a * a for a in d) <= shells[neighbors])
    grid = grid_graph(shape, neighbors=neighbors, directed=directed)
    assert pairs(grid) == (expected if directed else undirected(expected))
    assert len(grid.offsets) == (neighbors if directed else neighbors // 2)


def test_the_usual_neighbourhoods_have_two_names():
    assert grid_graph((5, 5)).offsets == grid_graph((5, 5), window=3).offsets
    assert grid_graph((5, 5), window=3).offsets == grid_graph((5, 5), neighbors=8).offsets
    assert grid_graph((5, 5), window=5).offsets == grid_graph((5, 5), neighbors=24).offsets
    assert grid_graph((2,) * 3, window=3).offsets == grid_graph((2,) * 3, neighbors=26).offsets
    assert grid_graph((9,), window=5).offsets == path_graph(9, lags=2).offsets


def test_undirected_grids_keep_the_positive_half_of_the_offsets():
    half = grid_graph((4, 4, 4)).offsets
    assert all(o > (0, 0, 0) for o in half)
    both = grid_graph((4, 4, 4), directed=True).offsets
    assert set(both) == {*half, *(tuple(-d for d in o) for o in half)}


def test_explicit_offsets_are_taken_as_they_are():
    grid = grid_graph((4, 4), offsets=[(0, -2), torch.Size((1, 1))])
    assert isinstance(grid, Grid)
    assert grid.offsets == ((0, -2), (1, 1))


def test_a_path_runs_from_the_past_to_the_present():
    path = path_graph(5, lags=2, directed=True)
    assert pairs(path) == {(0, 1), (1, 2), (2, 3), (3, 4), (0, 2), (1, 3), (2, 4)}
    assert pairs(path_graph(5, lags=2)) == pairs(path)
    assert pairs(path_graph(5, lags=(4,), directed=True)) == {(0, 4)}
    assert path_graph(5, lags=(lag for lag in (3, 1))).offsets == ((3,), (1,))


# ---- point clouds ---------------------------------------------------------------------------


def brute_knn(points, k):
    """All (neighbour, node) pairs by comparing every two points."""
    distance = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    distance.fill_diagonal_(torch.inf)
    near = distance.topk(min(k, len(points) - 1), largest=False).indices
    return {(j, i) for i, row in enumerate(near.tolist()) for j in row}


def brute_radius(points, radius):
    distance = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    tail, head = (distance <= radius).triu(1).nonzero().T
    return set(zip(tail.tolist(), head.tolist(), strict=True))


clouds = st.tuples(st.integers(2, 25), st.integers(1, 4), st.integers(0, 1000)).map(
    lambda size: cloud(*size)
)


@settings(max_examples=40, deadline=None)
@given(clouds, st.integers(1, 6))
def test_knn_is_that_of_brute_force(points, k):
    rows = brute_knn(points, k)
    assert pairs(knn_graph(points, k, symmetrize=None)) == rows
    assert pairs(knn_graph(points, k)) == undirected(rows)
    mutual = {(i, j) for i, j in rows if (j, i) in rows}
    assert pairs(knn_graph(points, k, symmetrize="mutual")) == undirected(mutual)


@settings(max_examples=40, deadline=None)
@given(clouds, st.floats(0.01, 1.0))
def test_radius_is_that_of_brute_force(points, radius):
    assert pairs(radius_graph(points, radius)) == brute_radius(points, radius)


def test_radius_includes_its_border():
    points = torch.tensor([[0.0], [1.0], [2.5]])
    assert pairs(radius_graph(points, 1.0)) == {(0, 1)}
    assert pairs(radius_graph(points, 1.5)) == {(0, 1), (1, 2)}


def test_each_row_holds_the_neighbours_of_a_node_nearest_first():
    points = cloud(30, 3)
    graph = knn_graph(points, 4, symmetrize=None)
    assert graph.directed
    tail, head = graph.edge_index
    assert torch.equal(head, torch.arange(30).repeat_interleave(4))
    length = (points[tail] - points[head]).norm(dim=-1).reshape(30, 4)
    assert (length.diff() >= 0).all()


@pytest.mark.parametrize("symmetrize", ["union", "mutual", None])
@pytest.mark.parametrize("k", [1, 3, 9, 50])
def test_copies_of_a_point_are_neighbours_but_never_of_themselves(symmetrize, k):
    points = torch.zeros(40, 2)
    points[:30] = torch.tensor([1.0, 2.0])  # 30 copies, more than a leaf of the tree holds
    graph = knn_graph(points, k, symmetrize=symmetrize)
    tail, head = graph.edge_index
    assert (tail != head).all()
    rows = knn_graph(points, k, symmetrize=None)
    assert rows.degree(torch.ones(rows.num_edges)).tolist() == [min(k, 39)] * 40
    if k <= 9:  # every node has enough copies: no edge has any length
        assert torch.equal(points[tail], points[head])


def test_radius_joins_all_copies_of_a_point():
    assert pairs(radius_graph(torch.ones(4, 3), 1e-3)) == set(itertools.combinations(range(4), 2))


def test_building_twice_gives_the_same_edges_in_the_same_order():
    # a lattice of points, where most distances are equal and the choice is free
    points = torch.cartesian_prod(torch.arange(6.0), torch.arange(6.0))
    for build in (lambda: knn_graph(points, 3), lambda: radius_graph(points, 1.5)):
        first, second = build().edge_index, build().edge_index
        assert torch.equal(first, second)
        assert (first[0] < first[1]).all()
        assert ((first[0] * 36 + first[1]).diff() > 0).all()


def assert_obeys_the_rules(topology):
    """What is built without a look is what the public door lets through, in the same order."""
    batch, graphs = topology.batch, topology.num_graphs
    checked = EdgeList(topology.edge_index, topology.num_nodes, batch, topology.directed, graphs)
    assert vars(topology).keys() == vars(checked).keys()
    assert topology.systems.num_graphs == checked.systems.num_graphs
    assert topology.edge_index.is_contiguous()


@settings(max_examples=30, deadline=None)
@given(clouds, st.integers(1, 6), st.booleans())
def test_builders_obey_the_rules_of_an_edge_list(points, k, batched):
    batch = torch.arange(len(points)) * 5 % 3 if batched else None
    for symmetrize in ("union", "mutual", None):
        assert_obeys_the_rules(knn_graph(points, k, batch=batch, symmetrize=symmetrize))
    assert_obeys_the_rules(radius_graph(points, 0.5, batch=batch))
    with_time = product_graph(path_graph(2), radius_graph(points, 0.5))
    assert_obeys_the_rules(with_time)
    assert_obeys_the_rules(product_graph(path_graph(2, directed=True), with_time))


@pytest.mark.parametrize("symmetrize", ["union", "mutual", None])
def test_looking_up_some_points_at_a_time_changes_nothing(symmetrize, monkeypatch):
    # a lattice of points, where most distances are equal and the choice is free
    points = torch.cartesian_prod(*[torch.arange(7.0)] * 3)
    whole = knn_graph(points, 5, symmetrize=symmetrize)
    monkeypatch.setattr(points_module, "CHUNK", 50)
    assert torch.equal(knn_graph(points, 5, symmetrize=symmetrize).edge_index, whole.edge_index)
    monkeypatch.setattr(points_module, "MANY", 10)  # several threads
    assert torch.equal(knn_graph(points, 5, symmetrize=symmetrize).edge_index, whole.edge_index)


@pytest.mark.slow
def test_rows_of_many_points_are_sorted_and_as_near_as_any():
    points = cloud(200_000, 3)
    graph = knn_graph(points, 8, symmetrize=None)
    tail, head = graph.edge_index
    assert torch.equal(head, torch.arange(200_000).repeat_interleave(8))
    for node in range(0, 200_000, 20_011):
        length = (points - points[node]).square().sum(-1)
        length[node] = torch.inf
        assert torch.equal(tail[8 * node : 8 * node + 8], length.topk(8, largest=False).indices)
    assert_obeys_the_rules(knn_graph(points, 8))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 4))
def test_graphs_of_a_batch_are_built_as_each_alone(batch, k):
    batch = torch.tensor(batch)  # in any order, with small and missing graphs
    points = cloud(len(batch), 2)
    built = {
        "knn": lambda p, b=None: knn_graph(p, k, batch=b),
        "mutual": lambda p, b=None: knn_graph(p, k, batch=b, symmetrize="mutual"),
        "rows": lambda p, b=None: knn_graph(p, k, batch=b, symmetrize=None),
        "radius": lambda p, b=None: radius_graph(p, 0.5, batch=b),
    }
    for build in built.values():
        together = build(points, batch)
        assert together.batch is batch
        expected = set()
        for graph in batch.unique():
            nodes = (batch == graph).nonzero().squeeze(-1).tolist()
            alone = pairs(build(points[nodes]))
            expected |= {(nodes[i], nodes[j]) for i, j in alone}
        assert pairs(together) == expected


@pytest.mark.parametrize("num_points", [0, 1])
def test_a_cloud_too_small_for_edges_gives_none(num_points):
    points = torch.zeros(num_points, 3)
    batch = torch.zeros(num_points, dtype=torch.int64)
    for graph in (
        knn_graph(points, 2),
        knn_graph(points, 2, symmetrize="mutual", batch=batch),
        knn_graph(points, 2, symmetrize=None),
        radius_graph(points, 1.0),
        radius_graph(points, 1.0, batch=batch),
    ):
        assert (graph.num_nodes, graph.num_edges) == (num_points, 0)
        assert graph.edge_index.shape == (2, 0)


def test_node_numbers_do_not_overflow():
    # the square of the number of nodes needs more than 32 bits
    n = 70_000
    expected = {(i, i + 1) for i in range(n - 1)} | {(0, 2), (n - 3, n - 1)}
    points = torch.arange(n, dtype=torch.float32).unsqueeze(-1)
    assert pairs(knn_graph(points, 2)) == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_points_of_any_precision_and_layout(dtype):
    points = torch.tensor([[0.0, 1.0, 3.0, 7.0]], dtype=dtype).T.requires_grad_()
    assert pairs(knn_graph(points, 1)) == {(0, 1), (1, 2), (2, 3)}
    assert pairs(radius_graph(points, 2)) == {(0, 1), (1, 2)}


# ---- products -------------------------------------------------------------------------------


def reference_of(topology, w):
    reference = nx.DiGraph() if topology.directed else nx.Graph()
    reference.add_nodes_from(range(topology.num_nodes))
    listed = to_edge_list(Graph(topology, w))
    columns = zip(*listed.topology.edge_index.tolist(), listed.weight.tolist(), strict=True)
    reference.add_weighted_edges_from(columns)
    return reference


@pytest.mark.parametrize("second", FACTORS)
@pytest.mark.parametrize("first", ["sequence", "image", "no edges", "no nodes", "causal sequence"])
def test_a_product_is_that_of_networkx(first, second):
    factors = [FACTORS[name]() for name in (first, second)]
    w = [torch.rand(t.num_edges, dtype=torch.float64) + 0.1 for t in factors]
    graph = product_graph(*map(Graph, factors, w))
    directed = any(t.directed for t in factors)
    references = [reference_of(t, v) for t, v in zip(factors, w, strict=True)]
    if directed:
        references = [r.to_directed() for r in references]
    product = nx.cartesian_product(*references)
    n = factors[1].num_nodes
    expected = {}
    for (t, s), (u, v), weight in product.edges(data="weight"):
        i, j = t * n + s, u * n + v
        expected[(i, j) if directed else (min(i, j), max(i, j))] = weight
    assert isinstance(graph.topology, EdgeList)
    assert graph.topology.directed == directed
    assert graph.num_nodes == factors[0].num_nodes * n
    e = graph.topology.edge_index if directed else graph.topology.edge_index.sort(0).values
    assert dict(zip(map(tuple, e.T.tolist()), graph.weight.tolist(), strict=True)) == expected


@pytest.mark.parametrize("second", FACTORS)
def test_the_topology_of_a_product_is_the_product_of_the_topologies(second):
    factors = [path_graph(3, lags=2), FACTORS[second]()]
    ones = [torch.ones(t.num_edges) for t in factors]
    graph, topology = product_graph(*map(Graph, factors, ones)), product_graph(*factors)
    assert torch.equal(topology.edge_index, graph.topology.edge_index)
    assert topology.directed == graph.topology.directed


def test_the_laplacian_of_a_product_is_the_sum_of_the_laplacians():
    time, space = path_graph(4), knn_graph(cloud(5), 2)
    first = Graph(time, torch.rand(2, 1, time.num_edges, dtype=torch.float64))
    second = Graph(space, torch.rand(3, space.num_edges, dtype=torch.float64))
    product = product_graph(first, second)
    assert product.weight.shape[:-1] == (2, 3)
    x = torch.randn(4, 5, 2, dtype=torch.float64)
    actual = product.topology.laplacian(product.weight, x.flatten(0, 1))
    across = time.laplacian(first.weight.unsqueeze(-2), x.transpose(0, 1)).transpose(-3, -2)
    within = space.laplacian(second.weight.unsqueeze(-2), x)
    torch.testing.assert_close(actual, (across + within).flatten(-3, -2), rtol=1e-12, atol=1e-12)


def test_weights_of_a_product_are_differentiable():
    factors = [path_graph(3), DIRECTED["one-way edges"]()]
    w = [torch.rand(t.num_edges, dtype=torch.float64, requires_grad=True) for t in factors]

    def product_weight(*w):
        return product_graph(*map(Graph.unchecked, factors, w)).weight

    assert torch.autograd.gradcheck(product_weight, w)


def test_a_product_of_grids_is_the_grid_of_more_axes():
    product = product_graph(path_graph(3), grid_graph((2, 4), neighbors=4))
    assert pairs(product) == pairs(grid_graph((3, 2, 4), neighbors=6))
