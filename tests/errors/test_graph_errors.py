"""Every mistake at the doors of graph/ is answered in three parts: got, expected, do this."""

import pytest
import torch
from torch_geometric.data import Data, HeteroData

from gsp_unroll.graph import (
    EdgeList,
    Graph,
    Grid,
    Systems,
    from_adjacency,
    from_edge_index,
    from_pyg,
    grid_graph,
    knn_graph,
    path_graph,
    product_graph,
    radius_graph,
    to_adjacency,
    to_edge_index,
    to_edge_weight,
    to_pyg,
    to_scipy,
)
from gsp_unroll.operators import (
    Adjacency,
    DirectedLaplacian,
    Identity,
    Incidence,
    Laplacian,
    LaplacianPower,
)
from gsp_unroll.problems import GLR, GTF, GTV, LeastSquares, VectorGTV
from gsp_unroll.unroll import GTVUnroll
from tests.registries import edges
from tests.three_parts import assert_three_parts

PATH = path_graph(3)
BOTH = edges((0, 1), (1, 0), (1, 2), (2, 1))
POINTS = torch.rand(5, 2)
LONG = torch.int64
BATCHED = EdgeList(edges((0, 1), (2, 3)), 4, torch.tensor([0, 0, 1, 1]))


def graph_on(topology, *batch, **kind):
    return Graph(topology, torch.ones(*batch, topology.num_edges, **kind))


TAKE_GRAPHS = [Laplacian, Incidence, Adjacency, LaplacianPower, DirectedLaplacian, GLR, GTV, GTF]
TAKE_GRAPHS += [VectorGTV, to_adjacency, to_edge_index, to_pyg, to_scipy]

