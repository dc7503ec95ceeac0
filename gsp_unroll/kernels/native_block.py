"""The block kernels in C++: on a lattice (src/block.hpp, src/block_reverse.hpp) and on any graph
(src/csr_block.hpp, src/csr_reverse.hpp)."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import Structure, byref, c_int64
from math import prod
from typing import Any

import torch
from torch import Tensor

from . import native
from .block import Block
from .native import Lattice, Operand, structure
from .registry import Key

Call = Callable[..., None]
NORMS = {"none": 0, "l1": 1, "l2": 2}

Options = structure("Options", "channels iterations cg_steps norm hard scaled", c_int64)
Coefficients = structure("Coefficients", "tau rho ratio alpha beta")


class Inputs(Structure):
    """`struct Inputs` of block.hpp."""

    _fields_ = tuple((name, Operand) for name in ("x", "y", "m", "w"))


class Gradients(Structure):
    """`struct Gradients` of block_reverse.hpp."""

    _fields_ = tuple((name, Operand) for name in ("x", "y", "w"))


class NativeBlock:
    """`forward` and `reverse` of a block of one dtype.

    Args:
        forward, reverse: the C functions.
        structure_of: the plan as C sees it.
    """

    def __init__(
        self, forward: Call, reverse: Call, structure_of: Callable[[Any], Structure]
    ) -> None:
        self._forward, self._reverse, self._structure_of = forward, reverse, structure_of

    def forward(self, block: Block) -> Tensor:
        """The restored signal."""
        x = block.x.new_empty(*block.batch, block.plan.num_nodes, block.channels)
        self._run(self._forward, block, Operand.of(x, block.batch))
        return x

    def reverse(self, block: Block, g: Tensor) -> tuple[Tensor, ...]:
        """The gradients by `block.differentiable` for the gradient `g` by the result."""
        batch, signals, numbers = block.batch, block.differentiable[:3], block.differentiable[3:]
        g_x, g_y = (g.new_empty(*batch, *g.shape[-2:]) for _ in range(2))
        g_w = block.w.new_zeros(*batch, block.w.shape[-1])
        by = [t.new_empty(prod(batch), *t.shape[1:]) for t in numbers]
        written = [Operand.of(t, batch) for t in (g_x, g_y, g_w.unsqueeze(-1))]
        to = Gradients(*written)
        found = Coefficients(*(t.data_ptr() for t in by))
        self._run(self._reverse, block, Operand.of(g, batch), to, found)
        of_signals = (v.sum_to_size(t.shape) for v, t in zip((g_x, g_y, g_w), signals, strict=True))
        # planes in order, so that the sum does not depend on which thread was first
        of_numbers = (
            v.unflatten(0, (-1, t.shape[0])).sum(0) for v, t in zip(by, numbers, strict=True)
        )
        return *of_signals, *of_numbers

    def _run(self, function: Call, block: Block, *results: Structure) -> None:
        batch, given = block.batch, (block.x, block.y, block.mask)
        # everything C reads has a name here until the call is over
        signals = [t.expand(*t.shape[:-1], block.channels) for t in given]
        numbers = [t.contiguous() for t in block.differentiable[3:]]
        # one number after another in each plane; a batch may repeat a plane
        w = (block.w if block.w.stride(-1) == 1 else block.w.contiguous()).unsqueeze(-1)
        graph = self._structure_of(block.plan)
        options = Options(
            block.channels,
            block.num_iterations,
            block.cg_steps,
            NORMS[block.norm],
            block.hard,
            block.scaled,
        )
        coefficients = Coefficients(*(t.data_ptr() for t in numbers))
        operands = [Operand.of(t, batch) for t in (*signals, w)]
        inputs = Inputs(*operands)
        function(
            byref(graph),
            byref(options),
            byref(coefficients),
            c_int64(numbers[0].shape[0]),
            byref(inputs),
            *(byref(result) for result in results),
            c_int64(prod(batch)),
            c_int64(block.plan.num_nodes),
        )


def kernels_for(
    plan: str, prefix: str, structure_of: Callable[[Any], Structure]
) -> dict[Key, NativeBlock]:
    """The block kernels on one kind of plan that this machine can run."""
    found = {}
    for dtype in (torch.float32, torch.float64):
        forward = native.function(f"{prefix}block_forward", dtype)
        reverse = native.function(f"{prefix}block_reverse", dtype)
        if forward and reverse:
            found["block", plan, dtype, "cpu"] = NativeBlock(forward, reverse, structure_of)
    return found


def kernels() -> dict[Key, NativeBlock]:
    """The block kernels on lattices that this machine can run."""
    return kernels_for("stencil", "", Lattice.of)
