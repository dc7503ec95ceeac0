"""Kernels as single operations for `torch.compile`.

A kernel is a loop over the offsets of a window. Traced, a solver of fifty products on a 5x5 window
would become thousands of small operations and take minutes to compile; seen from outside, each
product is one. Eager code calls the kernels directly.

A scatter is opaque for another reason: the CPU backend of torch 2.13 fuses two of them and may read
the sum before it has been added.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..kernels.registry import exports_plain

if TYPE_CHECKING:
    from .grid import Grid

Kernel = Callable[..., Tensor]


@lru_cache(maxsize=128)
def _grid(shape: tuple[int, ...], offsets: tuple[int, ...]) -> Grid:
    from .grid import Grid

    axes = len(shape)
    rows = tuple(offsets[k : k + axes] for k in range(0, len(offsets), axes))
    return Grid(shape, rows, directed=True)  # kernels do not ask whether an edge has a direction


@torch.library.custom_op("gsp_unroll::grid_kernel", mutates_args=())
def _grid_kernel(
    tensors: list[Tensor], kernel: str, shape: list[int], offsets: list[int], size: list[int]
) -> Tensor:
    result: Tensor = getattr(_grid(tuple(shape), tuple(offsets)), kernel)(*tensors)
    return result


@_grid_kernel.register_fake
def _(
    tensors: list[Tensor], kernel: str, shape: list[int], offsets: list[int], size: list[int]
) -> Tensor:
    return tensors[-1].new_empty(size)


@torch.library.custom_op("gsp_unroll::scatter", mutates_args=())
def scatter(z: Tensor, node: Tensor, num_nodes: int) -> Tensor:
    """The sum of `z` over the edges of each node."""
    zero = z.new_zeros(*z.shape[:-2], num_nodes, z.shape[-1])
    return zero.index_add(-2, node, z)


@scatter.register_fake
def _(z: Tensor, node: Tensor, num_nodes: int) -> Tensor:
    return z.new_empty(*z.shape[:-2], num_nodes, z.shape[-1])


def _keep_node(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])


def _gather(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
    return g.index_select(-2, ctx.saved_tensors[0]), None, None


scatter.register_autograd(_gather, setup_context=_keep_node)


def one_operation() -> bool:
    """Whether a graph is being captured that may hold operations of ours."""
    return torch.compiler.is_compiling() and not exports_plain()


def opaque(result_size: Callable[..., tuple[int, ...]]) -> Callable[[Kernel], Kernel]:
    """Makes a kernel one operation while a graph is captured.

    Args:
        result_size: the size of the result, from the grid and the kernel's tensors.
    """

    def decorate(kernel: Kernel) -> Kernel:
        @wraps(kernel)
        def call(self: Grid, *tensors: Tensor) -> Tensor:
            if not one_operation():
                return kernel(self, *tensors)
            flat = [int(d) for o in self.offsets for d in o]
            size = list(result_size(self, *tensors))
            result: Any = _grid_kernel(list(tensors), kernel.__name__, list(self.shape), flat, size)
            return result  # type: ignore[no-any-return]

        return call

    return decorate


def on_edges(grid: Grid, x: Tensor) -> tuple[int, ...]:
    """Nodes to edges, channels kept."""
    return (*x.shape[:-2], len(grid.offsets) * math.prod(grid.shape), x.shape[-1])


def on_nodes(grid: Grid, z: Tensor) -> tuple[int, ...]:
    """Edges to nodes, channels kept."""
    return (*z.shape[:-2], math.prod(grid.shape), z.shape[-1])


def as_last(grid: Grid, *tensors: Tensor) -> tuple[int, ...]:
    """The size of the last argument."""
    return tuple(tensors[-1].shape)


def per_edge(grid: Grid, x: Tensor, g: Tensor) -> tuple[int, ...]:
    """Nodes to one value per edge."""
    return (*x.shape[:-2], len(grid.offsets) * math.prod(grid.shape))
