"""The command `python -m gsp_unroll.evaluate`."""

from __future__ import annotations

import argparse
import hashlib
import math
from contextlib import suppress
from pathlib import Path


def parse(
    arguments: list[str] | None = None, prog: str = "python -m gsp_unroll.evaluate"
) -> argparse.Namespace:
    """Options of the command, which calls itself `prog`; torch is not imported for them."""
    from .methods import BASELINES

    parser = argparse.ArgumentParser(
        prog=prog,
        description="Compare ways to restore photographs, each set by two protocols. The same "
        "command goes on with a comparison that was interrupted.",
        epilog=" ".join(f"Baselines of {t}: {', '.join(names)}." for t, names in BASELINES.items()),
    )
    add = parser.add_argument
    add("--task", choices=list(BASELINES), default="demosaic")
    add("--photos", type=Path, nargs="+", required=True, metavar="FOLDER", help="one set each")
    add(
        "--methods",
        nargs="+",
        required=True,
        metavar="METHOD",
        help="names of baselines or of networks in the package, or files of weights",
    )
    add(
        "--noise",
        type=_deviation,
        nargs="+",
        default=[0.0],
        metavar="SIGMA",
        help="standard deviations of noise on the observation, on the scale from 0 to 255",
    )
    add("--out", type=Path, required=True, metavar="FOLDER", help="tables, and every photograph's")
    add("--force", action="store_true", help="overwrite results in that folder, and begin anew")
    add(
        "--center",
        type=_pixels,
        metavar="PIXELS",
        help="take the central part of each photograph only, so many pixels on each side",
    )
    add("--seed", type=_seed, default=0, help="of the noise, at least 0")
    return parser.parse_args(arguments)


def _deviation(text: str) -> float:
    sigma = float(text)
    if not 0 <= sigma < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no standard deviation: 0 or more")
    return sigma


def _pixels(text: str) -> int:
    pixels = int(text)
    if pixels < 1:
        raise argparse.ArgumentTypeError(f"{text} is no side: 1 or more pixels")
    return pixels


def _seed(text: str) -> int:
    seed = int(text)
    if seed < 0:
        raise argparse.ArgumentTypeError(f"{text} is no seed: 0 or more")
    return seed


def main(options: argparse.Namespace) -> None:
    """Compares, writes the tables and prints one."""
    from .compare import compare
    from .methods import find_method, needed
    from .report import check_vacant, read_interrupted, write_report

    if not options.force:
        check_vacant(options.out)
    for module in ("PIL.Image", "skimage.metrics"):  # rather now than after the first photograph
        needed(module)
    methods = {name: find_method(name, options.task) for name in options.methods}
    sigmas = list(dict.fromkeys(options.noise))
    where, center = (options.out, options.task, options.seed), options.center
    asked = _asked(options)
    known = [] if options.force else read_interrupted(*where, center, asked)
    results = compare(options.photos, methods, options.task, sigmas, options.seed, known, center)
    print(write_report(results, *where, known, center, asked))


def _asked(options: argparse.Namespace) -> str:
    """The same for the same photographs, strengths and weights: what is asked for once more."""
    from ..models.pretrained import find_weights

    digest = hashlib.blake2b(digest_size=4)
    for word in (*(f.resolve() for f in options.photos), *options.noise, *options.methods):
        digest.update(f"{word}\n".encode())
    for name in options.methods:
        with suppress(ValueError):  # no network
            digest.update(find_weights(name).read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    options = parse()
    from .._checks import plainly

    with plainly():
        main(options)
