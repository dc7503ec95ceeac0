"""Laws of the converters to and from matrices, EdgeIndex and weights in PyG's order."""

import subprocess
import sys

import pytest
import torch
from torch.autograd import gradcheck
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data
from torch_geometric.nn import SimpleConv
from torch_geometric.transforms import Compose, ToSparseTensor
from torch_geometric.typing import WITH_TORCH_SPARSE
from torch_geometric.utils import to_torch_coo_tensor, to_torch_csr_tensor

from gsp_unroll import Adjacency, Graph, path_graph
from gsp_unroll.graph import (
    EdgeList,
    from_adjacency,
    from_edge_index,
    from_pyg,
    is_matrix,
    to_adjacency,
    to_edge_index,
    to_edge_weight,
    to_sparse_tensor,
)
from gsp_unroll.testing import dense_matrix
from tests.registries import TOPOLOGIES, edges, weights_of

#: Said once a process by what PyG makes of an edge_index.
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")

BOTH_WAYS = edges((0, 1), (2, 1), (1, 0), (1, 2))
LAYOUTS = {
    "coo": torch.Tensor.to_sparse_coo,
    "csr": torch.Tensor.to_sparse_csr,
    "csc": torch.Tensor.to_sparse_csc,
    "dense": torch.Tensor.clone,
}


@pytest.fixture(params=TOPOLOGIES.values(), ids=TOPOLOGIES.keys())
def graph(request):
    topology = request.param()
    return Graph(topology, torch.rand(topology.num_edges, dtype=torch.float64) + 0.1)


def assert_same_graph(actual, expected):
    assert weights_of(actual) == weights_of(expected)
    assert actual.num_nodes == expected.num_nodes
    assert actual.topology.directed == expected.topology.directed


# ---- matrices -------------------------------------------------------------------------------


def test_the_matrix_is_that_of_the_operator(graph):
    W = to_adjacency(graph)
    assert W.layout == torch.sparse_csr
    assert W.shape == (graph.num_nodes, graph.num_nodes)
    assert torch.equal(W.to_dense(), dense_matrix(Adjacency(graph), graph.num_nodes))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_matrix_and_back_is_the_same_graph(graph, layout):
    directed, batch = graph.topology.directed, graph.topology.systems.batch
    W = LAYOUTS[layout](to_adjacency(graph).to_dense())
    assert_same_graph(from_adjacency(W, directed=directed, batch=batch), graph)
    assert is_matrix(W) == (layout != "dense")


def test_the_matrix_of_a_row_normalised_graph_has_rows_that_sum_to_one():
    graph = Graph(path_graph(4), torch.tensor([1.0, 2.0, 3.0, 0.0])).normalized("row")
    W = to_adjacency(graph)
    torch.testing.assert_close(W.to_dense().sum(1), torch.ones(4))
    assert_same_graph(from_adjacency(W, directed=True), graph)


def test_pyg_reads_our_matrix_as_its_adj_t(graph):
    W, x = to_adjacency(graph), torch.rand(graph.num_nodes, 2, dtype=torch.float64)
    torch.testing.assert_close(SimpleConv(aggr="sum")(x, W), Adjacency(graph)(x))


@pytest.mark.parametrize("convert", [to_torch_coo_tensor, to_torch_csr_tensor])
def test_what_pyg_makes_of_an_edge_index_is_read(convert):
    w = torch.tensor([0.5, 2.0, 0.5, 2.0])
    expected = from_edge_index(BOTH_WAYS, w, 4)
    assert_same_graph(from_adjacency(convert(BOTH_WAYS, w, size=4)), expected)


