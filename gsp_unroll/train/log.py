"""The log of a training: one JSON object a line, in the order of the steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .._checks import mistake
from .._files import written_whole

Line = dict[str, Any]


def read_log(path: Path) -> list[Line]:
    r"""The lines of a log, none if there is no file. A last line that was cut short is left out.

    Args:
        path: the file, `log.jsonl` in the folder of a training.

    Raises:
        ValueError: a file that is no log.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from gsp_unroll.train.log import read_log
        >>> path = Path(tempfile.mkdtemp()) / "log.jsonl"
        >>> _ = path.write_text('{"step": 50, "loss": 0.1}\n{"step": 100, "lo')
        >>> read_log(path)
        [{'step': 50, 'loss': 0.1}]
    """
    if not path.exists():
        return []
    lines: list[Line] = []
    texts = path.read_text(errors="replace").split("\n")
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
            line["step"] + 0  # what makes it a line of a log
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if number == len(texts):  # what follows the last end of a line
                break
            raise mistake(
                f"{path}, whose line {number} is {text[:40]!r}",
                "a JSON object with a step in each line",
                "Move the file elsewhere; nothing was overwritten.",
            ) from error
        lines.append(line)
    return lines


def cut_log(path: Path, step: int) -> None:
    """Takes out what an interrupted training logged beyond the step that it goes on from."""
    if path.exists():
        kept = [line for line in read_log(path) if line["step"] <= step]
        with written_whole(path) as beside:
            beside.write_text("".join(json.dumps(line) + "\n" for line in kept))


def append_to_log(path: Path, line: Line) -> None:
    """Writes one line more."""
    with path.open("a") as log:
        log.write(json.dumps(line) + "\n")
