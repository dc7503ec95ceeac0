"""A learned distance for each lag: weights from the past to the present."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from .._checks import check_positive, check_positive_count, mistake
from .._typing import Signal, Weight
from ..graph import EdgeList, Normalization, Topology, path_graph
from .base import GraphLearner, bounded_exp


class TemporalLearner(GraphLearner):
    r"""Weights that fall with a learned Mahalanobis distance, another one for each lag.

    $$w_{ij}=\exp\!\big(-\|Q_v(f_i-f_j)\|_2^2\big),\qquad
      \bar w_{ij}=\frac{w_{ij}}{\sum_{l\to i}w_{il}},$$

    where the edge $j\to i$ leads from $v$ steps ago. The sum runs over all edges that arrive at
    $i$, whatever their lag: a node shares out its attention to its past. What was an hour ago and
    what was a day ago may so be compared by different features.

    The lag of an edge is read from the numbers of its ends: they are ordered by time first, node
    $t\cdot S+s$ being place $s$ of $S$ at step $t$, as `space_time_graph` and
    `path_graph(..., directed=True)` have it. On an undirected topology both directions of an edge
    have its lag; `"row"` then gives both to the graph.

    Args:
        num_features: length $D$ of a node's feature vector, at least 1.
        lags: a number $L$ for the lags $1,\dots,L$, or the lags themselves, each at least 1, as in
            `space_time_graph`. The topology may have fewer.
        places: nodes at each step, at least 1; 1 for a single sequence.
        heads: None, or the number of graphs to learn side by side, which becomes a batch axis.
        init: above 0; every $Q_v$ starts at `init` times the identity.
        normalization: `"row"`, or `"none"` for $w_{ij}$ as it is; see `Graph.normalized`.

    Shapes:
        - **factor:** `(lags, D, D)`, ascending lags; with heads `(heads, lags, D, D)`
        - **features:** `(*batch, steps * places, D)`, with heads
          `(*batch, heads, steps * places, D)`
        - **output:** a `Graph` with weights `(*batch, edges)`, with heads `(*batch, heads, edges)`

    Raises:
        ValueError: as `GraphLearner`; a lag below 1 or given twice, `places` below 1, an `init`
            that is not above 0; on call: an edge whose ends are no such lag apart.

    Source:
        Qi et al. 2025. Differs from it in: (1) the exponential is that of the sum over features,
        where the released code sums exponentials; (2) the distance is cut at 30, see `bounded_exp`.

    Example:
        >>> import torch
        >>> from gsp_unroll import TemporalLearner, path_graph, space_time_graph
        >>> spatial, temporal = space_time_graph(path_graph(3), steps=4, lags=2)
        >>> graph = TemporalLearner(num_features=2, lags=2, places=3)(torch.rand(12, 2), temporal)
        >>> graph.degree[3:].allclose(torch.ones(9))  # every row sums to 1 but those of the sources
        True
    """

    head_axes: ClassVar = {"factor": 0}

    def __init__(
        self,
        num_features: int,
        lags: int | Iterable[int] = 1,
        *,
        places: int = 1,
        heads: int | None = None,
        init: float = 1.5,
        normalization: Normalization = "row",
    ) -> None:
        super().__init__(num_features, heads=heads, normalization=normalization)
        check_positive_count(places, "places")
        check_positive(init, "init")  # at 0 the derivative by the factor is 0, and stays so
        # checked as those of a path are; ascending, whatever their order
        self.lags = tuple(sorted(lag for (lag,) in path_graph(1, lags, directed=True).offsets))
        self.places, self.init = places, init
        lead = () if heads is None else (heads,)
        self.factor = nn.Parameter(torch.empty(*lead, len(self.lags), num_features, num_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Every factor back to `init` times the identity."""
        super().reset_parameters()
        with torch.no_grad():
            self.factor.copy_(self.init * torch.eye(self.num_features).to(self.factor))

    @property
    def metric(self) -> Tensor:
        """`Q'Q` of every lag, `(lags, D, D)` or `(heads, lags, D, D)`."""
        return self.factor.mT @ self.factor

    def embed(self, features: Signal) -> Signal:
        # Q_v f once per node and lag, side by side, so that an edge costs one difference
        stacked = self.factor.mT.movedim(-3, -2).flatten(-2)
        embedded: Tensor = features @ stacked
        return embedded

    def edge_weight(self, embedded: Signal, topology: Topology) -> Weight:
        # as many copies of a node as there are lags: an edge joins those of its own lag
        copies = embedded.unflatten(-1, (len(self.lags), -1)).flatten(-3, -2)
        return topology.mask_edges(self._between_copies(topology).update_edges(self, copies))

    def edge_update(self, features_i: Tensor, features_j: Tensor) -> Tensor:
        return bounded_exp(-(features_i - features_j).square().sum(-1))

    def _between_copies(self, topology: Topology) -> EdgeList:
        """The edges of `topology` between the copies that belong to their lags."""
        edges, count = topology.edge_index, len(self.lags)
        apart = (edges[1] - edges[0]).abs()
        lags, steps = torch.tensor(self.lags, device=edges.device), apart // self.places
        copy = torch.searchsorted(lags, steps).clamp(max=count - 1)
        known = (lags[copy] == steps) & (apart % self.places == 0) | ~topology.edge_mask
        # a structure is no value of a network, but the look at it waits for an accelerator
        if not torch.compiler.is_compiling() and not bool(known.all()):
            far = apart[~known][0]
            raise mistake(
                f"an edge between nodes {int(far)} apart for places={self.places}, "
                f"lags={self.lags}",
                f"ends that are {self.places} nodes apart for each step of a lag",
                "Order nodes by time first, as space_time_graph does, and give the learner its "
                "number of places and its lags.",
            )
        return EdgeList.unchecked(edges * count + copy, topology.num_nodes * count)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, lags={self.lags}, places={self.places})"
