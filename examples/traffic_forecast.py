r"""Forecast traffic: how fast will it flow in an hour, at every sensor of a road?

The problem. Sensors report a speed every few minutes. A window holds the last steps, which are
read, and the next ones, which are not; x is the deviation from what is usual at that time of day,
at all sensors and all steps,

    min_x  1/2 sum_read (x_i - y_i)^2  +  1/2 sum_future c_t (x_i - m_i)^2
           +  mu_u/2 sum w_ij (x_i - x_j)^2          neighbours in space
           +  mu_d/2 sum (x_i - mean of its past)^2  the same sensor in time
           +  lam sum |x_i - mean of its past|

where m is a first look ahead, linear in the last steps of a sensor and of its neighbours, and c_t
says how much it is worth so many steps ahead. Which sensors are neighbours, and how near, is
learned: it begins as the correlation of their deviations. So are m, c and the weights.

Tikhonov is the same without learning, on a graph by correlation: m is 0, the weights are tuned.

What to expect: the next step is much like the last, and what is usual helps an hour ahead. A jam
moves against the traffic, so neighbours know what comes: this is what the trained network gains.

Run `python examples/traffic_forecast.py`: no argument is needed. The last three tenths of the days
are for the test. Neither is a network trained on them nor a number tuned.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import torch
from _common import fresh_folder, print_table
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from gsp_unroll import (
    GLR,
    ConjugateGradient,
    Diagonal,
    Graph,
    LeastSquares,
    MahalanobisLearner,
    knn_graph,
    path_graph,
    product_graph,
)
from gsp_unroll.series import (
    DailyMean,
    LinearForecast,
    SeriesNetwork,
    correlation_points,
    sliding_windows,
)

PAST, AHEAD = 12, 6
HORIZONS = (1, 3, 6)


def main(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    values, slots = load(options.data, options.seed)
    values = values.to(options.device)
    days = len(values) // slots
    border = slots * (days - max(1, round(0.3 * days)))

    # What is usual is learned from the days before the test, and taken out everywhere.
    usual = DailyMean.learned_from(values[:border], slots, reach=slots // 96)
    deviation = values - usual.at(0, len(values))
    scale = deviation[:border].square().nanmean().sqrt()
    known, test = (
        sliding_windows(part / scale, PAST + AHEAD)
        for part in (deviation[:border], deviation[border:])
    )
    test = test[:: options.every]
    y, truth = hide_future(test), test[:, PAST:]

    # Sensors whose deviations go together are neighbours.
    points = correlation_points(deviation[:border], min(16, values.shape[1]))
    space = knn_graph(points, 6)
    tune_on = known[:: max(1, len(known) // 40)]

    def badness(choice: tuple[float, float]) -> float:
        x = tikhonov(hide_future(tune_on), points, *choice)[:, PAST:]
        return float((x - tune_on[:, PAST:]).abs().nanmean())

    rows: list[tuple[str, ...]] = []

    def report(name: str, x: Tensor, seconds: float) -> None:
        off = scale * (x - truth)
        errors = [f"{float(off[:, h - 1].abs().nanmean()):.2f}" for h in HORIZONS]
        rmse = f"{float(off.square().nanmean().sqrt()):.2f}"
        rows.append((name, *errors, rmse, f"{seconds:.2f}"))

    report("the last reading", y[:, PAST - 1 : PAST].nan_to_num(0).expand_as(truth), 0)
    report("usual at that time", torch.zeros_like(truth), 0)
    best = min(itertools.product((0.01, 0.1), (0.3, 1.0, 3.0)), key=badness)
    begin = time.perf_counter()
    report("Tikhonov, tuned", tikhonov(y, points, *best)[:, PAST:], time.perf_counter() - begin)

    look = LinearForecast(PAST, AHEAD, len(points))
    network = SeriesNetwork(space, points, PAST + AHEAD, forecast=look).to(options.device)

    def run(name: str) -> Tensor:
        begin = time.perf_counter()
        with torch.no_grad():
            windows = y.unsqueeze(-1).split(32)
            x = torch.cat([network(some) for some in windows])[:, PAST:, :, 0]
        report(name, x, time.perf_counter() - begin)
        return x

    run("network, untrained")
    train(network, known, options.train)
    x = run("network, trained")

    size = sum(p.numel() for p in network.parameters())
    print(f"{len(points)} sensors, {len(test)} windows of the test, {size} parameters")
    steps = tuple(f"MAE, step {h}" for h in HORIZONS)
    print_table(("method", *steps, "RMSE", "seconds"), rows)
    path = fresh_folder(options.output) / "forecast.png"
    real = values[border:].unfold(0, PAST + AHEAD, 1).movedim(-1, 1)[:: options.every]
    draw(real, real[:, PAST:] + scale * (x - truth), path)
    print(f"picture: {path}")


def hide_future(windows: Tensor) -> Tensor:
    """NaN at the steps to forecast."""
    return torch.cat([windows[:, :PAST], torch.full_like(windows[:, PAST:], torch.nan)], 1)


def tikhonov(y: Tensor, points: Tensor, mu_u: float, mu_d: float) -> Tensor:
    """Smooth on the product of time and space, each window a channel."""
    learner = MahalanobisLearner(points.shape[1], init=3.0, normalization="none")
    space = learner.to(points.device)(points, knn_graph(points, 6)).detach()
    time = path_graph(y.shape[1])
    in_time = Graph(time, mu_d * time.edge_mask.to(points))
    graph = product_graph(in_time, Graph(space.topology, mu_u * space.weight))
    signal = y.permute(1, 2, 0).flatten(0, 1)
    H = Diagonal(torch.where(signal.isnan(), 0.01, 1.0).sqrt())
    A, b = LeastSquares(H, H(signal.nan_to_num(0))).system(GLR(graph).Q)
    x = ConjugateGradient(rtol=1e-4).solve(A, b).x
    return x.unflatten(0, y.shape[1:]).permute(2, 0, 1)


def train(network: SeriesNetwork, known: Tensor, steps: int) -> None:
    """Huber's loss on the future of windows before the test, by Adam."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    progress = tqdm(range(steps), desc="training", unit="step", mininterval=0.5)
    for _ in progress:
        windows = known[torch.randint(len(known), (16,), device=known.device)]
        x = network(hide_future(windows).unsqueeze(-1))[:, PAST:, :, 0]
        read = ~windows[:, PAST:].isnan()
        loss = functional.smooth_l1_loss(x[read], windows[:, PAST:][read], beta=0.5)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress.set_postfix(loss=f"{float(loss.detach()):.3f}", refresh=False)