def test_entries_that_are_stored_twice_are_added():
    columns = edges((0, 1), (1, 0), (0, 1), (1, 0))
    W = torch.sparse_coo_tensor(columns, torch.ones(4), (2, 2), check_invariants=True)
    assert from_adjacency(W).weight.tolist() == [2.0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_derivatives_by_the_weights_pass_both_ways(layout):
    topology = EdgeList(edges((0, 1), (2, 1), (2, 3)), 5)
    w = torch.rand(3, dtype=torch.float64, requires_grad=True)

    def there_and_back(w):
        W = to_adjacency(Graph.unchecked(topology, w)).to_dense()
        return W, from_adjacency(LAYOUTS[layout](W)).weight

    assert gradcheck(there_and_back, w)


# ---- Data with a matrix ---------------------------------------------------------------------


def batch_of(*sizes):
    def ring(n):
        i = torch.arange(n)
        both = torch.cat([torch.stack([i, (i + 1) % n]), torch.stack([(i + 1) % n, i])], 1)
        return Data(edge_index=both, edge_weight=torch.rand(n).repeat(2), num_nodes=n)

    return [ring(n) for n in sizes]


@pytest.mark.accel
def test_data_with_a_matrix_in_place_of_columns_is_read():
    # PyG leaves a matrix of torch where torch-sparse is not installed, else a SparseTensor
    (data,) = batch_of(5)
    matrix = ToSparseTensor(attr="edge_weight")(data)
    assert "edge_index" not in matrix
    assert_same_graph(from_pyg(matrix), from_pyg(data))


@pytest.mark.accel
def test_a_batch_of_matrices_is_read():
    graphs = batch_of(5, 3, 4)
    transform = Compose([ToSparseTensor(attr="edge_weight")])
    actual = from_pyg(Batch.from_data_list([transform(data) for data in graphs]))
    expected = from_pyg(Batch.from_data_list(graphs))
    assert_same_graph(actual, expected)
    assert torch.equal(actual.topology.systems.batch, expected.topology.systems.batch)
    assert actual.topology.systems.num_graphs == 3


# ---- EdgeIndex ------------------------------------------------------------------------------


def test_an_edge_index_knows_its_nodes():
    special = EdgeIndex(BOTH_WAYS.contiguous(), sparse_size=(6, 6))
    assert from_edge_index(special).num_nodes == 6
    assert from_edge_index(special, num_nodes=7).num_nodes == 7
    assert from_edge_index(EdgeIndex(BOTH_WAYS.contiguous())).num_nodes == 3


def test_to_edge_index_and_back_is_the_same_graph(graph):
    edge_index, w = to_edge_index(graph)
    edge_index.validate()
    assert edge_index.is_sorted_by_col
    assert edge_index.is_undirected == (not graph.topology.directed)
    assert edge_index.sparse_size() == (graph.num_nodes, graph.num_nodes)
    directed, batch = graph.topology.directed, graph.topology.systems.batch
    assert_same_graph(from_edge_index(edge_index, w, directed=directed, batch=batch), graph)


def test_an_edge_index_multiplies_as_the_operator(graph):
    edge_index, w = to_edge_index(graph)
    x = torch.rand(graph.num_nodes, 2, dtype=torch.float64)
    theirs = SimpleConv(aggr="sum")(x, edge_index, w)
    torch.testing.assert_close(theirs, Adjacency(graph)(x))


# ---- weights in PyG's order -----------------------------------------------------------------


def test_weights_come_back_in_the_order_of_the_columns(graph):
    edge_index = to_edge_index(graph)[0].as_tensor()
    edge_index = edge_index[:, torch.randperm(edge_index.shape[1])]
    w, expected = to_edge_weight(graph, edge_index), weights_of(graph)
    for (i, j), value in zip(edge_index.T.tolist(), w.tolist(), strict=True):
        key = (i, j) if graph.topology.directed else (min(i, j), max(i, j))
        assert value == expected[key]


def test_weights_of_rows_differ_by_direction():
    graph = Graph(path_graph(3), torch.tensor([1.0, 3.0, 0.0])).normalized("row")
    columns = edges((0, 1), (1, 0), (2, 1), (1, 2))
    # node 1 listens to 0 and 2, which listen to it alone
    assert to_edge_weight(graph, columns).tolist() == [0.25, 1.0, 0.75, 1.0]


def test_batch_axes_of_weights_are_kept_in_pyg_order():
    w = torch.rand(2, 4, 3, requires_grad=True)
    back = to_edge_weight(Graph(path_graph(3), w), BOTH_WAYS)
    assert torch.equal(back, w[..., [0, 1, 0, 1]])
    (gradient,) = torch.autograd.grad(back.sum(), w)
    assert torch.equal(gradient, torch.tensor([2.0, 2.0, 0.0]).expand(2, 4, 3))


def test_no_columns_have_no_weights():
    graph = Graph(EdgeList(edges(), 3), torch.ones(0))
    assert to_edge_weight(graph, edges()).shape == (0,)


# ---- torch-sparse ---------------------------------------------------------------------------


def test_without_torch_sparse_the_way_out_says_what_to_do():
    program = (
        "import sys; sys.modules['torch_sparse'] = None\n"
        "import torch; from gsp_unroll import Graph, path_graph\n"
        "from gsp_unroll.graph import to_sparse_tensor\n"
        "try: to_sparse_tensor(Graph(path_graph(2), torch.ones(2)))\n"
        "except ValueError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "pip install --no-build-isolation torch-scatter torch-sparse" in run.stdout


@pytest.mark.accel
def test_a_sparse_tensor_and_back_is_the_same_graph(graph):
    pytest.importorskip("torch_sparse")
    matrix = to_sparse_tensor(graph)
    assert is_matrix(matrix)
    assert torch.equal(matrix.to_dense(), to_adjacency(graph).to_dense())
    directed, batch = graph.topology.directed, graph.topology.systems.batch
    assert_same_graph(from_adjacency(matrix, directed=directed, batch=batch), graph)


@pytest.mark.accel
def test_a_sparse_tensor_without_values_counts_ones():
    sparse = pytest.importorskip("torch_sparse")
    matrix = sparse.SparseTensor(row=BOTH_WAYS[1], col=BOTH_WAYS[0], sparse_sizes=(4, 4))
    assert_same_graph(from_adjacency(matrix), from_edge_index(BOTH_WAYS, num_nodes=4))


@pytest.mark.accel
def test_derivatives_pass_a_sparse_tensor():
    pytest.importorskip("torch_sparse")
    w = torch.rand(4, dtype=torch.float64, requires_grad=True)
    graph = Graph.unchecked(path_graph(4), path_graph(4).mask_edges(w))
    back = from_adjacency(to_sparse_tensor(graph)).weight
    (gradient,) = torch.autograd.grad(back.sum(), w)
    assert gradient.tolist() == [1.0, 1.0, 1.0, 0.0]


@pytest.mark.accel
def test_pyg_reads_our_sparse_tensor_as_its_adj_t(graph):
    pytest.importorskip("torch_sparse")
    assert WITH_TORCH_SPARSE, "PyG leaves it aside where its import warns and warnings are errors"
    x = torch.rand(graph.num_nodes, 2, dtype=torch.float64)
    theirs = SimpleConv(aggr="sum")(x, to_sparse_tensor(graph))
    torch.testing.assert_close(theirs, Adjacency(graph)(x))
