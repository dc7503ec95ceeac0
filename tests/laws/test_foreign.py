"""Laws of the ways from and to SciPy, NetworkX and PyGSP: there and back is the same graph."""

import subprocess
import sys
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pytest
import torch
from scipy import sparse
from torch_geometric.utils import from_networkx, from_scipy_sparse_matrix, to_scipy_sparse_matrix

from gsp_unroll import EdgeList, Graph, Laplacian, path_graph
from gsp_unroll.graph import to_adjacency
from gsp_unroll.graph.convert import columns_of
from gsp_unroll.testing import dense_matrix
from tests.registries import TOPOLOGIES, edges, weights_of

DTYPES = [torch.float32, torch.float64]
FORMATS = ["bsr", "coo", "csc", "csr", "dia", "dok", "lil"]


@pytest.fixture(params=TOPOLOGIES.values(), ids=TOPOLOGIES.keys())
def graph(request):
    topology = request.param()
    return Graph(topology, torch.rand(topology.num_edges, dtype=torch.float64) + 0.1)


def assert_same_graph(actual, expected):
    assert weights_of(actual) == weights_of(expected)
    assert actual.num_nodes == expected.num_nodes
    assert actual.topology.directed == expected.topology.directed
    assert actual.weight.dtype == expected.weight.dtype


# ---- SciPy ----------------------------------------------------------------------------------


def test_to_scipy_and_back_is_the_same_graph(graph):
    directed, batch = graph.topology.directed, graph.topology.systems.batch
    back = Graph.from_scipy(graph.to_scipy(), directed=directed, batch=batch)
    assert_same_graph(back, graph)
    assert batch is None or torch.equal(back.topology.systems.batch, batch)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scipy_keeps_the_dtype(dtype):
    graph = Graph(path_graph(4), torch.rand(4, dtype=dtype))
    assert_same_graph(Graph.from_scipy(graph.to_scipy()), graph)


def test_the_matrix_for_scipy_is_the_transpose_of_adj_t(graph):
    W = graph.to_scipy()
    assert W.shape == (graph.num_nodes, graph.num_nodes)
    np.testing.assert_array_equal(W.toarray(), to_adjacency(graph).to_dense().T.numpy())


def test_pyg_writes_the_same_matrix(graph):
    expected = to_scipy_sparse_matrix(*columns_of(graph), graph.num_nodes)
    np.testing.assert_array_equal(graph.to_scipy().toarray(), expected.toarray())


def test_pyg_reads_the_same_edges():
    W = sparse.csr_array(np.array([[0, 0.5, 0], [0, 0, 2.0], [1.0, 0, 0]]))
    edge_index, w = from_scipy_sparse_matrix(W)
    expected = Graph.from_edge_index(edge_index, w, 3, directed=True)
    assert_same_graph(Graph.from_scipy(W, directed=True), expected)


def test_shortest_paths_of_scipy_follow_our_edges():
    W = Graph(EdgeList(edges((0, 1), (1, 2)), 3, directed=True), torch.ones(2)).to_scipy()
    there = sparse.csgraph.shortest_path(W, indices=0)
    assert there.tolist() == [0, 1, 2]
    assert sparse.csgraph.shortest_path(W, indices=2).tolist() == [np.inf, np.inf, 0]


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_read_and_left_as_it_was(form, kind):
    dense = np.array([[0, 0.5, 0, 0], [0.5, 0, 2, 0], [0, 2, 0, 0], [0, 0, 0, 0]])
    W = getattr(sparse, f"{form}_{kind}")(dense)
    graph = Graph.from_scipy(W)
    assert weights_of(graph) == {(0, 1): 0.5, (1, 2): 2.0}
    assert graph.num_nodes == 4
    np.testing.assert_array_equal(W.toarray(), dense)
    assert_same_graph(graph, Graph.from_scipy(dense))


def test_repeated_entries_are_added_and_stay_in_the_matrix():
    W = sparse.coo_array((np.ones(4), ([0, 1, 0, 1], [1, 0, 1, 0])), shape=(2, 2))
    assert Graph.from_scipy(W).weight.tolist() == [2.0]
    assert W.nnz == 4


