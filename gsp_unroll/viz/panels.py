"""Images side by side, each with its quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .._checks import mistake
from ..metrics import psnr
from ._axes import one_by_one

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_panels(
    axes: Sequence[Axes],
    images: Mapping[str, Tensor],
    *,
    truth: Tensor | None = None,
    border: int = 0,
    part: tuple[slice, slice] | None = None,
) -> Sequence[Axes]:
    r"""Draws images side by side under their names, with the PSNR where the truth is known.

    Args:
        axes: one for each image.
        images: by name, of values in [0, 1]; what is outside is cut off in the picture.
        truth: what they should be. An image equal to it has its name alone.
        border: pixels on each side that the PSNR leaves out.
        part: rows and columns to be drawn, without titles: an enlarged detail.

    Shapes:
        - **images, truth:** `(height, width)` or `(height, width, 1 or 3)`

    Returns:
        `axes`.

    Raises:
        ValueError: another number of axes than of images; an image of another shape than the truth,
            or of no such shape; a border that leaves nothing.

    Example:
        >>> import torch
        >>> from matplotlib.figure import Figure
        >>> from gsp_unroll.viz import draw_panels
        >>> truth = torch.zeros(8, 8)
        >>> images = {"truth": truth, "noisy": truth + 0.1}
        >>> axes = draw_panels(Figure().subplots(1, 2), images, truth=truth)
        >>> [ax.get_title() for ax in axes]
        ['truth', 'noisy\n20.00 dB']
    """
    each = one_by_one(axes)
    if len(each) != len(images):
        raise mistake(
            f"{len(each)} axes for {len(images)} images",
            "one for each",
            "Make them with figure.subplots(1, len(images), squeeze=False)[0].",
        )
    for ax, (name, image) in zip(each, images.items(), strict=True):
        if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[-1] not in (1, 3)):
            raise mistake(
                f"{name} of shape {tuple(image.shape)}",
                "(height, width) or (height, width, 1 or 3)",
                "Give one image of a batch, x[0].reshape(height, width, -1).",
            )
        title = name if truth is None else _titled(name, image, truth, border)
        shown = image.detach().cpu() if part is None else image.detach().cpu()[part]
        shown = shown.squeeze(-1) if shown.ndim == 3 else shown
        pixels = shown.clamp(0, 1).numpy()
        ax.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        if part is None:
            ax.set_title(title, fontsize=9)
        ax.set_axis_off()
    return axes


def _titled(name: str, image: Tensor, truth: Tensor, border: int) -> str:
    if image.shape != truth.shape or min(truth.shape[:2]) <= 2 * border:
        raise mistake(
            f"{name} of shape {tuple(image.shape)} with a border of {border}",
            f"the shape of the truth, {tuple(truth.shape)}, and pixels within the border",
            "Cut or resize one of them, or lower border.",
        )
    inner = slice(border, truth.shape[0] - border), slice(border, truth.shape[1] - border)
    a, b = (v.detach().cpu()[inner].reshape(-1, 1) for v in (image, truth))
    quality = float(psnr(a, b))
    return name if torch.equal(a, b) else f"{name}\n{quality:.2f} dB"
