r"""Series with gaps and series to come: traffic in Los Angeles, weather in Brittany, air in Peking.

Forecast: 12 steps (an hour) ahead on METR-LA, from the 12 before; four days to learn from, the
fifth to test. Imputation: 25, 50 or 75 % of the readings missing, scattered or in blocks of 12 to
48 steps, on the last part of each series. Runs that are exactly straight were filled by the
publishers and count in no score. What is to be chosen (weights, numbers of neighbours, how long and
with which step size to train) is chosen on a part of the training days; every network sees the same
windows and loss, and the same deviations from what is usual at that time of other days.

    python tests/studies/traffic.py forecast --data FOLDER --rates 1e-3 3e-3 1e-2
    python tests/studies/traffic.py impute --data FOLDER --series metr_la_5days
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import GCNConv

from gsp_unroll import (
    GLR,
    ConjugateGradient,
    Diagonal,
    EdgeList,
    Graph,
    LeastSquares,
    MahalanobisLearner,
    knn_graph,
    path_graph,
    product_graph,
)
from gsp_unroll._tables import markdown_table
from gsp_unroll.series import (
    DailyMean,
    LinearForecast,
    SeriesNetwork,
    block_gaps,
    clock_features,
    collinear_runs,
    correlation_points,
    scattered_gaps,
    sliding_windows,
)

PAST, AHEAD = 12, 12
HORIZONS = (3, 6, 12)
WINDOW = 96  # twice the longest gap
SHARES = (0.25, 0.5, 0.75)


@dataclass(frozen=True, eq=False)
class Part:
    """Steps of a series: readings, what is usual then, and where a score counts."""

    x: Tensor
    usual: Tensor
    counts: Tensor
    clock: Tensor

    def windows(self, length: int, stride: int = 1) -> tuple[Tensor, ...]:
        """Of each of the four."""
        kinds = (self.x, self.usual, self.counts.to(self.x), self.clock)
        return tuple(sliding_windows(kind, length, stride) for kind in kinds)


@dataclass(frozen=True, eq=False)
class Study:
    """What to learn from, what to choose by, what to test on; mean of what is usual and standard
    deviation from it, both in the training."""

    training: list[Part]
    test: Part
    level: float
    scale: float
    space: Graph
    points: Tensor
    place: Tensor


def metr_la(folder: Path, test_day: int, days: list[int]) -> Study:
    """Each day beside what is usual on the others, those of its kind (weekend or not) above all."""
    with np.load(folder / "metr_la_5days.npz") as file:
        x, A = torch.from_numpy(file["speed"]), torch.from_numpy(file["adj_gauss"])
        place = torch.from_numpy(file["latlon"]).float()
    times = np.datetime64("2012-03-01T00:00") + np.arange(1440) * np.timedelta64(5, "m")
    counts, clock = ~collinear_runs(x), clock_features(times)
    weekend = clock[:, -2:].sum(1)

    def part(day: int) -> Part:
        here = slice(288 * day, 288 * day + 288)
        others = [k for k in days if k != day]
        steps = torch.cat([torch.arange(288 * k, 288 * k + 288) for k in others])
        alike = torch.where(weekend[steps] == weekend[here][0], 1.0, 0.3)
        usual = DailyMean.learned_from(x[steps], 288, reach=6, weight=alike).at(0, 288)
        return Part(x[here], usual, counts[here], clock[here, :2])

    return study([part(day) for day in days], part(test_day), roads(A), place)


def hourly(folder: Path, name: str, test: slice, training: slice) -> Study:
    """Temperature in Brittany or PM2.5 in Peking."""
    with np.load(folder / f"{name}.npz") as file:
        key, first = ("temperature_c", 0) if "temperature_c" in file else ("ground", 1)
        x, place = torch.from_numpy(file[key]), torch.from_numpy(file["latlon"]).float()
    place[:, 1] *= float(place[:, 0].mean().deg2rad().cos())
    usual = DailyMean.learned_from(x[training], 24, first=(first + training.start) % 24, reach=1)
    angle = 2 * torch.pi * (first + torch.arange(len(x))) / 24
    clock = torch.stack([angle.sin(), angle.cos()], -1)

    def part(steps: slice) -> Part:
        usually = usual.at((first + steps.start) % 24, steps.stop - steps.start)
        return Part(x[steps], usually, ~x[steps].isnan(), clock[steps])

    near = knn_graph(place, 5)
    distance = torch.cdist(place, place)[tuple(near.edge_index)]
    space = Graph(near, (-((distance / distance.mean()) ** 2)).exp())
    return study([part(training)], part(test), space, place)


def study(training: list[Part], test: Part, space: Graph, place: Tensor) -> Study:
    deviations = torch.cat([part.x - part.usual for part in training])
    scale = float(deviations.square().nanmean().sqrt())
    space = Graph(space.topology, space.weight / space.degree.mean())
    points = correlation_points(deviations, min(32, len(place)))
    level = float(torch.cat([part.usual for part in training]).mean())
    return Study(training, test, level, scale, space, points, place)


def roads(A: Tensor) -> Graph:
    """The given adjacency, the larger of both directions."""
    A = torch.maximum(A, A.T).triu(1)
    edges = A.nonzero().T.contiguous()
    return Graph(EdgeList(edges, len(A)), A[tuple(edges)])


SERIES: dict[str, Callable[[Path], tuple[Study, Study]]] = {
    "metr_la_5days": lambda f: (metr_la(f, 1, [0, 2, 3]), metr_la(f, 4, [0, 1, 2, 3])),
    "molene_days1_24": lambda f: (
        hourly(f, "molene_days1_24", slice(336, 432), slice(0, 336)),
        hourly(f, "molene_days1_24", slice(432, 576), slice(0, 432)),
    ),
    "beijing_pm25_train_months": lambda f: (
        hourly(f, "beijing_pm25_train_months", slice(3623, 4391), slice(0, 3623)),
        hourly(f, "beijing_pm25_train_months", slice(4391, 5831), slice(0, 4391)),
    ),
}


# ---- what is trained --------------------------------------------------------------------------


class PerNodeGRU(nn.Module):
    """The past of a place, what is usual and the clock, through a GRU shared by all places."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.gru = nn.GRU(4, width, batch_first=True)
        self.out = nn.Linear(width + AHEAD, AHEAD)

    def forward(self, y: Tensor, usual: Tensor, clock: Tensor) -> Tensor:
        """Deviations `(batch, AHEAD, places)` from `(batch, PAST + AHEAD, places)`."""
        batch, _, places = y.shape
        inputs = torch.stack(
            [y, usual, *clock.unsqueeze(-2).expand(*y.shape, 2).unbind(-1)], -1
        ).transpose(1, 2)
        _, state = self.gru(inputs[:, :, :PAST].flatten(0, 1))
        state = torch.cat([state[0], usual[:, PAST:].transpose(1, 2).flatten(0, 1)], -1)
        return y[:, PAST - 1 : PAST] + self.out(state).view(batch, places, AHEAD).transpose(1, 2)


