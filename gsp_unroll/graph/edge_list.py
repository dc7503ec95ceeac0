"""Any graph, as a list of edges."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .._checks import mistake
from .._typing import EdgeSignal, Signal
from ._opaque import scatter
from .systems import Systems
from .topology import Topology


@dataclass(frozen=True, eq=False)
class EdgeList(Topology):
    r"""A graph given by its edges, each undirected edge **once**.

    Args:
        edge_index: `(2, edges)` int64, tails above heads. PyG's convention of listing both
            directions is read by `Graph.from_edge_index`.
        num_nodes: number of nodes.
        batch: `(nodes,)` int64, the graph each node belongs to (as in a PyG `Batch`), or None.
        directed: True when each column is one direction of its own.

    Raises:
        ValueError: an index out of range, a self-loop, a duplicated edge, an edge between two
            graphs of the batch.

    Example:
        >>> import torch
        >>> from gsp_unroll import EdgeList
        >>> path = EdgeList(torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
        >>> path.gradient(torch.tensor([[0.0], [1.0], [3.0]])).flatten()
        tensor([1., 2.])
    """

    edge_index: Tensor
    num_nodes: int
    batch: Tensor | None = None
    directed: bool = False
    _systems: Systems = field(init=False, repr=False)

    def __post_init__(self) -> None:
        e, n = self.edge_index, self.num_nodes
        if e.ndim != 2 or e.shape[0] != 2 or e.dtype != torch.int64:
            raise mistake(
                f"edge_index of shape {tuple(e.shape)} and dtype {e.dtype}",
                "(2, edges) of int64",
                "Stack tails above heads: torch.stack([tail, head]).long().",
            )
        if e.numel() and (int(e.min()) < 0 or int(e.max()) >= n):
            raise mistake(
                f"an edge between nodes {int(e.min())} and {int(e.max())} at the extremes",
                f"node numbers from 0 to {n - 1}",
                "Check num_nodes, or drop edges to nodes that are not there.",
            )
        if bool((e[0] == e[1]).any()):
            raise mistake(
                f"{int((e[0] == e[1]).sum())} self-loops",
                "edges between two different nodes",
                "Remove them (their gradient is always 0); Graph.from_edge_index does.",
            )
        lo, hi = (e[0], e[1]) if self.directed else (e.amin(0), e.amax(0))
        key = lo * n + hi
        doubled = key.numel() - key.unique().numel()
        if doubled:
            raise mistake(
                f"{doubled} duplicated edges",
                "each undirected edge once" if not self.directed else "each direction once",
                "Use Graph.from_edge_index, which merges both directions and can sum duplicates.",
            )
        self._check_batch()
        object.__setattr__(self, "_systems", _systems_of(self.batch))

    def _check_batch(self) -> None:
        if self.batch is None:
            return
        if self.batch.shape != (self.num_nodes,) or self.batch.dtype != torch.int64:
            raise mistake(
                f"batch of shape {tuple(self.batch.shape)} and dtype {self.batch.dtype}",
                f"({self.num_nodes},) of int64, one graph number per node",
                "Pass the `batch` vector of a PyG Batch.",
            )
        if self.num_nodes and int(self.batch.min()) < 0:
            raise mistake(
                f"a graph number {int(self.batch.min())} in batch",
                "graph numbers of 0 or more",
                "Renumber the graphs: batch.unique(return_inverse=True)[1].",
            )
        tails, heads = (self.batch.index_select(0, side) for side in self.edge_index)
        if bool((tails != heads).any()):
            raise mistake(
                f"{int((tails != heads).sum())} edges between two graphs of the batch",
                "edges inside one graph",
                "Leave out `batch` if the nodes form one graph.",
            )

    def to(self, device: torch.device | str) -> EdgeList:
        batch = None if self.batch is None else self.batch.to(device)
        moved = object.__new__(EdgeList)  # the values were checked when this one was built
        moved.__dict__.update(
            edge_index=self.edge_index.to(device),
            num_nodes=self.num_nodes,
            batch=batch,
            directed=self.directed,
            _systems=Systems(batch, self.systems.num_graphs),
        )
        return moved

    @property
    def num_edges(self) -> int:
        return self.edge_index.shape[1]

    @property
    def systems(self) -> Systems:
        return self._systems

    def check_device(self, x: Tensor, name: str) -> None:
        if x.device != self.edge_index.device:
            raise mistake(
                f"a {name} on {x.device}",
                f"the device of the edges, {self.edge_index.device}",
                f"Move one of them: x.to('{self.edge_index.device}') or graph.to('{x.device}').",
            )

    def lift(self, x: Signal) -> tuple[EdgeSignal, EdgeSignal]:
        self.check_signal(x)
        # index_select, not x[:, tail]: half the cost, and on a CPU its backward always sums in one
        # order (on CUDA the sum is by atomics, whose order varies)
        tail, head = self.edge_index
        return x.index_select(-2, tail), x.index_select(-2, head)

    def tail_sum(self, z: EdgeSignal) -> Signal:
        return self._scatter(z, self.edge_index[0])

    def head_sum(self, z: EdgeSignal) -> Signal:
        return self._scatter(z, self.edge_index[1])

    def _scatter(self, z: EdgeSignal, node: Tensor) -> Signal:
        self.check_edge_signal(z)
        if torch.compiler.is_compiling():
            summed: Tensor = scatter(z, node, self.num_nodes)
            return summed
        zero = z.new_zeros(*z.shape[:-2], self.num_nodes, z.shape[-1])
        return zero.index_add(-2, node, z)

    def reversed(self) -> EdgeList:
        """The same edges with tails and heads exchanged."""
        return replace(self, edge_index=self.edge_index.flip(0))


def _systems_of(batch: Tensor | None) -> Systems:
    if batch is None:
        return Systems()
    return Systems(batch, int(batch.max()) + 1 if batch.numel() else 1)
