"""Photographs in files: found, read and written, with 8 or 16 bits (extra `photos`)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ._checks import check_positive_count, mistake
from ._files import check_new, written_whole

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
TIFF = {".tif", ".tiff"}
#: of JPEG and WebP, from 1 to 100
QUALITY = 95
#: the tag of EXIF and TIFF for how a camera was held
ORIENTATION = 274


@dataclass(frozen=True)
class PhotoHeader:
    """What a file says of its image.

    Args:
        height: in pixels.
        width: in pixels.
        bits: of a value.

    Example:
        >>> from gsp_unroll.photos import PhotoHeader
        >>> PhotoHeader(height=512, width=768, bits=8)
        PhotoHeader(height=512, width=768, bits=8)
    """

    height: int
    width: int
    bits: int


def find_photos(folder: str | Path, suffixes: Collection[str] = frozenset(SUFFIXES)) -> list[Path]:
    """The image files of a folder and the folders in it, in the order of their names.

    Args:
        folder: to search.
        suffixes: that tell an image, in small letters.

    Raises:
        FileNotFoundError: no such folder, or no image in it.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from gsp_unroll.photos import find_photos
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("b.png", "a.JPG", "notes.txt"):
        ...     (folder / name).touch()
        >>> [path.name for path in find_photos(folder)]
        ['a.JPG', 'b.png']
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"Got {folder}. Expected a folder of images. Correct the name.")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes and not p.is_dir())
    if not paths:
        raise FileNotFoundError(
            f"Got {folder}, with no image in it. Expected {', '.join(sorted(suffixes))}. "
            "Give a folder of photographs."
        )
    return paths


def read_header(path: str | Path) -> PhotoHeader:
    """Size and bits of a photograph, without reading its pixels.

    Of a TIFF file that holds something else all values count as pixels. A photograph that a camera
    has turned is given as it lies in the file.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is no image.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from gsp_unroll.photos import read_header, write_photo
        >>> path = Path(tempfile.mkdtemp()) / "grey.png"
        >>> write_photo(path, np.full((4, 6, 3), 0.5), bits=16)
        >>> read_header(path)
        PhotoHeader(height=4, width=6, bits=16)
    """
    path = Path(path)
    with _readable(path):
        if path.suffix.lower() in TIFF:
            return _tiff_header(path)
        from PIL import Image

        with _no_warning(), Image.open(path) as image:
            return PhotoHeader(image.height, image.width, 16 if _png_bits(path) == 16 else 8)


def _tiff_header(path: Path) -> PhotoHeader:
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = _only_page(file)
        shape, kind = tuple(map(int, page.shape)), page.dtype  # a damaged size may be text
    pixels = shape[:-1] if len(shape) == 3 and shape[-1] <= 4 else shape
    return PhotoHeader(math.prod(pixels[:-1]), pixels[-1], 8 * np.dtype(kind).itemsize)


def _only_page(file: Any) -> Any:
    """The first page of a TIFF file; a smaller second one is a preview. The pages after it are left
    alone: in a damaged file there may be millions."""
    page = file.pages.first
    with suppress(IndexError):
        if file.pages[1].shape == page.shape:
            raise ValueError("it holds several pages of one size")
    if (file.imagej_metadata or {}).get("images", 1) > 1:
        raise ValueError("it holds several images")
    return page


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What Pillow and tifffile raise becomes our message."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Got {path}. Expected a file. Check the path.") from error
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # a foreign file makes a reader raise nearly anything
        raise mistake(
            f"{path}, which cannot be read ({error})",
            "an image file",
            "Remove it from the folder, or convert it to PNG.",
        ) from error


