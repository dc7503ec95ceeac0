"""Learned weights of a lattice in C++, forward and reverse (src/similarity.hpp)."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import byref, c_double, c_int64, c_void_p
from math import prod
from typing import Any

import torch
from torch import Tensor

from . import native
from .native import Lattice, Operand, in_memory
from .plans import Stencil
from .registry import Key


class NativeWeights:
    """A map to edge weights, and the derivative of its result by what it is given.

    Args:
        call: the C function.
        reverse: the C function of the derivative.
    """

    def __init__(self, call: Callable[..., None], reverse: Callable[..., None]) -> None:
        self._call, self._reverse = call, reverse


class NativeSimilarity(NativeWeights):
    """`exp(-min(|x_i - x_j|^2, cut))` on every edge."""

    def __call__(self, plan: Stencil, x: Tensor, cut: float) -> Tensor:
        """`(*batch, nodes, channels)` to `(*batch, edges)`."""
        batch, (nodes, channels) = x.shape[:-2], x.shape[-2:]
        w = x.new_empty(*batch, len(plan.offsets) * nodes)
        operand = Operand.of(x, batch)
        self._call(
            byref(Lattice.of(plan)),
            byref(operand),
            c_double(cut),
            c_void_p(w.data_ptr()),
            c_int64(channels),
            c_int64(prod(batch)),
            c_int64(nodes),
        )
        return w

    def reverse(self, plan: Stencil, x: Tensor, w: Tensor, grad: Tensor, floor: float) -> Tensor:
        """The derivative by `x` from that by the result `w`; 0 for weights of `floor` or less."""
        batch, (nodes, channels) = x.shape[:-2], x.shape[-2:]
        grad, result = in_memory(grad).contiguous(), x.new_empty(x.shape)
        operand = Operand.of(x, batch)
        self._reverse(
            byref(Lattice.of(plan)),
            byref(operand),
            c_double(floor),
            *(c_void_p(t.data_ptr()) for t in (w, grad, result)),
            c_int64(channels),
            c_int64(prod(batch)),
            c_int64(nodes),
        )
        return result


class NativeOverDegrees(NativeWeights):
    """`w (1 / d_i + 1 / d_j)` with the degrees of an edge's ends."""

    def __call__(self, plan: Stencil, w: Tensor, smallest: float) -> Tensor:
        """`(*batch, edges)` to the same; a degree of `smallest` or less counts as none."""
        return self._run(self._call, plan, [in_memory(w).contiguous()], smallest)

    def reverse(self, plan: Stencil, w: Tensor, grad: Tensor, smallest: float) -> Tensor:
        """The derivative by `w` from that by the result."""
        return self._run(
            self._reverse, plan, [in_memory(w).contiguous(), in_memory(grad).contiguous()], smallest
        )

    def _run(
        self, call: Callable[..., None], plan: Stencil, given: list[Tensor], smallest: float
    ) -> Tensor:
        result = given[0].new_empty(given[0].shape)
        call(
            byref(Lattice.of(plan)),
            *(c_void_p(t.data_ptr()) for t in given),
            c_double(smallest),
            c_void_p(result.data_ptr()),
            c_int64(prod(result.shape[:-1])),
            c_int64(plan.num_nodes),
        )
        return result


def kernels() -> dict[Key, Any]:
    """The maps that this machine can run."""
    found: dict[Key, Any] = {}
    for name, kind in (("similarity", NativeSimilarity), ("over_degrees", NativeOverDegrees)):
        for dtype in (torch.float32, torch.float64):
            call = native.function(name, dtype)
            reverse = native.function(f"{name}_reverse", dtype)
            if call and reverse:
                found[name, "stencil", dtype, "cpu"] = kind(call, reverse)
    return found
