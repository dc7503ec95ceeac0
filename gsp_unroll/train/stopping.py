"""Being stopped, between two steps, and being alone in a folder."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from .._checks import mistake

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_noted() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM are noted in a list, to be looked at where it is safe to stop; the second
    one interrupts at once. Outside the main thread nothing is caught."""
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """No second training writes to the folder meanwhile. Where the system has no such locks (it
    is not POSIX) nothing is checked.

    Raises:
        ValueError: another process is training there.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / "lock").open("w") as lock:  # let go by the system, however the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise mistake(
                f"{folder}, where a training is running",
                "a folder with none",
                "Wait for it, stop it, or give --out a folder of its own.",
            ) from error
        yield