def read_photo(path: str | Path) -> np.ndarray:
    """A photograph as colours of float32 in [0, 1].

    Grey ones get three equal colours, transparency is dropped. Of PNG and TIFF files with 16 bits
    all bits are used. A photograph that a camera has turned stands upright. A TIFF file whose
    values are neither grey nor RGB is refused.

    A header is looked at before memory is taken: what promises more than twice
    `PIL.Image.MAX_IMAGE_PIXELS` is refused, unless that is None.

    Args:
        path: the file.

    Shapes:
        - **returns:** `(height, width, 3)`

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is no image, or an image of another kind of numbers, or of more
            pixels than that.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from gsp_unroll.photos import read_photo, write_photo
        >>> path = Path(tempfile.mkdtemp()) / "white.png"
        >>> write_photo(path, np.ones((4, 6, 3)))
        >>> photo = read_photo(path)
        >>> photo.shape, photo.dtype, float(photo.min())
        ((4, 6, 3), dtype('float32'), 1.0)
    """
    path = Path(path)
    _check_size(path)
    with _readable(path):
        image = _read_tiff(path) if path.suffix.lower() in TIFF else _read(path)
    if image.dtype not in (np.uint8, np.uint16):
        raise mistake(
            f"{path}, an image of {image.dtype}",
            "8 or 16 bits a value",
            "Convert it to PNG or TIFF with 16 bits.",
        )
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[-1] > 4):
        raise mistake(
            f"{path}, an image of shape {image.shape}",
            "(height, width) or (height, width, colours)",
            "Save it as one page with its colours interleaved.",
        )
    colors = image if image.ndim == 3 else image[..., None]
    if colors.shape[-1] < 3:  # grey, with or without transparency
        colors = colors[..., :1].repeat(3, -1)
    return colors[..., :3].astype(np.float32) / np.iinfo(image.dtype).max


def _check_size(path: Path) -> None:
    """A small file may promise a large image: Pillow's bound, for what others read too."""
    header = read_header(path)
    from PIL import Image

    bound, pixels = Image.MAX_IMAGE_PIXELS, header.height * header.width
    if bound is not None and pixels > 2 * bound:
        raise mistake(
            f"{path}, an image of {header.width} x {header.height} pixels",
            f"at most {2 * bound / 1e6:.4g} megapixels",
            "If it is trusted and memory is enough, raise PIL.Image.MAX_IMAGE_PIXELS.",
        )


