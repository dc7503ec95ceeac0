"""What the feature networks share: layer widths, residual skips, the check at the door."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from .._checks import check_positive_count, check_same_kind, check_signal, mistake

#: What a convolution sees beyond the border of an image: the outermost pixel again, which keeps
#: constants, or zeros, which take half the time on a CPU.
Padding = Literal["replicate", "zeros"]
#: An entrywise map: a function, or a module such as `nn.PReLU()`.
Activation = Callable[[Tensor], Tensor]


def layer_widths(
    in_channels: int, out_channels: int, width: int, num_layers: int
) -> list[tuple[int, int]]:
    """Channels before and after each layer, `width` of them between layers."""
    check_positive_count(in_channels, "in_channels")
    check_positive_count(out_channels, "out_channels")
    check_positive_count(width, "width")
    check_positive_count(num_layers, "num_layers")
    return list(pairwise([in_channels, *[width] * (num_layers - 1), out_channels]))


def residual_chain(layers: Iterable[nn.Module], activation: Activation, x: Tensor) -> Tensor:
    """`x <- activation(layer(x) + x)`; no skip in the first layer nor where widths differ.

    The activation comes last. With an affine map at the end its bias would be the same number at
    every node, which no difference of features sees: a parameter without effect.
    """
    for index, layer in enumerate(layers):
        y = layer(x)
        x = activation(y + x if index and y.shape == x.shape else y)
    return x


def check_input(
    x: Tensor,
    in_channels: int,
    num_nodes: int | None,
    network: nn.Module,
    argument: str = "in_channels",
) -> None:
    """A signal of the network's number of channels, dtype and device."""
    check_signal(x, num_nodes)
    if x.shape[-1] != in_channels:
        raise mistake(
            f"a signal of shape {tuple(x.shape)}",
            f"{in_channels} channels on axis -1",
            f"Build the {type(network).__name__} with {argument}={x.shape[-1]}.",
        )
    parameter = next(network.parameters())
    if x.dtype != parameter.dtype and x.device == parameter.device:
        if torch.is_autocast_enabled(x.device.type):
            return  # it converts on the way
    check_same_kind(x, parameter, "a signal", f"this {type(network).__name__}")
