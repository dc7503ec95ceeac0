"""Weights from a learned distance, measured against how far the neighbours are anyway."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from .._checks import check_positive
from .._typing import Signal
from ..graph import Normalization
from .base import GraphLearner, bounded_exp


class LocallyScaledLearner(GraphLearner):
    r"""Weights that fall with a distance relative to the spacing of the nodes around.

    $$w_{ij}=\exp\!\left(-\frac{\|F(f_i-f_j)\|_2^2}{(\sigma_i\sigma_j)^q}\right)$$

    $\sigma_i$ is the distance to the nodes near $i$, such as `neighbor_distance` gives it. With
    $q=0$ it is the metric of `MahalanobisLearner`, one yardstick for all; with $q=1$ weights do not
    change where nodes lie further apart, as between sensors of the country and of the town. $q$ is
    learned with the metric.

    Args:
        num_features: length $D$ of a feature vector, at least 1. **One column more is given**, the
            last: $\log\sigma_i$, best in units of a typical $\sigma$, so that it is near 0.
        heads: None, or the number of metrics to learn side by side, which becomes a batch axis.
        init: above 0; the factor starts at `init` times the identity.
        power: $q$ at the start.
        normalization: what is done with the weights, see `Graph.normalized`.

    Shapes:
        - **factor:** `(D, D)`, with heads `(heads, D, D)`; **power:** `()`, with heads `(heads,)`
        - **features:** `(*batch, nodes, D + 1)`, with heads `(*batch, heads, nodes, D + 1)`
        - **output:** a `Graph` with weights `(*batch, edges)`, with heads `(*batch, heads, edges)`

    Raises:
        ValueError: as `GraphLearner`, and an `init` that is not above 0.

    Source:
        Zelnik-Manor and Perona 2004, Self-tuning spectral clustering, equation (2). Differs from it
        in: the learned metric, and the power, which is 1 there.

    Example:
        >>> import torch
        >>> from gsp_unroll import knn_graph
        >>> from gsp_unroll.graph import neighbor_distance
        >>> from gsp_unroll.learners import LocallyScaledLearner
        >>> place = torch.tensor([[0.0], [1.0], [2.0], [80.0], [90.0], [100.0]])
        >>> features = torch.cat([place, neighbor_distance(place, 1).log()], -1)
        >>> learner = LocallyScaledLearner(num_features=1, init=1.0, normalization="none")
        >>> learner(features, knn_graph(place, 1)).weight  # 1 and 10 apart: the same weight
        tensor([0.3679, 0.3679, 0.3679, 0.3679], grad_fn=...)
    """

    head_axes: ClassVar = {"factor": 0, "power": 0}

    def __init__(
        self,
        num_features: int,
        *,
        heads: int | None = None,
        init: float = 1.5,
        power: float = 1.0,
        normalization: Normalization = "merged",
    ) -> None:
        super().__init__(num_features + 1, heads=heads, normalization=normalization)
        check_positive(init, "init")
        self.init, self.first_power = init, power
        lead = () if heads is None else (heads,)
        self.factor = nn.Parameter(torch.empty(*lead, num_features, num_features))
        self.power = nn.Parameter(torch.empty(lead))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The factor back to `init` times the identity, and the power to `power`."""
        super().reset_parameters()
        with torch.no_grad():
            self.factor.copy_(self.init * torch.eye(self.num_features - 1).to(self.factor))
            self.power.fill_(self.first_power)

    def embed(self, features: Signal) -> Signal:
        place, spacing = features[..., :-1], features[..., -1:]
        power = self.power[..., None, None]
        # half of the exponent at either end of an edge
        return torch.cat([place @ self.factor.mT, spacing * power], -1)

    def edge_update(self, features_i: Tensor, features_j: Tensor) -> Tensor:
        square = (features_i - features_j)[..., :-1].square().sum(-1)
        spacing = (features_i + features_j)[..., -1]
        return bounded_exp(-square * bounded_exp(-spacing))
