"""A linear solve of few fixed steps, for x-updates of ADMM that need not be exact."""

from __future__ import annotations

from dataclasses import dataclass

from .._checks import check_positive_count, mistake
from .._typing import Signal
from ..operators import LinearOperator
from .conjugate_gradient import cg_move, cg_start, cg_step, jacobi


@dataclass(frozen=True)
class DampedJacobi:
    r"""$x\leftarrow x+\tfrac12D^{-1}(b-Ax)$, `num_steps` times, where $0\preceq A\preceq2D$.

    Nothing is measured on the way: a step needs no inner product. As the x-update of `ADMM` it
    keeps the guarantee of convergence, however few steps are taken. One update maps
    $x$ to the minimiser of the same objective plus $\tfrac12\|x-x_{\mathrm{old}}\|_P^2$ with
    $A+P=A\,(I-(I-\tfrac12D^{-1}A)^{J})^{-1}$, and $P\succeq0$ because no eigenvalue of
    $I-\tfrac12D^{-1}A$ is negative: this is proximal ADMM. One kernel then runs all
    steps between two looks at the duality gap, where there is one.

    Args:
        num_steps: $J$, at least 1.

    Shapes:
        - **b, x0, output:** `(*batch, nodes, channels)`

    Raises:
        ValueError: `num_steps` below 1; on call a system that knows no majorizer $D$.

    Source:
        Proximal ADMM: Fazel, Pong, Sun and Tseng 2013. $D$ is `LinearOperator.majorizer()`.

    Example:
        >>> import torch
        >>> from gsp_unroll import ADMM, GTV, DampedJacobi, Identity, LeastSquares, Problem
        >>> from gsp_unroll import Graph, grid_graph
        >>> grid = grid_graph((8, 8), window=3)
        >>> graph = Graph(grid, grid.mask_edges(torch.ones(grid.num_edges)))
        >>> problem = Problem(LeastSquares(Identity(), torch.randn(64, 1)), GTV(graph, 0.1))
        >>> ADMM(rtol=1e-4, linear_solver=DampedJacobi()).solve(problem).status.name
        'CONVERGED'
    """

    num_steps: int = 3

    def __post_init__(self) -> None:
        check_positive_count(self.num_steps, "num_steps")

    @property
    def alpha(self) -> tuple[float, ...]:
        """The size of each step."""
        return (0.5,) * self.num_steps

    def __call__(self, A: LinearOperator, b: Signal, x0: Signal) -> Signal:
        """The last iterate.

        Raises:
            ValueError: a system that knows no majorizer.
        """
        D = A.majorizer()
        if D is None:
            raise mistake(
                f"a system {type(A).__name__} without a known majorizer",
                "a diagonal D with 0 <= A <= 2 D, which damped Jacobi steps divide by",
                "Give gram_majorizer to MatrixFree, or use linear_solver=ConjugateGradient().",
            )
        preconditioner = jacobi(D)
        state = cg_start(A, b, x0, preconditioner)
        for alpha in self.alpha[:-1]:
            state = cg_step(A, state, alpha, 0.0, systems=A.systems, preconditioner=preconditioner)
        return cg_move(state, self.alpha[-1])
