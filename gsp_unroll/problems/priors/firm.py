"""Total variation that lets large jumps go free."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..._checks import check_positive
from ..._typing import EdgeSignal
from ...graph import Graph
from ...operators import Laplacian, gershgorin_bound
from .thresholds import firm_threshold
from .variation import GTV


@dataclass(frozen=True, eq=False)
class FirmGTV(GTV):
    r"""Total variation minus its Moreau envelope, $\lambda\sum_{(i,j)}w_{ij}\,\varphi_k(x_i-x_j)$.

    $$\varphi_k(z)=|z|-\min_v\bigl(|v|+\tfrac1{2k}(z-v)^2\bigr)=\begin{cases}|z|-z^2/2k&|z|\le k,\\
      k/2&|z|>k.\end{cases}$$

    Small differences cost as in `GTV`. A jump above the knee $k$ costs no more for being higher, so
    it keeps its height, where `GTV` takes a part of every jump away.

    $\varphi_k$ is not convex, but $g+\tfrac\omega2\|\cdot\|_W^2$ is, for $\omega=\lambda/k$. Hence
    a problem is convex where $H^\top H\succeq\tfrac\lambda kL$: for denoising, $H=I$, where
    $k\ge\lambda\,\lambda_{\max}(L)$. `FirmGTV.convex` takes the knee from the bound of Gershgorin.
    With unobserved values no knee makes it convex: `ADMM` then finds a point that is stationary,
    from the start that it is given. Its penalty must be above $\omega$, and up to $2\omega$ it
    may go to and fro for ever; the default is at least $4\omega$. No duality gap is known.

    Args:
        graph: the weighted graph.
        lam: weight of the prior, at least 0; a tensor must broadcast against signals.
        knee: $k$, above 0, a height of jumps; a tensor likewise.

    Shapes:
        - **graph.weight:** `(*batch, edges)`
        - **x:** `(*batch, nodes, channels)`
        - **output:** `(*batch, graphs, channels)`

    Raises:
        ValueError: a `lam` below 0 or a knee that is not above 0, or one not finite; on call, a
            signal of another dtype or device than the weights, or on other nodes.

    Source:
        The prior of arXiv 2506.02381, and Selesnick 2017. Differs from the former in that the
        envelope is that of the difference and not of its product with the weight: then no weight
        enters the threshold, and $L$ takes the place of $C^\top C$ in the condition.

    Example:
        >>> import torch
        >>> from gsp_unroll import FirmGTV, Graph, path_graph
        >>> prior = FirmGTV(Graph(path_graph(3), torch.tensor([1.0, 1.0, 0.0])), knee=2.0)
        >>> prior(torch.tensor([[0.0], [1.0], [9.0]])).item()
        1.75
    """

    knee: float | Tensor = 1.0
    has_dual_bound = False
    is_norm = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.knee, Tensor):
            check_positive(self.knee, "knee")
        object.__setattr__(self, "weak_convexity", self.lam / self.knee)

    @classmethod
    def convex(cls, graph: Graph, lam: float | Tensor = 1.0) -> FirmGTV:
        """The prior with the lowest knee for which Gershgorin's bound vouches that denoising is
        convex; one knee for all graphs of a batch."""
        bound = gershgorin_bound(Laplacian(graph)).amax(-2, keepdim=True)
        # a graph without edges has no differences, and any knee will do
        return cls(graph, lam, torch.where(bound > 0, lam * bound, 1))

    def penalty(self, z: EdgeSignal) -> EdgeSignal:
        size = torch.clamp(z.abs(), max=self.knee)
        return self.lam * self.w * (size - size**2 / (2 * self.knee))

    def prox(self, z: EdgeSignal, step: float | Tensor) -> EdgeSignal:
        return firm_threshold(z, self.lam * step, self.knee)
