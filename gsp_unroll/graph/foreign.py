"""Graphs of other packages in and out: SciPy, NetworkX, PyGSP.

All three write an edge from i to j at row i and column j. That is the transpose of PyG's `adj_t`,
which `adjacency` reads; of an undirected graph both are the same matrix.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from .._checks import mistake
from .convert import columns_of, from_edge_index
from .graph import Graph

if TYPE_CHECKING:
    import networkx as nx
    from numpy.typing import ArrayLike
    from pygsp import graphs
    from scipy import sparse

FLOATS = ("float32", "float64")


def from_scipy(
    matrix: sparse.sparray | sparse.spmatrix | np.ndarray,
    *,
    batch: Tensor | None = None,
    directed: bool = False,
    num_graphs: int | None = None,
) -> Graph:
    r"""A graph from a matrix of SciPy or NumPy; see `from_edge_index` for the rules.

    The entry in row $i$ and column $j$ is the weight of the edge $i\to j$, as in
    `scipy.sparse.csgraph` and in PyG's `from_scipy_sparse_matrix`. Node $i$ is row $i$. Entries
    that are stored twice are added, as everywhere in SciPy; a stored zero is an edge of weight 0,
    while a zero of a dense array is no edge. Self-loops are dropped with a warning.

    Args:
        matrix: a square sparse array or matrix in any format, or a dense array; it is not changed.
        batch: the graph that each node belongs to.
        directed: True keeps each entry as a one-way edge.
        num_graphs: how many graphs `batch` names.

    Shapes:
        - **matrix:** `(nodes, nodes)`, float32 or float64, which the weights keep
        - **batch:** `(nodes,)`, int64

    Raises:
        ValueError: a matrix that is not square, or of whole numbers; one that is not symmetric
            without `directed=True`; whatever else `from_edge_index` refuses.

    Example:
        >>> import numpy as np
        >>> from scipy.sparse import csr_array
        >>> from gsp_unroll import Graph
        >>> W = csr_array(np.array([[0.0, 0.5, 0.0], [0.5, 0.0, 2.0], [0.0, 2.0, 0.0]]))
        >>> graph = Graph.from_scipy(W)
        >>> graph.topology.edge_index, graph.weight
        (tensor([[0, 1],
                [1, 2]]), tensor([0.5000, 2.0000], dtype=torch.float64))
    """
    from scipy import sparse

    if not (sparse.issparse(matrix) or isinstance(matrix, np.ndarray)):
        raise mistake(
            f"a {type(matrix).__name__}",
            "a sparse array or matrix of SciPy, or an array of NumPy",
            "For a matrix of torch use gsp_unroll.graph.from_adjacency, for a list np.array.",
        )
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise mistake(
            f"a matrix of shape {matrix.shape}",
            "a square one, (nodes, nodes)",
            "For PyG's edge_index use Graph.from_edge_index.",
        )
    if matrix.dtype.name not in FLOATS:
        raise mistake(
            f"a matrix of dtype {matrix.dtype}",
            "float32 or float64, the weights",
            "Convert it first, with matrix.astype(np.float32).",
        )
    entries = sparse.coo_array(matrix, copy=True)
    entries.sum_duplicates()
    return from_edge_index(
        torch.from_numpy(np.stack([entries.row, entries.col]).astype(np.int64)),
        torch.from_numpy(entries.data),
        matrix.shape[0],
        batch=batch,
        directed=directed,
        num_graphs=num_graphs,
    )


def to_scipy(graph: Graph) -> sparse.csr_array:
    r"""The matrix of weights as a `scipy.sparse.csr_array`, the edge $i\to j$ at row $i$, column
    $j$; both directions of an undirected edge.

    A copy on the CPU, through which no derivative passes. Edges of weight 0 are stored, isolated
    nodes are empty rows; which graph of a batch a node belongs to is not said.

    Args:
        graph: a graph with one weight per edge.

    Shapes:
        - **output:** `(nodes, nodes)`, in the dtype of the weights

    Raises:
        ValueError: weights with batch axes.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, path_graph
        >>> Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0])).to_scipy().toarray()
        array([[0., 1., 0.],
               [1., 0., 2.],
               [0., 2., 0.]], dtype=float32)
    """
    from scipy import sparse

    edge_index, w = columns_of(graph)
    # a matrix must not be changed through the weights of a graph, nor the other way round
    values, (row, column) = w.detach().cpu().numpy(), edge_index.cpu().numpy()
    n = graph.num_nodes
    return sparse.coo_array((values, (row, column)), shape=(n, n)).tocsr(copy=True)


def from_networkx(
    G: nx.Graph,
    weight: str | None = "weight",
    *,
    dtype: torch.dtype | None = None,
    duplicates: Literal["refuse", "sum"] = "refuse",
) -> Graph:
    """A graph from NetworkX; see `from_edge_index` for the rules.

    Node $i$ is the $i$-th of `G.nodes`, whatever its name; `list(G)` tells the names in our order,
    and `to_networkx(graph, list(G))` gives them back. A `DiGraph` becomes a directed graph, any
    other an undirected one; `G.to_undirected()` decides otherwise. Self-loops are dropped with a
    warning.

    Args:
        G: any graph of NetworkX; it is not changed. Attributes other than `weight` are not read.
        weight: name of the edges' attribute that holds their weights; None for weights of 1. Where
            no edge has any attribute and none is named, weights are 1 as well.
        dtype: of the weights; torch's default dtype if absent.
        duplicates: `"refuse"` parallel edges of a multigraph, or `"sum"` their weights.

    Raises:
        ValueError: no graph of NetworkX; edges without the attribute while others have one, or
            whose value is no number; parallel edges; a weight that is negative or not finite.

    Example:
        >>> import networkx as nx
        >>> from gsp_unroll import Graph
        >>> G = nx.Graph()
        >>> G.add_weighted_edges_from([("Rome", "Oslo", 0.5), ("Oslo", "Bonn", 2.0)])
        >>> graph = Graph.from_networkx(G)
        >>> list(G), graph.topology.edge_index, graph.weight
        (['Rome', 'Oslo', 'Bonn'], tensor([[0, 1],
                [1, 2]]), tensor([0.5000, 2.0000]))
    """
    if not hasattr(G, "nodes") or not hasattr(G, "is_directed"):
        raise mistake(
            f"a {type(G).__name__}",
            "a graph of NetworkX",
            "Of a matrix use Graph.from_scipy or Graph.from_adjacency, of a list of edges "
            "Graph.from_edge_index.",
        )
    place = {node: i for i, node in enumerate(G.nodes)}
    pairs = [(place[u], place[v]) for u, v in G.edges()]
    edge_index = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    w = torch.tensor(_attribute(G, weight), dtype=dtype or torch.get_default_dtype())
    if not G.is_directed():
        edge_index, w = _with_reverses(edge_index, w)
    _refuse_parallel(edge_index, duplicates)
    return from_edge_index(
        edge_index, w, len(place), directed=G.is_directed(), duplicates=duplicates
    )


def to_networkx(graph: Graph, nodes: Sequence[Hashable] | None = None) -> nx.Graph:
    """A NetworkX `Graph`, or of a directed graph a `DiGraph`, with the attribute `weight`.

    A copy, through which no derivative passes. Nodes are added in their order, isolated ones
    included. Signals are attached with `networkx.set_node_attributes`.

    Args:
        graph: a graph with one weight per edge.
        nodes: names of the nodes, in our order; 0, 1, ... if absent.

    Raises:
        ValueError: weights with batch axes; names that are too few, too many, not distinct or not
            hashable; NetworkX is not installed.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, path_graph
        >>> G = Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0])).to_networkx(["a", "b", "c"])
        >>> list(G.edges(data="weight"))
        [('a', 'b', 1.0), ('b', 'c', 2.0)]
    """
    try:
        import networkx as nx
    except ImportError as error:
        raise _not_installed("to_networkx", "networkx") from error
    n = graph.num_nodes
    try:
        names = list(range(n)) if nodes is None else list(nodes)
        distinct = len(set(names))
    except TypeError as error:
        raise mistake(
            f"nodes={nodes!r}, which are no names of nodes ({error})",
            f"a sequence of {n} names that can be hashed, such as texts or numbers",
            "Pass list(G) of the graph that they came from, or leave nodes out.",
        ) from error
    if len(names) != n or distinct != n or None in names:
        raise mistake(
            f"{len(names)} names, {distinct} of them distinct" + ", one None" * (None in names),
            f"a name of its own for each of {n} nodes, not None",
            "Pass list(G) of the graph that they came from, or leave nodes out.",
        )
    edge_index, w = columns_of(graph)
    G = nx.DiGraph() if graph.topology.directed else nx.Graph()
    G.add_nodes_from(names)
    columns = zip(*edge_index.tolist(), w.tolist(), strict=True)
    G.add_weighted_edges_from((names[i], names[j], value) for i, j, value in columns)
    return G


def from_pygsp(G: graphs.Graph, *, directed: bool = False) -> Graph:
    r"""A graph from PyGSP: its matrix of weights `G.W`, read as by `from_scipy`.

    Our combinatorial `Laplacian` of the result is `G.L`. Weights are float64 as a rule in PyGSP,
    and whole numbers become so; `graph.to(torch.float32)` changes it. Coordinates stay behind:
    `torch.from_numpy(G.coords)` has them.

    Args:
        G: a graph of PyGSP; it is not changed.
        directed: True keeps each entry of `G.W` as a one-way edge. `G.is_directed()` tells whether
            the matrix is asymmetric.

    Raises:
        ValueError: something without a matrix `W`; an asymmetric one without `directed=True`;
            whatever else `from_scipy` refuses.

    Example:
        >>> from types import SimpleNamespace
        >>> from scipy.sparse import csr_array
        >>> from gsp_unroll import Graph
        >>> G = SimpleNamespace(W=csr_array([[0.0, 0.5], [0.5, 0.0]]))  # pygsp.graphs.Ring(5), ...
        >>> Graph.from_pygsp(G).weight
        tensor([0.5000], dtype=torch.float64)
    """
    W: Any = getattr(G, "W", None)
    if W is None:
        raise mistake(
            f"a {type(G).__name__} without a matrix W",
            "a graph of PyGSP",
            "Use Graph.from_scipy for a matrix, Graph.from_networkx for a graph of NetworkX.",
        )
    if W.dtype.kind in "iub":
        W = W.astype(np.float64)
    return from_scipy(W, directed=directed)


def to_pygsp(graph: Graph, coords: ArrayLike | None = None) -> graphs.Graph:
    """A `pygsp.graphs.Graph` with the same weights, and with coordinates where they are given.

    A copy, through which no derivative passes. PyGSP forgets edges of weight 0, and calls a graph
    directed where its matrix is asymmetric.

    Args:
        graph: a graph with one weight per edge, at least one node.
        coords: positions of the nodes, for PyGSP's pictures.

    Shapes:
        - **coords:** `(nodes, 2 or 3)`

    Raises:
        ValueError: weights with batch axes, no nodes; PyGSP is not installed.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, path_graph
        >>> graph = Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0]))
        >>> graph.to_pygsp().W.toarray()
        array([[0., 1., 0.],
               [1., 0., 2.],
               [0., 2., 0.]]...)
    """
    try:
        from pygsp import graphs
    except ImportError as error:
        raise _not_installed("to_pygsp", "pygsp") from error
    if graph.num_nodes == 0:
        raise mistake("a graph without nodes", "at least one node", "PyGSP knows no empty graph.")
    return graphs.Graph(to_scipy(graph), coords=coords)


# ---- edges of NetworkX ----------------------------------------------------------------------


def _attribute(G: nx.Graph, name: str | None) -> list[float]:
    """The weight of each edge, in the order of `G.edges()`."""
    attributes = [data for _, _, data in G.edges(data=True)]
    if name is None or (name == "weight" and not any(attributes)):
        return [1.0] * len(attributes)
    missing = sum(name not in data for data in attributes)
    if missing:
        known = sorted({str(key) for data in attributes for key in data})
        raise mistake(
            f"{missing} of {len(attributes)} edges without the attribute {name!r}, while there is "
            f"{', '.join(known) or 'none at all'}",
            "a weight on every edge",
            "Name the attribute with weight=..., or pass weight=None for weights of 1.",
        )
    try:
        return [float(data[name]) for data in attributes]
    except (TypeError, ValueError) as error:
        raise mistake(
            f"edges whose {name!r} is no number ({error})",
            "one number per edge",
            "Name another attribute with weight=..., or pass weight=None for weights of 1.",
        ) from error


def _with_reverses(edge_index: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Both directions of every edge; a self-loop has one."""
    two = edge_index[0] != edge_index[1]
    return torch.cat([edge_index, edge_index[:, two].flip(0)], 1), torch.cat([w, w[two]])


def _refuse_parallel(edge_index: Tensor, duplicates: str) -> None:
    repeated = edge_index.shape[1] - edge_index.unique(dim=1).shape[1] if edge_index.numel() else 0
    if repeated and duplicates == "refuse":
        raise mistake(
            "a multigraph with parallel edges",
            "at most one edge from a node to another",
            "Add their weights with duplicates='sum', or keep one of each with networkx.Graph(G).",
        )


def _not_installed(function: str, package: str) -> ValueError:
    return mistake(
        f"a call of {function} without the package {package}",
        f"{package} to be installed",
        "Run pip install 'gsp_unroll[graphs]'.",
    )
