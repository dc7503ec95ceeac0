"""A restoration problem: agree with the data, be smooth on the graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .._checks import check_positive, check_same_kind, check_signal, mistake
from .._typing import EdgeSignal, PerSystem, Signal
from ..operators import LinearOperator
from .data_terms import Box, DataTerm, range_of_samples
from .priors import Prior


@dataclass(frozen=True, eq=False)
class Problem:
    r"""$\min_x\;\mathrm{data}(x)+g(Kx)$.

    Args:
        data: `LeastSquares` or `Interpolation`.
        prior: `GLR`, `GTV`, ..., one of your own, or a sum of some.
        within: a range $(lo, hi)$ in which you know a minimiser, such as $(0, 1)$ for a picture.
            It constrains nothing. Where no duality gap is known otherwise (see `no_gap`), there is
            one then: an upper bound on `objective(x)` minus the least objective in the range.

    Raises:
        ValueError: data and prior that live on different numbers of nodes, devices or dtypes; a
            range that is none.

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
    within: tuple[float, float] | None = None

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
        if self.within is not None:
            lo, hi = self.within
            if not -torch.inf < lo <= hi < torch.inf:
                raise mistake(
                    f"within={self.within!r}",
                    "two finite numbers, the lower one first",
                    "Give the range that the restored values lie in, or leave it out.",
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
        """An upper bound on `objective(x) - optimum`, or NaN where no bound is known: then `no_gap`
        says why.

        `x` must be feasible. For the candidates see `lower_bound`.
        """
        objective, bound = self.objective(x), self.lower_bound(*candidates, at=x)
        return torch.full_like(objective, torch.nan) if bound is None else objective - bound

    def lower_bound(self, *candidates: EdgeSignal, at: Signal | None = None) -> PerSystem | None:
        r"""The best lower bound of the optimum that the candidates give; None where none is known.

        Each candidate $p$ is first scaled into the dual ball of $g$; with $v=K^\top Wp$,

        $$\min_x\,\mathrm{data}(x)+g(Kx)\;\ge\;\min_x\,\mathrm{data}(x)+\langle v,x\rangle ,$$

        and the right side is known in closed form where every value is observed, or because a
        minimiser lies in a box (see `DataTerm.lower_bound`). A quadratic form
        $\tfrac12x^\top Qx$ beside $g$, or instead of it, lies above its tangent at any $\bar x$, so
        it adds $Q\bar x$ to $v$ and $-\tfrac12\bar x^\top Q\bar x$ to the bound.

        Args:
            candidates: edge signals, one for every term of $g$; near $\rho u$ of ADMM. A quadratic
                prior needs none.
            at: $\bar x$, the nearer to the minimiser the better; zero by default.
        """
        if self.no_gap is not None:
            return None
        prior, box = self.prior, self._box()
        form = prior.beside if prior.Q is None else prior.Q
        slope: Signal = torch.zeros_like(self.data.backprojected)
        below: PerSystem | float = 0.0
        if form is not None and at is not None:
            slope = form(at)
            below = 0.5 * prior.systems.inner(at, slope)
        # Moreau: what the prox leaves out of a candidate is in the ball
        pulls = [prior.pull_back(p - prior.prox(p, 1.0)) for p in candidates]
        bounds = []
        for v in [slope] if prior.Q is not None else [pull + slope for pull in pulls]:
            bound = self.data.lower_bound(v, prior.systems, box, at)
            if bound is None:
                return None
            bounds.append(bound - below)
        return torch.stack(torch.broadcast_tensors(*bounds)).amax(0) if bounds else None

    @property
    def no_gap(self) -> str | None:
        """Why no duality gap is known, and what helps; None where one is."""
        prior = self.prior
        norm = prior.has_dual_bound or prior.is_norm
        if bool(torch.as_tensor(prior.weak_convexity > 0).any()):
            return f"{type(prior).__name__} is not convex: no bound of its optimum is known."
        if not norm and prior.Q is None:
            return (
                f"{type(prior).__name__} is neither a norm nor a quadratic form, as far as it "
                "tells: see Prior.is_norm and Prior.Q."
            )
        if self.within is not None or self._all_observed():
            return None
        if self.data.observed is None:
            return (
                f"{type(self.data.H).__name__} selects no single values: a range in which a "
                "minimiser lies is needed. Give Problem(..., within=(lowest, highest))."
            )
        if self._is_clipped():
            return None
        return (
            f"Not every value is observed, and clipping a signal may raise {type(prior).__name__}: "
            "a range in which a minimiser lies is needed. Give Problem(..., within=(lowest, "
            "highest))."
        )

    def error_bound(
        self, x: Signal, *candidates: EdgeSignal, lowest: float | None = None
    ) -> PerSystem:
        r"""An upper bound on $\|x-x^*\|_2$, NaN where none is known.

        With $m$ a number that no eigenvalue of $H^\top H+Q$ is below, it is

        $$\|b-Ax\|_2\,/\,m\quad\text{for a quadratic prior,}\qquad
          \sqrt{2\,\mathrm{gap}(x)/m}\quad\text{for any other.}$$

        Args:
            x: a feasible signal.
            candidates: as in `lower_bound`.
            lowest: $m$, above 0. By default that of $H^\top H$: 1 where every value is observed,
                the square of the smallest gain of a `Diagonal`; NaN is the answer elsewhere.

        Raises:
            ValueError: `lowest` not above 0.

        Example:
            >>> import torch
            >>> from gsp_unroll import GLR, Graph, Identity, LeastSquares, Problem, path_graph
            >>> graph = Graph(path_graph(2), torch.tensor([1.0, 0.0]))
            >>> problem = Problem(
            ...     LeastSquares(Identity(), torch.tensor([[0.0], [3.0]])), GLR(graph)
            ... )
            >>> problem.error_bound(torch.tensor([[1.0], [2.5]])).item()  # the minimiser: 1, 2
            1.118...
        """
        if lowest is not None:
            check_positive(lowest, "lowest")
        m = self.data.strong_convexity() if lowest is None else lowest
        if self.prior.Q is not None:
            A, b = self.system()
            r = b - A(x)
            bound = self.prior.systems.inner(r, r).sqrt() / (m or torch.nan)
        else:
            # a gap that rounding leaves below 0 is 0
            gap = self.duality_gap(x, *candidates)
            bound = (2 * torch.where(gap < 0, 0, gap) / (m or torch.nan)).sqrt()
        return bound

    def _box(self) -> Box | None:
        """Where a minimiser is known to lie; None where that is not needed."""
        if not self._all_observed() and self.data.observed is not None:
            if self._is_clipped():
                return range_of_samples(self.data, self.prior.systems, self.prior.level)
        return self.within

    def _is_clipped(self) -> bool:
        """Whether the prior is a norm, or a quadratic form, that no clipping raises."""
        prior = self.prior
        form = prior.Q is not None and (prior.keeps_range or prior.level is not None)
        return prior.has_dual_bound or form

    def _all_observed(self) -> bool:
        mask = self.data.observed
        return mask is not None and bool(mask.all())
