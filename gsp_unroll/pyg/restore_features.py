"""An unrolled solver with the arguments of a PyG layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .._checks import check_signal, mistake
from .._typing import Mask, Signal, Weight
from ..graph import Graph, Topology, from_adjacency, from_edge_index, is_matrix
from ..models import UnrolledNetwork
from ..operators import Identity, SamplingMask
from ..problems import DataTerm, LeastSquares

if TYPE_CHECKING:
    from torch_sparse import SparseTensor


class RestoreFeatures(nn.Module):
    r"""Restores node features: $x\leftarrow\arg\min_x\tfrac12\|H(x-y)\|^2+g(x)$ on PyG's graph.

    Called as PyG calls its layers, so it stands before a `GCNConv`, in a
    `torch_geometric.nn.Sequential`, and trains with what follows it. There its arguments are named
    by place: `(RestoreFeatures(solver), 'x, edge_index -> x')`, or with a batch
    `'x, edge_index, edge_weight, batch -> x'`.

    The graph is read at every call, which takes a sort of its edges. Where it stays the same,
    read it once, `graph = Graph.from_pyg(data)`, and pass `graph` in place of `edge_index`.

    Args:
        solver: an unrolled layer, `(data, graph) -> x`, such as `GLRUnroll(mu=1.0)`, which takes
            the weights as they are given; or an `UnrolledNetwork`, which learns its own from `x`.
        data_term: `LeastSquares` for noisy features; `Interpolation` to keep those that `mask`
            marks as they are.

    Shapes:
        - **x:** `(*batch, nodes, channels)`
        - **edge_index:** `(2, columns)`, both directions of every edge
        - **edge_weight:** `(columns,)`
        - **batch:** `(nodes,)`, int64
        - **mask:** `(nodes,)` or `(nodes, channels)`, bool, True where `x` was observed; other
          values of `x` are not read, and may be NaN
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: on call: `edge_weight` for a network that learns its own, beside a graph or a
            matrix that has weights, or of whole numbers; `Interpolation` without a mask; whatever
            the solver or `from_edge_index` refuses.

    Example:
        >>> import torch
        >>> from gsp_unroll import GLRUnroll
        >>> from gsp_unroll.pyg import RestoreFeatures
        >>> from torch_geometric.nn import GCNConv, Sequential
        >>> model = Sequential(
        ...     "x, edge_index",
        ...     [
        ...         (RestoreFeatures(GLRUnroll(mu=1.0)), "x, edge_index -> x"),
        ...         (GCNConv(4, 2), "x, edge_index -> x"),
        ...     ],
        ... )
        >>> model(torch.rand(3, 4), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])).shape
        torch.Size([3, 2])
    """

    def __init__(self, solver: nn.Module, *, data_term: type[DataTerm] = LeastSquares) -> None:
        super().__init__()
        self.solver, self.data_term = solver, data_term

    def forward(
        self,
        x: Signal,
        edge_index: Tensor | SparseTensor | Topology | Graph,
        edge_weight: Weight | None = None,
        batch: Tensor | None = None,
        mask: Mask | None = None,
    ) -> Signal:
        """The restored features.

        Args:
            x: features.
            edge_index: PyG's, also as an `EdgeIndex` or a sparse `adj_t`; or a graph of ours.
            edge_weight: ones if absent.
            batch: the graph that each node belongs to; graphs do not see each other.
            mask: what was observed; everything if absent.
        """
        check_signal(x, None, "feature tensor")
        if edge_weight is not None and edge_weight.dtype == torch.int64:
            raise mistake(
                f"edge_weight of shape {tuple(edge_weight.shape)} and dtype int64",
                "weights, or None",
                "If it is the batch vector, it comes fourth: 'x, edge_index, edge_weight, batch -> "
                "x' in a Sequential, with None for edge_weight.",
            )
        data, learns = self._data(x, mask), isinstance(self.solver, UnrolledNetwork)
        if learns and edge_weight is not None:
            raise mistake(
                "edge_weight for an UnrolledNetwork, which learns the weights",
                "one source of weights",
                "Leave out edge_weight, or pass an unrolled layer such as GLRUnroll(mu=1.0).",
            )
        graph = _graph(x, edge_index, edge_weight, batch)
        restored: Signal = self.solver(data, graph.topology if learns else graph)
        return restored

    def _data(self, x: Signal, mask: Mask | None) -> DataTerm:
        if mask is not None:
            return self.data_term.unchecked(SamplingMask(mask), x)
        if self.data_term is not LeastSquares:
            raise mistake(
                f"no mask for {self.data_term.__name__}",
                "a mask: where everything is kept, nothing is restored",
                "Pass mask=, True where x was observed, or use LeastSquares.",
            )
        return LeastSquares.unchecked(Identity(), x)

    def extra_repr(self) -> str:
        return f"data_term={self.data_term.__name__}"


def _graph(
    x: Signal,
    given: Tensor | SparseTensor | Topology | Graph,
    edge_weight: Weight | None,
    batch: Tensor | None,
) -> Graph:
    """The graph, in whatever form it comes, with weights in the dtype of `x`."""
    ours = isinstance(given, Topology | Graph)
    if (ours or is_matrix(given)) and edge_weight is not None:
        raise mistake(
            f"edge_weight beside a {type(given).__name__}",
            "weights in one place",
            "Put them into the graph or the matrix.",
        )
    if ours and batch is not None:
        raise mistake(
            f"batch beside a {type(given).__name__}",
            "a graph that knows its batch",
            "Build it with Graph.from_pyg(batch), or from_edge_index(..., batch=batch).",
        )
    if isinstance(given, Graph):
        graph = given
    elif isinstance(given, Topology):
        graph = Graph.unchecked(given, given.mask_edges(x.new_ones(given.num_edges)))
    elif is_matrix(given):
        graph = from_adjacency(given, batch=batch)
    else:
        graph = from_edge_index(given, edge_weight, x.shape[-2], batch=batch)
    return graph if graph.weight.dtype == x.dtype else graph.to(x.dtype)
