"""The command `python -m gsp_unroll.evaluate.graphs`: do good graphs make good pictures?"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from .._checks import plainly
from .._files import written_whole
from .._tables import markdown_table
from ..graph import connectivity, effective_neighbors, roughness
from ..metrics import psnr
from ..models import ImageNetwork
from ..photos import central, find_photos, read_photo
from ..train.tasks import TASKS, Task
from .methods import find_network
from .report import check_vacant

FILES = VALUES, TABLE = "graphs.csv", "graphs.md"
MEASURES = "neighbors", "roughness", "connectivity"


@dataclass(frozen=True)
class Look:
    """What one network made of one photograph, and the graphs that it drew for it.

    Args:
        network: name.
        photo: name.
        psnr: of the result, in dB.
        gain: what that is above the start of the network.
        neighbors: see `effective_neighbors`.
        roughness: of the truth, see `roughness`.
        connectivity: see `connectivity`.

    The last three are means over the graphs of the first stage.

    Example:
        >>> from gsp_unroll.evaluate.graphs import Look
        >>> Look("mosaic", "1.png", 40.0, 5.0, 12.0, 0.1, 0.02).gain
        5.0
    """

    network: str
    photo: str
    psnr: float
    gain: float
    neighbors: float
    roughness: float
    connectivity: float


@torch.no_grad()
def look(name: str, network: ImageNetwork, task: Task, photo: str, image: np.ndarray) -> Look:
    """Restores an observation of one image, and measures the graphs drawn for it.

    Args:
        name: of the network.
        network: what restores.
        task: what is observed.
        photo: name of the image.
        image: colours in [0, 1].

    Shapes:
        - **image:** `(height, width, 3)`; the spectrum of a large one takes long

    Example:
        >>> import numpy as np
        >>> from gsp_unroll import from_pretrained
        >>> from gsp_unroll.evaluate.graphs import look
        >>> from gsp_unroll.train.tasks import TASKS
        >>> image = np.random.default_rng(0).random((8, 8, 3), np.float32)
        >>> seen = look("small", from_pretrained("small"), TASKS["demosaic"], "noise", image)
        >>> 1 <= seen.neighbors <= 24
        True
    """
    shape = (image.shape[0], image.shape[1])
    truth = task.truth(torch.from_numpy(image).reshape(-1, 3))
    data = task.observe(truth, shape, data_term=network.data_term)
    graphs = network.graph(data, shape)
    result, start = psnr(network(data, shape), truth), psnr(network.x0(data, shape), truth)
    measures = effective_neighbors(graphs), roughness(graphs, truth), connectivity(graphs)
    means = (float(measure.mean()) for measure in measures)
    return Look(name, photo, float(result), float(result - start), *means)


def looks(
    networks: Sequence[str], folders: Sequence[Path], task: str, side: int = 64
) -> Iterator[Look]:
    """`look` for every network at the centre of every photograph, with a progress bar.

    Args:
        networks: names or files, see `find_network`.
        folders: are searched for photographs.
        task: "demosaic" or "interpolate".
        side: of the central part, in pixels; the spectrum of larger ones takes long.
    """
    loaded = {name: find_network(name, task) for name in networks}
    paths = [path for folder in folders for path in find_photos(folder)]
    for path in tqdm(paths, unit="photo"):
        image = read_photo(path)
        image = np.ascontiguousarray(central(image, side))
        for name, network in loaded.items():
            yield look(name, network, TASKS[task], path.name, image)


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's: 1 where the larger `a` always has the larger `b`, -1 where the smaller. NaN for
    fewer than 3 pairs, or where all of one are equal.

    Args:
        a: one number for each thing.
        b: another number for each, as many.

    Example:
        >>> from gsp_unroll.evaluate.graphs import rank_correlation
        >>> round(rank_correlation([1.0, 2.0, 3.0], [10.0, 30.0, 90.0]), 6)
        1.0
    """
    from scipy.stats import rankdata

    ranks = np.stack([rankdata(a), rankdata(b)])
    if ranks.shape[1] < 3 or bool((np.ptp(ranks, axis=1) == 0).any()):
        return math.nan
    return float(np.corrcoef(ranks)[0, 1])


def graphs_table(every: Sequence[Look]) -> str:
    """For each network the means, and the rank correlations of PSNR and gain with each measure of
    its graphs over the photographs; in the last line the same over the means of the networks.

    Args:
        every: of `look`, for several networks and photographs.

    Example:
        >>> from gsp_unroll.evaluate.graphs import Look, graphs_table
        >>> every = [Look("a", f"{i}.png", 30.0 + i, 1.0 * i, 8.0 - i, 0.1, 0.1) for i in range(4)]
        >>> print(graphs_table(every).splitlines()[2])
        | a | 31.50 | 1.50 | 6.5 | 0.1 | 0.1 | -1.00 | +nan | +nan | -1.00 | +nan | +nan |
    """
    rows, means = [], []
    for name in dict.fromkeys(one.network for one in every):
        own = [one for one in every if one.network == name]
        columns = {f.name: [getattr(one, f.name) for one in own] for f in fields(Look)[2:]}
        means.append({key: float(np.mean(values)) for key, values in columns.items()})
        rows.append([name, *(f"{value:.3g}" for value in means[-1].values()), *_related(columns)])
        rows[-1][1:3] = (f"{means[-1][key]:.2f}" for key in ("psnr", "gain"))
    over = {key: [mean[key] for mean in means] for key in means[0]} if means else {}
    if len(means) > 2:
        rows.append(["*over the networks*", *[""] * len(over), *_related(over)])
    names = ["network", "PSNR", "gain", *MEASURES]
    names += [f"{y} ~ {x}" for y in ("PSNR", "gain") for x in MEASURES]
    return markdown_table(names, rows, [False] + [True] * (len(names) - 1))


def _related(columns: dict[str, list[float]]) -> list[str]:
    return [
        f"{rank_correlation(columns[y], columns[x]):+.2f}"
        for y in ("psnr", "gain")
        for x in MEASURES
    ]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m gsp_unroll.evaluate.graphs",
        description="Measure the graphs that networks draw for photographs, and whether the "
        "measures go along with how well the photographs are restored.",
    )
    add = parser.add_argument
    add("--task", choices=list(TASKS), default="demosaic")
    add("--networks", nargs="+", required=True, metavar="NAME", help="names, files or folders")
    add("--photos", type=Path, nargs="+", required=True, metavar="FOLDER")
    add("--side", type=int, default=64, help="central pixels of a photograph that are taken")
    add("--out", type=Path, required=True, metavar="FOLDER", help="takes the tables")
    add("--force", action="store_true", help="overwrite results in that folder")
    return parser.parse_args(arguments)


def main(options: argparse.Namespace) -> None:
    """Measures, writes the tables and prints one."""
    if not options.force:
        check_vacant(options.out, FILES)
    every = list(looks(options.networks, options.photos, options.task, options.side))
    table = graphs_table(every)
    options.out.mkdir(parents=True, exist_ok=True)
    with (
        written_whole(options.out / VALUES) as beside,
        beside.open("w", newline="", encoding="utf-8") as file,
    ):
        values = csv.writer(file)
        values.writerow(f.name for f in fields(Look))
        values.writerows(map(astuple, every))
    with written_whole(options.out / TABLE) as beside:
        beside.write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    with plainly():
        main(parse())
