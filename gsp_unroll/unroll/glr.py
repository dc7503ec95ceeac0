"""Unrolled solves with a quadratic prior: the Laplacian-regularised one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal

from torch import Tensor, nn

from .._checks import check_positive
from .._typing import Signal
from ..graph import Graph
from ..problems import GLR, DataTerm, start
from ..problems.priors import QuadraticPrior
from ._doors import check_inputs, check_penalty
from .fused import fused
from .linear_solve import BoundedMomentum, LinearSolveFactory
from .parameters import last, log_parameter, positive


class QuadraticUnroll(nn.Module, ABC):
    r"""A fixed number of learned CG steps on a problem with a quadratic prior,
    $\min_x\mathrm{data}(x)+\tfrac12x^\top Qx$.

    A subclass says which prior: one method, `prior(graph)`.

    Args:
        cg_steps: number of steps.
        heads: None, or the length of the head axis (the one before the nodes): every head has
            coefficients of its own. `data.per_head()` gives observations that axis.
        mu: initial weight of the prior for `LeastSquares`, learned as its logarithm. Leave it None
            for `Interpolation`, where no weight has any effect.
        solver: makes the linear solve from `(cg_steps, heads)`: `BoundedMomentum` (default),
            `HeavyBall` (the paper's), `GuardedCG` (exact steps, no parameter).

    Shapes:
        - **data.y:** `(*batch, nodes, channels)`
        - **graph.weight:** `(*batch, edges)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: `mu` missing for `LeastSquares` or given for `Interpolation`; data and graph
            that do not fit together.
    """

    #: How many edges in a row a product with the linear system spans.
    hops: int | None = 1

    def __init__(
        self,
        cg_steps: int = 10,
        *,
        heads: int | None = None,
        mu: float | None = None,
        solver: LinearSolveFactory = BoundedMomentum,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.linear_solve = solver(cg_steps, heads)
        if mu is not None:
            check_positive(mu, "mu")
        self.log_mu = None if mu is None else log_parameter(mu, 1, heads)

    @property
    def mu(self) -> float | Tensor:
        """The learned weight of the prior."""
        return 1.0 if self.log_mu is None else positive(self.log_mu[0], self.heads)

    @abstractmethod
    def prior(self, graph: Graph) -> QuadraticPrior:
        """The prior with the learned weight."""

    def iterates(self, data: DataTerm, graph: Graph, x0: Signal | None = None) -> Iterator[Signal]:
        """The signal after each step."""
        x0 = self._start(data, graph, x0)
        A, b = data.system(self.prior(graph).Q)
        return self.linear_solve.iterates(A, b, x0)

    def forward(self, data: DataTerm, graph: Graph, x0: Signal | None = None) -> Signal:
        """The restored signal.

        Args:
            data: observation.
            graph: weighted graph.
            x0: start; by default the samples with the gaps filled from neighbours.
        """
        x0 = self._start(data, graph, x0)
        x = fused(data, x0, [self.prior(graph)], [1.0], [self.linear_solve], self.heads)
        return last(self.iterates(data, graph, x0)) if x is None else x

    def _start(self, data: DataTerm, graph: Graph, x0: Signal | None) -> Signal:
        check_inputs(self, self.heads, data, graph, x0)
        check_penalty(self, data, self.log_mu, "mu")
        return data.feasible(start(data, graph.topology) if x0 is None else x0)

    def extra_repr(self) -> str:
        return f"heads={self.heads}"


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
