"""Unrolled ADMM: the plain solver's step, repeated a fixed number of times with learned numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar

from torch import Tensor, nn

from .._checks import check_positive, check_positive_count
from .._typing import Signal
from ..graph import Graph
from ..problems import GTV, DataTerm, Prior, VectorGTV, start
from ..solvers import ADMMState, admm_start, admm_step
from ._doors import check_inputs, check_penalty
from .fused import fused
from .linear_solve import BoundedMomentum, LinearSolveFactory
from .parameters import last, log_parameter, positive


def admm_iterates(
    data: DataTerm,
    x0: Signal,
    priors: Iterable[Prior],
    rhos: Iterable[float | Tensor],
    linear_solves: Iterable[nn.Module],
) -> Iterator[ADMMState]:
    """The state after each step of ADMM, with a prior, a penalty and a linear solve for each.

    Args:
        data: the data term.
        x0: feasible start.
        priors: the prior of each step; they share the analysis `K`.
        rhos: the penalty of each.
        linear_solves: the linear solve of each.
    """
    state, rho_old = None, None
    for prior, rho, linear_solve in zip(priors, rhos, linear_solves, strict=True):
        if state is None or rho_old is None:
            state = admm_start(prior, x0)
        else:
            # u is the dual divided by rho: a new rho leaves the dual itself in place
            state = state._replace(u=state.u * (rho_old / rho))
        state, rho_old = admm_step(data, prior, state, rho, linear_solve), rho
        yield state


class ADMMUnroll(nn.Module, ABC):
    r"""`num_iterations` steps of `admm_step`, each with a weight, a penalty and a solve of its own.

    A subclass says which prior: one method, `prior(graph, lam)`.

    Learned per iteration (and head): $\lambda_t$, a linear solve, and for `LeastSquares` $\rho_t$.
    Under a hard constraint only the threshold $\lambda_t/\rho_t$ acts, so there $\rho=1$ is fixed
    and $\lambda_t$ is the threshold. All are positive by construction (stored as logarithms), and
    every stored number has an effect on the output.

    Args:
        num_iterations: $T$, at least 1.
        cg_steps: steps of each linear solve.
        heads: None, or the length of the head axis; see `GLRUnroll`.
        lam: initial $\lambda$. As a threshold on differences it should be near 0.03 of the
            signal's range: above every difference it would switch the prior off.
        rho: initial penalty for `LeastSquares`. Leave it None for `Interpolation`.
        solver: makes each linear solve from `(cg_steps, heads)`.

    Shapes:
        - **data.y:** `(*batch, nodes, channels)`
        - **graph.weight:** `(*batch, edges)`
        - **log_lam, log_rho:** `(T,)` or `(T, heads)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: `rho` missing for `LeastSquares` or given for `Interpolation`; data and graph
            that do not fit together.

    Example:
        >>> import torch
        >>> from gsp_unroll import ADMMUnroll, GTV, Graph, Identity, LeastSquares, path_graph
        >>> class MyUnroll(ADMMUnroll):
        ...     def prior(self, graph, lam):
        ...         return GTV(graph, lam)
        >>> graph = Graph(path_graph(3), torch.ones(3))
        >>> layer = MyUnroll(num_iterations=4, rho=1.0)
        >>> layer(LeastSquares(Identity(), torch.rand(3, 2)), graph).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        num_iterations: int = 5,
        cg_steps: int = 10,
        *,
        heads: int | None = None,
        lam: float = 0.03,
        rho: float | None = None,
        solver: LinearSolveFactory = BoundedMomentum,
    ) -> None:
        super().__init__()
        check_positive_count(num_iterations, "num_iterations")
        check_positive(lam, "lam")
        self.num_iterations, self.heads = num_iterations, heads
        self.linear_solves = nn.ModuleList(solver(cg_steps, heads) for _ in range(num_iterations))
        self.log_lam = log_parameter(lam, num_iterations, heads)
        self.log_rho = None
        if rho is not None:
            check_positive(rho, "rho")
            self.log_rho = log_parameter(rho, num_iterations, heads)

    @abstractmethod
    def prior(self, graph: Graph, lam: Tensor) -> Prior:
        """The prior of weight `lam` on `graph`."""

    def lam(self, t: int) -> Tensor:
        """The weight of the prior in iteration `t`."""
        return positive(self.log_lam[t], self.heads)

    def rho(self, t: int) -> float | Tensor:
        """The penalty of iteration `t`."""
        return 1.0 if self.log_rho is None else positive(self.log_rho[t], self.heads)

    def iterates(
        self, data: DataTerm, graph: Graph, x0: Signal | None = None
    ) -> Iterator[ADMMState]:
        """The state after each iteration, for diagnostics."""
        x0 = self._start(data, graph, x0)
        steps = range(self.num_iterations)
        priors = (self.prior(graph, self.lam(t)) for t in steps)
        return admm_iterates(data, x0, priors, map(self.rho, steps), self.linear_solves)

    def forward(self, data: DataTerm, graph: Graph, x0: Signal | None = None) -> Signal:
        """The restored signal.

        Args:
            data: observation.
            graph: weighted graph.
            x0: start; by default the samples with the gaps filled from neighbours.
        """
        x0 = self._start(data, graph, x0)
        steps = range(self.num_iterations)
        priors = [self.prior(graph, self.lam(t)) for t in steps]
        x = fused(data, x0, priors, [self.rho(t) for t in steps], self.linear_solves, self.heads)
        return last(self.iterates(data, graph, x0)).x if x is None else x

    def _start(self, data: DataTerm, graph: Graph, x0: Signal | None) -> Signal:
        check_inputs(self, self.heads, data, graph, x0)
        check_penalty(self, data, self.log_rho, "rho")
        return data.feasible(start(data, graph.topology) if x0 is None else x0)

    def extra_repr(self) -> str:
        return f"num_iterations={self.num_iterations}, heads={self.heads}"


class GTVUnroll(ADMMUnroll):
    r"""Unrolled graph total variation: $\min_x\mathrm{data}(x)+\lambda\sum w_{ij}|x_i-x_j|$.

    The splitting penalises edge $e$ with $\rho w_e$. Its optimum is that of the paper's linear
    program; its linear system holds the Laplacian of $w$ itself instead of $w^2$, and no weight
    enters the threshold. The paper's own iteration is `GTVLinearProgramUnroll`.

    Args:
        num_iterations: $T$, at least 1.
        cg_steps: steps of each linear solve.
        heads: None, or the length of the head axis; see `GLRUnroll`.
        lam: initial $\lambda$, near 0.03 of the range of the signal; see `ADMMUnroll`.
        rho: initial penalty for `LeastSquares`. Leave it None for `Interpolation`.
        solver: makes each linear solve from `(cg_steps, heads)`.

    Shapes:
        - **data.y:** `(*batch, nodes, channels)`
        - **graph.weight:** `(*batch, edges)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: as `ADMMUnroll`.

    Source:
        Do et al. 2024, section 3.2, in the soft-threshold form with one penalty per edge.

    Example:
        >>> import torch
        >>> from gsp_unroll import GTVUnroll, Graph, Interpolation, SamplingMask, path_graph
        >>> y = torch.tensor([[1.0], [torch.nan], [3.0]])
        >>> graph = Graph(path_graph(3), torch.tensor([1.0, 0.1, 0.0]))
        >>> x = GTVUnroll(num_iterations=5)(Interpolation(SamplingMask(~y.isnan()), y), graph)
        >>> x.shape
        torch.Size([3, 1])
    """

    head_axes: ClassVar = {"log_lam": -1, "log_rho": -1}

    def prior(self, graph: Graph, lam: Tensor) -> GTV:
        return GTV(graph, lam)


class VectorGTVUnroll(ADMMUnroll):
    r"""Unrolled vector total variation: $\min_x\mathrm{data}(x)+\lambda\sum w_{ij}\|x_i-x_j\|_2$.

    One norm across channels, so that they jump together.

    Args:
        num_iterations: $T$, at least 1.
        cg_steps: steps of each linear solve.
        heads: None, or the length of the head axis; see `GLRUnroll`.
        lam: initial $\lambda$, a threshold on the norm of a difference; see `ADMMUnroll`.
        rho: initial penalty for `LeastSquares`. Leave it None for `Interpolation`.
        solver: makes each linear solve from `(cg_steps, heads)`.

    Shapes:
        - **data.y:** `(*batch, nodes, channels)`
        - **graph.weight:** `(*batch, edges)`
        - **output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: as `ADMMUnroll`.

    Example:
        >>> import torch
        >>> from gsp_unroll import Graph, Identity, LeastSquares, VectorGTVUnroll, path_graph
        >>> graph = Graph(path_graph(3), torch.tensor([1.0, 0.1, 0.0]))
        >>> layer = VectorGTVUnroll(num_iterations=5, rho=1.0)
        >>> layer(LeastSquares(Identity(), torch.rand(3, 2)), graph).shape
        torch.Size([3, 2])
    """

    head_axes: ClassVar = {"log_lam": -1, "log_rho": -1}

    def prior(self, graph: Graph, lam: Tensor) -> VectorGTV:
        return VectorGTV(graph, lam)
