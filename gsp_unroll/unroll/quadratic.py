"""The unrolled solve of a problem whose prior is quadratic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from torch import Tensor, nn

from .._checks import check_positive
from .._typing import Signal
from ..graph import Graph
from ..problems import DataTerm, Prior, start
from ._doors import check_inputs, check_penalty
from .fused import fused
from .linear_solve import BoundedMomentum, LinearSolveFactory
from .parameters import last, log_parameter, positive


class QuadraticUnroll(nn.Module, ABC):
    r"""A fixed number of learned CG steps on $\min_x\;\mathrm{data}(x)+\tfrac12\,x^\top Qx$.

    A subclass says which prior: one method, `prior(graph)`, which gives it the weight `self.mu`.

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

    Example:
        >>> import torch
        >>> from gsp_unroll import GLR, Graph, Identity, LeastSquares, QuadraticUnroll, path_graph
        >>> class MyUnroll(QuadraticUnroll):
        ...     def prior(self, graph):
        ...         return GLR(graph, self.mu)
        >>> graph = Graph(path_graph(3), torch.ones(3))
        >>> layer = MyUnroll(cg_steps=4, mu=1.0)
        >>> layer(LeastSquares(Identity(), torch.rand(3, 2)), graph).shape
        torch.Size([3, 2])
    """

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
        """The learned weight of the prior; 1 under a hard constraint."""
        return 1.0 if self.log_mu is None else positive(self.log_mu[0], self.heads)

    @abstractmethod
    def prior(self, graph: Graph) -> Prior:
        """The prior with the learned weight: one that has a `Q`."""

    def iterates(self, data: DataTerm, graph: Graph, x0: Signal | None = None) -> Iterator[Signal]:
        """The signal after each step."""
        x0, Q = self._start(data, graph, x0), self.prior(graph).Q
        assert Q is not None
        return self.linear_solve.iterates(*data.system(Q), x0)

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
