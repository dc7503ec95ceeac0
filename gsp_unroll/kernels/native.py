"""The compiled kernels, if they are there: loading, and values as C sees them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import Structure, c_int, c_int64, c_void_p
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from . import compile as build
from .plans import Stencil

#: Best first, as `gsp_best_isa` counts them.
INSTRUCTION_SETS = ("base", "avx2", "avx512")


class Lattice(Structure):
    """`struct Lattice` of stencil.hpp."""

    _fields_ = (
        ("rows", c_int64),
        ("width", c_int64),
        ("reach", c_int64),
        ("num_offsets", c_int64),
        ("lag", c_int64),
        ("source", c_void_p),
        ("row_step", c_void_p),
        ("column_step", c_void_p),
    )

    @classmethod
    def of(cls, plan: Stencil) -> Lattice:
        """The plan as C sees it; valid as long as the plan lives."""
        source, row_step, column_step = plan.tables
        return cls(
            len(source),
            plan.width,
            plan.reach,
            len(plan.offsets),
            plan.lag,
            source.data_ptr(),
            row_step.data_ptr(),
            column_step.data_ptr(),
        )


class Operand(Structure):
    """`struct Operand` of stencil.hpp: a tensor seen as (planes, nodes, channels)."""

    _fields_ = (
        ("data", c_void_p),
        ("plane", c_void_p),
        ("node", c_int64),
        ("channel", c_int64),
    )

    @classmethod
    def of(cls, x: Tensor, batch: torch.Size) -> Operand:
        """`x` `(*batch, nodes, channels)` broadcast over `batch` without a copy; valid as long as
        `x` lives."""
        x = in_memory(x).expand(*batch, *x.shape[-2:])
        start = plane_starts(batch, x.stride()[:-2])
        made = cls(x.data_ptr(), start.data_ptr(), x.stride(-2), x.stride(-1))
        # C reads both; the cache below may let go of the starts, and nobody else holds the zeros
        made.tensor, made.starts = x, start
        return made


def in_memory(x: Tensor) -> Tensor:
    """`x`, or zeros in its place: a derivative that autograd knows to be zero has no memory."""
    return torch.zeros(x.shape, dtype=x.dtype) if x._is_zerotensor() else x


@lru_cache(maxsize=1024)
def plane_starts(batch: torch.Size, strides: tuple[int, ...]) -> Tensor:
    """Where each plane of a batch begins, counted in numbers from the first."""
    start = torch.zeros(1, dtype=torch.int64)
    for size, stride in zip(batch, strides, strict=True):
        start = (start.unsqueeze(-1) + stride * torch.arange(size)).flatten()
    return start


def structure(name: str, fields: str, kind: type = c_void_p) -> type[Structure]:
    """A C structure whose fields are all of one kind."""
    return type(name, (Structure,), {"_fields_": tuple((f, kind) for f in fields.split())})


@lru_cache(maxsize=1)
def library() -> tuple[ctypes.CDLL | None, str]:
    """The library for this processor, and what a person should know about it: the name of its
    instruction set, or why there is none."""
    base = build.library("base")
    if not base.exists():
        return None, "not compiled: no C++ compiler was found at installation"
    try:
        best = ctypes.CDLL(str(base)).gsp_best_isa()
        for name in reversed(INSTRUCTION_SETS[: best + 1]):
            if build.library(name).exists():
                return ctypes.CDLL(str(build.library(name))), name
    except OSError as error:
        return None, f"not loaded: {error}"
    return None, "not compiled for this processor"


def function(operation: str, dtype: torch.dtype) -> Callable[..., None] | None:
    """The C function for `operation` on numbers of `dtype`, which raises where C reports failure.

    Its last argument, the number of threads, is added here.
    """
    loaded, _ = library()
    kind = str(dtype).removeprefix("torch.")
    raw: Any = getattr(loaded, f"gsp_{operation}_{kind}", None) if loaded else None
    if raw is None:
        return None
    raw.restype = c_int

    def call(*arguments: Any) -> None:
        if raw(*arguments, c_int(torch.get_num_threads())):
            raise MemoryError(f"gsp_{operation}: no memory for its work space")

    return call
