"""Conjugate gradients to convergence in C++ (src/cg.hpp)."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import Structure, byref, c_int64, c_void_p
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from .._typing import PerSystem, Signal, Weight
from . import native
from .native import Lattice, Operand
from .plans import Plan, Stencil
from .registry import Key


class Stopping(Structure):
    """`struct Stopping` of cg.hpp."""

    _fields_ = (("square", c_void_p), ("energy", c_void_p), ("max_steps", c_int64))


class System(Structure):
    """`struct System` of cg.hpp."""

    _fields_ = (*((name, Operand) for name in ("x", "r", "h", "inv", "w")), ("rho", c_void_p))


@dataclass(frozen=True, eq=False)
class Run:
    r"""A solve of $(h+\rho L)x=b$, one system per plane and channel, that goes on from `x` and `r`.

    Args:
        plan: the structure of the graph.
        x: where it stands, `(*batch, nodes, channels)`; moves where `inverse` is above 0.
        r: $b-Ax$ there.
        h: the diagonal beside the Laplacian, broadcasts against `x`.
        inverse: one over the diagonal of the system, 0 where `x` is fixed; broadcasts likewise.
        w: edge weights, `(*batch, edges)`.
        rho: factor of the Laplacian, `(*batch, 1, channels)` or fewer axes.
        square: a system ends when $\|r\|^2$ is at most this, `(*batch, 1, channels)`.
        energy: or when $\langle r,D^{-1}r\rangle$ is.
        max_steps: budget.
    """

    plan: Plan
    x: Signal
    r: Signal
    h: Tensor
    inverse: Tensor
    w: Weight
    rho: Tensor
    square: PerSystem
    energy: PerSystem
    max_steps: int


class NativeCG:
    """`Run -> (x, steps)`, the steps of the plane that took most."""

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, run: Run) -> tuple[Signal, int]:
        """The solution, and how many steps it took."""
        plan, batch, (nodes, channels) = run.plan, run.x.shape[:-2], run.x.shape[-2:]
        assert isinstance(plan, Stencil)
        # everything C reads has a name here until the call is over
        signals = [t.expand(run.x.shape) for t in (run.x, run.r, run.h, run.inverse)]
        w = run.w.contiguous().unsqueeze(-1)
        per_system = (*batch, 1, channels)
        rho = run.rho.to(run.x.dtype).expand(per_system).contiguous()
        ends = [t.double().expand(per_system).contiguous() for t in (run.square, run.energy)]
        result, steps = run.x.new_empty(run.x.shape), torch.zeros(prod(batch), dtype=torch.int64)
        operands = [Operand.of(t, batch) for t in (*signals, w)]
        self._call(
            byref(Lattice.of(plan)),
            byref(System(*operands, rho.data_ptr())),
            byref(Stopping(*(t.data_ptr() for t in ends), run.max_steps)),
            byref(Operand.of(result, batch)),
            c_void_p(steps.data_ptr()),
            c_int64(channels),
            c_int64(prod(batch)),
            c_int64(nodes),
        )
        return result, int(steps.max()) if len(steps) else 0


def kernels() -> dict[Key, NativeCG]:
    """The solvers that this machine can run."""
    calls = {dtype: native.function("cg", dtype) for dtype in (torch.float32, torch.float64)}
    return {
        ("cg", "stencil", dtype, "cpu"): NativeCG(call) for dtype, call in calls.items() if call
    }
