"""Weights from a learned distance: the graph learner of Do et al. 2024."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from .._checks import check_positive
from .._typing import Signal, Weight
from ..graph import Normalization, Topology
from .base import MAX_SCORE, GraphLearner, bounded_exp


class MahalanobisLearner(GraphLearner):
    r"""Weights that fall with a learned Mahalanobis distance.

    $$w_{ij}=\exp\!\big(-\|F(f_i-f_j)\|_2^2\big)=\exp\!\big(-(f_i-f_j)^\top M(f_i-f_j)\big),
      \qquad M=F^\top F\succeq0$$

    The weight is symmetric and lies in $(0, 1]$. With `normalization="row"`, the paper's equation
    (26), $\bar w_{ij}=w_{ij}/\sum_{l\in\mathcal N(i)}w_{il}$ on both directions of every edge;
    the default adds the two directions back onto one edge.

    *As self-attention:* $-(f_i-f_j)^\top M(f_i-f_j)$ takes the place of the affinity
    $(Qf_i)^\top Kf_j$ and the row normalisation that of the softmax. Differences: the affinity is a
    distance, so symmetric and never positive; a node attends to its neighbours, not to all nodes;
    there is no value matrix, because the output is the solution of a problem on the graph.
    *As a bilateral filter:* with $f=[\text{position};\text{intensity}]$ and
    $M=\mathrm{diag}(\sigma_d^{-2},\sigma_r^{-2})$ these are its weights.

    Args:
        num_features: length $D$ of a node's feature vector, at least 1.
        heads: None, or the number of metrics to learn side by side, which becomes a batch axis.
        init: above 0; the factor starts at `init` times the identity. For a *metric* of 1.5 times
            the identity (the paper's text allows both readings) give `init=1.5**0.5`.
        normalization: what is done with the weights, see `Graph.normalized`.

    Shapes:
        - **factor:** `(D, D)`, with heads `(heads, D, D)`
        - **features:** `(*batch, nodes, D)`, with heads `(*batch, heads, nodes, D)`
        - **output:** a `Graph` with weights `(*batch, edges)`, with heads `(*batch, heads, edges)`

    Raises:
        ValueError: as `GraphLearner`, and an `init` that is not above 0.

    Source:
        Do et al. 2024, section 5.2. Differs from it in: (1) the distance is cut at 30, see
        `bounded_exp`; (2) $M$ is held as $F^\top F$, on which the paper is silent.

    Example:
        >>> import torch
        >>> from gsp_unroll import MahalanobisLearner, path_graph
        >>> learner = MahalanobisLearner(num_features=2, init=1.0, normalization="none")
        >>> learner(torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), path_graph(3)).weight
        tensor([0.3679, 1.0000, 0.0000], grad_fn=...)
    """

    head_axes: ClassVar = {"factor": 0}

    def __init__(
        self,
        num_features: int,
        *,
        heads: int | None = None,
        init: float = 1.5,
        normalization: Normalization = "merged",
    ) -> None:
        super().__init__(num_features, heads=heads, normalization=normalization)
        check_positive(init, "init")  # at 0 the derivative by the factor is 0, and stays so
        self.init = init
        lead = () if heads is None else (heads,)
        self.factor = nn.Parameter(torch.empty(*lead, num_features, num_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The factor back to `init` times the identity."""
        super().reset_parameters()
        with torch.no_grad():
            self.factor.copy_(self.init * torch.eye(self.num_features).to(self.factor))

    @property
    def metric(self) -> Tensor:
        """`M = F'F`, `(D, D)` or `(heads, D, D)`."""
        return self.factor.mT @ self.factor

    def embed(self, features: Signal) -> Signal:
        # F f once per node, so that an edge costs a difference and not a D x D product
        return features @ self.factor.mT

    def edge_weight(self, embedded: Signal, topology: Topology) -> Weight:
        # the values of `edge_update`, without the features of every edge's two ends side by side
        return topology.similarity(embedded, MAX_SCORE)

    def edge_update(self, features_i: Tensor, features_j: Tensor) -> Tensor:
        return bounded_exp(-(features_i - features_j).square().sum(-1))
