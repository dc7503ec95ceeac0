"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import re
import socket
import threading
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

    Whatever stops the writing, `path` stays as it was. The place is this writer's own: of two that
    write at once the last one's file stays, whole. What a killed process has left there goes when
    the same file is written again on the same machine.
    """
    _drop_leftovers(path)
    beside = path.with_name(f"{path.name}{_mark()}{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())  # else a power failure may keep the name and lose the contents
        os.replace(beside, path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(beside):
            error.filename = str(path)  # the name that was asked for
        raise


def _mark() -> str:
    """A process number means something on one machine only."""
    return f".{socket.gethostname()}-"


def _drop_leftovers(path: Path) -> None:
    if os.name != "posix":  # elsewhere signal 0 is one that ends a process
        return
    ours = re.compile(re.escape(path.name + _mark()) + r"(\d+)-\d+\.part")
    for name in os.listdir(path.parent):
        found = ours.fullmatch(name)
        if found and not _alive(int(found[1])):
            (path.parent / name).unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True
