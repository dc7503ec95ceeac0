"""Laws of the converters: there and back is the same graph, and what cannot be is refused."""

import subprocess
import sys
import warnings

import pytest
import torch
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.utils import contains_self_loops, is_undirected, to_dense_adj, to_undirected

from gsp_unroll.graph import (
    EdgeList,
    Graph,
    Topology,
    from_edge_index,
    from_pyg,
    grid_graph,
    knn_graph,
    path_graph,
    to_pyg,
)
from gsp_unroll.graph.convert import to_edge_list
from tests.registries import TOPOLOGIES, cloud, edges, weights_of

BOTH_WAYS = edges((0, 1), (2, 1), (1, 0), (1, 2))


@pytest.fixture(params=TOPOLOGIES.values(), ids=TOPOLOGIES.keys())
def graph(request):
    topology = request.param()
    return Graph(topology, torch.rand(topology.num_edges, dtype=torch.float64) + 0.1)


def is_sorted(batch):
    return batch is None or not (batch.diff() < 0).any()


def assert_same_graph(actual, expected):
    assert weights_of(actual) == weights_of(expected)
    assert actual.num_nodes == expected.num_nodes
    assert actual.topology.directed == expected.topology.directed
    batches = [g.topology.systems.batch for g in (actual, expected)]
    assert (batches[0] is None) == (batches[1] is None)
    assert batches[0] is None or torch.equal(*batches)


# ---- to an edge list ------------------------------------------------------------------------


def test_an_edge_list_keeps_the_edges_and_their_order(graph):
    kept = graph.topology.edge_mask
    listed = to_edge_list(graph)
    assert isinstance(listed.topology, EdgeList)
    assert torch.equal(listed.topology.edge_index, graph.topology.edge_index[:, kept])
    assert torch.equal(listed.weight, graph.weight[kept])
    assert torch.equal(to_edge_list(graph.topology).edge_index, listed.topology.edge_index)
    assert_same_graph(listed, graph)


def test_an_edge_list_is_its_own_edge_list():
    topology = EdgeList(BOTH_WAYS[:, :2], 3)
    assert to_edge_list(topology) is topology


def test_a_graph_of_an_edge_list_is_its_own_edge_list():
    graph = Graph(EdgeList(BOTH_WAYS[:, :2], 3), torch.rand(2))
    assert to_edge_list(graph).topology is graph.topology
    assert to_edge_list(graph).weight is graph.weight


def test_an_edge_list_of_any_structure_obeys_its_rules(graph):
    listed = to_edge_list(graph.topology)
    batch, graphs = listed.batch, listed.num_graphs
    EdgeList(listed.edge_index, listed.num_nodes, batch, listed.directed, graphs)
    assert listed.systems.num_graphs == graph.topology.systems.num_graphs


class Careless(Topology):
    """A structure from outside this package that stores an edge twice."""

    num_nodes, num_edges, directed = 2, 2, False
    edge_index = edges((0, 1), (1, 0))
    lift = tail_sum = head_sum = None


def test_a_structure_from_outside_is_looked_at():
    for structure in (Careless(), Careless().both_directions()):
        with pytest.raises(ValueError, match="1 duplicated edges"):
            to_edge_list(structure)


def test_batch_axes_of_weights_are_carried_to_the_edge_list():
    grid = grid_graph((2, 3))
    w = torch.rand(2, 4, grid.num_edges, requires_grad=True)
    listed = to_edge_list(Graph(grid, w))
    assert torch.equal(listed.weight, w[..., grid.edge_mask])
    (gradient,) = torch.autograd.grad(listed.weight.sum(), w)
    assert torch.equal(gradient, grid.edge_mask.float().expand_as(w))


# ---- there and back -------------------------------------------------------------------------


def test_to_pyg_and_back_is_the_same_graph(graph):
    if not is_sorted(graph.topology.systems.batch):
        pytest.skip("PyG needs the nodes sorted by graph; refused in tests/errors")
    data = to_pyg(graph)
    assert_same_graph(from_pyg(data, directed=graph.topology.directed), graph)
    assert_same_graph(Graph.from_pyg(graph.to_pyg(), directed=graph.topology.directed), graph)


