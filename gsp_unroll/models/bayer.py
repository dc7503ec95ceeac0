"""A whole frame behind a Bayer array, of any phase and size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from .._checks import check_tensor, mistake
from ..operators import BayerMosaic
from .image import ImageNetwork

#: Rows and columns before a frame of each phase that make it start with red, green, green, blue.
SHIFTS = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}
#: No noise takes white this far; values above are 8- or 16-bit numbers.
BRIGHTEST = 4.0


def restore_mosaic(
    network: ImageNetwork, mosaic: Tensor, pattern: str = "RGGB", *, tile: int = 256
) -> Tensor:
    """The colours of a frame of which each pixel saw one.

    Networks know one phase of the filter array, red first. A frame of another phase is extended by
    a reflected row, column or both, which makes it begin with red. Large frames are restored in
    tiles, with the same result.

    Args:
        network: a demosaicker, such as `from_pretrained("mosaic")`.
        mosaic: what the sensor saw, white at 1, best with white balance and gamma applied, as
            networks are trained on photographs.
        pattern: colours of its top left 2x2 pixels, row by row: RGGB, GRBG, GBRG or BGGR.
        tile: side of a tile in pixels.

    Shapes:
        - **mosaic:** `(height, width)`, at least 2 by 2
        - **output:** `(height, width, 3)`

    Raises:
        ValueError: an unknown pattern, a mosaic that is no single image, or one of values far
            above 1.

    Example:
        >>> import torch
        >>> from gsp_unroll import from_pretrained, restore_mosaic
        >>> restore_mosaic(from_pretrained("mosaic"), torch.rand(9, 12), "GBRG").shape
        torch.Size([9, 12, 3])
    """
    check_tensor(mosaic, "a mosaic")
    if mosaic.ndim != 2 or min(mosaic.shape) < 2:
        raise mistake(
            f"a mosaic of shape {tuple(mosaic.shape)}",
            "(height, width), one value a pixel, at least 2 by 2",
            "Of a grey picture with three equal colours take one, mosaic[..., 0]; restore those of "
            "a batch one by one.",
        )
    if mosaic.is_floating_point() and mosaic.numel() and float(mosaic.detach().amax()) > BRIGHTEST:
        raise mistake(
            f"a mosaic with values up to {float(mosaic.detach().amax()):g}",
            "values in [0, 1], and noise",
            "Divide by the white level, 255 for 8 bits.",
        )
    if pattern not in SHIFTS:
        raise mistake(
            f"pattern={pattern!r}",
            "RGGB, GRBG, GBRG or BGGR",
            "Read it row by row, top left first.",
        )
    down, across = SHIFTS[pattern]
    frame = functional.pad(mosaic[None], (across, 0, down, 0), mode="reflect")[0]
    height, width = frame.shape
    H = BayerMosaic(height, width, device=frame.device)
    data = network.data_term(H, frame.reshape(-1, 1))
    x = network.restore(data, (height, width), tile=tile)
    image: Tensor = x.unflatten(0, (height, width))
    return image[down:, across:]