class GCN(nn.Module):
    """Two graph convolutions on the roads, from the past of each place to its future."""

    def __init__(self, space: Graph, width: int = 64) -> None:
        super().__init__()
        self.data = space.to_pyg()
        self.first = GCNConv(2 * PAST + AHEAD + 2, width)
        self.second = GCNConv(width, width)
        self.out = nn.Linear(width + PAST, AHEAD)

    def forward(self, y: Tensor, usual: Tensor, clock: Tensor) -> Tensor:
        """As `PerNodeGRU`."""
        edges = self.data.edge_index, self.data.edge_weight
        past = y[:, :PAST].transpose(1, 2)
        now = clock[:, PAST - 1, None].expand(-1, y.shape[-1], -1)
        h = torch.cat([past, usual.transpose(1, 2), now], -1)
        h = self.second(self.first(h, *edges).relu(), *edges).relu()
        return y[:, PAST - 1 : PAST] + self.out(torch.cat([h, past], -1)).transpose(1, 2)


class Ours(nn.Module):
    """`SeriesNetwork` for either task, from `begin`: sharpness, confidence, mu_u, mu_d."""

    def __init__(
        self, study: Study, steps: int, begin: tuple[float, ...], forecast: LinearForecast | None
    ) -> None:
        super().__init__()
        names = ("sharpness", "confidence", "mu_u", "mu_d")
        self.network = SeriesNetwork(
            knn_graph(study.points, 8),
            study.points,
            steps,
            forecast=forecast,
            clock=2,
            cg_steps=10,
            **dict(zip(names, begin, strict=True)),
        )

    def forward(self, y: Tensor, usual: Tensor, clock: Tensor) -> Tensor:
        """Deviations at all steps from those with NaN in gaps."""
        return self.network(y.unsqueeze(-1), clock).squeeze(-1)


