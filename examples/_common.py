"""What the examples share: where results go, and how a table looks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path


def fresh_folder(wanted: str) -> Path:
    """`wanted`, or `wanted-2`, `wanted-3`, ...: an example overwrites nothing."""
    names = itertools.chain([wanted], (f"{wanted}-{n}" for n in itertools.count(2)))
    folder = next(path for path in map(Path, names) if not path.exists())
    folder.mkdir(parents=True)
    return folder


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in Markdown: the first column to the left, numbers to the right."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join([first, *rest]) + " |"

    print(line(header))
    print(
        "|"
        + "|".join([":" + "-" * (widths[0] + 1), *("-" * (w + 1) + ":" for w in widths[1:])])
        + "|"
    )
    for row in rows:
        print(line(row))
