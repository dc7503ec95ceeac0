"""Sparse matrices in and out: torch.sparse, and the SparseTensor of torch-sparse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .._checks import mistake
from .._typing import Weight
from .convert import columns_of, from_edge_index
from .graph import Graph

if TYPE_CHECKING:
    from torch_sparse import SparseTensor


def from_adjacency(
    adjacency: Tensor | SparseTensor,
    *,
    batch: Tensor | None = None,
    directed: bool = False,
    num_graphs: int | None = None,
) -> Graph:
    r"""A graph from its matrix of weights $W$; see `from_edge_index` for the rules.

    Row $i$ holds the edges $j\to i$ that arrive at $i$, so that $(Wx)_i=\sum_jw_{ij}x_j$. That is
    PyG's `adj_t`. Of an undirected graph the matrix is symmetric. Entries that are stored twice
    are added; a stored zero is an edge of weight 0.

    Args:
        adjacency: a square matrix in any layout of torch (COO, CSR, CSC, dense), or a
            `torch_sparse.SparseTensor`, whose entries without values count as ones.
        batch: the graph that each node belongs to.
        directed: True keeps each entry as a one-way edge.
        num_graphs: how many graphs `batch` names.

    Shapes:
        - **adjacency:** `(nodes, nodes)`, float32 or float64
        - **batch:** `(nodes,)`, int64

    Raises:
        ValueError: a matrix that is not square, of whole numbers, or with several values an entry;
            whatever `from_edge_index` refuses.

    Example:
        >>> import torch
        >>> from gsp_unroll.graph import from_adjacency
        >>> W = torch.tensor([[0.0, 0.5, 0.0], [0.5, 0.0, 2.0], [0.0, 2.0, 0.0]])
        >>> graph = from_adjacency(W.to_sparse_csr())
        >>> graph.topology.edge_index, graph.weight
        (tensor([[0, 1],
                [1, 2]]), tensor([0.5000, 2.0000]))
    """
    row, column, w, n = _entries(adjacency)
    return from_edge_index(
        torch.stack([column, row]), w, n, batch=batch, directed=directed, num_graphs=num_graphs
    )


def to_adjacency(graph: Graph) -> Tensor:
    """The matrix of weights in torch's CSR layout, both directions of an undirected edge.

    It is PyG's `adj_t`, and `to_adjacency(graph) @ x` is `Adjacency(graph) @ x`. The derivative of
    such a product by the weights is formed densely by torch; train with the operator.

    Args:
        graph: a graph with one weight per edge.

    Shapes:
        - **output:** `(nodes, nodes)`

    Raises:
        ValueError: weights with batch axes.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, path_graph
        >>> from gsp_unroll.graph import to_adjacency
        >>> to_adjacency(Graph(path_graph(3), torch.tensor([1.0, 2.0, 0.0]))).to_dense()
        tensor([[0., 1., 0.],
                [1., 0., 2.],
                [0., 2., 0.]])
    """
    edge_index, w = columns_of(graph)
    n = graph.num_nodes
    # torch warns once where nobody says whether it is to look at the entries
    with torch.sparse.check_sparse_tensor_invariants():
        entries = torch.sparse_coo_tensor(edge_index.flip(0), w, (n, n))
        # PyG's layers would turn any other layout into CSR, with a warning
        return entries.coalesce().to_sparse_csr()


def to_sparse_tensor(graph: Graph) -> SparseTensor:
    """The same matrix as a `torch_sparse.SparseTensor`, PyG's `adj_t`.

    Args:
        graph: a graph with one weight per edge.

    Raises:
        ValueError: weights with batch axes; torch-sparse is not installed.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, path_graph
        >>> from gsp_unroll.graph import to_sparse_tensor
        >>> graph = Graph(path_graph(2), torch.tensor([3.0, 0.0]))
        >>> to_sparse_tensor(graph).to_dense()  # doctest: +SKIP
        tensor([[0., 3.],
                [3., 0.]])
    """
    try:
        from torch_sparse import SparseTensor
    except ImportError as error:
        raise mistake(
            "a call of to_sparse_tensor without the package torch_sparse",
            "torch-sparse to be installed",
            "Use to_adjacency for a matrix of torch itself, or build the extra "
            "'gsp_unroll[accel]': torch first, then pip install --no-build-isolation "
            "torch-scatter torch-sparse.",
        ) from error
    edge_index, w = columns_of(graph)
    n = graph.num_nodes
    return SparseTensor(row=edge_index[1], col=edge_index[0], value=w, sparse_sizes=(n, n))


def is_matrix(adjacency: Any) -> bool:
    """True for a sparse matrix of either kind, False for PyG's `edge_index`."""
    if isinstance(adjacency, Tensor):
        return adjacency.layout != torch.strided
    return hasattr(adjacency, "coo")


def _entries(adjacency: Any) -> tuple[Tensor, Tensor, Weight | None, int]:
    """Rows, columns, values and the number of nodes."""
    is_tensor = isinstance(adjacency, Tensor)
    if not is_tensor and not hasattr(adjacency, "coo"):
        raise _no_matrix(f"a {type(adjacency).__name__}")
    size = tuple(adjacency.shape if is_tensor else adjacency.sizes())
    if len(size) != 2 or size[0] != size[1]:
        raise _no_matrix(f"an adjacency matrix of shape {size}")
    if is_tensor:
        _check_values(adjacency)
        # the way by COO keeps the derivative by the values
        entries = adjacency.to_sparse_coo().coalesce()
        row, column = entries.indices()
        return row, column, entries.values(), size[0]
    row, column, w = adjacency.coo()
    if w is not None:
        _check_values(w)
    return row, column, w, size[0]


def _no_matrix(got: str) -> ValueError:
    return mistake(
        got,
        "a square matrix, (nodes, nodes), of torch or torch_sparse",
        "For PyG's edge_index use Graph.from_edge_index.",
    )


def _check_values(w: Tensor) -> None:
    if not w.is_floating_point():
        raise mistake(
            f"an adjacency matrix of dtype {w.dtype}",
            "float32 or float64, the weights",
            "Convert it first, e.g. with adjacency.float().",
        )