Model = nn.Module
Batch = tuple[Tensor, ...]


def train(
    model: Model,
    study: Study,
    steps: int,
    batches: Iterable[Batch],
    rate: float,
    look: Callable[[int], None] = lambda step: None,
) -> None:
    """Huber's loss on what is hidden, by Adam; `look` after every quarter."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step, (y, usual, clock, truth, scored) in enumerate(itertools.islice(batches, steps), 1):
        x = model(y, usual, clock)[:, -truth.shape[1] :]
        loss = functional.smooth_l1_loss(x[scored], truth[scored], beta=0.5)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % max(steps // 4, 1) == 0:
            look(step)


def length_and_rate(
    name: str,
    make: Callable[[], Model],
    study: Study,
    options: argparse.Namespace,
    batches: Callable[[], Iterable[Batch]],
    score: Callable[[Model], float],
) -> tuple[int, float]:
    """Steps of training, by quarters, and step size that score lowest on the part to choose by."""
    seen: dict[tuple[int, float], float] = {}
    for rate in options.rates:
        torch.manual_seed(0)
        model = make()

        def look(step: int, rate: float = rate, model: Model = model) -> None:
            seen[step, rate] = score(model)
            print(f"  {name}, {step} steps of {rate:g}: {seen[step, rate]:.3f}", flush=True)

        look(0)
        train(model, study, options.steps, batches(), rate, look)
    return min(seen, key=seen.__getitem__)


# ---- forecast ---------------------------------------------------------------------------------


def future_windows(study: Study, parts: list[Part], stride: int = 1) -> Batch:
    """All windows: deviations with an unknown future, usual, clock, true deviations, scored."""
    kinds = [part.windows(PAST + AHEAD, stride) for part in parts]
    x, usual, counts, clock = (torch.cat(kind) for kind in zip(*kinds, strict=True))
    y = (x - usual) / study.scale
    truth, counted = y[:, PAST:].clone(), counts[:, PAST:].bool()
    y = torch.cat([y[:, :PAST], torch.full_like(truth, torch.nan)], 1)
    return y, (usual - study.level) / study.scale, clock, truth, counted


def shuffled(windows: Batch, size: int, seed: int) -> Iterable[Batch]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        for index in torch.randperm(len(windows[0]), generator=generator).split(size):
            yield tuple(kind[index] for kind in windows)


@torch.no_grad()
def forecasts(model: Model, windows: Batch) -> Tensor:
    y, usual, clock, truth, _ = windows
    parts = zip(y.split(16), usual.split(16), clock.split(16), strict=True)
    return torch.cat([model(*part)[:, -truth.shape[1] :] for part in parts])


def errors(x: Tensor, truth: Tensor, scored: Tensor, scale: float) -> tuple[float, float]:
    """Mean absolute and root mean square, in the unit of the series."""
    off = scale * (x - truth)[scored]
    return float(off.abs().mean()), float(off.square().mean().sqrt())


def per_horizon(x: Tensor, windows: Batch, scale: float) -> list[tuple[float, float]]:
    truth, scored = windows[3], windows[4]
    steps = [h - 1 for h in HORIZONS]
    return [errors(x[:, h], truth[:, h], scored[:, h], scale) for h in steps]


def smoothed_ahead(study: Study, y: Tensor, mu_u: float, mu_d: float) -> Tensor:
    """Tikhonov on the product of time and the roads, one window per channel."""
    signal = y.permute(1, 2, 0).flatten(0, 1)
    x = tikhonov(signal, study.space, y.shape[1], mu_u, mu_d, 0.01)
    return x.unflatten(0, y.shape[1:]).permute(2, 0, 1)


def tikhonov(y: Tensor, space: Graph, steps: int, mu_u: float, mu_d: float, trust: float) -> Tensor:
    """Of deviations `(steps * places, channels)`, NaN in gaps, which are 0 as far as `trust`."""
    time = Graph(path_graph(steps), mu_d * path_graph(steps).edge_mask)
    graph = product_graph(time, Graph(space.topology, mu_u * space.weight))
    H = Diagonal(torch.where(y.isnan(), trust, 1.0).sqrt())
    A, b = LeastSquares(H, H(y.nan_to_num(0))).system(GLR(graph).Q)
    return ConjugateGradient(rtol=1e-4, max_steps=300).solve(A, b).x


def forecast(options: argparse.Namespace) -> None:
    choosing, study = SERIES["metr_la_5days"](options.data)
    known, held_out = (future_windows(choosing, p) for p in (choosing.training, [choosing.test]))
    everything = future_windows(study, study.training)
    test = future_windows(study, [study.test], options.stride)
    rows: list[list[str]] = []

    def row(name: str, size: int, runs: list[Tensor]) -> None:
        table = torch.tensor([per_horizon(x, test, study.scale) for x in runs])
        mean, spread = table.mean(0), table.std(0, correction=0)
        cells = [
            f"{m:.2f} / {r:.2f}" + (f" ± {s:.2f} / {q:.2f}" if len(runs) > 1 else "")
            for (m, r), (s, q) in zip(mean.tolist(), spread.tolist(), strict=True)
        ]
        rows.append([name, str(size) if size else "", *cells])
        print(rows[-1], flush=True)

    y = test[0]
    row("persistence", 0, [y[:, PAST - 1 : PAST].expand(-1, AHEAD, -1)])
    row("time-of-day mean", 0, [torch.zeros_like(test[3])])
    grid = list(itertools.product((0.01, 0.1), (1.0, 3.0, 10.0)))
    some = tuple(kind[::8] for kind in held_out)

    def loss(choice: tuple[float, float]) -> float:
        x = smoothed_ahead(choosing, some[0], *choice)[:, PAST:]
        return errors(x, some[3], some[4], choosing.scale)[0]

    best = min(grid, key=loss)
    row(f"Tikhonov {best}", 0, [smoothed_ahead(study, y, *best)[:, PAST:]])

    def ahead(s: Study) -> Model:
        first = LinearForecast(PAST, AHEAD, len(s.points))
        # where training begins: the best of a few on the part to choose by
        return Ours(s, PAST + AHEAD, (3.0, 0.01, 0.05, 0.3), first)

    def trial(model: Model) -> float:
        return sum(errors(forecasts(model, some), some[3], some[4], choosing.scale))

    makers: dict[str, Callable[[Study], Model]] = {
        "GRU": lambda s: PerNodeGRU(),
        "GCN": lambda s: GCN(s.space),
        "ours": ahead,
    }
    for name in options.methods or makers:
        make = makers[name]
        steps, rate = length_and_rate(
            name,
            partial(make, choosing),
            choosing,
            options,
            lambda: shuffled(known, options.batch, 0),
            trial,
        )
        runs = []
        for seed in range(options.seeds):
            torch.manual_seed(seed)
            model = make(study)
            train(model, study, steps, shuffled(everything, options.batch, seed), rate)
            runs.append(forecasts(model, test))
        row(f"{name}, {steps} steps of {rate:g}", sum(p.numel() for p in model.parameters()), runs)
    names = ["method", "parameters", *(f"step {h}" for h in HORIZONS)]
    print(markdown_table(names, rows, [False] + [True] * 4))


# ---- imputation -------------------------------------------------------------------------------


def hidden(kind: str, share: float, shape: tuple[int, int], seed: int) -> Tensor:
    make = scattered_gaps if kind == "points" else block_gaps
    return make(*shape, share, generator=torch.Generator().manual_seed(seed))


def interpolated(y: Tensor) -> Tensor:
    """A line through each gap, the mean of the place where it has no reading, or of all."""
    t, out = np.arange(len(y)), torch.empty_like(y)
    for n, column in enumerate(y.T):
        known = ~column.isnan()
        if known.any():
            line = np.interp(t, t[known.numpy()], column[known].numpy())
            out[:, n] = torch.from_numpy(line).to(y)
        else:
            out[:, n] = y.nanmean()
    return out


def nearest(y: Tensor, distance: Tensor, k: int) -> Tensor:
    """The mean of the `k` nearest places that report at that step, or of all."""
    D = distance + torch.where(y.isnan(), torch.inf, 0).unsqueeze(1)
    near = D.topk(k, largest=False)
    weight = near.values.isfinite().to(y)
    values = y.nan_to_num(0).unsqueeze(1).expand(D.shape).gather(2, near.indices)
    count = weight.sum(-1)
    return torch.where(count > 0, (weight * values).sum(-1) / count.clamp(min=1), y.nanmean())


def impute(options: argparse.Namespace) -> None:
    choosing, study = SERIES[options.series](options.data)
    kinds = list(itertools.product(("points", "blocks"), SHARES))
    rows: list[list[str]] = []

    def distances(s: Study) -> Tensor:
        return torch.cdist(s.place, s.place).fill_diagonal_(torch.inf)

    def learned_space(s: Study) -> Graph:
        learner = MahalanobisLearner(s.points.shape[1], init=10**0.5, normalization="none")
        graph = learner(s.points, knn_graph(s.points, 8)).detach()
        return Graph(graph.topology, graph.weight / graph.degree.mean())

    def classic(space: Callable[[Study], Graph], mu_u: float, mu_d: float, trust: float) -> Method:
        def fill(s: Study, y: Tensor) -> Tensor:
            off = (y - s.test.usual).flatten().unsqueeze(-1)
            x = tikhonov(off, space(s), len(y), mu_u, mu_d, trust)
            return s.test.usual + x.view(y.shape)

        return fill

    grid = list(itertools.product((0.03, 0.1), (0.1, 0.3, 1.0), (1e-3,)))
    candidates: dict[str, list[Method]] = {
        "linear interpolation": [lambda s, y: interpolated(y)],
        "kNN": [lambda s, y, k=k: nearest(y, distances(s), k) for k in (1, 2, 4, 8)],
        "kNN of deviations": [
            lambda s, y, k=k: s.test.usual + nearest(y - s.test.usual, distances(s), k)
            for k in (1, 2, 4, 8)
        ],
        "Tikhonov": [classic(lambda s: s.space, *choice) for choice in grid],
        "Tikhonov, correlation graph": [classic(learned_space, *choice) for choice in grid],
    }

    def score(fill: Method, s: Study, kind: str, share: float, seed: int) -> tuple[float, float]:
        missing = hidden(kind, share, tuple(s.test.x.shape), seed)
        x = fill(s, s.test.x.masked_fill(missing, torch.nan))
        return errors(x, s.test.x, missing & s.test.counts, 1.0)

    def row(name: str, fills: list[dict[str, Method]]) -> None:
        cells = []
        for kind, share in kinds:
            runs = torch.tensor(
                [
                    score(fill[kind], study, kind, share, 100 + seed)
                    for seed, fill in enumerate(fills)
                ]
            )
            (m, r), (s, q) = runs.mean(0).tolist(), runs.std(0, correction=0).tolist()
            cells.append(f"{m:.2f} / {r:.2f} ± {s:.2f} / {q:.2f}")
        rows.append([name, *cells])
        print(rows[-1], flush=True)

    wanted = options.methods or [*candidates, "ours"]
    for name, methods in candidates.items():
        if name not in wanted:
            continue
        best = {}
        for kind in ("points", "blocks"):
            tries = [sum(score(m, choosing, kind, 0.5, 7)) for m in methods]
            best[kind] = methods[int(np.argmin(tries))]
        row(name, [best] * options.seeds)

    if "ours" in wanted:

        def trial(fill: Method) -> float:
            return sum(sum(score(fill, choosing, kind, 0.5, 7)) for kind in ("points", "blocks"))

        def untrained(begin: tuple[float, ...]) -> float:
            return trial(network_method(Ours(choosing, WINDOW, begin, None)))

        begins = itertools.product((2.0, 3.0, 4.5), (1e-3,), (0.01, 0.02, 0.04), (0.05, 0.15, 0.5))
        tried = {begin: untrained(begin) for begin in begins}
        begin = min(tried, key=tried.__getitem__)
        steps, rate = length_and_rate(
            f"ours from {begin}",
            lambda: Ours(choosing, WINDOW, begin, None),
            choosing,
            options,
            lambda: gap_batches(choosing, options.batch, 0),
            lambda model: trial(network_method(model)),
        )
        fills = []
        for seed in range(options.seeds):
            torch.manual_seed(seed)
            model = Ours(study, WINDOW, begin, None)
            train(model, study, steps, gap_batches(study, options.batch, seed), rate)
            fills.append(dict.fromkeys(("points", "blocks"), network_method(model)))
        row(f"ours, {steps} steps of {rate:g}", fills)
    names = [options.series, *(f"{k} {s:.0%}" for k, s in kinds)]
    print(markdown_table(names, rows, [False] + [True] * 6))


Method = Callable[[Study, Tensor], Tensor]


def gap_batches(study: Study, size: int, seed: int) -> Iterable[Batch]:
    """Windows of the training days with gaps of every kind and size."""
    random = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    whole = [part.windows(WINDOW) for part in study.training]
    x, usual, counts, clock = (torch.cat(kind) for kind in zip(*whole, strict=True))
    while True:
        index = torch.randint(len(x), (size,), generator=generator)
        missing = []
        for _ in range(size):
            make = scattered_gaps if random.random() < 0.5 else block_gaps
            share = float(random.choice(SHARES))
            missing.append(make(WINDOW, x.shape[-1], share, generator=generator))
        gaps = torch.stack(missing)
        truth = (x[index] - usual[index]) / study.scale
        y = truth.masked_fill(gaps, torch.nan)
        yield y, usual[index], clock[index], truth, gaps & counts[index].bool()


def network_method(model: Model) -> Method:
    """Windows that overlap by half, each step above all from those that see far to both sides."""
    side = WINDOW // 2
    hat = 1 - (torch.arange(WINDOW) + 0.5 - side).abs() / side

    @torch.no_grad()
    def fill(s: Study, y: Tensor) -> Tensor:
        off = (y - s.test.usual) / s.scale
        begins = sorted({*range(0, len(y) - WINDOW, side), len(y) - WINDOW})
        total, weight = torch.zeros_like(y), torch.zeros(len(y), 1)
        for begin in begins:
            here = slice(begin, begin + WINDOW)
            x = model(off[None, here], None, s.test.clock[None, here])[0]
            total[here] += hat[:, None] * x
            weight[here] += hat[:, None]
        return s.test.usual + s.scale * total / weight

    return fill


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=["forecast", "impute"])
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz files")
    parser.add_argument("--series", choices=list(SERIES), default="metr_la_5days")
    parser.add_argument("--methods", nargs="+", help="some of them; all by default")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-2], help="to choose from")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--stride", type=int, default=1, help="steps between windows of the test")
    options = parser.parse_args()
    torch.set_num_threads(1)
    {"forecast": forecast, "impute": impute}[options.task](options)


if __name__ == "__main__":
    main()
