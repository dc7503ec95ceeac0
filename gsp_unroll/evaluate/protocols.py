"""How near a restored photograph is to the truth, by the paper's rule and by the usual one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

#: pixels that the usual rule leaves out along the border
BORDER = 10


@dataclass(frozen=True)
class Score:
    """One photograph: mean squared errors, and structural similarity.

    Args:
        photo: name.
        mse: of values as restored, whole photograph.
        psnr: in dB, of values rounded to 8 bits and clipped, `BORDER` pixels cut.
        ssim: of values as restored; 7x7 uniform window, mean over channels.
    """

    photo: str
    mse: float
    psnr: float
    ssim: float


def score(photo: str, x: np.ndarray, truth: np.ndarray) -> Score:
    """Compares two images `(height, width, channels)` with values in [0, 1]."""
    from skimage.metrics import structural_similarity

    ssim: Callable[..., float] = structural_similarity

    inner = (slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    rounded, wanted = (np.round(255 * image.clip(0, 1))[inner] for image in (x, truth))
    mse8 = float(np.mean((rounded - wanted) ** 2))
    return Score(
        photo=photo,
        mse=float(np.mean((x.astype(np.float64) - truth) ** 2)),
        psnr=float(10 * np.log10(255**2 / max(mse8, 1e-10))),
        ssim=float(ssim(x, truth, data_range=1.0, channel_axis=-1)),
    )


def paper_psnr(scores: Sequence[Score]) -> float:
    """PSNR of the mean error over all photographs, nothing clipped or rounded.

    This is the rule under which the classical rows of Do et al. 2024 come out; it weighs hard
    photographs more than the usual rule does.
    """
    return float(-10 * np.log10(np.mean([s.mse for s in scores])))


def standard_psnr(scores: Sequence[Score]) -> float:
    """Mean of the PSNR of each photograph: 8 bits, clipped, border cut."""
    return float(np.mean([s.psnr for s in scores]))


def mean_ssim(scores: Sequence[Score]) -> float:
    """Mean structural similarity."""
    return float(np.mean([s.ssim for s in scores]))
