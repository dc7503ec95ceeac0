"""Methods side by side: the same photographs, the same noise."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from .._checks import mistake
from ..photos import central, find_photos, read_photo
from ..train.tasks import TASKS
from .methods import Method
from .protocols import Score, mean_ssim, paper_psnr, score, standard_psnr


@dataclass(frozen=True)
class Result:
    """What one method made of one observation of one photograph.

    Args:
        set: folder of the photograph.
        sigma: standard deviation of the noise, on the scale from 0 to 255.
        method: name.
        score: how near it came, and which photograph.
        seconds: time it took.

    Example:
        >>> from gsp_unroll.evaluate.compare import Result
        >>> from gsp_unroll.evaluate.protocols import Score
        >>> Result("kodak", 10.0, "menon2007", Score("1.png", 1e-4, 40.0, 0.99), 0.3).score.psnr
        40.0
    """

    set: str
    sigma: float
    method: str
    score: Score
    seconds: float


@dataclass(frozen=True)
class Row:
    """What one method made of one set at one noise level.

    Args:
        set: folder of the photographs.
        photos: how many.
        sigma: standard deviation of the noise, on the scale from 0 to 255.
        method: name.
        paper_psnr: see `paper_psnr`, in dB.
        paper_ssim: see `mean_ssim`.
        standard_psnr: see `standard_psnr`, in dB.

    Example:
        >>> from gsp_unroll.evaluate.compare import Row
        >>> Row("kodak", 24, 0.0, "menon2007", 38.5, 0.98, 39.2).standard_psnr
        39.2
    """

    set: str
    photos: int
    sigma: float
    method: str
    paper_psnr: float
    paper_ssim: float
    standard_psnr: float


def noise(shape: tuple[int, ...], sigma: float, photo: str, seed: int = 0) -> np.ndarray:
    """White Gaussian noise for an observation with values in [0, 1].

    It depends on its arguments alone, so it is the same for every method and whatever else is
    evaluated.

    Args:
        shape: of the observation.
        sigma: standard deviation on the scale from 0 to 255.
        photo: name.
        seed: at least 0.

    Shapes:
        - **returns:** `shape`, of float32

    Example:
        >>> from gsp_unroll.evaluate.compare import noise
        >>> once, again = (noise((2, 3, 1), 10.0, "1.png") for _ in range(2))
        >>> bool((once == again).all()), bool((once == noise((2, 3, 1), 10.0, "2.png")).any())
        (True, False)
    """
    random = np.random.default_rng([seed, *photo.encode(), 0, *repr(float(sigma)).encode()])
    return np.asarray(sigma / 255 * random.standard_normal(shape), dtype=np.float32)


def observe(
    photo: np.ndarray, task: str, sigma: float = 0.0, name: str = "", seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """What a method is given of a photograph, and what it should make of it.

    Args:
        photo: colours in [0, 1].
        task: "demosaic" or "interpolate".
        sigma: standard deviation of the noise on the scale from 0 to 255; nothing is clipped.
        name: of the photograph, for the noise.
        seed: of the noise.

    Shapes:
        - **photo:** `(height, width, 3)`
        - **returns:** the observation, `(height, width, 1)`, where what stands at pixels that are
          not observed means nothing; and the truth, `(height, width, channels)`

    Example:
        >>> import numpy as np
        >>> from gsp_unroll.evaluate.compare import observe
        >>> photo = np.random.default_rng(0).random((4, 6, 3), np.float32)
        >>> y, truth = observe(photo, "demosaic")
        >>> y.shape, truth.shape, bool(y[0, 0, 0] == photo[0, 0, 0])  # red at the top left
        ((4, 6, 1), (4, 6, 3), True)
    """
    height, width, _ = photo.shape
    colors = torch.from_numpy(photo.reshape(-1, 3))
    truth = TASKS[task].truth(colors)
    y = TASKS[task].observe(truth, (height, width)).y.reshape(height, width, 1).numpy()
    if sigma:
        y = y + noise(y.shape, sigma, name, seed)
    return y, truth.reshape(height, width, -1).numpy()


def compare(
    folders: Sequence[Path],
    methods: Mapping[str, Method],
    task: str,
    sigmas: Sequence[float] = (0.0,),
    seed: int = 0,
    known: Collection[Result] = (),
    center: int | None = None,
) -> Iterator[Result]:
    """Every method on every photograph at every noise level, with a progress bar.

    Args:
        folders: each is a set of its own.
        methods: by name.
        task: "demosaic" or "interpolate".
        sigmas: standard deviations of the noise on the scale from 0 to 255.
        seed: of the noise.
        known: results that need not be computed again, and are not repeated.
        center: side in pixels of the central part that is taken of each photograph, where the
            photograph is larger; None for the whole of it.

    Raises:
        ValueError: one folder twice; a photograph too small for the scores, or a method that
            returns another shape, see `score`.
        FileNotFoundError: a folder without photographs.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from gsp_unroll.evaluate.compare import compare
        >>> from gsp_unroll.evaluate.methods import find_method
        >>> from gsp_unroll.photos import write_photo
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_photo(folder / "grey.png", np.full((32, 32, 3), 0.5))
        >>> methods = {"bilinear": find_method("bilinear", "interpolate")}
        >>> results = compare([folder], methods, "interpolate", sigmas=(0.0, 10.0))
        >>> [(r.score.photo, r.sigma) for r in results]
        [('grey.png', 0.0), ('grey.png', 10.0)]
    """
    done = {(r.set, r.score.photo, r.sigma, r.method) for r in known}
    sets = {_name(folder, folders): (folder, find_photos(folder)) for folder in folders}
    photos = [
        (set_name, path, path.relative_to(folder).as_posix())
        for set_name, (folder, paths) in sets.items()
        for path in paths
    ]

    def missing(set_name: str, name: str) -> dict[float, list[str]]:
        todo = {s: [m for m in methods if (set_name, name, s, m) not in done] for s in sigmas}
        return {sigma: names for sigma, names in todo.items() if names}

    total = sum(len(m) for set_name, _, name in photos for m in missing(set_name, name).values())
    with tqdm(total=total, unit="photo", mininterval=1) as progress:
        for set_name, path, name in photos:
            todo = missing(set_name, name)
            if not todo:
                continue
            photo = central(read_photo(path), center)
            for sigma, names in todo.items():
                y, truth = observe(photo, task, sigma, name, seed)
                for method in names:
                    progress.set_postfix_str(f"{name} {method}", refresh=False)
                    begin = time.perf_counter()
                    x = methods[method](y, sigma / 255)
                    seconds = time.perf_counter() - begin
                    yield Result(set_name, sigma, method, score(name, x, truth), seconds)
                    progress.update()


def _name(folder: Path, folders: Sequence[Path]) -> str:
    """The last part of the path, or all of it where that names two folders."""
    name = folder.resolve().name
    if [f.resolve() for f in folders].count(folder.resolve()) > 1:
        raise mistake(f"the folder {folder} twice", "each set once", "Leave it out once.")
    return name if [f.resolve().name for f in folders].count(name) == 1 else str(folder)


def summarize(results: Sequence[Result]) -> list[Row]:
    """One row for each set, noise level and method, in the order of their first results.

    Args:
        results: of `compare`.

    Example:
        >>> from gsp_unroll.evaluate.compare import Result, summarize
        >>> from gsp_unroll.evaluate.protocols import Score
        >>> scores = Score("1.png", 1e-4, 40.0, 0.99), Score("2.png", 1e-3, 30.0, 0.97)
        >>> rows = summarize([Result("kodak", 0.0, "mine", score, 0.1) for score in scores])
        >>> rows[0].photos, rows[0].standard_psnr, round(rows[0].paper_psnr, 2)
        (2, 35.0, 32.6)
    """
    sets = dict.fromkeys(r.set for r in results)
    sigmas = dict.fromkeys(r.sigma for r in results)
    methods = dict.fromkeys(r.method for r in results)
    groups: dict[tuple[str, float, str], list[Score]] = {
        key: [] for key in product(sets, sigmas, methods)
    }
    for r in results:
        groups[r.set, r.sigma, r.method].append(r.score)
    return [
        Row(name, len(s), sigma, method, paper_psnr(s), mean_ssim(s), standard_psnr(s))
        for (name, sigma, method), s in groups.items()
        if s
    ]
