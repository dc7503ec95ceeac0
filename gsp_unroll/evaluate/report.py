"""The outcome of a comparison as tables in a folder."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path

from .._checks import mistake
from .._files import written_whole
from .._tables import markdown_table
from .compare import Result, Row, summarize
from .protocols import BORDER, Score

#: the table twice, and the results of single photographs
FILES = TABLE, VALUES, PHOTOS = "table.md", "table.csv", "photos.csv"
COLUMNS = "set", "photo", "sigma", "method", "mse_paper", "psnr_standard", "ssim_paper", "seconds"

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


def write_report(
    results: Iterable[Result],
    folder: Path,
    task: str,
    seed: int,
    known: Sequence[Result] = (),
    center: int | None = None,
    asked: str = "",
) -> str:
    """Writes the tables, and returns the one in Markdown.

    Each file takes its place when all is whole. What an evaluation that was interrupted had is
    kept, see `read_interrupted`.

    Args:
        results: of `compare`, written down one by one.
        folder: is made where there is none.
        task: of the comparison, for the caption.
        seed: of the noise, for the caption.
        known: results that are there already.
        center: of the comparison, for the caption.
        asked: the same for the same sets and methods, for `read_interrupted`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from gsp_unroll.evaluate.compare import Result
        >>> from gsp_unroll.evaluate.protocols import Score
        >>> from gsp_unroll.evaluate.report import write_report
        >>> result = Result("kodak", 0.0, "mine", Score("1.png", 1e-4, 40.0, 0.99), 0.1)
        >>> folder = Path(tempfile.mkdtemp())
        >>> print(write_report([result], folder, "demosaic", seed=0).splitlines()[2])
        | kodak | 1 | 0 | mine | 40.00 | 0.9900 | 40.00 |
        >>> sorted(path.name for path in folder.iterdir())
        ['photos.csv', 'table.csv', 'table.md']
    """
    folder.mkdir(parents=True, exist_ok=True)
    every, part = list(known), _part(folder, task, seed, center, asked)
    with written_whole(part) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *map(_cells, known)])
    with part.open("a", newline="", encoding="utf-8") as file:
        for result in results:
            every.append(result)
            csv.writer(file).writerow(_cells(result))
            file.flush()
    rows = summarize(every)
    text = markdown(rows) + "\n" + caption(task, seed, center) + "\n"
    with (
        written_whole(folder / VALUES) as beside,
        beside.open("w", newline="", encoding="utf-8") as file,
    ):
        values = csv.DictWriter(file, [f.name for f in fields(Row)])
        values.writeheader()
        values.writerows(asdict(row) for row in rows)
    with written_whole(folder / TABLE) as beside:
        beside.write_text(text, encoding="utf-8")
    os.replace(part, folder / PHOTOS)  # last: until then the same command goes on
    return text


def read_interrupted(
    folder: Path, task: str, seed: int, center: int | None = None, asked: str = ""
) -> list[Result]:
    """What an evaluation with these settings that was interrupted has left; a line that was cut
    short does not count.

    Args:
        folder: where its tables were to go.
        task: of the comparison.
        seed: of the noise.
        center: of the comparison.
        asked: of the comparison.

    Raises:
        ValueError: a file that holds no results.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from gsp_unroll.evaluate.report import read_interrupted
        >>> read_interrupted(Path(tempfile.mkdtemp()), "demosaic", seed=0)  # nothing was begun
        []
    """
    part = _part(folder, task, seed, center, asked)
    if not part.exists():
        return []
    try:
        whole = part.read_bytes().rpartition(b"\n")[0].decode("utf-8").splitlines()
        return [_result(cells) for cells in csv.reader(whole[1:])]
    except (ValueError, csv.Error) as error:
        raise mistake(
            f"{part}, which cannot be read ({error})",
            "results that an evaluation has left",
            "Move it away to evaluate anew; nothing was overwritten.",
        ) from error


def _part(folder: Path, task: str, seed: int, center: int | None, asked: str) -> Path:
    """The settings are in the name: results of others must not be mixed in."""
    settings = task, f"{seed}", "" if center is None else f"{center}", asked
    return folder / f"{PHOTOS}.{'-'.join(filter(None, settings))}.part"


def _cells(result: Result) -> tuple[object, ...]:
    s = result.score
    return result.set, s.photo, result.sigma, result.method, s.mse, s.psnr, s.ssim, result.seconds


def _result(cells: Sequence[str]) -> Result:
    name, photo, sigma, method, *numbers = cells
    mse, psnr, ssim, seconds = map(float, numbers)
    return Result(name, float(sigma), method, Score(photo, mse, psnr, ssim), seconds)


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


def caption(task: str, seed: int, center: int | None = None) -> str:
    """What the columns of the table mean, the rule for borders included."""
    part = "" if center is None else f" The central {center} by {center} pixels of each photograph."
    return TASK_CAPTIONS[task] + part + " " + CAPTION.format(seed=seed, border=BORDER)