# what is wrong: (the call, a word of "Got", a word of "Expected", a word of the advice)
MISTAKES = {
    # ---- Graph
    **{
        f"{name} for a graph in {where.__name__}": (
            lambda where=where, given=given: where(given),
            f"a {type(given).__name__} for a graph",
            "a Graph: edges and their weights",
            advice,
        )
        for where in TAKE_GRAPHS
        for name, given, advice in (
            ("a topology", PATH, "Graph\\(topology, weight\\)"),
            ("a matrix", torch.eye(3), "from_adjacency"),
            ("a Data", Data(), "from_pyg"),
        )
    },
    "a topology for a graph in a layer": (
        lambda: GTVUnroll(1, 2, rho=1.0)(LeastSquares(Identity(), torch.ones(3, 1)), PATH),
        "a Grid for a graph",
        "edges and their weights",
        "edge_mask",
    ),
    "weights beyond the new dtype": (
        lambda: Graph(PATH, PATH.mask_edges(torch.full((3,), 1e300, dtype=torch.float64))).to(
            torch.float32
        ),
        r"edge weights up to 1e\+300",
        "torch.float32 can hold",
        "Scale the weights",
    ),
    # ---- EdgeList
    "edge_index transposed": (
        lambda: EdgeList(edges((0, 1), (1, 2), (2, 3)).T, 4),
        r"shape \(3, 2\)",
        r"\(2, edges\)",
        "torch.stack",
    ),
    "edge_index of int32": (lambda: EdgeList(BOTH[:, :1].int(), 3), "int32", "int64", "long"),
    "edge out of range": (
        lambda: EdgeList(edges((0, 5)), 3),
        "nodes 0 and 5",
        "0 to 2",
        "num_nodes",
    ),
    "negative node": (lambda: EdgeList(edges((0, -1)), 3), "nodes -1 and 0", "0 to 2", "num_nodes"),
    "self-loop": (
        lambda: EdgeList(edges((0, 1), (2, 2)), 3),
        "1 self-loops",
        "two different nodes",
        "from_edge_index",
    ),
    "edge twice": (
        lambda: EdgeList(edges((0, 1), (1, 0)), 3),
        "1 duplicated edges",
        "each undirected edge once",
        "from_edge_index",
    ),
    "direction twice": (
        lambda: EdgeList(edges((0, 1), (0, 1)), 3, directed=True),
        "1 duplicated edges",
        "each direction once",
        "from_edge_index",
    ),
    "short batch": (
        lambda: EdgeList(BOTH[:, :1], 3, torch.zeros(2, dtype=LONG)),
        r"batch of shape \(2,\)",
        r"\(3,\) of int64",
        "PyG Batch",
    ),
    "batch of floats": (
        lambda: EdgeList(BOTH[:, :1], 3, torch.zeros(3)),
        "float32",
        "int64",
        "PyG Batch",
    ),
    "negative graph number": (
        lambda: EdgeList(BOTH[:, :1], 3, torch.tensor([0, 0, -1])),
        "graph number -1",
        "0 or more",
        "Renumber",
    ),
    "edge between graphs": (
        lambda: EdgeList(edges((0, 1), (1, 2)), 3, torch.tensor([0, 0, 1])),
        "1 edges between two graphs",
        "inside one graph",
        "Leave out",
    ),
    "more graphs than counted": (
        lambda: EdgeList(BOTH[:, :1], 3, torch.tensor([0, 0, 2]), num_graphs=2),
        "graph number 2",
        "0 to 1, since num_graphs=2",
        "leave it out",
    ),
    "no graphs counted": (
        lambda: EdgeList(edges(), 0, torch.zeros(0, dtype=LONG), num_graphs=0),
        "num_graphs=0",
        "at least 1",
        "Set num_graphs",
    ),
    "graphs counted without a batch": (
        lambda: EdgeList(BOTH[:, :1], 3, num_graphs=2),
        "num_graphs=2 without batch",
        "no num_graphs",
        "Pass `batch`",
    ),
    # ---- Grid
    "grid without axes": (lambda: Grid((), ()), r"shape \(\)", "at least one axis", "height"),
    "grid without nodes": (lambda: Grid((3, 0), ()), r"\(3, 0\)", "1 node or more", "height"),
    "zero offset": (lambda: Grid((3,), ((0,),)), "offsets", "non-zero", "no neighbour of itself"),
    "offset of another dimension": (
        lambda: Grid((3, 3), ((1,),)),
        "offsets",
        "2 integers",
        "one integer per axis",
    ),
    "offset and its reverse": (
        lambda: Grid((3,), ((1,), (-1,))),
        "twice",
        "each neighbour direction once",
        "one of o and -o",
    ),
    # ---- BothDirections
    "directed topology doubled": (
        lambda: path_graph(3, directed=True).both_directions(),
        "already directed",
        "undirected",
        "as it is",
    ),
    # ---- signals and weights
    "signal on other nodes": (
        lambda: PATH.gradient(torch.rand(4, 1)),
        r"shape \(4, 1\)",
        "3 on axis -2",
        "same 3 nodes",
    ),
    "signal transposed": (
        lambda: PATH.gradient(torch.rand(1, 3)),
        r"shape \(1, 3\)",
        "3 on axis -2",
        "transposed",
    ),
    "signal without channels": (
        lambda: PATH.gradient(torch.rand(3)),
        r"shape \(3,\)",
        "channels",
        "unsqueeze",
    ),
    "signal of integers": (
        lambda: PATH.gradient(torch.ones(3, 1, dtype=torch.uint8)),
        "uint8",
        "float32",
        "/ 255",
    ),
    "signal and weights of two dtypes": (
        lambda: PATH.laplacian(torch.ones(3), torch.ones(3, 1).double()),
        "float64",
        "float32",
        "Convert",
    ),
    "signal on another device": (
        lambda: PATH.laplacian(torch.ones(3), torch.ones(3, 1, device="meta")),
        "meta",
        "cpu",
        "Move",
    ),
    "weights of another length": (
        lambda: Graph(PATH, torch.ones(2)),
        r"shape \(2,\)",
        "3\\), one weight per edge",
        "each column",
    ),
    "weights of integers": (
        lambda: Graph(PATH, torch.ones(3, dtype=LONG)),
        "int64",
        "float32",
        "float",
    ),
    "negative weight": (
        lambda: Graph(PATH, torch.tensor([1.0, -1.0, 0.0])),
        "1 negative",
        "0 or more",
        "exp",
    ),
    "NaN weight": (
        lambda: Graph(PATH, torch.tensor([1.0, torch.nan, 0.0])),
        "1 weights that are NaN",
        "finite",
        "division by zero",
    ),
    "infinite weight": (
        lambda: Graph(PATH, torch.tensor([torch.inf, 1.0, 0.0])),
        "infinite",
        "finite",
        "drop these edges",
    ),
    "weights of another length for a product": (
        lambda: PATH.laplacian(torch.ones(4), torch.ones(3, 1)),
        r"shape \(4,\)",
        "one weight per edge",
        "each column",
    ),
    # ---- Graph
    "unknown normalisation": (
        lambda: graph_on(PATH).normalized("rw"),
        "'rw'",
        "'sym', 'row' or 'merged'",
        "Graph.normalized",
    ),
    "sym on a directed graph": (
        lambda: graph_on(path_graph(3, directed=True)).normalized("sym"),
        "directed",
        "undirected",
        "merged",
    ),
    "one-way edges merged": (
        lambda: graph_on(path_graph(3, directed=True)).merged(),
        "Grid",
        "both_directions",
        "no partner",
    ),
    # ---- Systems
    "operators on two batches": (
        lambda: BATCHED.systems.joined(Systems(torch.tensor([0, 1, 1, 1]), 2)),
        "different graphs",
        "one batch vector",
        "same topology",
    ),
    # ---- grid_graph and path_graph
    "two neighbourhoods": (
        lambda: grid_graph((3, 3), 3, neighbors=4),
        "both window and neighbors",
        "at most one",
        "leave the others out",
    ),
    "even window": (lambda: grid_graph((3, 3), 4), "window=4", "odd", "window=5"),
    "negative window": (lambda: grid_graph((3, 3), -3), "window=-3", "odd", "window=5"),
    "window for other axes": (
        lambda: grid_graph((3, 3), (3, 3, 3)),
        r"window=\(3, 3, 3\)",
        "2 of them",
        "window=5",
    ),
    "fractional window": (lambda: grid_graph((3, 3), 2.5), "2.5", "whole numbers", "int"),
    "half a shell": (
        lambda: grid_graph((9, 9), neighbors=6),
        "neighbors=6",
        r"\[4, 8, 12\]",
        "offsets=",
    ),
    "half a shell in 3-D": (
        lambda: grid_graph((9, 9, 9), neighbors=27),
        "neighbors=27 on a grid of dimension 3",
        r"\[18, 26, 32\]",
        "offsets=",
    ),
    "no neighbours": (lambda: grid_graph((3,), neighbors=0), "neighbors=0", "at least 1", "Set"),
    "empty shape": (lambda: grid_graph(()), r"shape \(\)", "at least one axis", "height"),
    "fractional shape": (lambda: grid_graph((3.5, 2)), "3.5", "whole numbers", "int"),
    "offset that is no vector": (
        lambda: grid_graph((3, 3), offsets=(1, 2)),
        "offsets",
        "2 integers",
        "one integer per axis",
    ),
    "no lag": (lambda: path_graph(3, lags=0), r"lags \(0,\)", "1 or more", "past"),
    "lag into the future": (lambda: path_graph(3, lags=(1, -2)), "-2", "1 or more", "sign"),
    "lag twice": (lambda: path_graph(3, lags=(1, 1)), "twice", "once", "o and -o"),
    "empty sequence": (lambda: path_graph(0), r"shape \(0,\)", "1 node or more", "Pass"),
    # ---- knn_graph and radius_graph
    "no nearest neighbour": (lambda: knn_graph(POINTS, 0), "k=0", "at least 1", "Set k"),
    "unknown symmetrize": (
        lambda: knn_graph(POINTS, 2, symmetrize="both"),
        "'both'",
        "'union', 'mutual' or None",
        "directed",
    ),
    "points in one row": (
        lambda: knn_graph(POINTS[0], 2),
        r"shape \(2,\)",
        r"\(nodes, coordinates\)",
        "each row",
    ),
    "points without coordinates": (
        lambda: radius_graph(POINTS[:, :0], 1.0),
        r"shape \(5, 0\)",
        r"\(nodes, coordinates\)",
        "each row",
    ),
    "points of integers": (lambda: knn_graph(POINTS.long(), 2), "int64", "floating", "float"),
    "point that is NaN": (
        lambda: knn_graph(torch.tensor([[0.0], [torch.nan]]), 1),
        "1 points that are NaN",
        "finite",
        "Drop",
    ),
    "point at infinity": (
        lambda: radius_graph(torch.tensor([[0.0], [torch.inf]]), 1.0),
        "1 points",
        "finite",
        "Drop",
    ),
    "point whose distance overflows": (
        lambda: knn_graph(torch.tensor([[-9e153], [9e153]], dtype=torch.float64), 1),
        "too far",
        "finite",
        "Drop",
    ),
    "short batch of points": (
        lambda: knn_graph(POINTS, 2, batch=torch.zeros(4, dtype=LONG)),
        r"batch of shape \(4,\)",
        r"\(5,\) of int64",
        "PyG Batch",
    ),
    "negative graph number of points": (
        lambda: knn_graph(POINTS, 2, batch=torch.tensor([0, 0, 0, 0, -1])),
        "graph number -1",
        "0 or more",
        "Renumber",
    ),
    "batch of points on another device": (
        lambda: radius_graph(POINTS, 1.0, batch=torch.zeros(5, dtype=LONG, device="meta")),
        "meta",
        "cpu",
        "Move",
    ),
    "radius of zero": (lambda: radius_graph(POINTS, 0.0), "radius=0.0", "above 0", "Set radius"),
    "radius that is NaN": (
        lambda: radius_graph(POINTS, float("nan")),
        "radius=nan",
        "finite",
        "Set radius",
    ),
    # ---- product_graph
    "product of graph and topology": (
        lambda: product_graph(graph_on(PATH), PATH),
        "one graph with weights and one topology",
        "two topologies or two graphs",
        "Graph",
    ),
    "product of a batch": (
        lambda: product_graph(PATH, BATCHED),
        "batch of graphs",
        "one graph in each factor",
        "by itself",
    ),
    "product of two dtypes": (
        lambda: product_graph(graph_on(PATH), graph_on(PATH, dtype=torch.float64)),
        "float64",
        "float32",
        "Convert",
    ),
    "product of batch axes that do not fit": (
        lambda: product_graph(graph_on(PATH, 2), graph_on(PATH, 3)),
        r"\(2, 3\) and \(3, 3\)",
        "broadcast",
        "same batch axes",
    ),
    # ---- from_edge_index
    "columns transposed": (
        lambda: from_edge_index(BOTH.T),
        r"shape \(4, 2\)",
        r"\(2, columns\)",
        "torch.stack",
    ),
    "columns of floats": (lambda: from_edge_index(BOTH.float()), "float32", "int64", "long"),
    "column out of range": (
        lambda: from_edge_index(BOTH, num_nodes=2),
        "nodes 0 and 2",
        "0 to 1",
        "num_nodes",
    ),
    "column with a negative node": (
        lambda: from_edge_index(edges((0, -1))),
        "nodes -1 and 0",
        "0 to 0",
        "num_nodes",
    ),
    "column out of the batch": (
        lambda: from_edge_index(BOTH, batch=torch.zeros(2, dtype=LONG)),
        "nodes 0 and 2",
        "0 to 1",
        "num_nodes",
    ),
    "reverse missing": (
        lambda: from_edge_index(BOTH[:, :3]),
        r"1 edges without their reverse, such as \(1, 2\)",
        "both directions",
        "to_undirected.*directed=True.*EdgeList",
    ),
    "only the way down listed": (
        lambda: from_edge_index(BOTH[:, [0, 1, 3]]),
        r"1 edges without their reverse, such as \(2, 1\)",
        "both directions",
        "to_undirected",
    ),
    "each edge listed once": (
        lambda: from_edge_index(BOTH[:, ::2]),
        "2 edges without their reverse",
        "both directions",
        "listed once",
    ),
    "reverse of another weight": (
        lambda: from_edge_index(BOTH, torch.tensor([1.0, 1.00001, 1.0, 1.0])),
        r"2 edges whose reverse has another weight, such as \(0, 1\)",
        "one weight",
        "to_undirected",
    ),
    "one of a batch of weights asymmetric": (
        lambda: from_edge_index(BOTH, torch.tensor([[1.0] * 4, [1.0, 1.0, 1.0, 2.0]])),
        r"2 edges whose reverse has another weight, such as \(1, 2\)",
        "one weight",
        "to_undirected",
    ),
    "column twice": (
        lambda: from_edge_index(BOTH[:, [0, 1, 0]]),
        "1 duplicated columns",
        "each direction once",
        "coalesce.*duplicates='sum'",
    ),
    "directed column twice": (
        lambda: from_edge_index(BOTH[:, [0, 0]], directed=True),
        "1 duplicated columns",
        "each direction once",
        "duplicates='sum'",
    ),
    "unknown duplicates": (
        lambda: from_edge_index(BOTH, duplicates="mean"),
        "'mean'",
        "'refuse' or 'sum'",
        "sum",
    ),
    "weights for other columns": (
        lambda: from_edge_index(BOTH, torch.ones(3)),
        r"shape \(3,\)",
        "one weight per column",
        "squeeze",
    ),
    "weights of integers for columns": (
        lambda: from_edge_index(BOTH, torch.ones(4, dtype=LONG)),
        "int64",
        "float32",
        "float",
    ),
    "negative weight in one direction": (
        lambda: from_edge_index(BOTH[:, :2], -torch.ones(2)),
        "1 negative",
        "0 or more",
        "exp",
    ),
    "NaN in one direction only": (
        lambda: from_edge_index(BOTH, torch.tensor([1.0, torch.nan, 1.0, 1.0])),
        "NaN",
        "finite",
        "drop these edges",
    ),
    "NaN on the way up only": (
        lambda: from_edge_index(BOTH, torch.tensor([torch.nan, 1.0, 1.0, 1.0])),
        "NaN",
        "finite",
        "drop these edges",
    ),
    "infinite weight in both directions": (
        lambda: from_edge_index(BOTH[:, :2], torch.full((2,), torch.inf)),
        "infinite",
        "finite",
        "drop these edges",
    ),
    "infinite weight in one direction only": (
        lambda: from_edge_index(BOTH[:, :2], torch.tensor([1.0, torch.inf])),
        "infinite",
        "finite",
        "drop these edges",
    ),
    "more graphs of columns than counted": (
        lambda: from_edge_index(BOTH[:, :2], batch=torch.tensor([0, 0, 3]), num_graphs=3),
        "graph number 3",
        "0 to 2, since num_graphs=3",
        "leave it out",
    ),
    "directed column between graphs": (
        lambda: from_edge_index(BOTH, batch=torch.tensor([0, 0, 1]), directed=True),
        "2 edges between two graphs",
        "inside one graph",
        "Leave out",
    ),
    "column between graphs": (
        lambda: from_edge_index(BOTH, batch=torch.tensor([0, 0, 1])),
        "1 edges between two graphs",
        "inside one graph",
        "Leave out",
    ),
    # ---- from_pyg and to_pyg
    "data without edges": (
        lambda: from_pyg(Data(x=POINTS)),
        "Data without edge_index",
        "edge_index",
        "knn_graph",
    ),
    "heterogeneous data": (
        lambda: from_pyg(HeteroData()),
        "HeteroData without edge_index",
        "edge_index",
        "to_homogeneous",
    ),
    "features instead of weights": (
        lambda: from_pyg(Data(edge_index=BOTH, num_nodes=3, edge_attr=torch.ones(4, 3))),
        r"edge_attr of shape \(4, 3\)",
        "one weight per edge",
        "edge_weight",
    ),
    "columns in three axes": (
        lambda: from_edge_index(BOTH.unsqueeze(-1), num_nodes=3),
        r"shape \(2, 4, 1\)",
        r"\(2, columns\)",
        "torch.stack",
    ),
    "a matrix for each edge": (
        lambda: from_pyg(Data(edge_index=BOTH, num_nodes=3, edge_attr=torch.ones(4, 1, 2))),
        r"edge_attr of shape \(4, 1, 2\)",
        "one weight per edge",
        "edge_weight",
    ),
    "batched weights to Data": (
        lambda: to_pyg(graph_on(PATH, 2)),
        r"shape \(2, 3\)",
        "one graph",
        "one at a time",
    ),
    "interleaved batch to Batch": (
        lambda: to_pyg(graph_on(EdgeList(edges((0, 2)), 3, torch.tensor([0, 1, 0])))),
        "not sorted",
        "side by side",
        "argsort",
    ),
    "attribute that cannot be cut up": (
        lambda: to_pyg(graph_on(BATCHED), x=torch.ones(3, 1)),
        r"attribute x of shape \(3, 1\)",
        "4 nodes or of 2 graphs",
        "batch.x",
    ),
    "attribute of edges on a Batch": (
        lambda: to_pyg(graph_on(BATCHED), edge_attr=torch.ones(4, 1)),
        "attribute edge_attr",
        "4 nodes or of 2 graphs",
        "batch.edge_attr",
    ),
    # ---- matrices, and weights in PyG's order
    "matrix that is not square": (
        lambda: from_adjacency(torch.rand(2, 3).to_sparse()),
        r"shape \(2, 3\)",
        "a square matrix",
        "from_edge_index",
    ),
    "no matrix at all": (
        lambda: from_adjacency([[0.0]]),
        "a list",
        "of torch or torch_sparse",
        "from_edge_index",
    ),
    "several values an entry": (
        lambda: from_adjacency(torch.rand(3, 3, 2).to_sparse(2)),
        r"shape \(3, 3, 2\)",
        "a square matrix",
        "from_edge_index",
    ),
    "matrix of whole numbers": (
        lambda: from_adjacency(torch.ones(2, 2, dtype=LONG)),
        "int64",
        "float32 or float64",
        "adjacency.float",
    ),
    "matrix that is not symmetric": (
        lambda: from_adjacency(torch.tensor([[0.0, 1.0], [2.0, 0.0]])),
        "1 edges|2 edges",
        "one weight for both directions",
        "directed=True",
    ),
    "heads in a matrix": (
        lambda: to_adjacency(graph_on(PATH, 2)),
        r"shape \(2, 3\)",
        r"\(edges,\)",
        "one at a time",
    ),
    "heads in an EdgeIndex": (
        lambda: to_edge_index(graph_on(PATH, 2)),
        r"shape \(2, 3\)",
        r"\(edges,\)",
        "one at a time",
    ),
    "a column that is no edge": (
        lambda: to_edge_weight(graph_on(PATH), edges((0, 1), (2, 0))),
        r"1 columns .*\(2, 0\)",
        "the edges of the graph",
        "was made from",
    ),
    "a self-loop among the columns": (
        lambda: to_edge_weight(graph_on(PATH), edges((1, 1))),
        r"1 columns .*\(1, 1\)",
        "without self-loops",
        "remove_self_loops",
    ),
    "a column of a graph without edges": (
        lambda: to_edge_weight(graph_on(EdgeList(edges(), 2)), edges((0, 1))),
        "1 columns",
        "the edges of the graph",
        "was made from",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_in_three_parts(name):
    assert_three_parts(*MISTAKES[name])
