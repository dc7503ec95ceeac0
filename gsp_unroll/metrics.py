"""How near a restored signal is to the truth."""

from __future__ import annotations

import torch
from torch import Tensor

from ._checks import check_positive, check_same_kind, check_signal, mistake
from ._typing import Signal


def psnr(x: Signal, truth: Signal, peak: float = 1.0) -> Tensor:
    r"""Peak signal-to-noise ratio in dB, $10\log_{10}(\mathrm{peak}^2/\mathrm{MSE})$.

    The mean runs over nodes and channels; nothing is clipped or rounded here. Signals of 16 bits
    are compared in float32.

    Args:
        x: restored signal.
        truth: the signal it should be.
        peak: largest possible value, above 0.

    Shapes:
        - **x, truth:** `(*batch, nodes, channels)`
        - **output:** `(*batch,)`

    Raises:
        ValueError: two signals of different shapes.

    Example:
        >>> import torch
        >>> from gsp_unroll.metrics import psnr
        >>> psnr(torch.full((4, 1), 0.1), torch.zeros(4, 1))
        tensor(20.)
    """
    check_positive(peak, "peak")
    check_signal(x, None)
    check_signal(truth, None, "truth")
    if x.shape != truth.shape:
        raise mistake(
            f"signals of shapes {tuple(x.shape)} and {tuple(truth.shape)}",
            "equal shapes",
            "Compare a signal with the truth on the same nodes and channels.",
        )
    check_same_kind(x, truth, "a signal", "the truth")
    wide = torch.promote_types(x.dtype, torch.float32)
    return 10 * torch.log10(peak**2 / (x.to(wide) - truth.to(wide)).square().mean((-2, -1)))
