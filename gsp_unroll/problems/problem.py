"""A restoration problem: agree with the data, be smooth on the graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .._checks import check_same_kind, check_signal, mistake
from .._typing import EdgeSignal, PerSystem, Signal
from ..operators import LinearOperator
from .data_terms import DataTerm
from .priors import Prior


@dataclass(frozen=True, eq=False)
class Problem:
    r"""$\min_x\;\mathrm{data}(x)+g(Kx)$.

    Args:
        data: `LeastSquares` or `Interpolation`.
        prior: `GLR`, `GTV`, ..., one of your own, or a sum of some.

    Raises:
        ValueError: data and prior that live on different numbers of nodes, devices or dtypes.

    Example:
        >>> import torch
        >>> from gsp_unroll import GTV, Graph, Identity, LeastSquares, Problem, path_graph
        >>> graph = Graph(path_graph(2), torch.tensor([1.0, 0.0]))
        >>> problem = Problem(LeastSquares(Identity(), torch.tensor([[0.0], [2.0]])), GTV(graph))
        >>> problem.objective(torch.tensor([[0.5], [1.5]])).item()
        1.25
    """

    data: DataTerm
    prior: Prior

    @property
    def num_nodes(self) -> int:
        """Nodes of the signal that is restored."""
        n = self.data.H.num_inputs
        return self.data.y.shape[-2] if n is None else n

    def __post_init__(self) -> None:
        theirs = self.prior.K.num_inputs
        if theirs is not None and self.num_nodes != theirs:
            raise mistake(
                f"data on {self.num_nodes} nodes and a prior on {theirs}",
                "the same nodes",
                "Build the graph and the forward operator for one signal.",
            )
        for part in self.prior.summands:
            graph = getattr(part, "graph", None)
            if graph is not None:
                check_same_kind(self.data.y, graph.weight, "the observation", "the edge weights")

    def system(self) -> tuple[LinearOperator, Signal]:
        """$(A, b)$ with $Ax=b$ at the minimiser: `ConjugateGradient().solve(*problem.system())`.

        Raises:
            ValueError: a prior that is not quadratic, for which no linear system has the minimiser.
        """
        Q = self.prior.Q
        if Q is None:
            raise mistake(
                f"a problem with the prior {type(self.prior).__name__}",
                "a quadratic prior such as GLR: only then is the minimiser that of a linear system",
                "Use ADMM().solve(problem).",
            )
        return self.data.system(Q)

    def objective(self, x: Signal) -> PerSystem:
        """The value of the problem at `x`, one number per independent system.

        Raises:
            ValueError: a signal on other nodes, of another dtype or on another device.
        """
        check_signal(x, self.num_nodes)
        check_same_kind(x, self.data.y, "a signal", "the observation")
        return self.data.value(x, self.prior.systems) + self.prior(x)

    def duality_gap(self, x: Signal, *candidates: EdgeSignal) -> PerSystem:
        """An upper bound on `objective(x) - optimum`, or NaN where no bound is known.

        `x` must be feasible. For the candidates see `lower_bound`.
        """
        objective, bound = self.objective(x), self.lower_bound(*candidates, at=x)
        return torch.full_like(objective, torch.nan) if bound is None else objective - bound

    def lower_bound(self, *candidates: EdgeSignal, at: Signal | None = None) -> PerSystem | None:
        r"""The best lower bound of the optimum that the candidates give; None where none is known.

        Each candidate $p$ is first scaled into the dual ball of $g$; with $v=K^\top Wp$,

        $$\min_x\,\mathrm{data}(x)+g(Kx)\;\ge\;\min_x\,\mathrm{data}(x)+\langle v,x\rangle ,$$

        and the right side is known in closed form where every value is observed, or because a
        minimiser lies in the box of its samples (see `DataTerm.lower_bound`). A quadratic form
        $\tfrac12x^\top Qx$ beside $g$ lies above its tangent at any $\bar x$, so it adds $Q\bar x$
        to $v$ and $-\tfrac12\bar x^\top Q\bar x$ to the bound.

        Args:
            candidates: edge signals, one for every term of $g$; near $\rho u$ of ADMM.
            at: $\bar x$, the nearer to the minimiser the better; zero by default.
        """
        prior, Q = self.prior, self.prior.beside
        if not (prior.has_dual_bound or (prior.is_norm and self._all_observed())):
            return None
        bounds = []
        for p in candidates:
            v = prior.pull_back(p - prior.prox(p, 1.0))  # Moreau: what the prox leaves out
            below: PerSystem | float = 0.0
            if Q is not None and at is not None:
                slope = Q(at)
                v, below = v + slope, 0.5 * prior.systems.inner(at, slope)
            bound = self.data.lower_bound(v, prior.systems)
            if bound is None:
                return None
            bounds.append(bound - below)
        return torch.stack(torch.broadcast_tensors(*bounds)).amax(0) if bounds else None

    def _all_observed(self) -> bool:
        mask = self.data.observed
        return mask is not None and bool(mask.all())
