r"""Which weights, and which prior? Two open questions of Do et al. 2024, on four kinds of signal.

Symmetric Mahalanobis weights against row-normalised ones in both directions against dot products
under a softmax, and GLR against GTV. The network is the same everywhere, two stages of two graphs
and 20 products each; what looks at the signal is the usual for its kind: convolutions on pixels,
EdgeConv on points, an MLP on sensors, causal convolutions on series. Part of the values is hidden,
and every arm sees the same samples:

- image: 32 x 32 pixels, 70 % hidden; learned from `train_photos`, tested on `set14`;
- cloud: colours of 800 neighbouring points, half hidden; learned from RGB-D frames of a table and
  from a carton, tested on a desk and on a painted cow;
- sensors: temperature of 46 stations in Brittany about the mean of its hour, 40 % hidden; 18 days
  to learn from, 6 to test;
- traffic: 12 steps of 207 detectors in Los Angeles, half hidden; four days to learn from, one to
  test.

The score is the root mean square error at hidden values, as a share of that of the start, which
averages what is known around them. An interrupted study goes on with the same command.

    python tests/studies/graph_kinds.py --data DIR --out runs/kinds
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from gsp_unroll import (
    CausalTemporalConv,
    DotProductLearner,
    EdgeConvFeatures,
    EdgeList,
    GLRUnroll,
    GridCNN,
    GTVUnroll,
    Interpolation,
    MahalanobisLearner,
    PointMLP,
    SamplingMask,
    grid_graph,
    knn_graph,
    path_graph,
    product_graph,
    start,
)
from gsp_unroll._tables import markdown_table
from gsp_unroll.graph import Topology
from gsp_unroll.models.heads import HeadMixture, solve_heads
from gsp_unroll.photos import find_photos, read_photo
from gsp_unroll.series import DailyMean

HEADS, FEATURES, STAGES = 2, 4, 2
WEIGHTS: dict[str, Callable[[], nn.Module]] = {
    "symmetric": lambda: MahalanobisLearner(FEATURES, heads=HEADS, init=1.0, normalization="sym"),
    "directed": lambda: MahalanobisLearner(FEATURES, heads=HEADS, init=1.0, normalization="merged"),
    "dot product": lambda: DotProductLearner(FEATURES, heads=HEADS),
}
PRIORS: dict[str, Callable[[], nn.Module]] = {
    "GLR": lambda: GLRUnroll(20, heads=HEADS),
    "GTV": lambda: GTVUnroll(4, 5, heads=HEADS, lam=0.03),
}
COLUMNS = "signal", "weights", "prior", "seed", "share of the start's error"


@dataclass(frozen=True, eq=False)
class Sample:
    """A signal with gaps, and what it should be."""

    data: Interpolation
    topology: Topology
    truth: Tensor
    places: Tensor

    @classmethod
    def hidden(
        cls, truth: Tensor, topology: Topology, places: Tensor, share: float, random
    ) -> Sample:
        """Values of `truth`, `(*batch, nodes, channels)`, known but for a share of the nodes; NaN
        is never known."""
        mask = torch.from_numpy(random.random((*truth.shape[:-1], 1)) >= share)
        mask = mask & ~truth.isnan()
        return cls(Interpolation(SamplingMask(mask), truth.nan_to_num(0)), topology, truth, places)


@dataclass(frozen=True, eq=False)
class Signals:
    """What is to be restored: how it is looked at, and samples by number."""

    look: Callable[[], nn.Module]
    learn: Callable[[int], Sample]
    test: list[Sample]


class Restorer(nn.Module):
    """Two stages, each a look, a learner, a solver and the average of its heads."""

    def __init__(self, look, learner, solver) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.ModuleList([look(), learner(), solver(), HeadMixture(HEADS)]) for _ in range(STAGES)
        )

    def forward(self, sample: Sample) -> Tensor:
        x, topology = start(sample.data, sample.topology), sample.topology
        for look, learner, solver, mixture in self.stages:
            places = sample.places.expand(*x.shape[:-1], -1)
            f = look(torch.cat([x, places], -1), topology)
            x = solve_heads(
                sample.data.per_head(), topology, f, x.unsqueeze(-3), learner, solver, mixture
            )
        return x


def images(folder: Path) -> Signals:
    side, share = 32, 0.7
    topology, nowhere = grid_graph((side, side), window=5), torch.zeros(side**2, 0)
    learn = [read_photo(path) for path in find_photos(folder / "images" / "train_photos")]
    test = [read_photo(path) for path in find_photos(folder / "images" / "set14")]

    def crops(photos: list[np.ndarray], count: int, random) -> Sample:
        cut = []
        for _ in range(count):
            photo = photos[random.integers(len(photos))]
            top, left = (int(random.integers(n - side + 1)) for n in photo.shape[:2])
            cut.append(photo[top : top + side, left : left + side])
        truth = torch.from_numpy(np.stack(cut)).float().flatten(1, 2) / 0.25
        return Sample.hidden(truth, topology, nowhere, share, random)

    return Signals(
        lambda: GridCNN(3, HEADS * FEATURES, num_layers=3, width=16, heads=HEADS),
        lambda seed: crops(learn, 4, np.random.default_rng([0, seed])),
        [crops(test, 8, np.random.default_rng([1, k])) for k in range(8)],
    )


def clouds(folder: Path) -> Signals:
    def load(name: str) -> tuple[Tensor, Tensor]:
        with np.load(folder / "pointclouds" / f"{name}.npz") as file:
            xyz, rgb = (torch.from_numpy(file[k]).reshape(-1, 3).float() for k in ("xyz", "rgb"))
        here = xyz.isfinite().all(-1)
        return xyz[here], rgb[here] / 64

    learn = [load(n) for n in ("rgbd_osd_learn0", "rgbd_osd_learn20", "milk_carton")]
    test = [load(n) for n in ("rgbd_desk", "spot_colored")]

    def patch(cloud: tuple[Tensor, Tensor], random) -> Sample:
        xyz, rgb = cloud
        near = (xyz - xyz[random.integers(len(xyz))]).square().sum(-1).topk(800, largest=False)
        xyz, rgb = xyz[near.indices], rgb[near.indices]
        topology = knn_graph(xyz, 8)
        spacing = topology.gradient(xyz).norm(dim=-1).median().clamp_min(1e-9)
        return Sample.hidden(rgb, topology, (xyz - xyz.mean(0)) / (8 * spacing), 0.5, random)

    return Signals(
        lambda: EdgeConvFeatures(6, HEADS * FEATURES, width=24, heads=HEADS),
        lambda seed: patch(learn[seed % 3], np.random.default_rng([2, seed])),
        [patch(test[k % 2], np.random.default_rng([3, k])) for k in range(16)],
    )


def sensors(folder: Path) -> Signals:
    with np.load(folder / "timeseries" / "molene_days1_24.npz") as file:
        t = torch.from_numpy(file["temperature_c"]).float()
        latlon, height = (torch.from_numpy(file[k]).float() for k in ("latlon", "altitude_m"))
    place = torch.stack([latlon[:, 1] * math.cos(math.radians(48)), latlon[:, 0], height], -1)
    place = (place - place.mean(0)) / place.std(0)
    topology = knn_graph(place[:, :2], 8)
    t = (t - t.nanmean(1, keepdim=True)).unsqueeze(-1)

    def hours(first: int, last: int, count: int, random) -> Sample:
        at = torch.from_numpy(random.integers(first, last, count))
        return Sample.hidden(t[at], topology, place, 0.4, random)

    return Signals(
        lambda: PointMLP(4, HEADS * FEATURES, width=24, heads=HEADS),
        lambda seed: hours(0, 432, 16, np.random.default_rng([4, seed])),
        [hours(432, 576, 64, np.random.default_rng([5, 0]))],
    )


def traffic(folder: Path) -> Signals:
    steps = 12
    with np.load(folder / "timeseries" / "metr_la_5days.npz") as file:
        x, A = (torch.from_numpy(file[k]).float() for k in ("speed", "adj_gauss"))
        place = torch.from_numpy(file["latlon"]).float()
    place = (place - place.mean(0)) / place.std(0)
    roads = EdgeList(torch.maximum(A, A.T).triu(1).nonzero().T.contiguous(), len(A))
    topology = product_graph(path_graph(steps), roads)
    x = ((x - DailyMean.learned_from(x[:1152], 288, reach=6).at(0, len(x))) / 10).unsqueeze(-1)

    def windows(first: int, last: int, count: int, random) -> Sample:
        at = random.integers(first, last - steps, count)
        truth = torch.stack([x[k : k + steps].flatten(0, 1) for k in at])
        return Sample.hidden(truth, topology, place.repeat(steps, 1), 0.5, random)

    return Signals(
        lambda: CausalTemporalConv(3, HEADS * FEATURES, width=16, places=len(A), heads=HEADS),
        lambda seed: windows(0, 1152, 2, np.random.default_rng([6, seed])),
        [windows(1152, 1440, 4, np.random.default_rng([7, k])) for k in range(4)],
    )


SIGNALS = {"image": images, "cloud": clouds, "sensors": sensors, "traffic": traffic}


def trained(signals: Signals, weights: str, prior: str, seed: int, steps: int) -> Restorer:
    torch.manual_seed(seed)
    network = Restorer(signals.look, WEIGHTS[weights], PRIORS[prior])
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        sample = signals.learn(seed * steps + step)
        known = ~sample.truth.isnan()
        loss = (network(sample) - sample.truth)[known].abs().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network


@torch.no_grad()
def share_of_start(network: Restorer, test: list[Sample]) -> float:
    """Root mean square error at hidden values, relative to that of the start."""
    ours = base = 0.0
    for sample in test:
        wanted = ~sample.data.observed & ~sample.truth.isnan()
        errors = (x - sample.truth for x in (network(sample), start(sample.data, sample.topology)))
        one, other = (float(torch.where(wanted, e, 0).nan_to_num(0).square().sum()) for e in errors)
        ours, base = ours + one, base + other
    return math.sqrt(ours / base)


def main(options: argparse.Namespace) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    # the steps are in the name: results of another number must not be mixed in
    values = options.out / f"kinds_{options.steps}.csv"
    if not values.exists():
        values.write_text(",".join(COLUMNS) + "\n")
    rows = list(csv.reader(values.read_text().splitlines()))[1:]
    known = {tuple(row[:4]): float(row[4]) for row in rows}
    arms = list(product(options.signals, WEIGHTS, PRIORS, map(str, options.seeds)))
    loaded: dict[str, Signals] = {}
    for arm in tqdm([arm for arm in arms if arm not in known]):
        name, weights, prior, seed = arm
        if name not in loaded:
            loaded[name] = SIGNALS[name](options.data)
        network = trained(loaded[name], weights, prior, int(seed), options.steps)
        known[arm] = share_of_start(network, loaded[name].test)
        with values.open("a", newline="") as file:
            csv.writer(file).writerow([*arm, known[arm]])
    cells = []
    for weights, prior in product(WEIGHTS, PRIORS):
        runs = [[known[s, weights, prior, str(k)] for k in options.seeds] for s in options.signals]
        spread = [f" ± {100 * stdev(r):.1f}" if len(r) > 1 else "" for r in runs]
        shares = [f"{100 * fmean(r):.1f}{s}" for r, s in zip(runs, spread, strict=True)]
        cells.append([weights, prior, *shares])
    table = markdown_table(
        ["weights", "prior", *(f"{s} (%)" for s in options.signals)],
        cells,
        [False, False, *(True for _ in options.signals)],
    )
    (options.out / "table.md").write_text(table)
    print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--signals", nargs="+", choices=list(SIGNALS), default=list(SIGNALS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=200)
    main(parser.parse_args())
