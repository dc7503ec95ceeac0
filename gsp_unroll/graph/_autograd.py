"""Autograd rules for linear maps on graphs: nothing is stored that can be had again.

A gradient and a divergence are adjoint to each other, so the backward of each *is* the other; the
Laplacian product and the edge energy are closed under differentiation in the same way. Both pairs
can therefore be differentiated any number of times.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from ..kernels.registry import find, transformed

LinearMap = Callable[[Tensor], Tensor]


def untracked(*tensors: Tensor) -> bool:
    """True where no derivative of any kind is asked for: a Function costs 60 microseconds a call,
    more than most maps of a small graph."""
    return not (
        torch.compiler.is_compiling()
        or (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))
        or transformed()
    )


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


class _TransformedPair(_LinearPair):
    """The same with what transforms ask for, which `torch.compile` does not know."""

    generate_vmap_rule = True

    @staticmethod
    def jvp(ctx: Any, _apply: None, _adjoint: None, x: Tensor) -> Tensor:
        return linear_pair(ctx.apply_map, ctx.adjoint_map, x)


def linear_pair(apply: LinearMap, adjoint: LinearMap, x: Tensor) -> Tensor:
    r"""`apply(x)`, whose derivative is `adjoint`; neither map is traced by autograd.

    Args:
        apply: $x\mapsto Ax$, a linear map.
        adjoint: $y\mapsto A^\top y$. Whether it is the adjoint is not checked here;
            `testing.check_adjoint` does.
        x: what the map is applied to.

    Shapes:
        - **x:** what `apply` takes
        - **returns:** what `apply` returns

    Example:
        >>> import torch
        >>> from gsp_unroll.graph import linear_pair
        >>> x = torch.ones(2, requires_grad=True)
        >>> linear_pair(lambda x: 3 * x.detach(), lambda y: 3 * y, x).sum().backward()
        >>> x.grad
        tensor([3., 3.])
    """
    if untracked(x):
        return apply(x)
    pair = _TransformedPair if transformed() else _LinearPair
    result: Tensor = pair.apply(apply, adjoint, x)  # type: ignore[no-untyped-call]
    return result


class HasKernels(Protocol):
    """What is needed from a topology below: two maps that autograd does not trace, a formula that
    it does, and the plan by which faster kernels are looked up."""

    @property
    def plan(self) -> Any: ...
    def _laplacian(self, w: Tensor, x: Tensor) -> Tensor: ...
    def _edge_energy(self, x: Tensor, g: Tensor) -> Tensor: ...
    def _over_degrees(self, w: Tensor) -> Tensor: ...


def _product(topology: HasKernels, w: Tensor, x: Tensor) -> Tensor:
    kernel = None if torch.compiler.is_compiling() else find("laplacian", topology.plan, x)
    return topology._laplacian(w, x) if kernel is None else kernel(topology.plan, w, x)


def _energy(topology: HasKernels, x: Tensor, g: Tensor) -> Tensor:
    kernel = None if torch.compiler.is_compiling() else find("edge_energy", topology.plan, x)
    return topology._edge_energy(x, g) if kernel is None else kernel(topology.plan, x, g)


class _Laplacian(torch.autograd.Function):
    """`y = div(w grad x)`: linear in `w` and in `x`, self-adjoint in `x`."""

    @staticmethod
    def forward(topology: HasKernels, w: Tensor, x: Tensor) -> Tensor:
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
    def forward(topology: HasKernels, x: Tensor, g: Tensor) -> Tensor:
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


def laplacian(topology: HasKernels, w: Tensor, x: Tensor) -> Tensor:
    """`div(w grad x)` for `w (*batch, edges)` and `x (*batch, nodes, channels)`."""
    if transformed():
        # torch differentiates and maps the formula itself; to what is mapped, x must be mapped too
        return topology._laplacian(w, x + w.new_zeros(()))
    if untracked(w, x):
        return _product(topology, w, x)
    result: Tensor = _Laplacian.apply(topology, w, x)  # type: ignore[no-untyped-call]
    return result


def edge_energy(topology: HasKernels, x: Tensor, g: Tensor) -> Tensor:
    """`sum over channels of (grad x)(grad g)`, one value per edge."""
    if transformed():
        return topology._edge_energy(x + g.new_zeros(()), g)
    if untracked(x, g):
        return _energy(topology, x, g)
    result: Tensor = _EdgeEnergy.apply(topology, x, g)  # type: ignore[no-untyped-call]
    return result


def _weight_kernel(operation: str, topology: HasKernels, reference: Tensor) -> Any | None:
    """A kernel with a reverse of its own; under `torch.compile` the formula is captured instead."""
    return None if torch.compiler.is_compiling() else find(operation, topology.plan, reference)


class _Similarity(torch.autograd.Function):
    """`w = exp(-min(|x_i - x_j|^2, cut))` by a kernel."""

    @staticmethod
    def forward(topology: HasKernels, kernel: Any, x: Tensor, cut: float) -> Tensor:
        result: Tensor = kernel(topology.plan, x, cut)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.topology, ctx.kernel, x, cut = inputs
        # by more than rounding above what was cut, which is known by its value
        ctx.floor = math.exp(-cut) * (1 + 64 * torch.finfo(x.dtype).eps)
        ctx.save_for_backward(x, output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, None, Tensor, None]:
        x, w = ctx.saved_tensors
        if not (torch.is_grad_enabled() or transformed()):
            return None, None, ctx.kernel.reverse(ctx.topology.plan, x, w, g, ctx.floor), None
        slope = torch.where(w > ctx.floor, -2 * g * w, 0)
        return None, None, laplacian(ctx.topology, slope, x), None


def similarity(topology: HasKernels, x: Tensor, cut: float) -> Tensor | None:
    """`exp(-min(|x_i - x_j|^2, cut))` where a kernel computes it, else None."""
    kernel = _weight_kernel("similarity", topology, x)
    if kernel is None:
        return None
    result: Tensor = _Similarity.apply(topology, kernel, x, cut)  # type: ignore[no-untyped-call]
    return result


class _OverDegrees(torch.autograd.Function):
    """`w (1 / d_i + 1 / d_j)` by a kernel; a derivative of the derivative takes the formula."""

    @staticmethod
    def forward(topology: HasKernels, kernel: Any, w: Tensor, smallest: float) -> Tensor:
        result: Tensor = kernel(topology.plan, w, smallest)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.topology, ctx.kernel, w, ctx.smallest = inputs
        ctx.save_for_backward(w)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, None, Tensor, None]:
        (w,) = ctx.saved_tensors
        if not (torch.is_grad_enabled() or transformed()):
            return None, None, ctx.kernel.reverse(ctx.topology.plan, w, g, ctx.smallest), None
        recorded = torch.is_grad_enabled()
        with torch.enable_grad():
            divided = ctx.topology._over_degrees(w)
            (grad,) = torch.autograd.grad(divided, w, g, create_graph=recorded)
        return None, None, grad, None


def over_degrees(topology: HasKernels, w: Tensor, smallest: float) -> Tensor | None:
    """`w (1 / d_i + 1 / d_j)` where a kernel computes it, else None."""
    kernel = _weight_kernel("over_degrees", topology, w)
    if kernel is None:
        return None
    result: Tensor = _OverDegrees.apply(topology, kernel, w, smallest)  # type: ignore[no-untyped-call]
    return result