def test_pyg_sees_the_same_graph(graph):
    if not is_sorted(graph.topology.systems.batch):
        pytest.skip("PyG needs the nodes sorted by graph; refused in tests/errors")
    data = to_pyg(graph)
    assert data.validate()
    assert data.num_nodes == graph.num_nodes
    assert data.edge_weight.shape == (data.edge_index.shape[1],)
    assert not contains_self_loops(data.edge_index)
    if not graph.topology.directed:
        assert is_undirected(data.edge_index, data.edge_weight, num_nodes=graph.num_nodes)
    if graph.num_nodes:
        zero = torch.zeros(graph.num_nodes, dtype=torch.int64)
        w = to_dense_adj(data.edge_index, zero, data.edge_weight, graph.num_nodes)[0]
        # PyG's rows are sources, ours are targets
        torch.testing.assert_close(w.sum(0), graph.degree, rtol=1e-12, atol=1e-12)


def test_to_pyg_lists_all_edges_and_then_their_reverses():
    data = to_pyg(Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0])))
    assert data.edge_index.tolist() == [[0, 1, 1, 2], [1, 2, 0, 1]]
    assert data.edge_weight.tolist() == [1, 2, 1, 2]


def test_weights_stay_differentiable_both_ways():
    w = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    topology = EdgeList(BOTH_WAYS[:, :2], 3)
    back = from_pyg(to_pyg(Graph(topology, w)))
    (gradient,) = torch.autograd.grad(back.weight @ back.weight.new_tensor([3.0, 5.0]), w)
    assert gradient.tolist() == [3.0, 5.0]


# ---- batches --------------------------------------------------------------------------------


def batched_graph():
    """Three graphs of 4, 1 and 3 nodes, the second without edges."""
    batch = torch.tensor([0, 0, 0, 0, 1, 2, 2, 2])
    topology = knn_graph(cloud(8), 2, batch=batch)
    return Graph(topology, torch.rand(topology.num_edges) + 0.1)


def test_a_batched_graph_gives_a_batch_that_comes_apart():
    graph = batched_graph()
    x, y = torch.rand(8, 5), torch.rand(3, 2)
    batch = to_pyg(graph, x=x, y=y, name="cloud", scale=torch.tensor(2.0))
    assert isinstance(batch, Batch)
    assert batch.num_graphs == 3
    assert torch.equal(batch.batch, graph.topology.batch)
    assert batch.ptr.tolist() == [0, 4, 5, 8]
    assert torch.equal(batch.x, x)
    assert torch.equal(batch.y, y)
    parts = batch.to_data_list()
    assert [part.num_nodes for part in parts] == [4, 1, 3]
    for g, part in enumerate(parts):
        assert part.validate()
        assert torch.equal(part.x, x[graph.topology.batch == g])
        assert torch.equal(part.y, y[g : g + 1])
        assert (part.name, part.scale.item()) == ("cloud", 2.0)
    assert_same_graph(from_pyg(Batch.from_data_list(parts)), graph)


def test_a_batch_keeps_graphs_without_edges_or_neighbours():
    topology = EdgeList(edges((3, 4)), 5, torch.tensor([0, 1, 1, 2, 2]))
    batch = to_pyg(Graph(topology, torch.tensor([0.5])))
    assert batch.num_graphs == 3
    assert [part.num_edges for part in batch.to_data_list()] == [0, 0, 2]


def test_a_batch_keeps_graphs_without_nodes_at_its_end():
    nothing = Data(edge_index=edges(), num_nodes=0)
    pair = Data(edge_index=edges((0, 1), (1, 0)), num_nodes=2)
    batch = Batch.from_data_list([nothing, pair, nothing, pair, nothing, nothing])
    graph = from_pyg(batch)
    systems = graph.topology.systems
    assert systems.num_graphs == graph.topology.num_graphs == 6
    assert systems.total(torch.ones(4, 1)).flatten().tolist() == [0, 2, 0, 2, 0, 0]
    again = graph.to_pyg(y=torch.arange(6.0))
    assert again.num_graphs == 6
    assert [part.num_nodes for part in again.to_data_list()] == [0, 2, 0, 2, 0, 0]
    assert_same_graph(from_pyg(again), graph)
    assert from_pyg(again).topology.systems.num_graphs == 6
    # a batch vector alone does not tell
    by_hand = Data(edge_index=batch.edge_index, batch=batch.batch, num_nodes=4)
    assert from_pyg(by_hand).topology.systems.num_graphs == 4
    read = from_edge_index(batch.edge_index, batch=batch.batch, num_graphs=5)
    assert read.topology.systems.num_graphs == 5


