"""Small kernels on a lattice."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .._checks import check_same_device, mistake
from .._typing import Signal
from ..graph import Topology, grid_graph
from .base import Gram, LinearOperator


@dataclass(frozen=True, eq=False)
class Blur(LinearOperator):
    r"""$(Hx)_i=x_i+\sum_{o}\kappa_o\,(x_{i+o}-x_i)$: a small kernel on a lattice.

    Written with the gradient, so that a neighbour beyond the border counts as the pixel itself: a
    constant stays constant, and the adjoint is exact. For a kernel of sum 1 this is the usual
    correlation away from the border.

    Args:
        shape: nodes per axis.
        kernel: odd size on every axis, its centre at offset 0; divided by its sum.

    Shapes:
        - **kernel:** one axis for each of `shape`
        - **x, H @ x:** `(*batch, nodes, channels)`

    Raises:
        ValueError: an even kernel, one of another dimension, or one of sum 0; on call, a signal on
            other nodes or on another device than the kernel.

    Example:
        >>> import torch
        >>> from gsp_unroll import Blur
        >>> H = Blur((4,), torch.tensor([1.0, 2.0, 1.0]))
        >>> (H @ torch.tensor([[0.0], [4.0], [0.0], [0.0]])).flatten()
        tensor([1., 2., 1., 0.])
    """

    shape: tuple[int, ...]
    kernel: Tensor
    _taps: tuple[Topology, Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sizes = tuple(self.kernel.shape)
        if len(sizes) != len(self.shape) or any(s % 2 == 0 for s in sizes):
            raise mistake(
                f"a kernel of shape {sizes} for a lattice of shape {self.shape}",
                "one odd size per axis",
                "Pad the kernel with zeros to an odd size.",
            )
        if float(self.kernel.detach().sum().abs()) < 1e-12:
            raise mistake(
                f"a kernel whose values sum to {float(self.kernel.sum()):g}",
                "a kernel with a finite, non-zero sum",
                "A blur keeps the mean; for differences use Gradient or MatrixFree.",
            )
        object.__setattr__(self, "num_inputs", math.prod(self.shape))
        object.__setattr__(self, "num_outputs", math.prod(self.shape))
        object.__setattr__(self, "_taps", self._find_taps())

    def _find_taps(self) -> tuple[Topology, Tensor]:
        """The kernel's neighbours as a directed lattice, and their values on its edges."""
        kernel = self.kernel / self.kernel.sum()
        centre = torch.tensor([s // 2 for s in kernel.shape])
        at = kernel.nonzero().cpu()
        at = at[(at != centre).any(-1)]
        offsets = tuple(tuple(int(v) for v in o) for o in at - centre)
        lattice = grid_graph(self.shape, offsets=offsets, directed=True)
        values = kernel[tuple(at.T)].repeat_interleave(lattice.num_nodes)
        return lattice, lattice.mask_edges(values).unsqueeze(-1)

    def _apply(self, x: Signal) -> Signal:
        lattice, kappa = self._taps
        check_same_device(x, kappa, "a signal", "the kernel")
        return x + lattice.tail_sum(kappa.to(x.dtype) * lattice.gradient(x))

    def _apply_adjoint(self, y: Signal) -> Signal:
        lattice, kappa = self._taps
        check_same_device(y, kappa, "a signal", "the kernel")
        return y + lattice.divergence(kappa.to(y.dtype) * lattice.lift(y)[0])

    @property
    def gram(self) -> LinearOperator:
        # |H|'|H| 1 dominates every row sum of |H'H|; the pixel's own coefficient is what its
        # neighbours leave of 1
        lattice, kappa = self._taps
        own, others = (1 - lattice.tail_sum(kappa)).abs(), kappa.abs()
        row_sum = own + lattice.tail_sum(others)
        bound = own * row_sum + lattice.head_sum(others * lattice.lift(row_sum)[0])
        return Gram(self, bound)
