"""Unrolled total variation that lets large jumps go free."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from .._checks import check_positive
from ..graph import Graph
from ..problems import FirmGTV
from .admm import ADMMUnroll
from .linear_solve import BoundedMomentum, LinearSolveFactory
from .parameters import log_parameter, positive


class FirmGTVUnroll(ADMMUnroll):
    r"""Unrolled `FirmGTV`: $\min_x\mathrm{data}(x)+\lambda\sum w_{ij}\,\varphi_k(x_i-x_j)$.

    The knee is learned too, one for the layer (and head): a jump above it keeps its height. Nothing
    keeps the problem convex; where $k\le\lambda_t/\rho_t$ the threshold is a hard one. For the
    other arguments see `ADMMUnroll`.

    Args:
        num_iterations: $T$, at least 1.
        cg_steps: steps of each linear solve.
        heads: None, or the length of the head axis; see `GLRUnroll`.
        lam: initial $\lambda$.
        knee: initial $k$, above the threshold $\lambda/\rho$ to begin with a line.
        rho: initial penalty for `LeastSquares`. Leave it None for `Interpolation`.
        solver: makes each linear solve from `(cg_steps, heads)`.

    Shapes:
        - **data.y:** `(*batch, nodes, channels)`
        - **graph.weight:** `(*batch, edges)`
        - **log_knee:** `(1,)` or `(1, heads)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: a knee that is not above 0; and as `ADMMUnroll`.

    Source:
        The prior of arXiv 2506.02381, with the differences of `FirmGTV`.

    Example:
        >>> import torch
        >>> from gsp_unroll import FirmGTVUnroll, Graph, Identity, LeastSquares, path_graph
        >>> graph = Graph(path_graph(3), torch.tensor([1.0, 0.1, 0.0]))
        >>> layer = FirmGTVUnroll(num_iterations=5, rho=1.0)
        >>> layer(LeastSquares(Identity(), torch.rand(3, 2)), graph).shape
        torch.Size([3, 2])
    """

    head_axes: ClassVar = {"log_lam": -1, "log_knee": -1, "log_rho": -1}

    def __init__(
        self,
        num_iterations: int = 5,
        cg_steps: int = 10,
        *,
        heads: int | None = None,
        lam: float = 0.03,
        knee: float = 0.3,
        rho: float | None = None,
        solver: LinearSolveFactory = BoundedMomentum,
    ) -> None:
        super().__init__(num_iterations, cg_steps, heads=heads, lam=lam, rho=rho, solver=solver)
        check_positive(knee, "knee")
        self.log_knee = log_parameter(knee, 1, heads)

    def prior(self, graph: Graph, lam: Tensor) -> FirmGTV:
        return FirmGTV(graph, lam, positive(self.log_knee[0], self.heads))
