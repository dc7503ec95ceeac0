"""A whole solve as one operation for `torch.compile`, on lattices.

A captured graph holds tensors and plain numbers, so the operation is told the lattice by its shape
and offsets. Its backward pass is an operation too; a gradient of that gradient is asked of the
uncompiled layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .plans import Stencil, stencil
from .registry import find

if TYPE_CHECKING:
    from .block import Block


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _serves(dtype: torch.dtype, device: str) -> bool:
    """Whether a kernel is there, asked once while the graph is captured."""
    some = stencil((2,), ((1,),))
    return find("block", some, torch.empty(0, dtype=dtype, device=device)) is not None


def captured(block: Block) -> Tensor | None:
    """The block as one operation of the graph, or None where no kernel computes it."""
    if not isinstance(block.plan, Stencil) or not _serves(block.w.dtype, block.w.device.type):
        return None
    result: Tensor = _forward(
        [*block.differentiable],
        block.mask,
        block.norm,
        block.hard,
        block.scaled,
        list(block.plan.shape),
        [d for o in block.plan.offsets for d in o],
    )
    return result


def _block(
    tensors: list[Tensor],
    mask: Tensor,
    norm: Any,
    hard: bool,
    scaled: bool,
    shape: list[int],
    offsets: list[int],
) -> Block:
    from .block import Block

    axes = len(shape)
    rows = tuple(tuple(offsets[k : k + axes]) for k in range(0, len(offsets), axes))
    plan = stencil(tuple(shape), rows)
    assert plan is not None
    x, y, w, tau, rho, ratio, alpha, beta = tensors
    return Block(plan, norm, hard, scaled, x, y, mask, w, tau, rho, ratio, alpha, beta)


@torch.library.custom_op("gsp_unroll::block", mutates_args=())
def _forward(
    tensors: list[Tensor],
    mask: Tensor,
    norm: str,
    hard: bool,
    scaled: bool,
    shape: list[int],
    offsets: list[int],
) -> Tensor:
    block = _block(tensors, mask, norm, hard, scaled, shape, offsets)
    kernel: Any = find("block", block.plan, block.w)
    result: Tensor = kernel.forward(block)
    return result


@_forward.register_fake
def _(
    tensors: list[Tensor],
    mask: Tensor,
    norm: str,
    hard: bool,
    scaled: bool,
    shape: list[int],
    offsets: list[int],
) -> Tensor:
    block = _block(tensors, mask, norm, hard, scaled, shape, offsets)
    return block.w.new_empty(*block.batch, block.plan.num_nodes, block.channels)


@torch.library.custom_op("gsp_unroll::block_reverse", mutates_args=())
def _reverse(
    tensors: list[Tensor],
    mask: Tensor,
    norm: str,
    hard: bool,
    scaled: bool,
    shape: list[int],
    offsets: list[int],
    g: Tensor,
) -> list[Tensor]:
    block = _block(tensors, mask, norm, hard, scaled, shape, offsets)
    kernel: Any = find("block", block.plan, block.w)
    # an operation must not return a view of what it returns elsewhere
    return [t.clone() if t._is_view() else t for t in kernel.reverse(block, g)]


@_reverse.register_fake
def _(
    tensors: list[Tensor],
    mask: Tensor,
    norm: str,
    hard: bool,
    scaled: bool,
    shape: list[int],
    offsets: list[int],
    g: Tensor,
) -> list[Tensor]:
    return [t.new_empty(t.shape) for t in tensors]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    tensors, mask, *ctx.options = inputs
    ctx.save_for_backward(mask, *tensors)


def _backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    mask, *tensors = ctx.saved_tensors
    return _reverse(tensors, mask, *ctx.options, g), None, None, None, None, None, None


_forward.register_autograd(_backward, setup_context=_keep)
