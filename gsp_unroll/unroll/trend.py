"""Unrolled graph trend filtering."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..graph import Graph
from ..problems import GTF
from ..problems.priors.trend import check_order
from .admm import ADMMUnroll
from .linear_solve import BoundedMomentum, LinearSolveFactory


class GTFUnroll(ADMMUnroll):
    r"""Unrolled graph trend filtering: $\min_x\mathrm{data}(x)+\lambda\|\Delta^{(k+1)}x\|_1$.

    The linear system holds $L^{k+1}$, so a product with it spans $k+1$ edges. See `GTF` for the
    prior and `ADMMUnroll` for the other arguments.

    Args:
        num_iterations: $T$, at least 1.
        cg_steps: steps of each linear solve.
        order: $k$, at least 0.
        heads: None, or the length of the head axis; see `GLRUnroll`.
        lam: initial $\lambda$, a threshold on differences of order $k+1$.
        rho: initial penalty for `LeastSquares`. Leave it None for `Interpolation`.
        solver: makes each linear solve from `(cg_steps, heads)`.

    Shapes:
        - **data.y:** `(*batch, nodes, channels)`
        - **graph.weight:** `(*batch, edges)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: an order that is no whole number of at least 0; and as `ADMMUnroll`.

    Source:
        Wang, Sharpnack, Smola and Tibshirani 2016; the splitting is that of `GTVUnroll`.

    Example:
        >>> import torch
        >>> from gsp_unroll import GTFUnroll, Graph, Identity, LeastSquares, path_graph
        >>> graph = Graph(path_graph(6), torch.ones(6))
        >>> layer = GTFUnroll(num_iterations=5, order=1, rho=1.0)
        >>> layer(LeastSquares(Identity(), torch.rand(6, 2)), graph).shape
        torch.Size([6, 2])
    """

    head_axes: ClassVar = {"log_lam": -1, "log_rho": -1}

    def __init__(
        self,
        num_iterations: int = 5,
        cg_steps: int = 10,
        *,
        order: int = 1,
        heads: int | None = None,
        lam: float = 0.03,
        rho: float | None = None,
        solver: LinearSolveFactory = BoundedMomentum,
    ) -> None:
        super().__init__(num_iterations, cg_steps, heads=heads, lam=lam, rho=rho, solver=solver)
        check_order(order)
        self.order, self.edges_per_product = order, order + 1

    def prior(self, graph: Graph, lam: Tensor) -> GTF:
        return GTF(graph, lam, self.order)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, order={self.order}"
