"""Picture by picture: what fails is said, and the others are done."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from tqdm import tqdm

from .. import camera
from .._checks import mistake
from ..evaluate.methods import needed
from ..photos import SUFFIXES, TIFF, PhotoHeader, read_header, write_photo
from .files import Job, plan_jobs
from .messages import DONE, FAILED, WRONG_USE, explain, say

#: Kinds of files that can hold 16 bits.
DEEP = {".png", *TIFF}


class Restorer(Protocol):
    """What a command does to one picture."""

    #: pixels of a side in the result for each in the file
    scale: int
    #: whether it takes camera files
    takes_raw: bool

    def restore(self, path: Path) -> tuple[np.ndarray, str]:
        """The result for the picture in a file, and what there is to say about it."""


def run(options: argparse.Namespace, make: Callable[[argparse.Namespace], Restorer]) -> int:
    """Restores the pictures that the options name, and returns the exit status.

    Args:
        options: of the command.
        make: what the command does, from the same options.
    """
    try:
        *inputs, out = options.paths
        if not inputs:
            raise mistake(f"{out} alone", "IN and OUT", "Say also where the result is to go.")
        for module in ("PIL.Image", "tifffile", "png"):  # rather now than after the first picture
            needed(module, "pip install 'gsp_unroll[photos]'")
        restorer = make(options)
        suffixes = SUFFIXES | camera.SUFFIXES if restorer.takes_raw else SUFFIXES
        jobs, lost = plan_jobs(inputs, out, suffixes, options.suffix)
        if options.bits == 16:
            _check_deep(jobs)
    except (ValueError, OSError) as error:
        say(error, debug=options.debug)
        return WRONG_USE
    for message in lost:
        print(f"error: {message}", file=sys.stderr)
    failed = len(lost)
    # a bar is for terminals, and for more than one picture
    with _any_size(), tqdm(jobs, unit="picture", disable=None if len(jobs) > 1 else True) as bar:
        for job in bar:
            if options.skip_existing and job.target.exists():
                bar.write(f"{job.target} exists: skipped", file=sys.stderr)
                continue
            try:
                note = _restore(job, options, restorer)
                bar.write(f"{job.source} -> {job.target}{note}", file=sys.stderr)
            except Exception as error:
                failed += 1
                if options.debug:
                    bar.write("".join(traceback.format_exception(error)), file=sys.stderr)
                bar.write(f"error: {job.source}: {explain(error)}", file=sys.stderr)
    total = len(jobs) + len(lost)
    if failed and total > 1:
        print(f"{failed} of {total} failed", file=sys.stderr)
    return FAILED if failed else DONE


def _check_deep(jobs: list[Job]) -> None:
    for job in jobs:
        if job.target.suffix.lower() not in DEEP:
            raise mistake(
                f"16 bits for {job.target}", "a PNG or TIFF file", "Leave out --bits or --suffix."
            )


def _restore(job: Job, options: argparse.Namespace, restorer: Restorer) -> str:
    """One picture, from file to file; returns what there is to say about it."""
    if job.target.exists() and not options.force:
        raise FileExistsError(
            f"{job.target} exists. A new name is needed. Give another, or --force to replace it."
        )
    header = _header(job.source, restorer.takes_raw)
    pixels = header.height * header.width * restorer.scale**2
    if pixels > options.max_megapixels * 1e6:
        raise mistake(
            f"{header.width} x {header.height} pixels, a result of {pixels / 1e6:.4g} megapixels",
            f"at most {options.max_megapixels:g}",
            f"If memory is enough, allow more: --max-megapixels {pixels / 1e6 + 1:.0f}.",
        )
    image, note = restorer.restore(job.source)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    bits: Literal[8, 16] = options.bits or (
        16 if header.bits == 16 and job.target.suffix.lower() in DEEP else 8
    )
    write_photo(job.target, image, bits, overwrite=options.force)
    return note


def _header(path: Path, takes_raw: bool) -> PhotoHeader:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. A picture is needed. Correct the name.")
    if path.suffix.lower() not in camera.SUFFIXES:
        return read_header(path)
    if not takes_raw:
        raise mistake(
            "a camera file", "a picture in colours", "Restore its colours first: demosaic."
        )
    needed("rawpy", "pip install 'gsp_unroll[raw]'")
    height, width = camera.read_raw_size(path)
    return PhotoHeader(height, width, 16)


@contextmanager
def _any_size() -> Iterator[None]:
    """Without the bound of Pillow, which knows no exceptions: ours is checked before."""
    from PIL import Image

    bound = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = bound