def test_a_data_loader_gives_graphs_that_equal_each_alone():
    clouds = [cloud(n, seed=n) for n in (5, 3, 7, 4, 6)]
    alone = [
        Graph(topology, torch.rand(topology.num_edges, dtype=torch.float64))
        for topology in (knn_graph(points, 2) for points in clouds)
    ]
    data = [to_pyg(g, x=points) for g, points in zip(alone, clouds, strict=True)]
    seen = 0
    for batch in DataLoader(data, batch_size=3):
        graph = Graph.from_pyg(batch)
        together = graph.topology.laplacian(graph.weight, batch.x)
        assert torch.equal(graph.topology.batch, batch.batch)
        assert graph.topology.systems.num_graphs == batch.num_graphs
        for part in together.split(batch.ptr.diff().tolist()):
            expected = alone[seen].topology.laplacian(alone[seen].weight, clouds[seen])
            torch.testing.assert_close(part, expected, rtol=1e-12, atol=1e-12)
            seen += 1
    assert seen == 5


# ---- reading edge_index ---------------------------------------------------------------------


def test_both_directions_become_one_edge():
    graph = from_edge_index(BOTH_WAYS, torch.tensor([0.5, 2.0, 0.5, 2.0]))
    assert graph.topology.edge_index.tolist() == [[0, 1], [1, 2]]
    assert graph.weight.tolist() == [0.5, 2.0]
    assert not graph.topology.directed
    assert graph.num_nodes == 3


def test_missing_weights_are_ones_of_the_default_dtype():
    graph = from_edge_index(BOTH_WAYS)
    assert torch.equal(graph.weight, torch.ones(2))
    torch.set_default_dtype(torch.float64)
    try:
        assert from_edge_index(BOTH_WAYS).weight.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_order_of_columns_does_not_matter():
    topology = knn_graph(cloud(20), 4)
    data = to_pyg(Graph(topology, torch.rand(topology.num_edges)))
    expected = from_pyg(data)
    for _ in range(3):
        order = torch.randperm(data.num_edges)
        shuffled = from_edge_index(data.edge_index[:, order], data.edge_weight[order], 20)
        assert torch.equal(shuffled.topology.edge_index, expected.topology.edge_index)
        assert torch.equal(shuffled.weight, expected.weight)


def test_equal_weights_are_kept_to_the_bit_and_unequal_ones_averaged():
    w = torch.tensor([0.1, 1e30, 0.1, 1e30])
    assert torch.equal(from_edge_index(BOTH_WAYS, w).weight, w[:2])
    w = torch.tensor([1.0, 1.0, 1 + 8e-7, 1.0], dtype=torch.float64)
    assert from_edge_index(BOTH_WAYS, w).weight[0].item() == pytest.approx(1 + 4e-7, abs=1e-15)


def test_directed_columns_are_kept_as_they_are():
    graph = from_edge_index(edges((2, 0), (0, 2), (1, 0)), torch.arange(3.0), 4, directed=True)
    assert graph.topology.directed
    assert graph.topology.edge_index.tolist() == [[2, 0, 1], [0, 2, 0]]
    assert graph.weight.tolist() == [0, 1, 2]
    assert graph.num_nodes == 4


def test_the_number_of_nodes_is_inferred():
    assert from_edge_index(BOTH_WAYS).num_nodes == 3
    assert from_edge_index(BOTH_WAYS, num_nodes=7).num_nodes == 7
    assert from_edge_index(BOTH_WAYS, batch=torch.zeros(5, dtype=torch.int64)).num_nodes == 5
    assert from_edge_index(edges()).num_nodes == 0
    assert from_edge_index(edges(), num_nodes=2).topology.edge_index.shape == (2, 0)


def test_batch_axes_of_weights_are_merged_one_by_one():
    w = torch.rand(2, 3, 2).repeat(1, 1, 2)
    graph = from_edge_index(BOTH_WAYS, w)
    assert torch.equal(graph.weight, w[..., :2])


@pytest.mark.parametrize("directed", [False, True])
def test_duplicates_are_summed_in_each_direction(directed):
    columns = edges((0, 1), (2, 1), (0, 1), (1, 0), (1, 2))
    w = torch.tensor([1.0, 4.0, 2.0, 3.0, 4.0], requires_grad=True)
    graph = from_edge_index(columns, w, directed=directed, duplicates="sum")
    forth = {(0, 1): 3.0, (1, 2): 4.0}
    assert weights_of(graph) == (forth | {(1, 0): 3.0, (2, 1): 4.0} if directed else forth)
    (gradient,) = torch.autograd.grad(graph.weight.sum(), w)
    assert gradient.tolist() == ([1.0] * 5 if directed else [0.5] * 5)


