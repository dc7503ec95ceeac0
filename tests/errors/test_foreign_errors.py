"""Every mistake at the doors to SciPy, NetworkX and PyGSP is answered in three parts."""

import sys

import networkx as nx
import numpy as np
import pytest
import torch
from scipy import sparse

from gsp_unroll import EdgeList, Graph, path_graph
from tests.registries import edges
from tests.three_parts import assert_three_parts

HEADS = Graph(path_graph(3), torch.ones(2, 3))
EMPTY = Graph(EdgeList(edges(), 0), torch.ones(0))


def networkx(*triples, kind=nx.Graph, name="weight"):
    G = kind()
    for u, v, value in triples:
        G.add_edge(u, v, **({} if value is None else {name: value}))
    return G


# what is wrong: (the call, a word of "Got", a word of "Expected", a word of the advice)
MISTAKES = {
    "a matrix is no graph of NetworkX": (
        lambda: Graph.from_networkx(np.eye(3)),
        "a ndarray",
        "a graph of NetworkX",
        "from_scipy",
    ),
    "nor is a list of edges": (
        lambda: Graph.from_networkx([(0, 1)]),
        "a list",
        "a graph of NetworkX",
        "from_edge_index",
    ),
    "a number is no names": (
        lambda: Graph(path_graph(3), torch.ones(3)).to_networkx(5),
        "nodes=5, which are no names",
        "3 names that can be hashed",
        "list\\(G\\)",
    ),
    "names that cannot be hashed": (
        lambda: Graph(path_graph(3), torch.ones(3)).to_networkx([[0], [1], [2]]),
        "no names of nodes .*unhashable",
        "3 names that can be hashed",
        "list\\(G\\)",
    ),
    "no matrix": (lambda: Graph.from_scipy([[0.0]]), "a list", "of SciPy", "from_adjacency"),
    "a matrix of torch": (
        lambda: Graph.from_scipy(torch.eye(2)),
        "a Tensor",
        "of SciPy",
        "from_adjacency",
    ),
    "not square": (
        lambda: Graph.from_scipy(sparse.csr_array((2, 3))),
        r"\(2, 3\)",
        r"\(nodes, nodes\)",
        "from_edge_index",
    ),
    "not a matrix": (
        lambda: Graph.from_scipy(np.zeros(3)),
        r"\(3,\)",
        r"\(nodes, nodes\)",
        "from_edge_index",
    ),
    "whole numbers": (
        lambda: Graph.from_scipy(sparse.csr_array(np.eye(2, dtype=int))),
        "int64",
        "float32 or float64",
        "astype",
    ),
    "half precision": (
        lambda: Graph.from_scipy(np.zeros((2, 2), np.float16)),
        "float16",
        "float32 or float64",
        "astype",
    ),
    "not symmetric": (
        lambda: Graph.from_scipy(np.array([[0.0, 1.0], [2.0, 0.0]])),
        "another weight",
        "one weight for both directions",
        "directed=True",
    ),
    "without reverse": (
        lambda: Graph.from_scipy(sparse.csr_array(np.array([[0.0, 1.0], [0.0, 0.0]]))),
        r"1 edges .*\(0, 1\)",
        "both directions|reverse",
        "directed=True",
    ),
    "negative": (
        lambda: Graph.from_scipy(np.array([[0.0, -1.0], [-1.0, 0.0]])),
        "negative",
        "0 or more",
        "exp",
    ),
    "NaN": (
        lambda: Graph.from_scipy(np.array([[0.0, np.nan], [np.nan, 0.0]])),
        "NaN",
        "finite",
        "division",
    ),
    "heads to SciPy": (HEADS.to_scipy, r"\(2, 3\)", r"\(edges,\)", "one at a time"),
    "heads to NetworkX": (HEADS.to_networkx, r"\(2, 3\)", r"\(edges,\)", "one at a time"),
    "heads to PyGSP": (
        lambda: pytest.importorskip("pygsp") and HEADS.to_pygsp(),
        r"\(2, 3\)",
        r"\(edges,\)",
        "one at a time",
    ),
    "a weight under another name": (
        lambda: Graph.from_networkx(networkx((0, 1, 2.0), name="length")),
        "1 of 1 edges .*'weight'.* length",
        "on every edge",
        "weight=None",
    ),
    "an edge without weight": (
        lambda: Graph.from_networkx(networkx((0, 1, 2.0), (1, 2, None))),
        "1 of 2 edges",
        "on every edge",
        "weight=None",
    ),
    "a weight that is no number": (
        lambda: Graph.from_networkx(networkx((0, 1, "long"))),
        "'weight' is no number",
        "one number per edge",
        "weight=",
    ),
    "a weight of None": (
        lambda: Graph.from_networkx(nx.Graph([(0, 1, {"weight": None})])),
        "'weight' is no number",
        "one number per edge",
        "weight=",
    ),
    "negative weight in NetworkX": (
        lambda: Graph.from_networkx(networkx((0, 1, -2.0))),
        "negative",
        "0 or more",
        "exp",
    ),
    "parallel edges": (
        lambda: Graph.from_networkx(networkx((0, 1, 1.0), (0, 1, 2.0), kind=nx.MultiGraph)),
        "parallel edges",
        "at most one",
        "duplicates='sum'",
    ),
    "duplicates unknown": (
        lambda: Graph.from_networkx(nx.path_graph(2), duplicates="add"),
        "'add'",
        "'refuse' or 'sum'",
        "Use 'sum'",
    ),
    "too few names": (
        lambda: Graph(path_graph(3), torch.ones(3)).to_networkx("ab"),
        "2 names",
        "each of 3 nodes",
        r"list\(G\)",
    ),
    "a name twice": (
        lambda: Graph(path_graph(3), torch.ones(3)).to_networkx("aba"),
        "3 names, 2 of them distinct",
        "each of 3 nodes",
        r"list\(G\)",
    ),
    "a name that is none": (
        lambda: Graph(path_graph(3), torch.ones(3)).to_networkx([None, 1, 2]),
        "3 names, 3 of them distinct, one None",
        "each of 3 nodes, not None",
        r"list\(G\)",
    ),
    "no graph of PyGSP": (
        lambda: Graph.from_pygsp(nx.path_graph(2)),
        "a Graph without a matrix W",
        "of PyGSP",
        "from_networkx",
    ),
    "an empty graph to PyGSP": (
        lambda: pytest.importorskip("pygsp") and EMPTY.to_pygsp(),
        "without nodes",
        "one node",
        "empty graph",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_in_three_parts(name):
    assert_three_parts(*MISTAKES[name])


@pytest.mark.parametrize("package", ["networkx", "pygsp"])
def test_a_missing_package_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    call = getattr(Graph(path_graph(3), torch.ones(3)), f"to_{package}")
    assert_three_parts(call, f"without the package {package}", "installed", r"gsp_unroll\[graphs\]")
