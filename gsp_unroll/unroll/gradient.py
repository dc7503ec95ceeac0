"""Unrolled priors on slopes."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..graph import Graph
from ..problems import GGLR, GGTV
from .admm import ADMMUnroll
from .quadratic import QuadraticUnroll


class GGLRUnroll(QuadraticUnroll):
    r"""Learned CG steps on the gradient-Laplacian-regularised problem.

    $$\min_x\;\mathrm{data}(x)+\tfrac\mu2\,x^\top F^\top\bar LF\,x$$

    See `GGLR` for the prior and the graph.

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
        ValueError: a graph without slopes, see `GGLR`; and as `QuadraticUnroll`.

    Source:
        Chen, Cheung and Zhang 2024, unrolled by Cai, Cheung and Chen 2024.

    Example:
        >>> import torch
        >>> from gsp_unroll import GGLRUnroll, Graph, Interpolation, SamplingMask, path_graph
        >>> y = torch.tensor([[1.0], [2.0], [torch.nan], [torch.nan]])
        >>> graph = Graph(path_graph(4), torch.ones(4))
        >>> x = GGLRUnroll(cg_steps=200)(Interpolation(SamplingMask(~y.isnan()), y), graph)
        >>> [round(v, 2) for v in x.flatten().tolist()]
        [1.0, 2.0, 3.0, 4.0]
    """

    head_axes: ClassVar = {"log_mu": -1}
    # a slope, a comparison, a slope: an edge spans one row or more, a slope one
    edges_per_product: ClassVar[int] = 3

    def prior(self, graph: Graph) -> GGLR:
        return GGLR(graph, self.mu)


class GGTVUnroll(ADMMUnroll):
    r"""Unrolled gradient graph total variation: $\min_x\mathrm{data}(x)+\lambda\|\bar CFx\|_1$.

    See `GGTV` for the prior and the graph.

    Args:
        num_iterations: $T$, at least 1.
        cg_steps: steps of each linear solve.
        heads: None, or the length of the head axis; see `GLRUnroll`.
        lam: initial $\lambda$, a threshold on differences of slopes; see `ADMMUnroll`.
        rho: initial penalty for `LeastSquares`. Leave it None for `Interpolation`.
        solver: makes each linear solve from `(cg_steps, heads)`.

    Shapes:
        - **data.y:** `(*batch, nodes, channels)`
        - **graph.weight:** `(*batch, edges)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: a graph without slopes, see `GGTV`; and as `ADMMUnroll`.

    Source:
        Cai, Cheung and Chen 2024, with the splitting of `GTVUnroll`.

    Example:
        >>> import torch
        >>> from gsp_unroll import GGTVUnroll, Graph, Identity, LeastSquares, grid_graph
        >>> grid = grid_graph((4, 5))
        >>> graph = Graph(grid, torch.ones(grid.num_edges))
        >>> layer = GGTVUnroll(num_iterations=5, rho=1.0)
        >>> layer(LeastSquares(Identity(), torch.rand(20, 3)), graph).shape
        torch.Size([20, 3])
    """

    head_axes: ClassVar = {"log_lam": -1, "log_rho": -1}
    edges_per_product: ClassVar[int] = 3

    def prior(self, graph: Graph, lam: Tensor) -> GGTV:
        return GGTV(graph, lam)