def brute_from_edge_index(columns, w, directed):
    """The graph by dictionaries: sums of each direction, then one edge for two directions."""
    total = {}
    for column, value in zip(map(tuple, columns.T.tolist()), w.tolist(), strict=True):
        total[column] = total.get(column, 0.0) + value
    return total if directed else {(i, j): v for (i, j), v in total.items() if i < j}


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("in_order", [False, True])
def test_columns_in_any_order_with_copies_are_read_as_by_hand(directed, in_order):
    one_way = torch.randint(0, 40, (2, 300))
    one_way = one_way[:, one_way[0] != one_way[1]]
    columns = torch.cat([one_way, one_way.flip(0)], 1)
    w = torch.randint(1, 9, (one_way.shape[1],)).double().repeat(2)  # whole numbers add exactly
    order = columns[0].argsort() if in_order else torch.randperm(columns.shape[1])
    columns, w = columns[:, order], w[order]
    graph = from_edge_index(columns, w, 40, directed=directed, duplicates="sum")
    assert weights_of(graph) == brute_from_edge_index(columns, w, directed)
    key = graph.topology.edge_index[0] * 40 + graph.topology.edge_index[1]
    assert (key.diff() > 0).all()
    checked = EdgeList(graph.topology.edge_index, 40, directed=directed)
    assert vars(graph.topology).keys() == vars(checked).keys()


@pytest.mark.parametrize("directed", [False, True])
def test_self_loops_are_dropped_with_a_warning(directed):
    columns = torch.cat([edges((1, 1)), BOTH_WAYS, edges((0, 0))], 1)
    w = torch.tensor([9.0, 1.0, 2.0, 1.0, 2.0, 9.0])
    with pytest.warns(UserWarning, match="Dropped 2 self-loops"):
        graph = from_edge_index(columns, w, directed=directed)
    expected = from_edge_index(BOTH_WAYS, w[1:-1], directed=directed)
    assert_same_graph(graph, expected)


def test_a_clean_graph_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_edge_index(BOTH_WAYS)


def test_what_to_undirected_makes_is_accepted():
    one_way = torch.randint(0, 50, (2, 300))
    one_way = one_way[:, one_way[0] != one_way[1]]
    columns, w = to_undirected(one_way, torch.rand(one_way.shape[1]), num_nodes=50, reduce="mean")
    graph = from_edge_index(columns, w, 50)
    dense = to_dense_adj(columns, edge_attr=w, max_num_nodes=50)[0]
    torch.testing.assert_close(graph.degree, dense.sum(1))
    assert graph.topology.num_edges == columns.shape[1] // 2


def test_an_edge_index_of_pyg_is_read():
    special = EdgeIndex(BOTH_WAYS.contiguous(), sparse_size=(3, 3), is_undirected=True)
    graph = from_edge_index(special)
    assert type(graph.topology.edge_index) is torch.Tensor
    assert weights_of(graph) == weights_of(from_edge_index(BOTH_WAYS))


# ---- reading Data ---------------------------------------------------------------------------


def test_weights_come_from_edge_weight_or_a_plain_edge_attr():
    w = torch.tensor([0.5, 2.0, 0.5, 2.0])
    for fields in (
        {"edge_weight": w},
        {"edge_attr": w},
        {"edge_attr": w.unsqueeze(-1)},
        {"edge_weight": w, "edge_attr": torch.rand(4, 3)},
        {"edge_weight": w.unsqueeze(-1)},
    ):
        graph = from_pyg(Data(edge_index=BOTH_WAYS, num_nodes=3, **fields))
        assert graph.weight.tolist() == [0.5, 2.0]
    assert from_pyg(Data(edge_index=BOTH_WAYS, num_nodes=3)).weight.tolist() == [1.0, 1.0]


def test_isolated_nodes_of_data_are_kept():
    assert from_pyg(Data(edge_index=BOTH_WAYS, x=torch.rand(6, 2))).num_nodes == 6


def test_data_is_not_changed():
    data = Data(edge_index=BOTH_WAYS.clone(), num_nodes=3)
    from_pyg(data)
    assert set(data.keys()) == {"num_nodes", "edge_index"}
    assert torch.equal(data.edge_index, BOTH_WAYS)


def test_the_structure_needs_no_pytorch_geometric():
    code = "import sys, gsp_unroll.graph; assert 'torch_geometric' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
