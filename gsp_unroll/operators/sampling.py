"""What a sensor sees: masks, colour filters, decimation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .._checks import check_positive_count, check_same_device, mistake
from .._typing import Mask, Signal
from .base import LinearOperator, Selection, SelfAdjoint, Split, with_head_axis


@dataclass(frozen=True, eq=False)
class SamplingMask(SelfAdjoint, Selection):
    r"""$H=\mathrm{diag}(m)$: keeps observed values and writes zero elsewhere.

    The observation lives on all nodes, zero-filled: the paper's $H^\top y$. What stands at
    unobserved nodes, NaN included, is never read.

    Args:
        mask: bool, `(nodes,)` for all channels alike, `(nodes, channels)`, or with leading batch
            axes; True where observed.

    Shapes:
        - **mask:** `(nodes,)`, `(nodes, channels)` or `(*batch, nodes, channels)`
        - **x, H @ x:** `(*batch, nodes, channels)`

    Raises:
        ValueError: a mask that is not bool; on call, a signal on other nodes, of other channels or
            on another device than the mask.

    Example:
        >>> import torch
        >>> from gsp_unroll import SamplingMask
        >>> H = SamplingMask(torch.tensor([True, False]))
        >>> (H @ torch.tensor([[1.0], [torch.nan]])).flatten()
        tensor([1., 0.])
    """

    mask: Mask

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool:
            raise mistake(
                f"a mask of dtype {self.mask.dtype}",
                "torch.bool, True where observed",
                "Use mask.bool(), or ~torch.isnan(y) for data with gaps.",
            )
        if self.mask.ndim == 1:
            object.__setattr__(self, "mask", self.mask.unsqueeze(-1))
        if self.mask.ndim == 0:
            raise mistake("a mask of one value", "(nodes,) or more axes", "Give one bool per node.")
        object.__setattr__(self, "num_inputs", self.mask.shape[-2])
        object.__setattr__(self, "num_outputs", self.mask.shape[-2])

    @property
    def observed(self) -> Mask:
        return self.mask

    def per_head(self) -> LinearOperator:
        return SamplingMask(with_head_axis(self.mask))

    def _apply(self, x: Signal) -> Signal:
        if self.mask.shape[-1] not in (1, x.shape[-1]):
            raise mistake(
                f"a signal of {x.shape[-1]} channels",
                f"{self.mask.shape[-1]}, as in the mask",
                "Give one mask for all channels, (nodes,), or one per channel.",
            )
        check_same_device(x, self.mask, "a signal", "the mask")
        return torch.where(self.mask, x, 0)

    def split(self) -> Split | None:
        return Split(self.mask.to(torch.get_default_dtype()))

    def diagonal(self) -> Tensor | None:
        # one 0/1 number per entry, in the default dtype: it joins other diagonals by promotion
        return self.mask.to(torch.get_default_dtype())

    def majorizer(self) -> Tensor | None:
        return self.diagonal()

    @property
    def gram(self) -> LinearOperator:
        return self


@dataclass(frozen=True, eq=False)
class ColorMosaic(Selection):
    """$(Hx)_i=x_{i,c(i)}$: one channel per node, as behind any colour filter array.

    Args:
        color: `(nodes,)` int64, the channel that node $i$ sees.
        num_channels: channels of the full signal.

    Shapes:
        - **H @ x:** `(*batch, nodes, channels)` to `(*batch, nodes, 1)`

    Raises:
        ValueError: `color` that is not `(nodes,)` of int64, or holds a number that is no channel;
            on call, a signal on other nodes, of other channels or on another device.

    Example:
        >>> import torch
        >>> from gsp_unroll import ColorMosaic
        >>> H = ColorMosaic(torch.tensor([2, 0]), num_channels=3)
        >>> (H @ torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).flatten()
        tensor([3., 4.])
    """

    color: Tensor
    num_channels: int = 3

    def __post_init__(self) -> None:
        check_positive_count(self.num_channels, "num_channels")
        if self.color.ndim != 1 or self.color.dtype != torch.int64:
            raise mistake(
                f"color of shape {tuple(self.color.shape)} and dtype {self.color.dtype}",
                "(nodes,) of int64",
                "Give the channel number of each node.",
            )
        if self.color.numel() and not 0 <= int(self.color.min()) <= int(self.color.max()) < (
            self.num_channels
        ):
            raise mistake(
                f"channel numbers up to {int(self.color.max())}",
                f"0 to {self.num_channels - 1}",
                "Raise num_channels, or correct the pattern.",
            )
        object.__setattr__(self, "num_inputs", self.color.shape[0])
        object.__setattr__(self, "num_outputs", self.color.shape[0])

    @classmethod
    def periodic(
        cls, shape: tuple[int, int], pattern: Sequence[Sequence[int]], num_channels: int = 3
    ) -> ColorMosaic:
        """A filter array that repeats `pattern` (rows of channel numbers) over an image of
        `shape` (height, width): X-Trans, quad Bayer, RGBW, multispectral."""
        return ColorMosaic(_tiled(shape, pattern), num_channels)

    @property
    def observed(self) -> Mask:
        return self.color.unsqueeze(-1) == torch.arange(self.num_channels, device=self.color.device)

    def _apply(self, x: Signal) -> Signal:
        if x.shape[-1] != self.num_channels:
            raise mistake(
                f"a signal of {x.shape[-1]} channels",
                f"{self.num_channels}",
                "Channels come last: (nodes, channels).",
            )
        check_same_device(x, self.color, "a signal", "the colour filter")
        # gather, not a product with a mask: what is not seen may be NaN
        return x.gather(-1, self.color.unsqueeze(-1).expand(*x.shape[:-1], 1))

    def _apply_adjoint(self, y: Signal) -> Signal:
        if y.shape[-1] != 1:
            raise mistake(
                f"a mosaic of {y.shape[-1]} channels",
                "1: what each node sees",
                "Take the mosaic of a full image x with H @ x.",
            )
        check_same_device(y, self.color, "a signal", "the colour filter")
        return torch.where(self.observed, y, 0)


def _tiled(shape: tuple[int, int], pattern: Sequence[Sequence[int]]) -> Tensor:
    if len(shape) != 2:
        raise mistake(
            f"an image of shape {tuple(shape)}", "(height, width)", "Leave the channels out."
        )
    tile = torch.tensor(pattern, dtype=torch.int64)
    if tile.ndim != 2 or tile.numel() == 0:
        raise mistake(f"pattern {pattern}", "rows of channel numbers", "E.g. [[0, 1], [1, 2]].")
    rows, columns = (torch.arange(n) % period for n, period in zip(shape, tile.shape, strict=True))
    return tile[rows][:, columns].reshape(-1)


class BayerMosaic(ColorMosaic):
    """The Bayer filter: red, green or blue per pixel, in one of its four phases.

    Args:
        height: pixels from top to bottom.
        width: pixels from left to right.
        phase: colours of the top left 2x2 pixels, row by row: RGGB, BGGR, GRBG or GBRG.
        device: where the signals will be.

    The size is kept as `image`, (height, width), and the phase as `phase`.

    Shapes:
        - **H @ x:** `(*batch, height * width, 3)` to `(*batch, height * width, 1)`

    Raises:
        ValueError: another phase; on call, a signal on other nodes, of other than 3 channels or on
            another device.

    Example:
        >>> from gsp_unroll import BayerMosaic
        >>> BayerMosaic(2, 2, "RGGB").color
        tensor([0, 1, 1, 2])
    """

    image: tuple[int, int]
    phase: str

    def __init__(
        self,
        height: int,
        width: int,
        phase: str = "RGGB",
        device: torch.device | str | None = None,
    ) -> None:
        if phase not in ("RGGB", "BGGR", "GRBG", "GBRG"):
            raise mistake(
                f"Bayer phase {phase!r}",
                "'RGGB', 'BGGR', 'GRBG' or 'GBRG'",
                "For another filter array use ColorMosaic.periodic.",
            )
        a, b, c, d = ("RGB".index(letter) for letter in phase)
        super().__init__(_tiled((height, width), [[a, b], [c, d]]).to(device), 3)
        object.__setattr__(self, "image", (height, width))
        object.__setattr__(self, "phase", phase)


@dataclass(frozen=True, eq=False)
class Downsample(Selection):
    """$(Hx)_k=x_{i(k)}$: keeps every `factor`-th node of a lattice along each axis, no filter.

    Args:
        shape: nodes per axis.
        factor: step, one number or one per axis.
        offset: first node kept, one number or one per axis, below `factor`.
        device: where the signals will be.

    Shapes:
        - **H @ x:** `(*batch, nodes, channels)` to `(*batch, kept, channels)`

    Raises:
        ValueError: a factor below 1, an offset that is not below it, or not one per axis; on call,
            a signal on other nodes or on another device.

    Example:
        >>> import torch
        >>> from gsp_unroll import Downsample
        >>> (Downsample((4,), 2) @ torch.arange(4.0).unsqueeze(-1)).flatten()
        tensor([0., 2.])
    """

    shape: tuple[int, ...]
    factor: int | tuple[int, ...] = 2
    offset: int | tuple[int, ...] = 0
    device: torch.device | str | None = None
    _kept: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        axes = len(self.shape)
        steps = (self.factor,) * axes if isinstance(self.factor, int) else self.factor
        starts = (self.offset,) * axes if isinstance(self.offset, int) else self.offset
        fits = len(steps) == len(starts) == axes
        if not fits or any(s < 1 or not 0 <= o < s for s, o in zip(steps, starts, strict=True)):
            raise mistake(
                f"factor={self.factor} and offset={self.offset} for shape {self.shape}",
                "a factor of at least 1 and an offset below it on every axis",
                "Give one number, or one per axis.",
            )
        object.__setattr__(self, "num_inputs", math.prod(self.shape))
        object.__setattr__(self, "_kept", self._find_kept())
        object.__setattr__(self, "num_outputs", self._kept.numel())

    def _find_kept(self) -> Tensor:
        axes = len(self.shape)
        steps = (self.factor,) * axes if isinstance(self.factor, int) else self.factor
        starts = (self.offset,) * axes if isinstance(self.offset, int) else self.offset
        node = torch.arange(math.prod(self.shape)).reshape(self.shape)
        every = tuple(slice(o, None, s) for o, s in zip(starts, steps, strict=True))
        return node[every].reshape(-1).to(self.device)

    @property
    def observed(self) -> Mask:
        mask = torch.zeros(math.prod(self.shape), 1, dtype=torch.bool, device=self._kept.device)
        return mask.index_fill(0, self._kept, True)

    def _apply(self, x: Signal) -> Signal:
        check_same_device(x, self._kept, "a signal", "the lattice (its device= argument)")
        return x.index_select(-2, self._kept)

    def _apply_adjoint(self, y: Signal) -> Signal:
        check_same_device(y, self._kept, "a signal", "the lattice (its device= argument)")
        zero = y.new_zeros(*y.shape[:-2], math.prod(self.shape), y.shape[-1])
        return zero.index_copy(-2, self._kept, y)
