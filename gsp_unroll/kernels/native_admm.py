"""Several steps of plain ADMM in C++: on a lattice (src/admm.hpp) and on any graph
(src/csr_admm.hpp)."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import Structure, byref, c_double, c_int64, c_void_p
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from .._typing import EdgeSignal, Signal
from . import native
from .native import Lattice, Operand
from .native_block import NORMS, Coefficients, Inputs, Options
from .native_csr import Rows
from .plans import Csr, Plan
from .registry import Key


@dataclass(frozen=True, eq=False)
class Steps:
    r"""Steps of `admm_step` with the same numbers, each x-update by damped Jacobi steps.

    Args:
        plan: the structure of the graph.
        norm: of an edge's difference, `"l1"` or `"l2"` across channels.
        hard: True when observed values are kept, False for least squares.
        x, y: signal and observation, `(*batch, nodes, channels)`.
        mask: 1 where observed, 0 elsewhere, of the same shape.
        w: edge weights, `(*batch, edges)`.
        state: $z+u$, `(*batch, edges, channels)`.
        tau, rho: threshold and penalty, `(planes,)`.
        alpha: the steps of an x-update.
        relaxation: over-relaxation.
        num_steps: how many steps of ADMM.
    """

    plan: Plan
    norm: str
    hard: bool
    x: Signal
    y: Signal
    mask: Tensor
    w: Tensor
    state: EdgeSignal
    tau: Tensor
    rho: Tensor
    alpha: tuple[float, ...]
    relaxation: float
    num_steps: int


class Directed(Structure):
    """`struct Directed` of csr_admm.hpp."""

    _fields_ = (("rows", Rows), ("tail", c_void_p))

    @classmethod
    def of(cls, plan: Csr) -> Directed:
        """The plan as C sees it; valid as long as the plan lives."""
        return cls(Rows.of(plan), plan.ends[0].data_ptr())


class NativeADMM:
    """`Steps -> (x, z + u)` after them.

    Args:
        call: the C function.
        structure_of: the plan as C sees it.
    """

    def __init__(self, call: Callable[..., None], structure_of: Callable[[Any], Structure]) -> None:
        self._call, self._structure_of = call, structure_of

    def __call__(self, steps: Steps) -> tuple[Signal, EdgeSignal]:
        """Signal and state."""
        batch, (nodes, channels) = steps.x.shape[:-2], steps.x.shape[-2:]
        planes = prod(batch)
        # everything C reads has a name here until the call is over
        alpha = steps.rho.new_tensor(steps.alpha).repeat(planes)
        numbers = [t.contiguous() for t in (steps.tau, steps.rho)]
        unused = torch.zeros_like(alpha)
        coefficients = Coefficients(*(t.data_ptr() for t in (*numbers, unused, alpha, unused)))
        w = (steps.w if steps.w.stride(-1) == 1 else steps.w.contiguous()).unsqueeze(-1)
        operands = [Operand.of(t, batch) for t in (steps.x, steps.y, steps.mask, w)]
        inputs = Inputs(*operands)
        options = Options(
            channels, steps.num_steps, len(steps.alpha), NORMS[steps.norm], steps.hard, True
        )
        x, state = steps.x.new_empty(steps.x.shape), steps.state.new_zeros(steps.state.shape)
        self._call(
            byref(self._structure_of(steps.plan)),
            byref(options),
            byref(coefficients),
            c_double(steps.relaxation),
            byref(inputs),
            byref(Operand.of(steps.state, batch)),
            byref(Operand.of(x, batch)),
            byref(Operand.of(state, batch)),
            c_int64(planes),
            c_int64(nodes),
        )
        return x, state


def kernels() -> dict[Key, NativeADMM]:
    """The solvers that this machine can run."""
    found = {}
    for plan, prefix, structure_of in (("stencil", "", Lattice.of), ("csr", "csr_", Directed.of)):
        for dtype in (torch.float32, torch.float64):
            call = native.function(f"{prefix}admm", dtype)
            if call:
                found["admm", plan, dtype, "cpu"] = NativeADMM(call, structure_of)
    return found
