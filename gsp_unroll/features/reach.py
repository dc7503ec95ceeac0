"""How far an image network looks: what a crop of a large image needs around it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from .._checks import mistake

#: Modules that treat every pixel by itself.
POINTWISE = (
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Sigmoid,
    nn.Tanh,
)


@dataclass(frozen=True)
class Reach:
    r"""An output pixel depends on input pixels at most `pixels` rows or columns away.

    An image network may tell its own as an attribute, `self.reach = Reach(5)`, which
    `restore_tiled` asks for.

    Args:
        pixels: the largest distance along an axis, over all output pixels.
        stride: 1 if a shift of the image by one pixel shifts the output alike; with layers of
            lower resolution only shifts by a multiple of `stride` do.

    Example:
        >>> from gsp_unroll.features import Reach
        >>> Reach(2) + Reach(14, stride=4)
        Reach(pixels=16, stride=4)
    """

    pixels: int
    stride: int = 1

    def __add__(self, other: Reach) -> Reach:
        """The reach of two networks in sequence."""
        return Reach(self.pixels + other.pixels, math.lcm(self.stride, other.stride))


def reach_of(network: nn.Module) -> Reach:
    """The reach of an image network: what it tells itself, or what its layers add up to.

    Known are convolutions and poolings of stride 1 that keep the size of the image, entrywise
    activations, and sequences of them.

    Args:
        network: what maps an image to one of the same size.

    Raises:
        ValueError: a network that does not tell and is not known.

    Example:
        >>> from torch import nn
        >>> from gsp_unroll.features import reach_of
        >>> reach_of(nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 3, 1)))
        Reach(pixels=2, stride=1)
    """
    told = getattr(network, "reach", None)
    if isinstance(told, Reach):
        return told
    if isinstance(network, POINTWISE):
        return Reach(0)
    if isinstance(network, nn.Sequential):
        return sum(map(reach_of, network), start=Reach(0))
    if isinstance(network, nn.Conv2d) and network.padding_mode != "circular":
        if _pair(network.stride) == (1, 1):
            sides = zip(_pair(network.kernel_size), _pair(network.dilation), strict=True)
            return Reach(max(_half(1 + dilation * (side - 1)) for side, dilation in sides))
    if isinstance(network, nn.AvgPool2d | nn.MaxPool2d) and _pair(network.stride) == (1, 1):
        if _pair(getattr(network, "dilation", 1)) == (1, 1):
            return Reach(max(map(_half, _pair(network.kernel_size))))
    raise mistake(
        f"a {type(network).__name__}, which does not tell how far it looks",
        "an image network with an attribute `reach`",
        "Set it, e.g. self.reach = Reach(5) for a network that sees 5 pixels to each side.",
    )


def _pair(sizes: int | tuple[int, ...]) -> tuple[int, int]:
    return (sizes, sizes) if isinstance(sizes, int) else (sizes[0], sizes[-1])


def _half(side: int) -> int:
    """Pixels from the centre of a window to its farther end."""
    return side // 2
