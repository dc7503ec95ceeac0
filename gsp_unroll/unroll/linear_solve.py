"""Learned solves of a linear system: a fixed number of CG steps with trained coefficients.

Each is a module called as `solve(A, b, x0)`. All run the one recurrence `cg_step`; they differ in
where the step sizes come from.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from .._checks import check_positive_count, mistake
from .._typing import Signal
from ..operators import LinearOperator
from ..solvers import CGState, Preconditioner, cg_move, cg_start, cg_step, jacobi
from .parameters import as_coefficient, last, per_head

#: Builds the linear solve of a layer from the number of steps and of heads.
LinearSolveFactory = Callable[[int, int | None], "LearnedSolve"]


class LearnedSolve(nn.Module, ABC):
    """`solve(A, b, x0)`: `cg_steps` steps towards the solution of $Ax=b$.

    Args:
        cg_steps: number of steps, at least 1.
        heads: None for one set of coefficients, or the length of the head axis (the one before the
            nodes), each head with coefficients of its own.

    Shapes:
        - **b, x0, output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: a number of steps or heads below 1.

    Example:
        >>> import torch
        >>> from gsp_unroll import Diagonal
        >>> from gsp_unroll.unroll import LearnedSolve
        >>> class Richardson(LearnedSolve):
        ...     def coefficients(self):
        ...         alpha, beta = torch.tensor(0.5), torch.tensor(0.0)
        ...         return [alpha] * self.cg_steps, [beta] * (self.cg_steps - 1)
        ...
        ...     def scaling(self, A):
        ...         return None
        >>> A = Diagonal(torch.tensor([[2.0], [1.0]]))
        >>> Richardson(2)(A, torch.ones(2, 1), torch.zeros(2, 1)).flatten()
        tensor([0.5000, 0.7500])
    """

    def __init__(self, cg_steps: int = 10, heads: int | None = None) -> None:
        super().__init__()
        check_positive_count(cg_steps, "cg_steps")
        if heads is not None:
            check_positive_count(heads, "heads")
        self.cg_steps, self.heads = cg_steps, heads

    @abstractmethod
    def coefficients(self) -> tuple[list[Tensor | None], list[Tensor | None]]:
        r"""Step sizes $\alpha_0..\alpha_{K-1}$ and momenta $\beta_1..\beta_{K-1}$; None for the
        exact value of conjugate gradients."""

    @abstractmethod
    def scaling(self, A: LinearOperator) -> Tensor | None:
        """The diagonal that preconditions, or None."""

    def iterates(self, A: LinearOperator, b: Signal, x: Signal) -> Iterator[Signal]:
        """The iterates $x_1..x_K$."""
        preconditioner, systems = jacobi(self.scaling(A)), A.systems
        alpha, beta = self.coefficients()
        state = self.start(A, b, x, preconditioner)
        for k in range(self.cg_steps - 1):
            state = cg_step(
                A, state, alpha[k], beta[k], systems=systems, preconditioner=preconditioner
            )
            yield state.x
        yield self._last(A, state, alpha[-1])

    def start(
        self, A: LinearOperator, b: Signal, x: Signal, preconditioner: Preconditioner
    ) -> CGState:
        """The state before the first step; fixed coefficients need no inner product for it."""
        return cg_start(A, b, x, preconditioner)

    def _last(self, A: LinearOperator, state: CGState, alpha: Tensor | None) -> Signal:
        # the residual and direction after the last step would be dead work
        assert alpha is not None
        return cg_move(state, alpha)

    def forward(self, A: LinearOperator, b: Signal, x0: Signal) -> Signal:
        """The last iterate."""
        return last(self.iterates(A, b, x0))

    def extra_repr(self) -> str:
        return f"cg_steps={self.cg_steps}, heads={self.heads}"


class BoundedMomentum(LearnedSolve):
    r"""The library's default: learned steps that provably never move away from the solution.

    One $\theta$ and $\psi_1..\psi_{K-1}$ are learned. With $s=2/(2+e^\theta)$,
    $r_k=\mathrm{sigmoid}(\psi_k)$, $r_0=0$ and $D$ a diagonal with $0\preceq A\preceq2D$,

    $$q=x_k+s\,D^{-1}(b-Ax_k),\qquad x_{k+1}=q+r_k\,(q-x_{k-1}),$$

    which is `cg_step` with $\alpha_k=s(1+r_k)$ and $\beta_k=r_k(1+r_{k-1})/(1+r_k)$,
    preconditioned by $D$.

    **Theorem.** For any values of the parameters and every $k$,
    $\|x_k-x^*\|_A\le\|x_0-x^*\|_A$.

    *Proof.* In an eigenvector of $D^{-1/2}AD^{-1/2}$ with eigenvalue $\lambda\in[0,2]$ let
    $c=1-s\lambda$; as $0\le s\le1$, $c\in[-1,1]$. The error polynomials obey $Q_0=1$, $Q_1=c$ and
    $Q_{k+1}=(1+r_k)\,c\,Q_k-r_kQ_{k-1}$. For $V_k=Q_k^2+Q_{k+1}^2-2cQ_kQ_{k+1}$ the recursion gives
    $V_k=(1-c^2)Q_k^2+r_k^2(cQ_k-Q_{k-1})^2\le V_{k-1}$, since
    $V_{k-1}=(1-c^2)Q_k^2+(cQ_k-Q_{k-1})^2$ and $r_k^2\le1$. So $V_k\le V_0=1-c^2$, while
    $V_k\ge(1-c^2)Q_k^2$: hence $|Q_k|\le1$ in every eigenvector. (For $|c|=1$, $V_k=0$ and
    $|Q_{k+1}|=|Q_k|=1$.)

    The step $s$ must be one number per solve: steps that are each stable alone can amplify an
    error together.

    Args:
        cg_steps: $K$, at least 1.
        heads: see `LearnedSolve`.
        smallest_eigenvalue: in (0, 2); the parameters start at the Chebyshev values for the
            interval from here to 2 of $D^{-1/2}AD^{-1/2}$.

    Shapes:
        - **theta:** `()` or `(heads,)`
        - **psi:** `(K - 1,)` or `(K - 1, heads)`

    Raises:
        ValueError: a number of steps or heads below 1, a `smallest_eigenvalue` outside (0, 2); on
            call, an operator without a known `majorizer`.

    Example:
        >>> import torch
        >>> from gsp_unroll import BoundedMomentum, Diagonal
        >>> A = Diagonal(torch.tensor([[2.0], [4.0]]))
        >>> BoundedMomentum(30)(A, torch.ones(2, 1), torch.zeros(2, 1)).flatten()
        tensor([0.5000, 0.2500], grad_fn=<ViewBackward0>)
    """

    head_axes: ClassVar = {"theta": -1, "psi": -1}

    def __init__(
        self, cg_steps: int = 10, heads: int | None = None, smallest_eigenvalue: float = 0.1
    ) -> None:
        super().__init__(cg_steps, heads)
        if not 0 < smallest_eigenvalue < 2:
            raise mistake(
                f"smallest_eigenvalue={smallest_eigenvalue!r}",
                "a number in (0, 2)",
                "0.1 suits most graphs with data on a quarter of the nodes.",
            )
        momentum = chebyshev_momentum(smallest_eigenvalue, cg_steps)
        theta = torch.tensor(math.log(smallest_eigenvalue))
        psi = torch.tensor([math.log(r / (1 - r)) for r in momentum])
        self.theta = nn.Parameter(per_head(theta, heads))
        self.psi = nn.Parameter(per_head(psi, heads))

    def coefficients(self) -> tuple[list[Tensor | None], list[Tensor | None]]:
        # 2 / (2 + e^theta), in the form whose gradient cannot overflow
        s = as_coefficient((math.log(2) - self.theta).sigmoid(), self.heads)
        r = [torch.zeros_like(s)]
        r += [as_coefficient(v, self.heads) for v in self.psi.sigmoid().unbind(0)]
        alpha: list[Tensor | None] = [s * (1 + r_k) for r_k in r]
        beta: list[Tensor | None] = [r_k * (1 + before) / (1 + r_k) for before, r_k in pairwise(r)]
        return alpha, beta

    def scaling(self, A: LinearOperator) -> Tensor | None:
        D = A.majorizer()
        if D is None:
            raise mistake(
                f"a system {type(A).__name__} without a known majorizer",
                "a diagonal D with 0 <= A <= 2 D, which the bounded solve scales by",
                "Give gram_majorizer to MatrixFree, or use solver=GuardedCG.",
            )
        return D


class HeavyBall(LearnedSolve):
    r"""The solve as the paper publishes it: free steps and momenta, no scaling.

    $$g^{k+1}=g^k-\alpha_kAv^k,\quad v^{k+1}=g^{k+1}+\beta_{k+1}v^k,\quad x^{k+1}=x^k-\alpha_kv^k,
      \qquad g^0=v^0=Ax^0-b .$$

    Nothing bounds it: with the published start $\alpha=0.5$, $\beta=0.3$ it diverges once
    $\lambda_{\max}(A)>5.2$, which sharp features can produce. It is here for fidelity; the default
    is `BoundedMomentum`. The paper counts $K$ momenta, of which the last is never read
    (`beta[-1]` has no gradient).

    Args:
        cg_steps: $K$, at least 1.
        heads: see `LearnedSolve`.
        alpha: initial value of every step.
        beta: initial value of every momentum.

    Shapes:
        - **alpha, beta:** `(K,)` or `(K, heads)`

    Raises:
        ValueError: a number of steps or heads below 1.

    Source:
        Do et al. 2024, appendix A.7 and A.8; the momentum is that of Polyak 1964.

    Example:
        >>> import torch
        >>> from gsp_unroll import Diagonal, HeavyBall
        >>> A = Diagonal(torch.tensor([[2.0], [4.0]]))
        >>> HeavyBall(40)(A, torch.ones(2, 1), torch.zeros(2, 1)).flatten()
        tensor([0.5000, 0.2500], grad_fn=<ViewBackward0>)
    """

    head_axes: ClassVar = {"alpha": -1, "beta": -1}

    def __init__(
        self,
        cg_steps: int = 10,
        heads: int | None = None,
        alpha: float = 0.5,
        beta: float = 0.3,
    ) -> None:
        super().__init__(cg_steps, heads)
        self.alpha = nn.Parameter(per_head(torch.full((cg_steps,), alpha), heads))
        self.beta = nn.Parameter(per_head(torch.full((cg_steps,), beta), heads))

    def coefficients(self) -> tuple[list[Tensor | None], list[Tensor | None]]:
        alpha: list[Tensor | None] = [as_coefficient(a, self.heads) for a in self.alpha.unbind(0)]
        beta: list[Tensor | None] = [as_coefficient(b, self.heads) for b in self.beta.unbind(0)]
        return alpha, beta[:-1]

    def scaling(self, A: LinearOperator) -> Tensor | None:
        return None


#: A solve of fixed length has no test that ends it. What $b-Ax$ has of rounding is some of these;
#: with 4, solves that begin at their solution still take steps, whose derivative has no limit.
ROUNDINGS = 16.0


class GuardedCG(LearnedSolve):
    """True conjugate gradients of fixed length, Jacobi-scaled, without parameters.

    Each inner product is per independent system, and a system whose residual has vanished stops:
    value and gradient stay finite after convergence. Converges much faster than any fixed steps,
    at the price of two inner products a step.

    Args:
        cg_steps: $K$, at least 1.
        heads: accepted for the sake of one signature; nothing here is per head.

    Shapes:
        - **b, x0, output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: a number of steps or heads below 1.

    Example:
        >>> import torch
        >>> from gsp_unroll import Diagonal, GuardedCG
        >>> A = Diagonal(torch.tensor([[2.0], [4.0]]))
        >>> GuardedCG(5)(A, torch.ones(2, 1), torch.zeros(2, 1)).flatten()
        tensor([0.5000, 0.2500])
    """

    head_axes: ClassVar[dict[str, int | None]] = {}

    def coefficients(self) -> tuple[list[Tensor | None], list[Tensor | None]]:
        return [None] * self.cg_steps, [None] * (self.cg_steps - 1)

    def scaling(self, A: LinearOperator) -> Tensor | None:
        return A.diagonal()

    def start(
        self, A: LinearOperator, b: Signal, x: Signal, preconditioner: Preconditioner
    ) -> CGState:
        return cg_start(A, b, x, preconditioner, A.systems, ROUNDINGS)

    def _last(self, A: LinearOperator, state: CGState, alpha: Tensor | None) -> Signal:
        return cg_step(A, state, None, 0.0, systems=A.systems, preconditioner=jacobi(None)).x


def chebyshev_momentum(smallest_eigenvalue: float, cg_steps: int) -> list[float]:
    r"""$r_1..r_{K-1}$ of the Chebyshev iteration on eigenvalues from `smallest_eigenvalue` to 2.

    With $\sigma=(2+\lambda)/(2-\lambda)$ the classical factors are
    $\omega_1=2\sigma^2/(2\sigma^2-1)$, $\omega_{k+1}=1/(1-\omega_k/(4\sigma^2))$, and
    $r_k=\omega_k-1$.
    """
    sigma2 = ((2 + smallest_eigenvalue) / (2 - smallest_eigenvalue)) ** 2
    omega, momentum = 2.0, []
    for _ in range(cg_steps - 1):
        omega = 1 / (1 - omega / (4 * sigma2))
        momentum.append(min(max(omega - 1, 1e-6), 1 - 1e-6))  # sigmoid reaches neither 0 nor 1
    return momentum
