"""What a solver returns: the signal, and how far it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .._typing import PerSystem, Signal


class Status(Enum):
    """Why a solver stopped. The value is a sentence: what happened, and what helps.

    Example:
        >>> from gsp_unroll import Status
        >>> print(Status.CONVERGED.value)
        Converged to the tolerance asked for.
    """

    CONVERGED = "Converged to the tolerance asked for."
    CONVERGED_WITHOUT_BOUND = (
        "The residuals are below the tolerance, but no duality gap is known: `Problem.no_gap` says "
        "why. Compare with a tighter tolerance before you rely on the last digits, or say in which "
        "range a minimiser lies, Problem(..., within=(0, 1))."
    )
    MAX_STEPS = (
        "The step budget ran out first. The result is usable, its gap and residuals say how far it "
        "is from the optimum; raise max_steps, loosen the tolerance, or try another rho."
    )
    STALLED = (
        "Rounding stops the residual above the tolerance: more steps do not help. Use float64, "
        "loosen rtol, or look for edge weights of very different size."
    )
    NOT_FINITE = (
        "A value became NaN or infinite. Look for NaN in the observation, extreme edge weights, or "
        "an operator that is not positive semi-definite."
    )


@dataclass(frozen=True, eq=False, repr=False)
class Solution:
    r"""The result of a plain solver.

    Args:
        x: the restored signal.
        status: why the solver stopped; its value is a sentence.
        num_steps: steps taken.
        objective: the value of the problem at `x`, per system; NaN for a linear solve.
        primal_residual: $\|b-Ax\|$ of a linear solve, or $\|Kx-z\|$ of ADMM, per system. The former
            divided by a number that no eigenvalue of $A$ is below bounds $\|x-x^*\|$.
        dual_residual: $\rho\,\|K^\top W(z-z_{\mathrm{old}})\|$ of ADMM; NaN for a linear solve.
        duality_gap: an upper bound on objective minus optimum, per system; NaN where none is known.
        preconditioner: what the linear solve used, and why if it used none.

    Shapes:
        - **x:** `(*batch, nodes, channels)`
        - **objective, primal_residual, dual_residual, duality_gap:** `(*batch, graphs, channels)`

    Example:
        >>> import torch
        >>> from gsp_unroll import ConjugateGradient, Diagonal
        >>> A = Diagonal(torch.tensor([[2.0], [4.0]]))
        >>> solution = ConjugateGradient().solve(A, torch.tensor([[2.0], [2.0]]))
        >>> solution
        Solution(CONVERGED, num_steps=1, x of shape (2, 1), largest primal_residual 0)
        >>> solution.converged, solution.preconditioner
        (True, 'jacobi')
    """

    x: Signal
    status: Status
    num_steps: int
    objective: PerSystem
    primal_residual: PerSystem
    dual_residual: PerSystem
    duality_gap: PerSystem
    preconditioner: str

    @property
    def converged(self) -> bool:
        """True if the tolerance was met."""
        return self.status in (Status.CONVERGED, Status.CONVERGED_WITHOUT_BOUND)

    def __repr__(self) -> str:
        parts = [
            self.status.name,
            f"num_steps={self.num_steps}",
            f"x of shape {tuple(self.x.shape)}",
        ]
        for name in ("objective", "duality_gap", "primal_residual"):
            known = [v for v in getattr(self, name).flatten().tolist() if v == v]
            if known:
                parts.append(f"largest {name} {max(known):.3g}")
        return f"{type(self).__name__}({', '.join(parts)})"
