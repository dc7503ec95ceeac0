"""One feature network for all heads: its output channels are dealt out to them."""

from __future__ import annotations

from torch import Tensor

from .._checks import check_positive_count, mistake
from .._typing import Signal


def check_heads(out_channels: int, heads: int | None) -> None:
    """`heads` is None, or a whole number that divides the channels."""
    check_positive_count(out_channels, "out_channels")
    if heads is None:
        return
    check_positive_count(heads, "heads")
    if out_channels % heads:
        raise mistake(
            f"out_channels={out_channels} for heads={heads}",
            "the same number of channels for every head",
            f"Set out_channels={heads * -(-out_channels // heads)}, or change heads.",
        )


def split_heads(features: Tensor, heads: int | None, signal: Signal) -> Tensor:
    """`(*batch, nodes, channels)` to `(*batch, heads, nodes, channels / heads)`.

    Head h takes the h-th run of consecutive channels. With `heads=None` nothing is split. The
    result has the dtype of the signal: under autocast a network computes in 16 bits, and what is
    made of its features does not.
    """
    features = features.to(signal.dtype)
    if heads is None:
        return features
    dealt: Tensor = features.unflatten(-1, (heads, -1))
    return dealt.movedim(-2, -3)
