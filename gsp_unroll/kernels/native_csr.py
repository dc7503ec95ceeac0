"""The kernels for any graph in C++ (src/csr.hpp, src/csr_block.hpp, src/csr_reverse.hpp)."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import Structure, byref, c_int64, c_void_p
from math import prod
from typing import Any

import torch
from torch import Tensor

from . import native, native_block
from .native import Operand
from .plans import Csr
from .registry import Key

Call = Callable[..., None]


class Ends(Structure):
    """`struct Ends` of csr.hpp."""

    _fields_ = (
        ("nodes", c_int64),
        ("edges", c_int64),
        ("tail", c_void_p),
        ("head", c_void_p),
    )

    @classmethod
    def of(cls, plan: Csr) -> Ends:
        """The plan as C sees it; valid as long as the plan lives."""
        tail, head = plan.ends
        return cls(plan.num_nodes, plan.num_edges, tail.data_ptr(), head.data_ptr())


class Rows(Structure):
    """`struct Rows` of csr_block.hpp."""

    _fields_ = (
        ("nodes", c_int64),
        ("entries", c_int64),
        ("order", c_void_p),
        ("start", c_void_p),
        ("later", c_void_p),
        ("neighbour", c_void_p),
        ("edge", c_void_p),
    )

    @classmethod
    def of(cls, plan: Csr) -> Rows:
        """The plan as C sees it; valid as long as the plan lives."""
        tables = (t.data_ptr() for t in plan.tables)
        return cls(plan.num_nodes, 2 * plan.num_edges, *tables)


def _laplacian(function: Call) -> Callable[[Csr, Tensor, Tensor], Tensor]:
    def laplacian(plan: Csr, w: Tensor, x: Tensor) -> Tensor:
        """`div(w grad x)` for `w (*batch, edges)` and `x (*batch, nodes, channels)`."""
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        _run(function, plan, x.shape[-1], x.shape[:-2], _on_edges(w), x, y)
        return y

    return laplacian


def _edge_energy(function: Call) -> Callable[[Csr, Tensor, Tensor], Tensor]:
    def edge_energy(plan: Csr, x: Tensor, g: Tensor) -> Tensor:
        """`sum over channels of (grad x)(grad g)`, one value per edge."""
        # a sum over no channels is 0, and nothing would write it
        make = x.new_empty if x.shape[-1] else x.new_zeros
        e = make(*x.shape[:-2], plan.num_edges)
        _run(function, plan, x.shape[-1], x.shape[:-2], x, g, _on_edges(e))
        return e

    return edge_energy


def _on_edges(w: Tensor) -> Tensor:
    # C walks along the edges of a plane; planes may share their memory
    return (w if w.stride(-1) == 1 else w.contiguous()).unsqueeze(-1)


def _run(function: Call, plan: Csr, channels: int, batch: torch.Size, *tensors: Tensor) -> None:
    ends, operands = Ends.of(plan), [Operand.of(t, batch) for t in tensors]
    planes = c_int64(prod(batch))
    function(byref(ends), c_int64(channels), *(byref(v) for v in operands), planes)


def kernels() -> dict[Key, Any]:
    """The kernels for any graph that this machine can run."""
    found: dict[Key, Any] = dict(native_block.kernels_for("csr", "csr_", Rows.of))
    for dtype in (torch.float32, torch.float64):
        for operation, wrap in (("laplacian", _laplacian), ("edge_energy", _edge_energy)):
            function = native.function(f"csr_{operation}", dtype)
            if function:
                found[operation, "csr", dtype, "cpu"] = wrap(function)
    return found
