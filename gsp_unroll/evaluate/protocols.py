"""How near a restored photograph is to the truth, by the paper's rule and by the usual one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._checks import mistake
from .methods import needed

#: pixels that the usual rule leaves out along the border
BORDER = 10
#: squared error on the scale from 0 to 255 below which two images count as equal
SMALLEST = 1e-10


@dataclass(frozen=True)
class Score:
    """One photograph: mean squared errors, and structural similarity.

    Args:
        photo: name.
        mse: mean squared error of values as restored, in [0, 1], whole photograph.
        psnr: in dB, of values rounded to 8 bits and clipped, `BORDER` pixels cut.
        ssim: of values as restored; 7x7 uniform window, mean over channels.

    Example:
        >>> from gsp_unroll.evaluate.protocols import Score, standard_psnr
        >>> standard_psnr([Score("1.png", 1e-4, 40.0, 0.99), Score("2.png", 1e-3, 30.0, 0.97)])
        35.0
    """

    photo: str
    mse: float
    psnr: float
    ssim: float


def score(photo: str, x: np.ndarray, truth: np.ndarray) -> Score:
    """Compares two images with values in [0, 1].

    Args:
        photo: name.
        x: restored image.
        truth: the image it should be.

    Shapes:
        - **x, truth:** `(height, width, channels)`, more than 20 pixels on each side

    Raises:
        ValueError: different shapes; a side with nothing but border; scikit-image is not installed.

    Example:
        >>> import numpy as np
        >>> from gsp_unroll.evaluate.protocols import score
        >>> truth = np.full((32, 32, 3), 0.5)
        >>> round(score("grey", truth + 0.1, truth).mse, 4)
        0.01
    """
    if x.shape != truth.shape:
        raise mistake(
            f"an image of shape {x.shape} for {photo}",
            f"{truth.shape}",
            "A method returns (height, width, channels) of the whole photograph.",
        )
    if min(truth.shape[:2]) <= 2 * BORDER:
        raise mistake(
            f"{photo} of {truth.shape[0]} x {truth.shape[1]} pixels",
            f"more than {2 * BORDER} on each side, since {BORDER} are cut from every border",
            "Leave it out of the folder.",
        )
    structural_similarity = needed("skimage.metrics").structural_similarity
    x, truth = x.astype(np.float64), truth.astype(np.float64)
    inner = (slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    rounded, wanted = (np.round(255 * image.clip(0, 1))[inner] for image in (x, truth))
    mse8 = float(np.mean((rounded - wanted) ** 2))
    return Score(
        photo=photo,
        mse=float(np.mean((x - truth) ** 2)),
        psnr=float(10 * np.log10(255**2 / max(mse8, SMALLEST))),
        ssim=float(structural_similarity(x, truth, data_range=1.0, channel_axis=-1)),
    )


def paper_psnr(scores: Sequence[Score]) -> float:
    r"""PSNR of the mean error over all photographs, nothing clipped or rounded:
    $-10\log_{10}\frac1n\sum_i\mathrm{mse}_i$ in dB.

    This is the rule under which the classical rows of Do et al. 2024 come out; it weighs hard
    photographs more than the usual rule does.

    Args:
        scores: one for each photograph, at least one.

    Example:
        >>> from gsp_unroll.evaluate.protocols import Score, paper_psnr
        >>> scores = [Score("1.png", 1e-4, 40.0, 0.99), Score("2.png", 1e-3, 30.0, 0.97)]
        >>> round(paper_psnr(scores), 2)
        32.6
    """
    mse = max(float(np.mean([s.mse for s in scores])), SMALLEST / 255**2)
    return float(-10 * np.log10(mse))


def standard_psnr(scores: Sequence[Score]) -> float:
    """Mean of the PSNR of each photograph: 8 bits, clipped, border cut.

    Args:
        scores: one for each photograph, at least one.

    Example:
        >>> from gsp_unroll.evaluate.protocols import Score, standard_psnr
        >>> standard_psnr([Score("1.png", 1e-4, 40.0, 0.99), Score("2.png", 1e-3, 30.0, 0.97)])
        35.0
    """
    return float(np.mean([s.psnr for s in scores]))


def mean_ssim(scores: Sequence[Score]) -> float:
    """Mean structural similarity.

    Args:
        scores: one for each photograph, at least one.

    Example:
        >>> from gsp_unroll.evaluate.protocols import Score, mean_ssim
        >>> mean_ssim([Score("1.png", 1e-4, 40.0, 0.75), Score("2.png", 1e-3, 30.0, 0.25)])
        0.5
    """
    return float(np.mean([s.ssim for s in scores]))
