"""Which files are read, and which are written."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .._checks import mistake
from ..photos import SUFFIXES, TIFF, find_photos


@dataclass(frozen=True)
class Job:
    """One picture.

    Args:
        source: file to read.
        target: file to write.
    """

    source: Path
    target: Path


def plan_jobs(
    inputs: Sequence[str], out: str, suffixes: Collection[str], suffix: str | None = None
) -> tuple[list[Job], list[str]]:
    """What there is to do, and which inputs led to nothing.

    A file goes to OUT under its own name, a folder with its folders. What lies in OUT is no input,
    unless OUT itself is one.

    Args:
        inputs: files, folders and patterns.
        out: file or folder.
        suffixes: of pictures in folders, in small letters.
        suffix: of the files in a folder OUT; None keeps TIFF and makes all others PNG.

    Raises:
        ValueError: nothing to do at all; two pictures for one name; a file OUT for several
            pictures, or with a name that tells no format or another than `suffix`.
    """
    one = _one_target(inputs, out)
    if one is not None:
        if suffix is not None and suffix != one.suffix.lower():
            raise mistake(
                f"--suffix {suffix} and the file {one}",
                "a folder OUT, whose files it names",
                "Leave out --suffix: the name of OUT tells the format.",
            )
        return [Job(Path(inputs[0]), one)], []
    folder = Path(out)
    sources: dict[Path, Path] = {}  # where it lies: where it goes, within the folder OUT
    lost = []
    for text in inputs:
        found = dict(_found(text, folder, suffixes))
        if not found:
            lost.append(f"{text}: no such picture, and none in a folder of that name")
        for source, name in found.items():
            sources.setdefault(source, name)
    jobs: dict[Path, Job] = {}
    for source, name in sources.items():
        kept = name.suffix if name.suffix.lower() in TIFF else ".png"
        target = folder / name.with_suffix(suffix or kept)
        if target in jobs:
            raise mistake(
                f"{jobs[target].source} and {source}, which would both become {target}",
                "a name of its own for each picture",
                "Restore them into different folders.",
            )
        jobs[target] = Job(source, target)
    if not jobs:
        raise mistake("; ".join(lost), "at least one picture", "Correct the name.")
    return list(jobs.values()), lost


def _one_target(inputs: Sequence[str], out: str) -> Path | None:
    """OUT, if it names a file."""
    path = Path(out)
    if path.is_dir() or out.endswith(("/", os.sep)) or not path.suffix:
        return None
    if len(inputs) == 1 and Path(inputs[0]).is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise mistake(
                f"{out}, whose name tells no format",
                f"a name that ends in {', '.join(sorted(SUFFIXES))}, or a folder",
                "End the name of a folder in a slash.",
            )
        return path
    if path.suffix.lower() in SUFFIXES and (len(inputs) > 1 or not _is_missing(inputs[0])):
        raise mistake(
            f"the file {out} for several pictures", "a folder", "Give a name without a suffix."
        )
    return None


def _is_missing(text: str) -> bool:
    return not os.path.lexists(text) and not glob.has_magic(text)


def _found(text: str, out: Path, suffixes: Collection[str]) -> Iterator[tuple[Path, Path]]:
    """Files behind an input, and their names from there on."""
    path = Path(text)
    if path.is_file():
        yield path, Path(path.name)
    elif path.is_dir():
        inside = path.resolve() != out.resolve()
        try:
            photos = find_photos(path, suffixes)
        except FileNotFoundError:
            return
        for photo in photos:
            if not (inside and out.resolve() in photo.resolve().parents):
                yield photo, photo.relative_to(path)
    else:
        for match in sorted(glob.glob(text, recursive=True)):
            yield from _found(match, out, suffixes)
