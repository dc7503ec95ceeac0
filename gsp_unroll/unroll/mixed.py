"""The unrolled solver in space and time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from .._checks import check_positive, check_positive_count
from .._typing import Signal
from ..graph import MixedGraph
from ..problems import DataTerm, MixedPrior, start
from ..solvers import ADMMState
from ._doors import check_inputs, check_penalty
from .admm import admm_iterates
from .linear_solve import BoundedMomentum, LinearSolveFactory
from .parameters import last, log_parameter, positive


class MixedUnroll(nn.Module):
    r"""Unrolled `MixedPrior`: GLR in space, DGLR and DGTV in time.

    $$\min_x\;\mathrm{data}(x)+\tfrac{\mu_u}2\,x^\top L^ux+\tfrac{\mu_d}2\|L_r^dx\|_2^2
      +\lambda\|L_r^dx\|_1 .$$

    Learned per iteration (and head): $\mu_u$, $\mu_d$, $\lambda$, the coefficients of the linear
    solve, and for `LeastSquares` $\rho$. Under a hard constraint only the ratios of the four act,
    so there $\rho=1$ is fixed and the others are relative to it. All are positive by construction
    (stored as logarithms), and every stored number has an effect on the output.

    One linear system per iteration holds both quadratic terms; the paper solves three, of copies of
    the signal, which have the same fixed point. `MixedPrior` says more.

    Args:
        num_iterations: $T$, at least 1.
        cg_steps: steps of each linear solve.
        heads: None, or the length of the head axis; see `GLRUnroll`.
        mu_u: initial $\mu_u$, above 0.
        mu_d: initial $\mu_d$, above 0.
        lam: initial $\lambda$, above 0. Like the threshold of `DGTVUnroll` it should be small
            against the changes of the signal in time.
        rho: initial penalty for `LeastSquares`. Leave it None for `Interpolation`.
        solver: makes each linear solve from `(cg_steps, heads)`.

    Shapes:
        - **data.y:** `(*batch, nodes, channels)`
        - **graph.spatial.weight, graph.temporal.weight:** `(*batch, edges)`
        - **log_mu_u, log_mu_d, log_lam, log_rho:** `(T,)` or `(T, heads)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: a number out of range; `rho` missing for `LeastSquares` or given for
            `Interpolation`; data and graphs that do not fit together.

    Source:
        Qi et al. 2025. Differs from it in: (1) one linear system instead of three; (2) the bounded
        linear solve of this library, unless `solver=HeavyBall`; (3) the order z, u, x.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, LeastSquares, MahalanobisLearner, MixedGraph, MixedUnroll
        >>> from gsp_unroll import SamplingMask, TemporalLearner, knn_graph, space_time_graph
        >>> sensors, steps, lags = 5, 8, 2
        >>> space = knn_graph(torch.rand(sensors, 2), k=2)
        >>> spatial, temporal = space_time_graph(space, steps, lags)
        >>> features = torch.rand(sensors * steps, 3)
        >>> graph = MixedGraph(
        ...     MahalanobisLearner(3)(features, spatial),
        ...     TemporalLearner(3, lags, places=sensors)(features, temporal),
        ... )
        >>> past = torch.arange(sensors * steps) < sensors * 6  # the last two steps are forecast
        >>> y = torch.rand(sensors * steps, 1)
        >>> MixedUnroll(rho=1.0)(LeastSquares(SamplingMask(past), y), graph).shape
        torch.Size([40, 1])
    """

    head_axes: ClassVar = {"log_mu_u": -1, "log_mu_d": -1, "log_lam": -1, "log_rho": -1}
    edges_per_product: ClassVar[int] = 2

    def __init__(
        self,
        num_iterations: int = 5,
        cg_steps: int = 10,
        *,
        heads: int | None = None,
        mu_u: float = 0.3,
        mu_d: float = 0.3,
        lam: float = 0.03,
        rho: float | None = None,
        solver: LinearSolveFactory = BoundedMomentum,
    ) -> None:
        super().__init__()
        check_positive_count(num_iterations, "num_iterations")
        for name, value in (("mu_u", mu_u), ("mu_d", mu_d), ("lam", lam)):
            check_positive(value, name)
        self.num_iterations, self.heads = num_iterations, heads
        self.linear_solves = nn.ModuleList(solver(cg_steps, heads) for _ in range(num_iterations))
        self.log_mu_u = log_parameter(mu_u, num_iterations, heads)
        self.log_mu_d = log_parameter(mu_d, num_iterations, heads)
        self.log_lam = log_parameter(lam, num_iterations, heads)
        self.log_rho = None
        if rho is not None:
            check_positive(rho, "rho")
            self.log_rho = log_parameter(rho, num_iterations, heads)

    def prior(self, graph: MixedGraph, t: int) -> MixedPrior:
        """The prior of iteration `t`."""
        logs = (self.log_mu_u, self.log_mu_d, self.log_lam)
        return MixedPrior(graph, *(positive(log[t], self.heads) for log in logs))

    def rho(self, t: int) -> float | Tensor:
        """The penalty of iteration `t`."""
        return 1.0 if self.log_rho is None else positive(self.log_rho[t], self.heads)

    def iterates(
        self, data: DataTerm, graph: MixedGraph, x0: Signal | None = None
    ) -> Iterator[ADMMState]:
        """The state after each iteration, for diagnostics."""
        x0 = self._start(data, graph, x0)
        steps = range(self.num_iterations)
        priors = (self.prior(graph, t) for t in steps)
        return admm_iterates(data, x0, priors, map(self.rho, steps), self.linear_solves)

    def forward(self, data: DataTerm, graph: MixedGraph, x0: Signal | None = None) -> Signal:
        """The restored signal.

        Args:
            data: observation.
            graph: weights in space and in time.
            x0: start; by default the samples with the gaps filled along the edges in time.
        """
        return last(self.iterates(data, graph, x0)).x

    def _start(self, data: DataTerm, graph: MixedGraph, x0: Signal | None) -> Signal:
        for part in (graph.spatial, graph.temporal):
            check_inputs(self, self.heads, data, part, x0)
        check_penalty(self, data, self.log_rho, "rho")
        return data.feasible(start(data, graph.topology) if x0 is None else x0)

    def extra_repr(self) -> str:
        return f"num_iterations={self.num_iterations}, heads={self.heads}"
