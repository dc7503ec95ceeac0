"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(
    names: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[bool]
) -> str:
    """A table whose columns line up; those of `numbers` to the right.

    Args:
        names: of the columns.
        rows: their cells.
        numbers: which columns hold numbers.
    """
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    rule = ["-" * (w - 1) + ":" if n else "-" * w for w, n in zip(widths, numbers, strict=True)]
    lines = [
        [c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numbers, strict=True)]
        for line in (names, *rows)
    ]
    return "".join("| " + " | ".join(line) + " |\n" for line in [lines[0], rule, *lines[1:]])