def test_a_stored_zero_is_an_edge():
    W = sparse.csr_array((np.zeros(2), ([0, 1], [1, 0])), shape=(3, 3))
    graph = Graph.from_scipy(W)
    assert weights_of(graph) == {(0, 1): 0.0}
    assert graph.to_scipy().nnz == 2


def test_self_loops_are_dropped_with_a_warning():
    W = sparse.csr_array(np.array([[3.0, 1.0], [1.0, 0.0]]))
    with pytest.warns(UserWarning, match="Dropped 1 self-loops"):
        assert weights_of(Graph.from_scipy(W)) == {(0, 1): 1.0}


@pytest.mark.parametrize("directed", [False, True])
def test_graph_and_matrix_share_no_memory(directed):
    W = np.array([[0.0, 1.0], [1.0, 0.0]])
    graph = Graph.from_scipy(W, directed=directed)
    back = graph.to_scipy()
    W *= 0
    back.data *= 5
    assert set(graph.weight.tolist()) == {1.0}


def test_no_derivative_passes_to_scipy():
    graph = Graph(path_graph(3), torch.rand(3, requires_grad=True))
    assert graph.to_scipy().nnz == 4


# ---- NetworkX -------------------------------------------------------------------------------


def test_to_networkx_and_back_is_the_same_graph(graph):
    back = Graph.from_networkx(graph.to_networkx(), dtype=torch.float64)
    assert_same_graph(back, graph)


@pytest.mark.parametrize("dtype", DTYPES)
def test_networkx_keeps_every_digit(dtype):
    graph = Graph(path_graph(4), torch.rand(4, dtype=dtype))
    assert_same_graph(Graph.from_networkx(graph.to_networkx(), dtype=dtype), graph)


def test_the_matrix_of_networkx_is_that_of_scipy(graph):
    G = graph.to_networkx()
    assert list(G) == list(range(graph.num_nodes))
    if len(G):  # of no nodes NetworkX makes no matrix
        W = nx.to_scipy_sparse_array(G, dtype=float).toarray()
        np.testing.assert_array_equal(W, graph.to_scipy().toarray())


def test_names_go_there_and_back():
    G = nx.Graph()
    G.add_nodes_from(["d", "a", ("a", 1), 7])
    G.add_weighted_edges_from([("a", 7, 0.5), (7, "d", 2.0)])
    graph = Graph.from_networkx(G)
    assert weights_of(graph) == {(1, 3): 0.5, (0, 3): 2.0}
    back = graph.to_networkx(list(G))
    assert list(back) == list(G)
    assert nx.utils.graphs_equal(back, G)


def test_a_digraph_becomes_directed():
    G = nx.DiGraph([("b", "a")])
    graph = Graph.from_networkx(G)
    assert graph.topology.directed
    assert weights_of(graph) == {(0, 1): 1.0}
    assert list(graph.to_networkx(list(G)).edges) == [("b", "a")]


def test_pyg_reads_the_same_graph_of_networkx():
    G = nx.karate_club_graph()
    data = from_networkx(G)
    expected = Graph.from_edge_index(data.edge_index, data.weight.float())
    assert_same_graph(Graph.from_networkx(G), expected)


@pytest.mark.parametrize(("weight", "expected"), [("length", 3.0), (None, 1.0)])
def test_weights_come_from_the_attribute_that_is_named(weight, expected):
    G = nx.Graph()
    G.add_edge(0, 1, weight=2, length=np.float32(3))
    assert Graph.from_networkx(G, weight).weight.tolist() == [expected]
    assert G.edges[0, 1] == {"weight": 2, "length": 3}


def test_without_attributes_weights_are_one():
    graph = Graph.from_networkx(nx.path_graph(3))
    assert graph.weight.tolist() == [1.0, 1.0]
    assert graph.weight.dtype == torch.get_default_dtype()


