"""Single products with a lattice in C++ (src/product.hpp)."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import byref, c_int64, c_void_p
from math import prod

import torch
from torch import Tensor

from . import native
from .native import Lattice, Operand, in_memory
from .plans import Stencil
from .registry import Key

Call = Callable[..., None]


class NativeProduct:
    """`L x` for weights `w`, or the energy `sum over channels of (grad x)(grad g)`."""

    def __init__(self, call: Call, per_edge: bool) -> None:
        self._call, self._per_edge = call, per_edge

    def __call__(self, plan: Stencil, first: Tensor, second: Tensor) -> Tensor:
        """`(w, x) -> L x` or `(x, g) -> energy`; both of one batch, `(*batch, edges)` and
        `(*batch, nodes, channels)`."""
        batch, (nodes, channels) = second.shape[:-2], second.shape[-2:]
        edges = (len(plan.offsets) * nodes,) if self._per_edge else (nodes, channels)
        result = second.new_empty(*batch, *edges)
        operands = [_dense(first if self._per_edge else first.unsqueeze(-1)), _dense(second)]
        self._call(
            byref(Lattice.of(plan)),
            *(byref(Operand.of(t, batch)) for t in operands),
            c_void_p(result.data_ptr()),
            c_int64(channels),
            c_int64(prod(batch)),
            c_int64(nodes),
        )
        return result


class NativeEnds:
    """From nodes to edges, the sum of an edge's two ends or their difference; or the adjoint, from
    edges to nodes."""

    def __init__(self, call: Call, to_edges: bool) -> None:
        self._call, self._to_edges = call, to_edges

    def __call__(self, plan: Stencil, given: Tensor) -> Tensor:
        """`(*batch, nodes, channels)` to `(*batch, edges, channels)`, or the other way round."""
        given = in_memory(given).contiguous()
        nodes, channels = plan.num_nodes, given.shape[-1]
        size = len(plan.offsets) * nodes if self._to_edges else nodes
        result = given.new_empty(*given.shape[:-2], size, channels)
        self._call(
            byref(Lattice.of(plan)),
            c_void_p(given.data_ptr()),
            c_void_p(result.data_ptr()),
            c_int64(channels),
            c_int64(prod(given.shape[:-2])),
            c_int64(nodes),
        )
        return result


def _dense(x: Tensor) -> Tensor:
    """`x` with its last two axes stored one number after another; a batch may repeat a plane."""
    return x if x.stride(-1) == 1 and x.stride(-2) == x.shape[-1] else x.contiguous()


def kernels() -> dict[Key, NativeProduct | NativeEnds]:
    """The products that this machine can run."""
    found: dict[Key, NativeProduct | NativeEnds] = {}
    for dtype in (torch.float32, torch.float64):
        for operation in ("laplacian", "edge_energy"):
            call = native.function(operation, dtype)
            if call:
                kernel = NativeProduct(call, per_edge=operation == "edge_energy")
                found[operation, "stencil", dtype, "cpu"] = kernel
        for operation in ("ends_sum", "gradient", "incident_sum", "divergence"):
            call = native.function(operation, dtype)
            if call:
                to_edges = operation in ("ends_sum", "gradient")
                found[operation, "stencil", dtype, "cpu"] = NativeEnds(call, to_edges)
    return found
