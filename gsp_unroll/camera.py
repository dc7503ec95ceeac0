"""Camera files: the sensor's own numbers, and how to read them (extra `raw`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ._checks import mistake
from .models.bayer import SHIFTS

#: files of cameras, by how their names end
NAMES = (
    "3fr arw cr2 cr3 crw dng erf iiq kdc mef mos mrw nef nrw orf "
    "pef raf raw rw2 rwl sr2 srf srw x3f"
)
SUFFIXES = {f".{name}" for name in NAMES.split()}
#: counterclockwise, for what LibRaw calls the flip of a frame
QUARTER_TURNS = {3: 2, 5: 1, 6: 3}


@dataclass(frozen=True, eq=False)
class RawFrame:
    """A frame behind a Bayer array, proportional to light: 0 is black, 1 is where a pixel is full.

    Args:
        mosaic: what each pixel saw.
        pattern: colours of the top left 2x2 pixels, row by row.
        white: gain of red, green and blue under which a white object is grey.
        quarter_turns: counterclockwise, after which what was above is above.

    Shapes:
        - **mosaic:** `(height, width)`

    Raises:
        ValueError: an unknown pattern.

    Example:
        >>> import numpy as np
        >>> from gsp_unroll.camera import RawFrame
        >>> frame = RawFrame(np.full((2, 2), 0.25), "RGGB", (2.0, 1.0, 1.0))
        >>> frame.balanced(gamma=2.0)  # of red, twice the light
        array([[0.70710678, 0.5       ],
               [0.5       , 0.5       ]])
    """

    mosaic: np.ndarray
    pattern: str = "RGGB"
    white: tuple[float, float, float] = (1.0, 1.0, 1.0)
    quarter_turns: int = 0

    def __post_init__(self) -> None:
        if self.pattern not in SHIFTS:
            raise mistake(
                f"pattern={self.pattern!r}",
                "one of " + ", ".join(SHIFTS),
                "Other filter arrays need a network of their own.",
            )

    @classmethod
    def from_levels(
        cls,
        values: np.ndarray,
        black: float | np.ndarray,
        white_level: float,
        pattern: str = "RGGB",
        white: tuple[float, float, float] = (1.0, 1.0, 1.0),
        quarter_turns: int = 0,
    ) -> RawFrame:
        r"""A frame of the numbers that a sensor counts, $(v-\mathrm{black})/(\mathrm{white}-
        \mathrm{black})$.

        Args:
            values: `(height, width)`.
            black: what is counted without light, one number or one per pixel.
            white_level: what a full pixel counts.
            pattern: colours of the top left 2x2 pixels.
            white: gains, see the class.
            quarter_turns: see the class.
        """
        light = (values.astype(np.float32) - black) / (white_level - np.asarray(black, np.float32))
        return cls(light.astype(np.float32), pattern, white, quarter_turns)

    def balanced(self, gamma: float = 2.2) -> np.ndarray:
        r"""$(g_{c(i)}\,v_i)^{1/\gamma}$: white balanced and near to how photographs are stored, for
        which demosaicking networks are trained. Each sample by itself, so nothing is mixed.

        Values below black are 0. A sample brighter than full stays so.
        """
        gain = dict(zip("RGB", self.white, strict=True))
        gains = np.array([gain[color] for color in self.pattern]).reshape(2, 2)
        height, width = self.mosaic.shape
        tiled = np.tile(gains, (height // 2 + 1, width // 2 + 1))[:height, :width]
        return (self.mosaic * tiled).clip(min=0) ** (1 / gamma)  # type: ignore[no-any-return]


def read_raw(path: str | Path) -> RawFrame:
    r"""The frame in a camera file (DNG and what else LibRaw knows).

    Black and white levels, the phase of the filter array, the camera's white balance and how the
    camera was held are those of the file.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is no camera file, or whose filter is not a Bayer array.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> import tifffile
        >>> from gsp_unroll.camera import read_raw
        >>> tags = [  # the least that makes a DNG file: version, filter array, white level
        ...     (50706, "B", 4, b"\x01\x04\x00\x00", True),
        ...     (33421, "H", 2, (2, 2), True),
        ...     (33422, "B", 4, b"\x01\x00\x02\x01", True),
        ...     (50717, "H", 1, 1000, True),
        ... ]
        >>> path, values = Path(tempfile.mkdtemp()) / "frame.dng", np.full((48, 64), 250, np.uint16)
        >>> tifffile.imwrite(path, values, photometric=32803, extratags=tags, metadata=None)
        >>> frame = read_raw(path)
        >>> frame.pattern, frame.mosaic.shape, float(frame.mosaic.max())
        ('GRBG', (48, 64), 0.25)
    """
    import rawpy

    with _opened(path) as raw:
        if raw.raw_type != rawpy.RawType.Flat:
            raise mistake(
                f"{path}, in which every pixel has all colours",
                "a frame behind a Bayer array",
                "It needs no demosaicking.",
            )
        if raw.raw_image_visible is None:
            raise mistake(f"{path} without a frame", "a camera file", "Convert it to DNG.")
        values = raw.raw_image_visible.copy()
        colors = raw.raw_colors_visible.copy()
        names = raw.color_desc.decode(errors="replace")
        black = np.asarray(raw.black_level_per_channel, np.float32)
        white_level = float(raw.white_level)
        gains = np.asarray(raw.camera_whitebalance, np.float32)
        turns = QUARTER_TURNS.get(raw.sizes.flip, 0)
    if not white_level > black.max():
        raise mistake(
            f"{path}, whose white level {white_level:g} is not above its black {black.max():g}",
            "levels that tell dark from full",
            "Convert it to DNG.",
        )
    if (colors[2:] != colors[:-2]).any() or (colors[:, 2:] != colors[:, :-2]).any():
        raise mistake(
            f"{path}, whose filter array does not repeat every 2 pixels",
            "a Bayer array",
            "Other filter arrays need a network of their own.",
        )
    if not set("RGB") <= set(names):
        raise mistake(f"{path}, whose colours are {names}", "red, green and blue", "Convert it.")
    pattern = "".join(names[c] for c in colors[:2, :2].flat)
    red, green, blue = (float(gains[names.index(c)]) for c in "RGB")
    known = min(red, green, blue) > 0
    white = (red / green, 1.0, blue / green) if known else (1.0, 1.0, 1.0)
    return RawFrame.from_levels(values, black[colors], white_level, pattern, white, turns)


def read_raw_size(path: str | Path) -> tuple[int, int]:
    """Height and width of the frame in a camera file, without reading its pixels.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is no camera file.

    Example:
        >>> from gsp_unroll.camera import read_raw_size
        >>> read_raw_size("holiday.dng")
        Traceback (most recent call last):
        ...
        FileNotFoundError: holiday.dng: no such file. A camera file is needed. Correct the name.
    """
    with _opened(path) as raw:
        return raw.sizes.raw_height, raw.sizes.raw_width


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    import rawpy

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file. A camera file is needed. Correct the name.")
    try:
        with rawpy.imread(str(path)) as raw:
            yield raw
    except rawpy.LibRawError as error:
        raise mistake(
            f"{path}, which cannot be read ({error})", "a camera file", "Convert it to DNG."
        ) from error
