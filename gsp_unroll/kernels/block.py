r"""A whole solve as one operation: what to compute, and its place in autograd.

The solve is $T$ iterations of ADMM with $J$ steps of a linear solve each, every coefficient given:

$$t=\mathrm{grad}\,x+u,\quad u\leftarrow\mathrm{clip}(t,\tau),\quad
  r=h(y-x)+\rho\,\mathrm{div}\big(w(u_{\mathrm{old}}-2u)\big)$$

$$p=D^{-1}r;\qquad x\leftarrow x+\alpha p,\quad r\leftarrow r-\alpha Ap,\quad
  p\leftarrow D^{-1}r+\beta p ,\qquad A=h+\rho L .$$

It equals `admm_step` with $\tau=\lambda/\rho$: $z=t-u$ is never formed, and the first residual
$b-Ax$ needs no product of its own. Without a norm there is no $u$ and one iteration, the solve of
`GLRUnroll`, with $\rho$ in the place of $\mu$.

Nothing is stored for the backward pass but the inputs: it runs the forward pass again, plane by
plane, and keeps what it needs in cache. Asked for a gradient of its own gradient, it hands over to
the readable steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from .._typing import Signal, Weight
from .captured import captured
from .plans import Csr, Stencil
from .registry import find, transformed

Norm = Literal["none", "l1", "l2"]


@dataclass(frozen=True, eq=False)
class Block:
    r"""One solve: data, graph and the coefficients of every step.

    Args:
        plan: the structure of the graph.
        norm: of an edge's difference: `"l1"`, `"l2"` across channels, `"none"` for the quadratic.
        hard: True when observed values are kept, False for least squares.
        scaled: True when $D=h+\rho\,\mathrm{degree}$, False for $D=1$.
        x: start, `(*batch, nodes, channels)`; agrees with `y` where `hard`.
        y: observation on the nodes, 0 where there is none.
        mask: 1 where observed, 0 elsewhere, broadcasts against `y`.
        w: edge weights, `(*batch, edges)`.
        tau, rho, ratio: threshold, penalty and what $u$ is multiplied by, `(sets, T)`.
        alpha, beta: steps and momenta, `(sets, T, J)` and `(sets, T, J - 1)`.

    There is one set of coefficients, or one for each entry of the last batch axis.
    """

    plan: Stencil | Csr
    norm: Norm
    hard: bool
    scaled: bool
    x: Signal
    y: Signal
    mask: Tensor
    w: Weight
    tau: Tensor
    rho: Tensor
    ratio: Tensor
    alpha: Tensor
    beta: Tensor

    @property
    def batch(self) -> torch.Size:
        """The batch axes of the result."""
        signals = (t.shape[:-2] for t in (self.x, self.y, self.mask))
        batch: torch.Size = torch.broadcast_shapes(*signals, self.w.shape[:-1])
        return batch

    @property
    def channels(self) -> int:
        """Channels of the result."""
        return max(t.shape[-1] for t in (self.x, self.y, self.mask))

    @property
    def num_iterations(self) -> int:
        """$T$."""
        return self.rho.shape[-1]

    @property
    def cg_steps(self) -> int:
        """$J$."""
        return self.alpha.shape[-1]

    @property
    def differentiable(self) -> tuple[Tensor, ...]:
        """The tensors that gradients flow to, in the order of `Function` and of the kernels."""
        return (
            self.x,
            self.y,
            self.w,
            self.tau,
            self.rho,
            self.ratio,
            self.alpha,
            self.beta,
        )

    def with_tensors(self, tensors: tuple[Tensor, ...]) -> Block:
        """The same solve of other `differentiable` tensors."""
        x, y, w, tau, rho, ratio, alpha, beta = tensors
        return replace(self, x=x, y=y, w=w, tau=tau, rho=rho, ratio=ratio, alpha=alpha, beta=beta)


#: The readable steps: what a block computes, differentiable any number of times.
Reference = Callable[[Block], Signal]


def solve(block: Block, reference: Reference) -> Signal | None:
    """The result of a block by the fastest kernel there is, or None where there is none."""
    if torch.compiler.is_compiling():
        return captured(block)
    kernel = find("block", block.plan, block.w)
    if kernel is None:
        return None
    result: Tensor = _Solve.apply(kernel, block, reference, *block.differentiable)  # type: ignore[no-untyped-call]
    return result


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(kernel: Any, block: Block, reference: Reference, *tensors: Tensor) -> Tensor:
        x: Tensor = kernel.forward(block.with_tensors(tensors))
        return x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.kernel, ctx.block, ctx.reference = inputs[:3]
        ctx.save_for_backward(*inputs[3:])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        wanted = ctx.needs_input_grad[3:]
        if torch.is_grad_enabled() or transformed():
            gradients = _by_reference(ctx.block, ctx.reference, tensors, wanted, g)
        else:
            gradients = ctx.kernel.reverse(ctx.block.with_tensors(tensors), g)
        kept = (v if want else None for v, want in zip(gradients, wanted, strict=True))
        return None, None, None, *kept


def _by_reference(
    block: Block,
    reference: Reference,
    tensors: tuple[Tensor, ...],
    wanted: tuple[bool, ...],
    g: Tensor,
) -> list[Tensor | None]:
    """The gradients by the steps, with a graph of their own where one is recorded."""
    recorded = torch.is_grad_enabled()
    with torch.enable_grad():
        # an alias of each input: the graph of the gradients then ends where the block began
        inputs = tuple(t.view_as(t) if want else t for t, want in zip(tensors, wanted, strict=True))
        x = reference(block.with_tensors(inputs))
        sources = [t for t, want in zip(inputs, wanted, strict=True) if want]
        found = iter(torch.autograd.grad(x, sources, g, create_graph=recorded, allow_unused=True))
    return [next(found) if want else None for want in wanted]
