"""ADMM: one step, and the solver that repeats it until a duality gap says stop.

The unrolled layers call the same `admm_step` with learned parameters and a learned linear solve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from .._checks import (
    check_finite,
    check_positive,
    check_positive_count,
    check_same_kind,
    check_signal,
    mistake,
)
from .._typing import EdgeSignal, PerSystem, Signal
from ..graph import Systems
from ..operators import LinearOperator
from ..problems import DataTerm, Interpolation, Prior, Problem, start
from .conjugate_gradient import ConjugateGradient, preconditioner_name
from .damped_jacobi import DampedJacobi
from .fused import stepper
from .solution import Solution, Status

#: `(A, b, x0) -> x` with `A x = b`, exactly or nearly.
LinearSolve = Callable[[LinearOperator, Signal, Signal], Signal]


class ADMMState(NamedTuple):
    r"""Where ADMM stands: the signal, the split analysis $z$ of it, the scaled dual $u$.

    Attributes:
        x: the signal.
        z: the copy of $Kx$ that the prior has acted on.
        u: the scaled dual; $\rho u$ is the multiplier of $z=Kx$.

    Shapes:
        - **x:** `(*batch, nodes, channels)`
        - **z, u:** as $Kx$, `(*batch, edges, channels)` for a prior on differences

    Example:
        >>> import torch
        >>> from gsp_unroll import GTV, Graph, path_graph
        >>> from gsp_unroll.solvers import admm_start
        >>> prior = GTV(Graph(path_graph(2), torch.tensor([1.0, 0.0])))
        >>> x, z, u = admm_start(prior, torch.tensor([[0.0], [3.0]]))
        >>> z.flatten(), u.flatten()
        (tensor([3., 0.]), tensor([0., 0.]))
    """

    x: Signal
    z: EdgeSignal
    u: EdgeSignal


def admm_start(prior: Prior, x: Signal) -> ADMMState:
    """The state of a signal that agrees with its own analysis: $z=Kx$, $u=0$.

    Args:
        prior: the prior, which says what $K$ is.
        x: where to start.

    Shapes:
        - **x:** `(*batch, nodes, channels)`

    Raises:
        ValueError: as `K` for a signal that does not fit.

    Example:
        >>> import torch
        >>> from gsp_unroll import GTV, Graph, path_graph
        >>> from gsp_unroll.solvers import admm_start
        >>> prior = GTV(Graph(path_graph(3), torch.ones(3)))
        >>> admm_start(prior, torch.tensor([[0.0], [1.0], [4.0]])).z.flatten()
        tensor([1., 3., 0.])
    """
    z = prior.K(x)
    return ADMMState(x, z, torch.zeros_like(z))


def admm_step(
    data: DataTerm,
    prior: Prior,
    state: ADMMState,
    rho: float | Tensor,
    linear_solve: LinearSolve,
    relaxation: float = 1.0,
) -> ADMMState:
    r"""One step of ADMM on $\min_x \mathrm{data}(x)+g(z)$ subject to $z=Kx$, in the order z, u, x.

    $$z\leftarrow\mathrm{prox}_{g/\rho}(Kx+u),\qquad u\leftarrow u+Kx-z,$$

    $$x\leftarrow\arg\min_x\;\mathrm{data}(x)+\tfrac\rho2\|Kx-z+u\|_W^2 .$$

    A prior that keeps a quadratic form beside $g$ (see `SumPrior`) adds it to the last line.

    With $K=\mathrm{grad}$ and $W=\mathrm{diag}(w)$ the last line is $(H^\top H+\rho L)x=H^\top
    y+\rho\,\mathrm{div}(w(z-u))$, the Laplacian of the graph itself (a penalty per edge).

    Args:
        data: the data term.
        prior: the prior, with its metric $W$.
        state: $(x, z, u)$.
        rho: penalty, above 0; broadcasts against signals.
        linear_solve: how to solve the last line, started from the present `x`.
        relaxation: in (0, 2); replaces $Kx$ by $\tau Kx+(1-\tau)z$ in the first two lines.

    Shapes:
        - **x of the state:** `(*batch, nodes, channels)`
        - **z, u of the state:** as $Kx$
        - **rho:** a number, or broadcasts against both

    Example:
        >>> import torch
        >>> from gsp_unroll import ConjugateGradient, GTV, Graph, Identity, LeastSquares, path_graph
        >>> from gsp_unroll.solvers import admm_start, admm_step
        >>> data = LeastSquares(Identity(), torch.tensor([[0.0], [3.0]]))
        >>> prior = GTV(Graph(path_graph(2), torch.tensor([1.0, 0.0])), lam=0.5)
        >>> state, solve = admm_start(prior, data.y), ConjugateGradient()
        >>> for _ in range(30):
        ...     state = admm_step(data, prior, state, 1.0, lambda A, b, x: solve.solve(A, b, x).x)
        >>> [round(v, 3) for v in state.x.flatten().tolist()]  # each end moves by lam
        [0.5, 2.5]
    """
    x, z, u = state
    Kx = prior.K(x)
    if relaxation != 1.0:
        Kx = relaxation * Kx + (1 - relaxation) * z
    z = prior.prox(Kx + u, 1 / rho)
    u = u + Kx - z
    x = linear_solve(*data.system(prior.quadratic(rho), rho * prior.pull_back(z - u)), x)
    return ADMMState(x, z, u)


#: `(state, relaxation, step, steps) -> (state, z_old)`: the state `steps` steps after the first
#: `step`, and the split analysis one step before that.
Run = Callable[[ADMMState, float, int, int], tuple[ADMMState, EdgeSignal]]

#: Its tolerance is that of rounding: an x-update stops by what the step before has left of it.
_INEXACT = ConjugateGradient(1e-15)


@dataclass(frozen=True)
class ADMM:
    r"""Solves a convex restoration problem to a certified optimum.

    The duality gap is an upper bound on the distance to the optimal objective, valid for any
    iterate; the solver stops when it is at most `rtol` times the objective of its start in every
    independent system (or at rounding). Without a known gap it stops on the residuals.

    Unless a linear solver is given, the x-update of step $k$ is solved only until its residual is
    a tenth of that of the iterate before, and at most $k^{-3/2}$ of the right-hand side. That is
    a few steps of conjugate gradients. Errors with a finite sum leave the limit of ADMM alone
    (Eckstein and Bertsekas 1992), and no gap relies on an exact solve.

    Args:
        rho: ADMM penalty, above 0. It changes the speed, never the result. None for
            $4\,\lambda\,n^{1/4}$ over the range of the observation on $n$ nodes, or $10\,\lambda$
            over it under a hard constraint.
        rtol: tolerance on the gap, or on the residuals, relative.
        max_steps: budget; an interpolation with a total variation may need thousands.
        relaxation: over-relaxation in [1, 2); None for 1.6, or 1 under a hard constraint.
        check_every: steps between two looks at the gap.
        linear_solver: `ConjugateGradient` solves each x-update to its own tolerance;
            `DampedJacobi` takes few fixed steps, which keep the guarantee and let one kernel run
            many steps at once. None for what is said above.

    Raises:
        ValueError: a number out of its range.

    Source:
        Boyd et al. 2011. Differs from it in: (1) one penalty per edge; (2) gap and constants, which
        are in the library's documentation; (3) an x-update that may be inexact, Eckstein and
        Bertsekas 1992.

    Example:
        >>> import torch
        >>> from gsp_unroll import ADMM, GTV, Graph, Identity, LeastSquares, Problem, path_graph
        >>> graph = Graph(path_graph(2), torch.tensor([1.0, 0.0], dtype=torch.float64))
        >>> y = torch.tensor([[0.0], [3.0]], dtype=torch.float64)
        >>> ADMM(rtol=1e-10).solve(Problem(LeastSquares(Identity(), y), GTV(graph))).x.flatten()
        tensor([1.0000, 2.0000], dtype=torch.float64)
    """

    rho: float | None = None
    rtol: float = 1e-7
    max_steps: int = 5000
    relaxation: float | None = None
    check_every: int = 10
    linear_solver: ConjugateGradient | DampedJacobi | None = None

    def __post_init__(self) -> None:
        if self.rho is not None:
            check_positive(self.rho, "rho")
        check_positive(self.rtol, "rtol")
        check_positive_count(self.max_steps, "max_steps")
        check_positive_count(self.check_every, "check_every")
        if self.relaxation is not None and not 1 <= self.relaxation < 2:
            raise mistake(
                f"relaxation={self.relaxation!r}", "a number in [1, 2)", "1 is plain ADMM."
            )

    def solve(self, problem: Problem, x0: Signal | None = None) -> Solution:
        """The minimiser of `problem`, with a certificate where one is known.

        Args:
            problem: data term and prior.
            x0: start; by default the observation filled in by neighbours (on a graph prior), or
                zeros.

        Raises:
            ValueError: an observation or start that is not finite where it is read; a start on
                other nodes, of another dtype or on another device; a penalty that is too low for a
                prior that is not convex.
        """
        for solution in self.iterates(problem, x0):  # noqa: B007
            pass
        return solution

    def iterates(self, problem: Problem, x0: Signal | None = None) -> Iterator[Solution]:
        """What `solve` finds at each look, after every `check_every` steps; the last is its result.

        Args:
            problem: see `solve`.
            x0: see `solve`.
        """
        data, prior = problem.data, problem.prior
        if x0 is not None:
            check_signal(x0, problem.num_nodes, "start")
            check_same_kind(x0, data.y, "the start x0", "the observation")
        check_finite(data.backprojected, "observation")
        x0 = data.feasible(self._start(problem) if x0 is None else x0)
        check_finite(x0, "start")
        if self.rho is not None and bool(torch.as_tensor(prior.weak_convexity >= self.rho).any()):
            raise mistake(
                f"rho={self.rho!r} for a {type(prior).__name__}",
                "a penalty above the weak convexity of the prior, "
                f"{float(torch.as_tensor(prior.weak_convexity).max()):g}",
                "Raise rho to four times that, or leave it out.",
            )

        rho = _penalty(problem) if self.rho is None else self.rho
        relaxation = _relaxation(problem) if self.relaxation is None else self.relaxation
        return self._looks(problem, x0, rho, relaxation)

    def _looks(
        self, problem: Problem, x0: Signal, rho: float | Tensor, relaxation: float
    ) -> Iterator[Solution]:
        tolerance = self._tolerance(problem, x0)
        state, step = admm_start(problem.prior, x0), 0
        while True:
            steps = min(self.check_every, self.max_steps - step)
            run = self._by_kernel(problem, state, rho) or self._by_steps(problem, rho)
            state, z_old = run(state, relaxation, step, steps)
            step += steps
            report = self._report(problem, state, z_old, rho, tolerance, step)
            yield report
            if report.status is not Status.MAX_STEPS or step >= self.max_steps:
                return

    def _start(self, problem: Problem) -> Signal:
        # a sum starts along the edges of the first of its parts that has any
        graphs = (getattr(part, "graph", None) for part in problem.prior.summands)
        graph = next((g for g in graphs if g is not None), None)
        if graph is not None:
            return start(problem.data, graph.topology)
        return torch.zeros_like(problem.data.backprojected)

    def _by_steps(self, problem: Problem, rho: float | Tensor) -> Run:
        def run(
            state: ADMMState, relaxation: float, step: int, steps: int
        ) -> tuple[ADMMState, EdgeSignal]:
            for number in range(step + 1, step + steps + 1):
                z_old = state.z
                solve = partial(self._linear_solve, number)
                state = admm_step(problem.data, problem.prior, state, rho, solve, relaxation)
            return state, z_old

        return run

    def _by_kernel(self, problem: Problem, state: ADMMState, rho: float | Tensor) -> Run | None:
        """The same by a kernel, where one serves. It keeps `t = z + u`, of which `z` is the
        threshold."""
        if not isinstance(self.linear_solver, DampedJacobi):
            return None
        advance = stepper(problem, state.x, state.z, rho, self.linear_solver.alpha)
        if advance is None:
            return None

        def run(
            state: ADMMState, relaxation: float, step: int, steps: int
        ) -> tuple[ADMMState, EdgeSignal]:
            x, t, z_old = state.x, state.z + state.u, state.z
            if step == 0:
                # z = Kx is no threshold yet. This step makes t = Kx whatever the relaxation, and
                # so it does without any from t = 0
                x, t = advance(x, torch.zeros_like(t), 1.0, 1)
                steps -= 1
            if steps > 1:
                x, t = advance(x, t, relaxation, steps - 1)
            if steps > 0:
                z_old = problem.prior.prox(t, 1 / rho)
                x, t = advance(x, t, relaxation, 1)
            z = problem.prior.prox(t, 1 / rho)
            return ADMMState(x, z, t - z), z_old

        return run

    def _linear_solve(self, step: int, A: LinearOperator, b: Signal, x0: Signal) -> Signal:
        if isinstance(self.linear_solver, DampedJacobi):
            return self.linear_solver(A, b, x0)
        if self.linear_solver is not None:
            return self.linear_solver.run(A, b, x0).x
        return _INEXACT.run(A, b, x0, share=0.1, at_most=step**-1.5).x

    def _tolerance(self, problem: Problem, x0: Signal) -> PerSystem:
        """The gap to reach: relative to the objective of the start, and never below what rounding
        leaves of it."""
        prior, t = problem.prior, problem.data.backprojected
        eps = torch.finfo(x0.dtype).eps
        rounding = 100 * eps * prior.systems.total(prior.strength * t.abs())
        return max(self.rtol, 50 * eps) * problem.objective(x0) + rounding

    def _report(
        self,
        problem: Problem,
        state: ADMMState,
        z_old: EdgeSignal,
        rho: float | Tensor,
        tolerance: PerSystem,
        step: int,
    ) -> Solution:
        data, prior = problem.data, problem.prior
        x, z, u = data.feasible(state.x), state.z, state.u
        misfit = prior.K(x) - z
        objective = problem.objective(x)
        bound = problem.lower_bound(rho * u, rho * (misfit + u), at=x)
        gap = torch.full_like(objective, torch.nan) if bound is None else objective - bound
        systems = prior.systems
        primal = _norm_of(prior, misfit)
        pull = prior.pull_back(z - z_old)
        dual = rho * systems.inner(pull, pull).sqrt()
        size = 1 + torch.maximum(_norm_of(prior, z), rho * _norm_of(prior, u))
        return Solution(
            x=x,
            status=self._status(objective, gap, tolerance, torch.maximum(primal, dual) / size),
            num_steps=step,
            objective=objective,
            primal_residual=primal,
            dual_residual=dual,
            duality_gap=gap,
            preconditioner=preconditioner_name(data.system(prior.quadratic(rho))[0].diagonal()),
        )

    def _status(
        self, objective: PerSystem, gap: PerSystem, tolerance: PerSystem, residual: PerSystem
    ) -> Status:
        if not bool(torch.isfinite(objective).all() & torch.isfinite(residual).all()):
            return Status.NOT_FINITE
        if bool(torch.isnan(gap).any()):
            small = bool((residual <= max(self.rtol, 50 * torch.finfo(residual.dtype).eps)).all())
            return Status.CONVERGED_WITHOUT_BOUND if small else Status.MAX_STEPS
        return Status.CONVERGED if bool((gap <= tolerance).all()) else Status.MAX_STEPS


def _norm_of(prior: Prior, z: EdgeSignal) -> PerSystem:
    """The norm of an edge signal in each system."""
    terms = z * z
    if prior.systems.couples_channels:
        terms = terms.sum(-1, keepdim=True)
    return prior.total(terms).sqrt()


def _penalty(problem: Problem) -> Tensor:
    """The default penalty, per signal and channel: shifting a signal, or scaling it together with
    the prior, leaves the iteration alike.

    The best penalty is about the size of the multiplier over that of the differences. The former is
    near `lam` on most edges, the latter near the range on the curves where an image jumps: on
    `sqrt(n)` edges out of `n`. Exact samples hold their levels, and leave the multiplier no room.
    """
    value, known = problem.data.estimate()
    whole = Systems(couples_channels=problem.prior.systems.couples_channels)
    highest = whole.maximum(torch.where(known, value, -torch.inf))
    lowest = -whole.maximum(torch.where(known, -value, -torch.inf))
    spread = highest - lowest
    usable = (spread > 0) & torch.isfinite(spread)
    nodes = problem.num_nodes / problem.prior.systems.num_graphs
    factor = 10 if isinstance(problem.data, Interpolation) else 4 * nodes**0.25
    rho = factor * problem.prior.strength / torch.where(usable, spread, 1)
    # a step is well-defined above the weak convexity of a prior. At twice that the proximal map has
    # the slope 2, which turns a multiplier round in every step, for ever; at four times it is 4/3
    return torch.where(usable & (rho > 0), rho, 1).maximum(
        torch.as_tensor(4 * problem.prior.weak_convexity, dtype=rho.dtype, device=rho.device)
    )


def _relaxation(problem: Problem) -> float:
    """The default over-relaxation: under a hard constraint more costs steps and saves none, and
    without convexity nothing is known of it."""
    omega = problem.prior.weak_convexity
    convex = not isinstance(omega, Tensor) and omega == 0
    return 1.6 if convex and not isinstance(problem.data, Interpolation) else 1.0
