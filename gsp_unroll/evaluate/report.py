"""The outcome of a comparison as tables in a folder."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import TextIO

from .._checks import mistake
from .._files import written_whole
from .._tables import markdown_table
from .compare import Result, Row, summarize
from .protocols import BORDER

#: the table twice, and the results of single photographs
FILES = TABLE, VALUES, PHOTOS = "table.md", "table.csv", "photos.csv"

TASK_CAPTIONS = {
    "demosaic": "Colours from a Bayer mosaic (RGGB).",
    "interpolate": "Luma (ITU-R BT.601, studio range) from every second pixel of every second row.",
}
CAPTION = (
    "*sigma*: standard deviation of white Gaussian noise on the observation, on the scale from 0 "
    "to 255, not clipped, seed {seed}. *paper*: PSNR in dB of the squared error averaged over all "
    "photographs of a set, and mean SSIM with the defaults of scikit-image (7x7 uniform window); "
    "values as restored, neither rounded nor clipped, no border cut. *standard*: mean over the "
    "photographs of the PSNR in dB of values rounded to 8 bits and clipped, without the {border} "
    "pixels along each side. Compare figures of one protocol only."
)


def check_vacant(folder: Path, files: Sequence[str] = FILES) -> None:
    """No results in the folder yet.

    Args:
        folder: where they are to go.
        files: what they are called.

    Raises:
        ValueError: there are.
    """
    taken = [name for name in files if (folder / name).exists()]
    if taken:
        raise mistake(
            f"--out {folder}, which already holds {', '.join(taken)}",
            "a folder without results",
            "Name another folder, or overwrite them with --force.",
        )


def write_report(results: Iterable[Result], folder: Path, task: str, seed: int) -> str:
    """Writes the tables as the results come, and returns the one in Markdown.

    Each file is written beside its place and put there when all is whole. Results of an evaluation
    that was interrupted stay in `photos.csv.part`.

    Args:
        results: of `compare`.
        folder: is made where there is none.
        task: of the comparison, for the caption.
        seed: of the noise, for the caption.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept: list[Result] = []
    with _replacing(folder / PHOTOS) as file:
        table = csv.writer(file)
        table.writerow(
            [
                "set",
                "photo",
                "sigma",
                "method",
                "mse_paper",
                "psnr_standard",
                "ssim_paper",
                "seconds",
            ]
        )
        for r in results:
            kept.append(r)
            s = r.score
            table.writerow(
                [r.set, s.photo, r.sigma, r.method, s.mse, s.psnr, s.ssim, f"{r.seconds:.3f}"]
            )
            file.flush()
    rows = summarize(kept)
    text = markdown(rows) + "\n" + caption(task, seed) + "\n"
    with (
        written_whole(folder / VALUES) as beside,
        beside.open("w", newline="", encoding="utf-8") as file,
    ):
        values = csv.DictWriter(file, [f.name for f in fields(Row)])
        values.writeheader()
        values.writerows(asdict(row) for row in rows)
    with written_whole(folder / TABLE) as beside:
        beside.write_text(text, encoding="utf-8")
    return text


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    names = "set", "photos", "sigma", "method", "PSNR (paper)", "SSIM (paper)", "PSNR (standard)"
    cells = []
    for row in rows:
        name, photos, sigma, method, psnr, ssim, usual = astuple(row)
        cells.append(
            (name, f"{photos}", f"{sigma:g}", method, f"{psnr:.2f}", f"{ssim:.4f}", f"{usual:.2f}")
        )
    return markdown_table(names, cells, [False, True, True, False, True, True, True])


def caption(task: str, seed: int) -> str:
    """What the columns of the table mean, the rule for borders included."""
    return TASK_CAPTIONS[task] + " " + CAPTION.format(seed=seed, border=BORDER)


@contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    """A file that takes its place when it is whole. Other than that of `written_whole`, what there
    is of it stays beside when it is interrupted: hours of results."""
    beside = path.with_name(path.name + ".part")
    with beside.open("w", newline="", encoding="utf-8") as file:
        yield file
    os.replace(beside, path)