def draw(real: Tensor, forecast: Tensor, path: Path) -> None:
    """The window of the test that changes most: what came, what was forecast."""
    from matplotlib.figure import Figure

    change = (real[:, PAST:] - real[:, PAST - 1 : PAST]).nan_to_num(0)
    window, _, place = np.unravel_index(int(change.abs().argmax()), change.shape)
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    seen, came = real[window, :PAST].cpu(), real[window, PAST:].cpu()
    ahead, both = forecast[window].cpu(), real[window].cpu().numpy()
    limits = {"vmin": np.nanmin(both), "vmax": np.nanmax(both)}
    for axes, picture, title in (
        (left, torch.cat([seen, came]), "what came"),
        (middle, torch.cat([seen, ahead]), "forecast, right of the line"),
    ):
        image = axes.imshow(picture.T, aspect="auto", cmap="viridis", **limits)
        axes.axvline(PAST - 0.5, color="white")
        axes.set(title=title, xlabel="step", ylabel="sensor")
    figure.colorbar(image, ax=[left, middle])
    steps = range(PAST, PAST + AHEAD)
    right.plot(real[window, :, place].cpu(), "k.-", label="read")
    right.plot(steps, ahead[:, place], "o-", label="forecast")
    right.set(title=f"sensor {place}", xlabel="step")
    right.legend()
    figure.savefig(path, dpi=130)


def load(file: str | None, seed: int) -> tuple[Tensor, int]:
    """Readings (steps, places) from midnight on, NaN where there is none, and steps per day."""
    values, minutes = made_up_road(seed) if file is None else arrays_of(file)
    return torch.from_numpy(values).float(), 1440 // minutes


def made_up_road(seed: int) -> tuple[np.ndarray, int]:
    """Four weeks of a road of 40 km, a sensor every kilometre, a reading every 15 minutes."""
    random = np.random.default_rng(seed)
    place, hour = np.arange(40.0), np.arange(96) / 4
    series = []
    for _ in range(28):
        speed = np.full((96, 40), 100.0)
        jams = [(8 + random.normal(0, 0.7), 28), (17.5 + random.normal(0, 0.7), 16)]
        jams += [(random.uniform(6, 22), random.uniform(8, 38)) for _ in range(random.poisson(1.5))]
        for start, end in jams:
            upstream = end - place  # a jam grows against the traffic, at 12 km/h
            length, depth = random.uniform(4, 14), random.uniform(20, 75)
            since = hour[:, None] - start - upstream / 12
            lasts = random.uniform(0.4, 1.1)
            inside = (upstream >= 0) * np.exp(-((upstream / length) ** 2))
            speed -= depth * inside * np.exp(-((since / lasts) ** 2))
        series.append(np.clip(speed, 5, None))
    values = np.concatenate(series) + random.normal(0, 2.5, (28 * 96, 40))
    return np.where(random.random(values.shape) < 0.02, np.nan, values), 15


def arrays_of(name: str) -> tuple[np.ndarray, int]:
    """Readings and the minutes between two of them."""
    try:
        with np.load(name) as file:
            values, minutes = file["values"].astype(float), int(file["step_minutes"])
    except (OSError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise SystemExit(
            f"Got {name}, not to be read ({type(error).__name__}). Expected .npz with values "
            "(steps, places), the first at midnight, and step_minutes. "
            "Check the path and the names of the arrays."
        ) from None
    if values.ndim != 2 or values.shape[1] < 8 or minutes < 1 or 1440 % minutes:
        raise SystemExit(
            f"Got values of shape {values.shape}, a step of {minutes} minutes in {name}. Expected "
            "(steps, places) with 8 places or more, and steps that divide the day. Transpose, or "
            "resample the series."
        )
    if len(values) < 3 * (1440 // minutes):
        raise SystemExit(
            f"Got {len(values)} steps of {minutes} minutes in {name}. Expected three days or more, "
            "to test on the last and learn from the others. Give a longer record."
        )
    return values, minutes


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument(
        "--data",
        help=".npz with values (steps, places; NaN: no reading), the first at midnight, and "
        "step_minutes (default: a road that is made up)",
    )
    parser.add_argument("--output", default="runs/traffic_forecast", help="folder for pictures")
    parser.add_argument("--train", type=int, default=120, metavar="STEPS", help="training steps")
    parser.add_argument("--device", default=cuda)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few seconds, to see that it runs")
    options = parser.parse_args(arguments)
    options.every = 2
    if options.smoke:
        options.train, options.every = 2, 40
    return options


if __name__ == "__main__":
    main(parse())
