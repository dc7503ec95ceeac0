"""How the command ends, and what it says when something went wrong."""

from __future__ import annotations

import sys
import traceback

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def explain(error: BaseException) -> str:
    """The message of an error; its kind too, unless the message was written to be read."""
    if isinstance(error, ValueError | OSError):
        return str(error)
    return f"{type(error).__name__}: {error} (--debug shows where)"


def say(error: BaseException, *, debug: bool) -> None:
    """Prints an error, and where it came from if that was asked for."""
    if debug:
        traceback.print_exception(error)
    print(f"error: {explain(error)}", file=sys.stderr)
