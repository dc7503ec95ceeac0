"""The unrolled priors of directed graphs."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..graph import Graph
from ..problems import DGLR, DGTV
from .admm import ADMMUnroll
from .quadratic import QuadraticUnroll


class DGLRUnroll(QuadraticUnroll):
    r"""Unrolled directed GLR: $\min_x\mathrm{data}(x)+\tfrac\mu2\|L_r^dx\|_2^2$.

    The matrix of its system joins nodes two edges apart.

    Args:
        cg_steps: number of steps.
        heads: None, or the length of the head axis; see `GLRUnroll`.
        mu: initial weight of the prior for `LeastSquares`. Leave it None for `Interpolation`.
        solver: makes the linear solve from `(cg_steps, heads)`.

    Shapes:
        - **data.y:** `(*batch, nodes, channels)`
        - **graph.weight:** `(*batch, edges)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: an undirected graph; and as `QuadraticUnroll`.

    Source:
        Qi et al. 2025.

    Example:
        >>> import torch
        >>> from gsp_unroll import DGLRUnroll, Graph, Interpolation, SamplingMask, path_graph
        >>> path = path_graph(3, directed=True)
        >>> y = torch.tensor([[1.0], [2.0], [torch.nan]])
        >>> graph = Graph(path, torch.ones(path.num_edges))
        >>> x = DGLRUnroll(cg_steps=3)(Interpolation(SamplingMask(~y.isnan()), y), graph)
        >>> [round(v, 3) for v in x.flatten().tolist()]
        [1.0, 2.0, 2.0]
    """

    head_axes: ClassVar = {"log_mu": -1}
    edges_per_product: ClassVar[int] = 2

    def prior(self, graph: Graph) -> DGLR:
        return DGLR(graph, self.mu)


class DGTVUnroll(ADMMUnroll):
    r"""Unrolled directed total variation: $\min_x\mathrm{data}(x)+\lambda\|L_r^dx\|_1$.

    The threshold acts on what a node is beyond the average of those it listens to, in the unit of
    the signal.

    Args:
        num_iterations: $T$, at least 1.
        cg_steps: steps of each linear solve.
        heads: None, or the length of the head axis; see `GLRUnroll`.
        lam: initial $\lambda$; see `ADMMUnroll`.
        rho: initial penalty for `LeastSquares`. Leave it None for `Interpolation`.
        solver: makes each linear solve from `(cg_steps, heads)`.

    Shapes:
        - **data.y:** `(*batch, nodes, channels)`
        - **graph.weight:** `(*batch, edges)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: an undirected graph; and as `ADMMUnroll`.

    Source:
        Qi et al. 2025, with the penalty on $z=L_r^dx$.

    Example:
        >>> import torch
        >>> from gsp_unroll import DGTVUnroll, Graph, Identity, LeastSquares, path_graph
        >>> path = path_graph(5, lags=2, directed=True)
        >>> graph = Graph(path, torch.ones(path.num_edges))
        >>> layer = DGTVUnroll(num_iterations=3, rho=1.0)
        >>> layer(LeastSquares(Identity(), torch.rand(5, 1)), graph).shape
        torch.Size([5, 1])
    """

    head_axes: ClassVar = {"log_lam": -1, "log_rho": -1}
    edges_per_product: ClassVar[int] = 2

    def prior(self, graph: Graph, lam: Tensor) -> DGTV:
        return DGTV(graph, lam)
