r"""The derivative of a solution that was found by other means: one adjoint solve, nothing stored.

Let $x$ solve $Ax=b$ for a symmetric $A$. With $A_0$ the present value of $A$, held fixed, the map

$$x\leftarrow x+A_0^{-1}(b-Ax)$$

leaves the value alone, and as $x_{\mathrm{new}}-A^{-1}b=(I-A_0^{-1}A)(x-A^{-1}b)$ it makes one
more derivative that of $A^{-1}b$: none is right at first, the first after one application, the
second after two. Differentiated backwards, $A_0^{-1}$ asks for one solve with the incoming
gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._typing import Signal
from ..operators import LinearOperator

#: `(g, size) -> A^-1 g` for a fixed symmetric `A`, with a residual that is small against the
#: larger of `g` and `size`.
Inverse = Callable[[Signal, Signal], Signal]


class _Solved(torch.autograd.Function):
    """`A^-1 g`. The map is fixed and symmetric: its derivative is the map itself."""

    @staticmethod
    def forward(inverse: Inverse, g: Tensor, size: Tensor) -> Tensor:
        return inverse(g, size)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.inverse = inputs[0]

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[None, Tensor, None]:
        return None, _solved(ctx.inverse, h, torch.zeros_like(h)), None


class _Refined(torch.autograd.Function):
    r"""$x+A_0^{-1}r$ for a residual $r$ that is nothing but rounding: the value is $x$.

    It is returned twice: once for the product in the next residual, and once to be added to. What
    comes back through the two is $-A^\top v$ and $+A_0v$, for the $v$ of the solve there. They
    cancel in a first derivative, and their size tells apart what is left of them from a gradient
    that asks for a solve of its own.
    """

    @staticmethod
    def forward(A: LinearOperator, inverse: Inverse, x: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        return x.clone(), x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.A, ctx.inverse = inputs[0], inputs[1]

    @staticmethod
    def backward(
        ctx: Any, multiplied: Tensor, added: Tensor
    ) -> tuple[None, None, Tensor | None, Tensor]:
        g = multiplied + added
        v = _solved(ctx.inverse, g, added.detach())
        if not ctx.needs_input_grad[2]:
            return None, None, None, v
        with torch.no_grad():
            reached = ctx.A(v)
        # the derivative is that of g; a singular A reaches only a part of its value
        return None, None, g + (reached - g.detach()), v


def _solved(inverse: Inverse, g: Tensor, size: Tensor) -> Tensor:
    result: Tensor = _Solved.apply(inverse, g, size)  # type: ignore[no-untyped-call]
    return result


def with_exact_derivatives(A: LinearOperator, b: Signal, x: Signal, inverse: Inverse) -> Signal:
    """`x`, with the first and second derivatives of `A^-1 b` by `b` and by all that `A` holds.

    Args:
        A: symmetric operator.
        b: right-hand side.
        x: the solution.
        inverse: solves with the fixed value of `A`.
    """
    x, r = torch.broadcast_tensors(x, b - A(x))
    if not r.requires_grad:
        return x
    multiplied, added = _Refined.apply(A, inverse, x, r)  # type: ignore[no-untyped-call]
    result: Tensor = _Refined.apply(A, inverse, added, b - A(multiplied))[0]  # type: ignore[no-untyped-call]
    return result
