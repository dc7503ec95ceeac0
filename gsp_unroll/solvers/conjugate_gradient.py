"""Conjugate gradients: one step, and the solver that repeats it until it has converged.

The unrolled layers call the same `cg_step` with learned coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .._checks import (
    check_finite,
    check_positive,
    check_positive_count,
    check_same_device,
    check_same_kind,
    check_signal,
    mistake,
)
from .._typing import PerSystem, Signal
from ..graph import Systems, safe_reciprocal
from ..kernels.registry import transformed
from ..operators import LinearOperator
from .fused import converge
from .implicit import with_exact_derivatives
from .solution import Solution, Status

Preconditioner = Callable[[Signal], Signal]
Coefficient = float | Tensor


class CGState(NamedTuple):
    r"""Where conjugate gradients stand: the iterate, its residual $r=b-Ax$, the direction.

    `floor` is the energy $\langle r,M^{-1}r\rangle$ below which a residual is rounding: exact
    steps stop there (see `cg_start`).

    Attributes:
        x: the iterate.
        r: its residual.
        p: the direction of the next step.
        floor: the energy of rounding, 0 without a limit.

    Shapes:
        - **x, r, p:** `(*batch, nodes, channels)`
        - **floor:** a number or `(*batch, graphs, channels)`

    Example:
        >>> import torch
        >>> from gsp_unroll import Diagonal
        >>> from gsp_unroll.solvers import cg_start, jacobi
        >>> A = Diagonal(torch.tensor([[2.0], [4.0]]))
        >>> state = cg_start(A, torch.ones(2, 1), torch.zeros(2, 1), jacobi(A.diagonal()))
        >>> state.r.flatten(), state.p.flatten()
        (tensor([1., 1.]), tensor([0.5000, 0.2500]))
    """

    x: Signal
    r: Signal
    p: Signal
    floor: PerSystem | float = 0.0


def jacobi(d: Tensor | None) -> Preconditioner:
    """`r -> D^-1 r`, with 0 where the diagonal vanishes; the identity when it is not known.

    Args:
        d: the diagonal $D$, at least 0, or None.

    Shapes:
        - **d:** broadcasts against `(*batch, nodes, channels)`

    Example:
        >>> import torch
        >>> from gsp_unroll.solvers import jacobi
        >>> jacobi(torch.tensor([[2.0], [0.0]]))(torch.ones(2, 1)).flatten()
        tensor([0.5000, 0.0000])
    """
    if d is None:
        return lambda r: r
    inverse = safe_reciprocal(d)
    return lambda r: inverse.to(r.dtype) * r


def cg_start(
    A: LinearOperator,
    b: Signal,
    x: Signal,
    preconditioner: Preconditioner,
    systems: Systems | None = None,
    margin: float = 1.0,
) -> CGState:
    r"""The state before the first step: $r=b-Ax$, $p=M^{-1}r$.

    Give `systems` when steps are to be exact. The floor is then
    $(\mathrm{margin}\cdot\epsilon)^2$ times the larger energy of $r$ and $b$. Without it a singular
    system drifts away: once only rounding is left, it has a part in the null space of $A$, where
    $\langle p,Ap\rangle$ is noise and the step without limit.

    Args:
        A: positive semi-definite operator.
        b: right-hand side.
        x: where to start.
        preconditioner: `r -> M^-1 r`.
        systems: where inner products end, or None for steps of given length.
        margin: how many roundings a residual may have and count as none.

    Shapes:
        - **b, x:** `(*batch, nodes, channels)`

    Raises:
        ValueError: as `A` for a signal that does not fit.

    Example:
        >>> import torch
        >>> from gsp_unroll import Diagonal
        >>> from gsp_unroll.solvers import cg_start, jacobi
        >>> A = Diagonal(torch.tensor([[2.0], [4.0]]))
        >>> cg_start(A, torch.ones(2, 1), torch.ones(2, 1), jacobi(None)).r.flatten()
        tensor([-1., -3.])
    """
    r = b - A(x)
    p = preconditioner(r)
    if systems is None:
        return CGState(x, r, p)
    energy = torch.maximum(systems.inner(r, p), systems.inner(b, preconditioner(b)))
    return CGState(x, r, p, (margin * torch.finfo(r.dtype).eps) ** 2 * energy)


def cg_move(state: CGState, alpha: Coefficient) -> Signal:
    r"""$x+\alpha p$: the next iterate.

    Args:
        state: $(x, r, p)$, of which $r$ is not read.
        alpha: step size, a number or a tensor that broadcasts against signals.

    Shapes:
        - **returns:** `(*batch, nodes, channels)`

    Example:
        >>> import torch
        >>> from gsp_unroll.solvers import CGState, cg_move
        >>> x, p = torch.zeros(2, 1), torch.ones(2, 1)
        >>> cg_move(CGState(x, p, p), 0.5).flatten()
        tensor([0.5000, 0.5000])
    """
    return state.x + alpha * state.p


def cg_step(
    A: LinearOperator,
    state: CGState,
    alpha: Coefficient | None = None,
    beta: Coefficient | None = None,
    *,
    systems: Systems,
    preconditioner: Preconditioner,
) -> CGState:
    r"""One step of preconditioned conjugate gradients.

    $$x\leftarrow x+\alpha p,\qquad r\leftarrow r-\alpha Ap,\qquad p\leftarrow M^{-1}r+\beta p$$

    Args:
        A: positive semi-definite operator.
        state: $(x, r, p)$.
        alpha: step size; None for the exact line search $\langle r,p\rangle/\langle p,Ap\rangle$.
        beta: momentum; None for $\langle r_+,M^{-1}r_+\rangle/\langle r,p\rangle$, which makes
            directions conjugate. A given coefficient broadcasts against signals.
        systems: where inner products end; a batch is never coupled.
        preconditioner: `r -> M^-1 r`.

    Shapes:
        - **x, r, p of the state:** `(*batch, nodes, channels)`
        - **alpha, beta:** a number, or broadcasts against them

    Source:
        Do et al. 2024, appendix A.7, with $g=-r$ and $v=-p$ (there with learned coefficients).

    Example:
        >>> import torch
        >>> from gsp_unroll import Diagonal
        >>> from gsp_unroll.solvers import cg_start, cg_step, jacobi
        >>> A = Diagonal(torch.tensor([[2.0], [4.0]]))
        >>> M, systems = jacobi(None), A.systems
        >>> state = cg_start(A, torch.ones(2, 1), torch.zeros(2, 1), M, systems)
        >>> for _ in range(2):  # as many steps as A has eigenvalues
        ...     state = cg_step(A, state, systems=systems, preconditioner=M)
        >>> state.x.flatten()
        tensor([0.5000, 0.2500])
    """
    _, r, p, floor = state
    Ap = A(p)
    if alpha is None or beta is None:
        # <r, p> = <r, M^-1 r> while directions are conjugate, and the best step in any case
        rp = systems.inner(r, p)
        alive = rp > floor
    if alpha is None:
        alpha = systems.spread(_ratio_where(alive, rp, systems.inner(p, Ap)))
    x = cg_move(state, alpha)
    r = r - alpha * Ap
    z = preconditioner(r)
    if beta is None:
        beta = systems.spread(_ratio_where(alive, systems.inner(r, z), rp))
    return CGState(x, r, z + beta * p, floor)


def _ratio_where(alive: Tensor, a: PerSystem, b: PerSystem) -> PerSystem:
    """`a / b` in the systems that go on, and 0 in those that have converged.

    Both branches of the outer `where` are finite, so the gradient is too.
    """
    alive = alive & (b > torch.finfo(b.dtype).tiny)
    return torch.where(alive, a / torch.where(alive, b, 1), 0)


@dataclass(frozen=True)
class ConjugateGradient:
    r"""Solves $Ax=b$ for a positive semi-definite operator, each system to its own tolerance.

    Stops when $\|r\|\le\mathrm{rtol}\,\|b\|$ in every independent system; one that has converged
    is frozen while the others go on. For $b=0$ the residual of the start takes the place of $b$.

    The result is differentiable. `gradient` says how; it changes neither the value nor the type:

    - `"unrolled"`: through the steps, each of which is kept. The derivative is that of what was
      computed, at any `max_steps`; the start `x0` has one too.
    - `"implicit"`: through the equation. For an incoming $g$ the backward pass solves $Av=g$ to
      the same tolerance; then $v$ is the gradient by $b$ and $-\partial\langle v,Ax\rangle$ the
      one by all that $A$ holds. No step is kept, second derivatives are right too, and `x0` has
      none. The derivative is that of the exact solution, so let the solve converge.

    A part of a singular system that nothing determines stays at its start; an implicit gradient
    that asks for it is dropped there.

    Args:
        rtol: relative tolerance on the residual, above 0.
        max_steps: budget, at least 1.
        gradient: `"unrolled"` or `"implicit"`.

    Raises:
        ValueError: `rtol` not above 0, `max_steps` below 1, another `gradient`.

    Source:
        Hestenes and Stiefel 1952, preconditioned with the diagonal.

    Example:
        >>> import torch
        >>> from gsp_unroll import ConjugateGradient, Diagonal
        >>> A = Diagonal(torch.tensor([[2.0], [4.0]]))
        >>> b = torch.tensor([[2.0], [2.0]], requires_grad=True)
        >>> solution = ConjugateGradient(gradient="implicit").solve(A, b)
        >>> solution.x.flatten().tolist()
        [1.0, 0.5]
        >>> torch.autograd.grad(solution.x.sum(), b)[0].flatten()
        tensor([0.5000, 0.2500])
    """

    rtol: float = 1e-8
    max_steps: int = 1000
    gradient: Literal["unrolled", "implicit"] = "unrolled"

    def __post_init__(self) -> None:
        check_positive(self.rtol, "rtol")
        check_positive_count(self.max_steps, "max_steps")
        if self.gradient not in ("unrolled", "implicit"):
            raise mistake(
                f"gradient={self.gradient!r}",
                "'unrolled' or 'implicit'",
                "'implicit' needs no memory per step and wants a converged solve.",
            )

    def solve(self, A: LinearOperator, b: Signal, x0: Signal | None = None) -> Solution:
        """The solution of `A x = b`, with how it went.

        Args:
            A: symmetric positive semi-definite; its diagonal, where known, preconditions.
            b: right-hand side.
            x0: start; zeros by default.

        Shapes:
            - **b, x0, output.x:** `(*batch, nodes, channels)`

        Raises:
            ValueError: `b` or `x0` of another size, device or dtype, or not finite.
        """
        x0 = self._start(b, x0)
        check_signal(b, A.num_inputs, f"input of {type(A).__name__}")
        if A.systems.batch is not None:
            check_same_device(b, A.systems.batch, "the right-hand side", "the graph")
        unit = _unit_if_extreme(A.systems, b, x0)
        if unit is None:
            return self.run(A, b, x0)
        one = A.systems.spread(unit)
        solution = self.run(A, b / one, x0 / one)
        return replace(
            solution, x=one * solution.x, primal_residual=unit * solution.primal_residual
        )

    def iterates(self, A: LinearOperator, b: Signal, x0: Signal | None = None) -> Iterator[CGState]:
        """The state after each step of `solve`, for diagnostics.

        Args:
            A: see `solve`.
            b: see `solve`.
            x0: see `solve`.
        """
        preconditioner = jacobi(A.diagonal())
        state, _, target = self._before(A, b, self._start(b, x0), preconditioner)
        return self._states(A, state, target, preconditioner)

    def _start(self, b: Signal, x0: Signal | None) -> Signal:
        x0 = torch.zeros_like(b) if x0 is None else x0
        check_same_kind(x0, b, "the start x0", "the right-hand side")
        if x0.shape[-2:] != b.shape[-2:]:
            raise mistake(
                f"a start x0 of shape {tuple(x0.shape)}",
                f"the nodes and channels of the right-hand side, {tuple(b.shape)}",
                "Leave x0 out to start from zero.",
            )
        check_finite(b, "right-hand side")
        check_finite(x0, "start")
        return x0

    def run(
        self, A: LinearOperator, b: Signal, x0: Signal, share: float = 0.0, at_most: float = 1.0
    ) -> Solution:
        """`solve` without the checks at the door, for solvers that call this one in a loop.

        Such a solver may be content with less than `rtol`: with a residual that is `share` of that
        of the start, but `at_most` times `b`.
        """
        steps = self.gradient == "unrolled" or transformed()
        if steps or not torch.is_grad_enabled():
            return self._iterate(A, b, x0, None, share, at_most)
        with torch.no_grad():
            solution = self._iterate(A, b, x0, None, share, at_most)
        return replace(
            solution, x=with_exact_derivatives(A, b, solution.x, partial(self._inverse, A))
        )

    def _iterate(
        self,
        A: LinearOperator,
        b: Signal,
        x0: Signal,
        size: PerSystem | None = None,
        share: float = 0.0,
        at_most: float = 1.0,
    ) -> Solution:
        """The steps, until the residual is small against `size`, by default that of `b`."""
        d = A.diagonal()
        preconditioner = jacobi(d)
        state, size, target = self._before(A, b, x0, preconditioner, size, share, at_most)
        inverse = preconditioner(torch.ones_like(b))
        found = converge(A, x0, state.r, inverse, target**2, state.floor, self.max_steps)
        x, step = self._steps(A, state, target, preconditioner) if found is None else found

        # the recursive residual drifts; what is reported, and judged, is the true one
        r_norm = _norm(A.systems, b - A(x))
        allowed = target + _rounding(b) * size
        return Solution(
            x=x,
            status=self._status(r_norm, allowed, step),
            num_steps=step,
            objective=torch.full_like(r_norm, torch.nan),
            primal_residual=r_norm,
            dual_residual=torch.full_like(r_norm, torch.nan),
            duality_gap=torch.full_like(r_norm, torch.nan),
            preconditioner=preconditioner_name(d),
        )

    def _before(
        self,
        A: LinearOperator,
        b: Signal,
        x0: Signal,
        preconditioner: Preconditioner,
        size: PerSystem | None = None,
        share: float = 0.0,
        at_most: float = 1.0,
    ) -> tuple[CGState, PerSystem, PerSystem]:
        """The first state, what the residual is compared with, and the residual to reach."""
        systems = A.systems
        state = cg_start(A, b, x0, preconditioner, systems)
        r_norm = _norm(systems, state.r)
        if size is None:
            size = _norm(systems, b)
        size = torch.where(size > 0, size, r_norm)
        target = torch.maximum(self.rtol * size, torch.minimum(share * r_norm, at_most * size))
        return state, size, target

    def _steps(
        self, A: LinearOperator, state: CGState, target: PerSystem, preconditioner: Preconditioner
    ) -> tuple[Signal, int]:
        step, last = 0, state
        for step, last in enumerate(self._states(A, state, target, preconditioner), start=1):  # noqa: B007
            pass
        return last.x, step

    def _states(
        self, A: LinearOperator, state: CGState, target: PerSystem, preconditioner: Preconditioner
    ) -> Iterator[CGState]:
        systems = A.systems
        for _ in range(self.max_steps):
            r_norm = _norm(systems, state.r)
            going = (r_norm > target) & (systems.inner(state.r, state.p) > state.floor)
            if not bool(going.any()):
                return
            new = cg_step(A, state, systems=systems, preconditioner=preconditioner)
            state = _frozen_where(systems.spread(~going), state, new)
            yield state

    @torch.no_grad()
    def _inverse(self, A: LinearOperator, g: Signal, size: Signal) -> Signal:
        """`A^-1 g`; where `A` is singular, of the part of `g` that it reaches."""
        unit = _unit_if_extreme(A.systems, g, size)
        if unit is not None:
            one = A.systems.spread(unit)
            return one * self._inverse(A, g / one, size / one)
        zero, norm, rounding = torch.zeros_like(g), partial(_norm, A.systems), _rounding(g)
        # rounding may leave in g what A does not reach: to chase that would be to run away
        size = (1 + rounding / self.rtol) * torch.maximum(norm(g), norm(size))
        solution = self._iterate(A, g, zero, size)
        ran_away = not bool((solution.primal_residual <= size / rounding**0.5).all())
        if not ran_away and solution.status is not Status.STALLED:
            return solution.x
        # no A v equals g. CG keeps the part of its start that A does not see, so from D^-1 g
        # towards zero it finds that part, in the metric D in which it also keeps a level
        d = A.diagonal()
        whole = jacobi(d)(g)
        unseen = self._iterate(A, zero, whole, max(self.rtol, rounding / self.rtol) * norm(g)).x
        seen = whole - unseen
        return self._iterate(A, seen if d is None else d.to(g.dtype) * seen, zero, size).x

    def _status(self, r_norm: PerSystem, allowed: PerSystem, step: int) -> Status:
        if not bool(torch.isfinite(r_norm).all()):
            return Status.NOT_FINITE
        if bool((r_norm <= allowed).all()):
            return Status.CONVERGED
        return Status.MAX_STEPS if step >= self.max_steps else Status.STALLED


def preconditioner_name(d: Tensor | None) -> str:
    """What a solve with a system of diagonal `d` is preconditioned by, for the record."""
    return "jacobi" if d is not None else "none: the operator does not know its diagonal"


def _unit_if_extreme(systems: Systems, a: Signal, b: Signal) -> PerSystem | None:
    """A unit of two signals, where the squares of their values, or of what a solve leaves of them,
    might overflow or vanish; None where they are of usual size."""
    if a.is_meta:  # a shape without values
        return None
    sizes = torch.maximum(a.detach().abs(), b.detach().abs())
    size, limits = systems.maximum(sizes), torch.finfo(sizes.dtype)
    usual = (size > limits.tiny**0.25) & (size < limits.max**0.25)
    return systems.unit(sizes) if bool((~usual & (size > 0)).any()) else None


def _rounding(b: Signal) -> float:
    """The relative residual that rounding leaves."""
    return 50 * torch.finfo(b.dtype).eps


def _norm(systems: Systems, r: Signal) -> PerSystem:
    return systems.inner(r, r).sqrt()


def _frozen_where(frozen: Tensor, old: CGState, new: CGState) -> CGState:
    x, r, p = (torch.where(frozen, a, b) for a, b in zip(old[:3], new[:3], strict=True))
    return CGState(x, r, p, old.floor)