@contextmanager
def _no_warning() -> Iterator[None]:
    """Without Pillow's word on large images: no pixel is read here."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _read(path: Path) -> np.ndarray:
    if path.suffix.lower() == ".png" and _png_bits(path) == 16:
        return _read_png16(path)
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def _png_bits(path: Path) -> int:
    """Bits a value, from the header: Pillow reduces 16 to 8 in silence."""
    with path.open("rb") as file:
        header = file.read(26)
    return header[24] if header[:8] == b"\x89PNG\r\n\x1a\n" and len(header) == 26 else 0


def _read_png16(path: Path) -> np.ndarray:
    import png
    from PIL import Image

    exif = Image.Exif()
    with _no_warning(), Image.open(path) as header:
        exif.load(header.info.get("exif", b""))  # not `getexif`, which may read the pixels too
    turned = exif.get(ORIENTATION, 1)
    try:
        with path.open("rb") as file:
            width, height, rows, _ = png.Reader(file=file).read()
            # no more of them than the header says, however many the data hold
            values = [np.asarray(row, np.uint16) for row in islice(rows, height)]
    except png.Error as error:
        raise ValueError(error) from error
    return _upright(np.vstack(values).reshape(height, width, -1), turned)


def _read_tiff(path: Path) -> np.ndarray:
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = _only_page(file)
        kind = tifffile.PHOTOMETRIC(page.photometric).name
        promised, present = math.prod(page.chunked), len(page.dataoffsets)
        if present < promised:  # tifffile would look for each of them
            raise ValueError(f"cut short: {present} of {promised} strips or tiles")
        values = np.asarray(page.asarray())
        turned = page.tags.valueof(ORIENTATION, 1)
    if kind not in ("RGB", "MINISBLACK", "MINISWHITE"):
        raise ValueError(f"its values are {kind}")
    if kind == "MINISWHITE" and values.dtype in (np.uint8, np.uint16):
        values = np.iinfo(values.dtype).max - values
    return _upright(values, turned)


def _upright(image: np.ndarray, turned: int) -> np.ndarray:
    """The image so that its first row is at the top, by the number that EXIF and TIFF give its
    orientation; no other number turns it."""
    if turned in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if turned in (3, 4, 7, 8):
        image = image[::-1]
    if turned in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def central(photo: np.ndarray, side: int | None) -> np.ndarray:
    """The central `side` by `side` pixels of an image.

    Args:
        photo: the image.
        side: in pixels; a side of the image that is no longer stays whole, and with None all does.

    Shapes:
        - **photo, returns:** `(height, width, channels)`

    Raises:
        ValueError: a side that is no positive whole number.

    Example:
        >>> import numpy as np
        >>> from gsp_unroll.photos import central
        >>> central(np.zeros((20, 6, 3)), 8).shape
        (8, 6, 3)
    """
    if side is None:
        return photo
    check_positive_count(side, "side")
    height, width, _ = photo.shape
    top, left = (max(n - side, 0) // 2 for n in (height, width))
    return photo[top : top + side, left : left + side]


def write_photo(
    path: str | Path,
    image: np.ndarray,
    bits: Literal[8, 16] = 8,
    *,
    overwrite: bool = False,
) -> None:
    """Writes an image, whole or not at all.

    Args:
        path: PNG or TIFF; for 8 bits any format that Pillow writes.
        image: values are clipped to [0, 1] and rounded.
        bits: of a value.
        overwrite: whether a file of that name is replaced.

    Shapes:
        - **image:** `(height, width, 3)`

    Raises:
        ValueError: another number of bits, 16 in a format without them, or a format that is only
            read; values that are not finite.
        FileExistsError: a file of that name, which is kept unless `overwrite` is given.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from gsp_unroll.photos import write_photo
        >>> path = Path(tempfile.mkdtemp()) / "grey.png"
        >>> write_photo(path, np.full((4, 6, 3), 0.5))
        >>> write_photo(path, np.ones((4, 6, 3)), overwrite=True)
    """
    from PIL import Image

    path = Path(path)
    if not overwrite:
        check_new(path)
    if not isinstance(image, np.ndarray):
        raise mistake(
            f"an image as {type(image).__name__}",
            "a NumPy array",
            "Convert a tensor with .numpy().",
        )
    if not np.issubdtype(image.dtype, np.floating) or image.ndim != 3 or image.shape[-1] != 3:
        raise mistake(
            f"an image of {image.dtype} and shape {image.shape}",
            "(height, width, 3) of floating-point values in [0, 1]",
            "Divide 8-bit values by 255, and give a grey image three equal colours.",
        )
    if bits not in (8, 16):
        raise mistake(f"bits={bits!r}", "8 or 16", "Write 16 bits: no more are lost.")
    if not np.isfinite(image).all():
        raise mistake("an image with NaN or infinity", "finite values", "Look at its input.")
    kind = np.uint8 if bits == 8 else np.uint16
    values = np.round(image.astype(np.float64).clip(0, 1) * np.iinfo(kind).max).astype(kind)
    suffix = path.suffix.lower()
    if bits == 16 and suffix not in {".png", *TIFF}:
        raise mistake(f"16 bits as {suffix}", "a PNG or TIFF file", "Write 8 bits, or a PNG.")
    formats = Image.registered_extensions()
    if formats.get(suffix) not in Image.SAVE:
        raise mistake(f"{path.name}", "a name that ends in .png or .tif", "Give it such a name.")
    with written_whole(path) as beside:
        if suffix in TIFF:
            import tifffile

            tifffile.imwrite(beside, values, photometric="rgb")
        elif bits == 16:
            import png

            height, width, _ = values.shape
            with beside.open("wb") as file:
                png.Writer(width, height, greyscale=False, bitdepth=16).write(
                    file, values.reshape(height, -1)
                )
        else:
            Image.fromarray(values).save(beside, format=formats[suffix], quality=QUALITY)
