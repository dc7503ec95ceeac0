"""Which parts of a batched signal are independent linear systems.

A solver that takes one inner product over a whole batch couples what has nothing to do with each
other: the graphs of a block-diagonal batch, or colours that have sampling masks of their own.
`Systems` says where the sums end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .._checks import mistake
from .._typing import PerSystem, Signal


@dataclass(frozen=True, eq=False)
class Systems:
    r"""The partition of nodes and channels into independent systems.

    $$\langle a, b\rangle_s = \sum_{i\in s} a_i\, b_i$$

    Args:
        batch: graph number of each node, `(nodes,)` int64, or None when all nodes form one graph.
        num_graphs: how many graphs the nodes belong to.
        couples_channels: True when the operator mixes channels, so that all channels of a node
            belong to one system.

    Shapes:
        - **inner(a, b):** `(*batch, graphs, channels)`, or `(*batch, graphs, 1)` when channels are
          coupled
        - **spread(s):** as a signal, broadcastable against `(*batch, nodes, channels)`

    Example:
        >>> import torch
        >>> from gsp_unroll.graph import Systems
        >>> two = Systems(batch=torch.tensor([0, 0, 1]), num_graphs=2)
        >>> two.inner(torch.ones(3, 1), torch.ones(3, 1)).flatten()
        tensor([2., 1.])
    """

    batch: Tensor | None = None
    num_graphs: int = 1
    couples_channels: bool = False

    def total(self, x: Signal) -> PerSystem:
        """Sum of `x` over the nodes (and coupled channels) of each system."""
        if self.couples_channels:
            x = x.sum(-1, keepdim=True)
        if self.batch is None:
            return x.sum(-2, keepdim=True)
        zero = x.new_zeros(*x.shape[:-2], self.num_graphs, x.shape[-1])
        return zero.index_add(-2, self.batch, x)

    def inner(self, a: Signal, b: Signal) -> PerSystem:
        """One inner product per independent system."""
        return self.total(a * b)

    def maximum(self, x: Signal) -> PerSystem:
        """Largest value of `x` in each system; minus infinity where a system has no node."""
        if self.couples_channels:
            none = x.new_full((*x.shape[:-1], 1), -torch.inf)
            x = x.amax(-1, keepdim=True) if x.shape[-1] else none
        if x.shape[-2] == 0:
            return x.new_full((*x.shape[:-2], self.num_graphs, x.shape[-1]), -torch.inf)
        if self.batch is None:
            return x.amax(-2, keepdim=True)
        lowest = x.new_full((*x.shape[:-2], self.num_graphs, x.shape[-1]), -torch.inf)
        graph_of_entry = self.batch.unsqueeze(-1).expand_as(x)
        return lowest.scatter_reduce(-2, graph_of_entry, x, "amax")

    @torch.no_grad()
    def unit(self, x: Signal) -> PerSystem:
        """The power of two below the largest size in each system, 1 where all is 0. To divide by it
        loses no bit, and of what is left no square overflows or vanishes."""
        largest = self.maximum(x.detach().abs())
        mantissa, _ = torch.frexp(largest)  # in [1/2, 1)
        return torch.where(largest > 0, largest / (2 * mantissa), 1)

    def spread(self, s: PerSystem) -> Signal:
        """Each node's copy of its system's number."""
        return s if self.batch is None else s.index_select(-2, self.batch)

    def coupled(self) -> Systems:
        """The same graphs with all channels of a node in one system."""
        return replace(self, couples_channels=True)

    def separate(self) -> Systems:
        """The same graphs with each channel a system of its own."""
        return replace(self, couples_channels=False)

    def joined(self, other: Systems) -> Systems:
        """The systems of a sum or product of two operators."""
        first, second = (self, other) if self.batch is not None else (other, self)
        if second.batch is not None and second.batch is not first.batch:
            if not torch.equal(first.batch, second.batch):  # type: ignore[arg-type]
                raise mistake(
                    "two operators whose nodes belong to different graphs of a batch",
                    "one batch vector",
                    "Build both operators on the same topology.",
                )
        return Systems(
            first.batch,
            # graphs without nodes at the end are known to one of the two perhaps
            max(first.num_graphs, second.num_graphs),
            self.couples_channels or other.couples_channels,
        )
