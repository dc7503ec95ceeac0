"""A linear solve that runs until it has converged, with the gradient of the exact solution."""

from __future__ import annotations

from collections.abc import Iterator

from .._typing import Signal
from ..operators import LinearOperator
from ..solvers import ConjugateGradient
from .linear_solve import GuardedCG


class ConvergedSolve(GuardedCG):
    """`GuardedCG` that stops by a tolerance, and whose gradient is implicit.

    The layer then holds the exact $x=A^{-1}b$: its derivative takes one further solve, and the
    memory does not grow with the number of steps. `cg_steps` is a budget here, so give the layer a
    large one: `GLRUnroll(1000, solver=ConvergedSolve)`.

    Args:
        cg_steps: budget of steps, of the solve and of its adjoint.
        heads: accepted for the sake of one signature; nothing here is per head.
        rtol: relative tolerance on the residual; in float32 about 1e-5 can be reached.

    Shapes:
        - **b, x0, output:** `(*batch, nodes, channels)`

    Example:
        >>> import torch
        >>> from gsp_unroll import ConvergedSolve, GLRUnroll, Graph, Identity, LeastSquares
        >>> from gsp_unroll import path_graph
        >>> graph = Graph(path_graph(2), torch.tensor([1.0, 0.0], requires_grad=True))
        >>> data = LeastSquares(Identity(), torch.tensor([[0.0], [3.0]]))
        >>> x = GLRUnroll(1000, mu=1.0, solver=ConvergedSolve)(data, graph)
        >>> [round(v, 3) for v in x.flatten().tolist()]
        [1.0, 2.0]
    """

    def __init__(self, cg_steps: int = 1000, heads: int | None = None, rtol: float = 1e-6) -> None:
        super().__init__(cg_steps, heads)
        self.solver = ConjugateGradient(rtol, cg_steps, gradient="implicit")

    def iterates(self, A: LinearOperator, b: Signal, x: Signal) -> Iterator[Signal]:
        """The solution: the steps towards it have no derivative of their own."""
        yield self.solver.run(A, b, x).x

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rtol={self.solver.rtol}"
