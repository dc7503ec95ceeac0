"""Autograd rules for linear maps on graphs: nothing is stored that can be had again.

A gradient and a divergence are adjoint to each other, so the backward of each *is* the other; the
Laplacian product and the edge energy are closed under differentiation in the same way. Both pairs
can therefore be differentiated any number of times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from ..kernels.registry import find

LinearMap = Callable[[Tensor], Tensor]


class _LinearPair(torch.autograd.Function):
    @staticmethod
    def forward(apply: LinearMap, adjoint: LinearMap, x: Tensor) -> Tensor:
        return apply(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.apply_map, ctx.adjoint_map = inputs[0], inputs[1]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, None, Tensor]:
        return None, None, linear_pair(ctx.adjoint_map, ctx.apply_map, g)


def linear_pair(apply: LinearMap, adjoint: LinearMap, x: Tensor) -> Tensor:
    """`apply(x)`, whose derivative is `adjoint`; neither map is traced by autograd."""
    result: Tensor = _LinearPair.apply(apply, adjoint, x)  # type: ignore[no-untyped-call]
    return result


class HasLaplacianKernels(Protocol):
    """What the pair below needs from a topology: two maps that autograd does not trace, and the
    plan by which a faster kernel for them is looked up."""

    @property
    def plan(self) -> Any: ...
    def _laplacian(self, w: Tensor, x: Tensor) -> Tensor: ...
    def _edge_energy(self, x: Tensor, g: Tensor) -> Tensor: ...


def _product(topology: HasLaplacianKernels, w: Tensor, x: Tensor) -> Tensor:
    kernel = None if torch.compiler.is_compiling() else find("laplacian", topology.plan, x)
    return topology._laplacian(w, x) if kernel is None else kernel(topology.plan, w, x)


def _energy(topology: HasLaplacianKernels, x: Tensor, g: Tensor) -> Tensor:
    kernel = None if torch.compiler.is_compiling() else find("edge_energy", topology.plan, x)
    return topology._edge_energy(x, g) if kernel is None else kernel(topology.plan, x, g)


class _Laplacian(torch.autograd.Function):
    """`y = div(w grad x)`: linear in `w` and in `x`, self-adjoint in `x`."""

    @staticmethod
    def forward(topology: HasLaplacianKernels, w: Tensor, x: Tensor) -> Tensor:
        return _product(topology, w, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.topology = inputs[0]
        ctx.save_for_backward(inputs[1], inputs[2])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        w, x = ctx.saved_tensors
        grad_w = edge_energy(ctx.topology, x, g) if ctx.needs_input_grad[1] else None
        grad_x = laplacian(ctx.topology, w, g) if ctx.needs_input_grad[2] else None
        return None, grad_w, grad_x


class _EdgeEnergy(torch.autograd.Function):
    """`e = sum over channels of (grad x)(grad g)`: bilinear, symmetric in `x` and `g`."""

    @staticmethod
    def forward(topology: HasLaplacianKernels, x: Tensor, g: Tensor) -> Tensor:
        return _energy(topology, x, g)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.topology = inputs[0]
        ctx.save_for_backward(inputs[1], inputs[2])

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        x, g = ctx.saved_tensors
        grad_x = laplacian(ctx.topology, u, g) if ctx.needs_input_grad[1] else None
        grad_g = laplacian(ctx.topology, u, x) if ctx.needs_input_grad[2] else None
        return None, grad_x, grad_g


def laplacian(topology: HasLaplacianKernels, w: Tensor, x: Tensor) -> Tensor:
    """`div(w grad x)` for `w (*batch, edges)` and `x (*batch, nodes, channels)`."""
    result: Tensor = _Laplacian.apply(topology, w, x)  # type: ignore[no-untyped-call]
    return result


def edge_energy(topology: HasLaplacianKernels, x: Tensor, g: Tensor) -> Tensor:
    """`sum over channels of (grad x)(grad g)`, one value per edge."""
    result: Tensor = _EdgeEnergy.apply(topology, x, g)  # type: ignore[no-untyped-call]
    return result
