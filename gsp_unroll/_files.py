"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_new(path: Path) -> None:
    """Raise `FileExistsError` for a name that is taken."""
    if path.exists():
        raise FileExistsError(
            f"{path} exists. A new name is needed. Move it away, or give another."
        )


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to, which takes the place of `path` once all is on the disk.

    Whatever stops the writing, `path` stays as it was.
    """
    beside = path.with_name(path.name + ".part")
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())  # else a power failure may keep the name and lose the contents
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
