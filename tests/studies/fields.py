r"""One field at a time: `restore` with planes, without, by slopes; and interpolation in triangles.

Readings of weather and air at stations, each of a few times evenly over the record by itself. 40 %
of the readings are hidden. The error is the root mean square at hidden ones, in units of the spread
of what is left, over all times and draws. Whoever is asked beyond the triangles of the readings
takes the nearest reading.

    python tests/studies/fields.py --data DIR --out runs/fields
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from tqdm import tqdm

from gsp_unroll import GGLR, GLR, GTV, GradientGraph, PlaneFit, restore
from gsp_unroll._tables import markdown_table
from gsp_unroll.restoration import HoldOut, place_graph
from gsp_unroll.sensors import local_plane

HIDDEN = 0.4


@dataclass(frozen=True, eq=False)
class Field:
    """Places `(stations, d)` of one unit, values `(times, stations)`, NaN where there is none."""

    name: str
    place: np.ndarray
    values: np.ndarray


def fields(folder: Path) -> Iterator[Field]:
    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(folder / f"{name}.npz") as file:
            return dict(file)

    def flat(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
        return local_plane(torch.as_tensor(latitude), torch.as_tensor(longitude)).numpy()

    texas = load("texas_wind")
    place = flat(texas["lonlat"][:, 1], texas["lonlat"][:, 0])
    yield Field("Texas, temperature", place, texas["temperature_c"][None])
    yield Field("Texas, wind from the west", place, texas["wind_east_kn"][None])
    brittany = load("molene_days1_24")
    place = flat(*brittany["latlon"].T)
    yield Field("Brittany, temperature", place, brittany["temperature_c"])
    # a metre of height counts as 100 m along the ground, where temperatures are as far apart
    high = np.concatenate([place, brittany["altitude_m"][:, None] / 10], 1)
    yield Field("the same, with height", high, brittany["temperature_c"])
    yield Field("Brittany, wind", place, brittany["wind_mps"])
    ozone = load("midwest_ozone")
    place = flat(ozone["lonlat"][:, 1], ozone["lonlat"][:, 0])
    yield Field("Middle West, ozone", place, ozone["ozone"])
    colorado = load("colorado_monthly")
    place = flat(colorado["lonlat"][:, 1], colorado["lonlat"][:, 0])
    place = np.concatenate([place, colorado["elevation_m"][:, None] / 10], 1)
    yield Field("Colorado, warmest of a day, with height", place, colorado["tmax"][600:])


Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


def linear(y: np.ndarray, place: np.ndarray) -> np.ndarray:
    here = ~np.isnan(y)
    inside = LinearNDInterpolator(place[here], y[here])(place)
    return np.where(np.isnan(inside), NearestNDInterpolator(place[here], y[here])(place), inside)


def by_slopes(y: np.ndarray, place: np.ndarray) -> np.ndarray:
    near = place_graph(place)
    slopes = GradientGraph.of(near, PlaneFit(near.topology, torch.from_numpy(place)))
    return restore(y, slopes, HoldOut(priors=(GGLR,))).x


METHODS: dict[str, Method] = {
    "linear": linear,
    "GLR or GTV": lambda y, place: restore(y, place, HoldOut(priors=(GLR, GTV))).x,
    "GGLR": by_slopes,
    "`restore`": lambda y, place: restore(y, place).x,
}


def errors(field: Field, times: int, draws: int) -> dict[str, float]:
    """Of each method."""
    count = (~np.isnan(field.values)).sum(1)
    told = np.flatnonzero(count >= 0.6 * count.max())
    picked = told[np.linspace(0, len(told) - 1, min(times, len(told))).round().astype(int)]
    squares: dict[str, list[float]] = {name: [] for name in METHODS}
    for time in picked:
        known = ~np.isnan(field.values[time])
        truth, place = field.values[time, known].astype(np.float64), field.place[known]
        for draw in range(draws):
            random = np.random.default_rng([int(time), draw])
            hidden = random.permutation(len(truth)) < round(HIDDEN * len(truth))
            y = np.where(hidden, np.nan, truth)
            for name, method in METHODS.items():
                off = (method(y, place) - truth)[hidden] / np.nanstd(y)
                squares[name].append(float(np.mean(off**2)))
    return {name: float(np.mean(each)) ** 0.5 for name, each in squares.items()}


def main(options: argparse.Namespace) -> None:
    rows = []
    for field in tqdm(list(fields(options.data / "timeseries"))):
        found = errors(field, options.times, options.draws)
        values = [f"{value:.3f}" for value in found.values()]
        rows.append([field.name, str(len(field.place)), *values])
    header = ["field", "stations", *METHODS]
    table = markdown_table(header, rows, [False] + [True] * (len(header) - 1))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "table.md").write_text(table)
    print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--times", type=int, default=8, help="of each record")
    parser.add_argument("--draws", type=int, default=3, help="of what is hidden, at each time")
    main(parser.parse_args())