@pytest.mark.parametrize("kind", [nx.MultiGraph, nx.MultiDiGraph])
def test_parallel_edges_are_summed_where_asked(kind):
    G = kind()
    G.add_weighted_edges_from([(0, 1, 0.5), (0, 1, 2.0), (1, 2, 1.0)])
    graph = Graph.from_networkx(G, duplicates="sum")
    assert weights_of(graph) == {(0, 1): 2.5, (1, 2): 1.0}
    G.remove_edge(0, 1)
    assert Graph.from_networkx(G).topology.num_edges == 2


def test_both_directions_of_a_multigraph_are_no_parallel_edges_if_it_is_directed():
    G = nx.MultiDiGraph([(0, 1), (1, 0)])
    assert weights_of(Graph.from_networkx(G)) == {(0, 1): 1.0, (1, 0): 1.0}
    with pytest.raises(ValueError, match="parallel edges"):
        Graph.from_networkx(nx.MultiGraph([(0, 1), (1, 0)]))


def test_self_loops_of_networkx_are_dropped_with_a_warning():
    G = nx.Graph([(0, 0), (0, 1)])
    with pytest.warns(UserWarning, match="Dropped 1 self-loops"):
        assert weights_of(Graph.from_networkx(G)) == {(0, 1): 1.0}


@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph])
def test_an_empty_graph_of_networkx(kind):
    G = kind()
    assert Graph.from_networkx(G).num_nodes == 0
    G.add_nodes_from("abc")
    graph = Graph.from_networkx(G)
    assert (graph.num_nodes, graph.topology.num_edges) == (3, 0)
    assert list(graph.to_networkx(list(G))) == ["a", "b", "c"]


# ---- PyGSP ----------------------------------------------------------------------------------


def pygsp_graphs():
    graphs = pytest.importorskip("pygsp.graphs")
    return [
        graphs.Ring(9),
        graphs.Grid2d(3, 4),
        graphs.Sensor(20, seed=1),
        graphs.Community(30, Nc=3, seed=2),
        graphs.Logo(),
    ]


# scipy.sparse.diags, which PyGSP calls, announces a change
@pytest.mark.filterwarnings("ignore:Input has data type:FutureWarning")
def test_the_laplacian_of_pygsp_is_ours():
    for G in pygsp_graphs():
        graph = Graph.from_pygsp(G)
        assert graph.weight.dtype == torch.float64
        assert graph.topology.num_edges == G.n_edges
        L = dense_matrix(Laplacian(graph), G.N).numpy()
        np.testing.assert_allclose(L, G.L.toarray(), rtol=1e-14, atol=1e-14)
        np.testing.assert_allclose(graph.degree.numpy(), G.dw, rtol=1e-14)


def test_pygsp_and_back_is_the_same_graph(graph):
    pytest.importorskip("pygsp")
    if graph.num_nodes == 0:
        pytest.skip("PyGSP knows no empty graph; refused in tests/errors")
    G = graph.to_pygsp()
    assert graph.num_nodes == G.N
    assert_same_graph(Graph.from_pygsp(G, directed=graph.topology.directed), graph)


def test_coordinates_go_to_pygsp():
    pytest.importorskip("pygsp")
    at = torch.rand(3, 2)
    G = Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0])).to_pygsp(coords=at)
    np.testing.assert_array_equal(G.coords, at.numpy())
    assert G.L.toarray().tolist() == [[1, -1, 0], [-1, 3, -2], [0, -2, 2]]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_whole_numbers_of_pygsp_become_double(dtype):
    W = sparse.csr_matrix(np.array([[0, 1], [1, 0]], dtype=dtype))
    graph = Graph.from_pygsp(SimpleNamespace(W=W))
    assert graph.weight.dtype == torch.float64
    assert graph.weight.tolist() == [1.0]


# ---- what is not loaded ---------------------------------------------------------------------


def test_no_other_package_is_loaded_before_it_is_used():
    code = (
        "import sys, gsp_unroll.graph; print([p for p in ('pygsp', 'onnx', 'matplotlib')"
        " if p in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
