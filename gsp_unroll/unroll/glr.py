"""The unrolled Laplacian-regularised solve."""

from __future__ import annotations

from typing import ClassVar, Literal

from ..graph import Graph
from ..problems import GLR
from .linear_solve import BoundedMomentum, LinearSolveFactory
from .quadratic import QuadraticUnroll


class GLRUnroll(QuadraticUnroll):
    r"""A fixed number of learned CG steps on the Laplacian-regularised problem.

    $$\min_x\;\mathrm{data}(x)+\tfrac\mu2\,x^\top Lx$$

    that is $(H^\top H+\mu L)x=H^\top y$ for `LeastSquares`, or
    $L_{\bar S\bar S}x_{\bar S}=-L_{\bar SS}\,y$ for `Interpolation`.

    Args:
        cg_steps: number of steps.
        heads: None, or the length of the head axis (the one before the nodes): every head has
            coefficients of its own. `data.per_head()` gives observations that axis.
        mu: initial weight of the prior for `LeastSquares`, learned as its logarithm. Leave it None
            for `Interpolation`, where no weight has any effect.
        normalization: `"none"`, or `"sym"` for the paper's $L_n$, which does not keep constants.
        solver: makes the linear solve from `(cg_steps, heads)`: `BoundedMomentum` (default),
            `HeavyBall` (the paper's), `GuardedCG` (exact steps, no parameter).

    Shapes:
        - **data.y:** `(*batch, nodes, channels)`
        - **graph.weight:** `(*batch, edges)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: `mu` missing for `LeastSquares` or given for `Interpolation`; data and graph
            that do not fit together.

    Source:
        Do et al. 2024, section 3.1, equations (4)-(8).

    Example:
        >>> import torch
        >>> from gsp_unroll import GLRUnroll, Graph, Interpolation, SamplingMask, path_graph
        >>> y = torch.tensor([[1.0], [torch.nan], [3.0]])
        >>> graph = Graph(path_graph(3), torch.tensor([1.0, 1.0, 0.0]))
        >>> x = GLRUnroll(cg_steps=3)(Interpolation(SamplingMask(~y.isnan()), y), graph)
        >>> [round(v, 3) for v in x.flatten().tolist()]
        [1.0, 2.0, 3.0]
    """

    head_axes: ClassVar = {"log_mu": -1}

    def __init__(
        self,
        cg_steps: int = 10,
        *,
        heads: int | None = None,
        mu: float | None = None,
        normalization: Literal["none", "sym"] = "none",
        solver: LinearSolveFactory = BoundedMomentum,
    ) -> None:
        super().__init__(cg_steps, heads=heads, mu=mu, solver=solver)
        self.normalization = normalization

    def prior(self, graph: Graph) -> GLR:
        return GLR(graph, self.mu, self.normalization)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, normalization={self.normalization!r}"
