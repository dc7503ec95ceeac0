"""Unrolled ADMM on a sum of priors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from .._checks import check_positive, mistake
from ..graph import Graph
from ..problems import Prior, SumPrior
from .admm import ADMMUnroll
from .linear_solve import BoundedMomentum, LinearSolveFactory
from .parameters import log_parameter, positive

#: Makes a prior on a graph from its weight: `GTV`, `GLR`, `partial(GTF, order=2)`, ...
PriorFactory = Callable[[Graph, Tensor], Prior]


class SumUnroll(ADMMUnroll):
    r"""Unrolled sum of priors, a `SumPrior` in each iteration:
    $\min_x\mathrm{data}(x)+\sum_kg_k(K_kx)$.

    Every part has a weight of its own in every iteration (and head). For the other arguments see
    `ADMMUnroll`. The parts see the graph that the layer is called with; one that lives on another
    graph brings it along, as in `lambda graph, mu: GLR(in_time, mu)`.

    How far a product reaches depends on the parts, so `edges_per_product` is None: set it on a
    subclass to restore images tile by tile.

    Args:
        parts: makes each prior from `(graph, weight)`.
        num_iterations: $T$, at least 1.
        cg_steps: steps of each linear solve.
        heads: None, or the length of the head axis; see `GLRUnroll`.
        lam: initial weights, one for each part; a number stands for all.
        rho: initial penalty for `LeastSquares`. Leave it None for `Interpolation`.
        solver: makes each linear solve from `(cg_steps, heads)`.

    Shapes:
        - **log_lam:** `(T, parts)` or `(T, parts, heads)`
        - **log_rho:** `(T,)` or `(T, heads)`

    Raises:
        ValueError: no parts, or another number of weights than of parts.

    Example:
        >>> import torch
        >>> from gsp_unroll import GLR, GTV, Graph, Identity, LeastSquares, SumUnroll, path_graph
        >>> graph = Graph(path_graph(3), torch.tensor([1.0, 0.1, 0.0]))
        >>> layer = SumUnroll([GTV, GLR], num_iterations=5, lam=[0.03, 0.5], rho=1.0)
        >>> layer(LeastSquares(Identity(), torch.rand(3, 2)), graph).shape
        torch.Size([3, 2])
    """

    head_axes: ClassVar = {"log_lam": -1, "log_rho": -1}
    edges_per_product: ClassVar[int | None] = None

    def __init__(
        self,
        parts: Sequence[PriorFactory],
        num_iterations: int = 5,
        cg_steps: int = 10,
        *,
        heads: int | None = None,
        lam: float | Sequence[float] = 0.03,
        rho: float | None = None,
        solver: LinearSolveFactory = BoundedMomentum,
    ) -> None:
        weights = [lam] * len(parts) if isinstance(lam, float | int) else list(lam)
        if not parts or len(weights) != len(parts):
            raise mistake(
                f"{len(parts)} priors and {len(weights)} initial weights",
                "at least one prior, and one weight for each",
                "Pass e.g. SumUnroll([GTV, GLR], lam=[0.03, 0.5]).",
            )
        for weight in weights:
            check_positive(weight, "lam")
        super().__init__(num_iterations, cg_steps, heads=heads, rho=rho, solver=solver)
        self.parts = tuple(parts)
        each = [log_parameter(weight, num_iterations, heads) for weight in weights]
        self.log_lam = torch.nn.Parameter(torch.stack([p.detach() for p in each], 1))

    def prior(self, graph: Graph, lam: Tensor) -> SumPrior:
        made = [make(graph, weight) for make, weight in zip(self.parts, lam.unbind(0), strict=True)]
        return SumPrior(tuple(made))

    def lam(self, t: int) -> Tensor:
        """The weight of each part, stacked along a first axis."""
        return torch.stack([positive(weight, self.heads) for weight in self.log_lam[t].unbind(0)])
