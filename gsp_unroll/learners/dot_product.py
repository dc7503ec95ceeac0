"""Weights from scaled dot-product attention over the neighbours."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from .._checks import check_positive_count
from .._typing import Signal, Weight
from ..graph import Graph, Normalization, Topology
from .base import GraphLearner, bounded_exp


class DotProductLearner(GraphLearner):
    r"""Scaled dot-product attention over the neighbours of each node.

    $$a_{ij}=\frac{\exp s_{ij}}{\sum_{l\in\mathcal N(i)}\exp s_{il}},\qquad
      s_{ij}=\frac{(Qf_i)^\top(Kf_j)}{\sqrt{d_k}}$$

    The softmax is the row normalisation of $\exp s_{ij}$: node $i$ is the head of the edge and
    asks, its neighbour $j$ is the tail and answers. It is not symmetric, so:

    - on a **directed** topology the weight of edge $j\to i$ is $a_{ij}$;
    - on an **undirected** topology both directions are weighted, and added back onto the one edge,
      $a_{ij}+a_{ji}$ (for total variation the two parallel rows are one, of summed weight).

    The graph always lies on the topology that was given; for the $2M$ directed rows of an
    undirected one give `topology.both_directions()`.

    Neither $Q$ nor $K$ has a bias: one on the keys adds the same number to all scores of a node,
    which the softmax removes. Both start as the same semi-orthogonal matrix: with $d_k\ge D$ the
    scores start as $f_i^\top f_j/\sqrt{d_k}$, and no entry starts without a gradient.

    Args:
        num_features: length $D$ of a node's feature vector, at least 1.
        heads: None, or the number of attentions to learn side by side, which becomes a batch axis.
        num_keys: length $d_k$ of queries and keys, at least 1; as long as the features if None.
        normalization: what is done with the weights *after* the softmax, see `Graph.normalized`.
            `"none"` keeps the attention as it is.

    Shapes:
        - **query, key:** `(num_keys, D)`, with heads `(heads, num_keys, D)`
        - **features:** `(*batch, nodes, D)`, with heads `(*batch, heads, nodes, D)`
        - **output:** a `Graph` with weights `(*batch, edges)`, with heads `(*batch, heads, edges)`

    Raises:
        ValueError: as `GraphLearner`, and a `num_keys` below 1.

    Source:
        Vaswani et al. 2017, Attention Is All You Need, equation (1). Differs from it in: (1) the
        sum runs over the neighbours, of which a node itself is none; (2) there is no value matrix;
        (3) scores are cut to $[-30, 30]$, see `bounded_exp`.

    Example:
        >>> import torch
        >>> from gsp_unroll import DotProductLearner, path_graph
        >>> _ = torch.manual_seed(0)
        >>> learner = DotProductLearner(num_features=2)
        >>> graph = learner(torch.randn(3, 2), path_graph(3).both_directions())
        >>> graph.degree.allclose(torch.ones(3))  # every row sums to 1
        True
    """

    head_axes: ClassVar = {"query": 0, "key": 0}

    def __init__(
        self,
        num_features: int,
        *,
        heads: int | None = None,
        num_keys: int | None = None,
        normalization: Normalization = "none",
    ) -> None:
        super().__init__(num_features, heads=heads, normalization=normalization)
        self.num_keys = num_features if num_keys is None else num_keys
        check_positive_count(self.num_keys, "num_keys")
        lead = () if heads is None else (heads,)
        self.query = nn.Parameter(torch.empty(*lead, self.num_keys, num_features))
        self.key = nn.Parameter(torch.empty(*lead, self.num_keys, num_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Queries and keys back to one random semi-orthogonal matrix per head."""
        super().reset_parameters()
        with torch.no_grad():
            for head in self.query.view(-1, self.num_keys, self.num_features):
                nn.init.orthogonal_(head)
            self.key.copy_(self.query)

    @property
    def hops(self) -> int:
        return 1 + super().hops  # the softmax is a sum over neighbours, whatever follows

    def embed(self, features: Signal) -> Signal:
        # every node asks along some edges and answers along others: both in one tensor
        both = torch.cat([features @ self.query.mT, features @ self.key.mT], -1)
        # beyond this a product of two may overflow, and a sum of such products be NaN
        limit = (torch.finfo(both.dtype).max / self.num_keys) ** 0.5
        return both.clamp(-limit, limit)

    def edge_update(self, features_i: Tensor, features_j: Tensor) -> Tensor:
        query, _ = features_i.chunk(2, -1)  # of the head, whose row this is
        _, key = features_j.chunk(2, -1)
        return bounded_exp((query * key).sum(-1) / self.num_keys**0.5)

    def edge_weight(self, embedded: Signal, topology: Topology) -> Weight:
        if not topology.directed:
            both = topology.both_directions()
            return both.merged(self.edge_weight(embedded, both))
        affinity = super().edge_weight(embedded, topology)
        return Graph.unchecked(topology, affinity).normalized("row").weight
