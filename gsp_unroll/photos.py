"""Photographs in files: found and read (extra `train`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ._checks import mistake

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


def find_photos(folder: str | Path) -> list[Path]:
    """The image files of a folder and the folders in it, in the order of their names.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
    """
    folder = Path(folder)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(
            f"{folder}: no image ({', '.join(sorted(SUFFIXES))}) in this folder. "
            "Give a folder of photographs."
        )
    return paths


def read_photo(path: str | Path) -> np.ndarray:
    """A photograph as `(height, width, 3)` of float32 in [0, 1]; grey ones get three equal colours.

    Raises:
        ValueError: a file that is no image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    except (UnidentifiedImageError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise mistake(
            f"{path}, which cannot be read ({error})",
            "an image file",
            "Remove it from the folder, or convert it to PNG.",
        ) from error
