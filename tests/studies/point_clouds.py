r"""Point clouds: a trained `CloudDenoiser` against jets, moving least squares and GLR.

Eight shapes in two halves, scans and models in each: what is tested on one half was tuned and
trained on the other (and on `spot_colored`, which is never tested). Large scans are thinned to
`--points`, and get Gaussian noise of 0.5, 1 and 1.5 % of the diagonal of their box on each
coordinate. The error is the mean distance to the surface: of triangles where a file has them, else
the distance to planes of the whole clean cloud.

Every baseline has its best setting for each strength of noise, found on clouds as dense as the one
that is tested: scans on scans, models on models. The network is one for all of them. Its stages are
trained one after the other, each on what the one before it has left.

    python tests/studies/point_clouds.py --data DIR --out runs/clouds

With `--all` nothing is compared: the network of the package, trained on all shapes.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from tqdm import tqdm

from gsp_unroll import GLR, ConjugateGradient, Identity, LeastSquares, MahalanobisLearner, knn_graph
from gsp_unroll._tables import markdown_table
from gsp_unroll.clouds import CloudDenoiser, fit_surfaces, plane_distance, surface_distance
from gsp_unroll.clouds.denoise import CloudStage
from gsp_unroll.clouds.describe import Described, describe, noise_in
from gsp_unroll.train.checkpoint import load_state, save_state

HALVES = (
    ("bunny", "shape_cat", "shape_horse", "shape_michael"),
    ("armadillo", "igea", "shape_wolf", "shape_lioness"),
)
ALWAYS = "spot_colored"
LEVELS = 0.005, 0.01, 0.015


@dataclass(frozen=True, eq=False)
class Shape:
    """A clean cloud about its middle, the diagonal of its box as the unit."""

    name: str
    x: Tensor
    normal: Tensor
    faces: Tensor | None

    @classmethod
    def load(cls, folder: Path, name: str) -> Shape:
        data = np.load(folder / f"{name}.npz")
        x = torch.from_numpy(data["xyz"]).double()
        x = (x - x.mean(0)) / (x.amax(0) - x.amin(0)).norm()
        normal = fit_surfaces(x, (9,)).normal[:, 0]
        faces = torch.from_numpy(data["faces"]).long() if "faces" in data.files else None
        return cls(name, x, normal, faces)

    def stretched(self, random: torch.Generator) -> Shape:
        """Another shape: along each axis by its own factor, about 0.7 to 1.4."""
        stretch = (0.2 * torch.randn(3, generator=random).double()).exp()
        x = self.x * stretch
        normal = torch.nn.functional.normalize(self.normal / stretch, dim=-1)
        return Shape(self.name, x / (x.amax(0) - x.amin(0)).norm(), normal, self.faces)

    def noisy(self, level: float, points: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(self.x), generator=generator)[:points]
        x = self.x[chosen]
        return x + level * torch.randn(x.shape, generator=generator, dtype=x.dtype)

    def error(self, x: Tensor) -> float:
        if self.faces is not None:
            return float(surface_distance(x, self.x, self.faces).mean())
        return float(plane_distance(x, self.x, self.normal).mean())


# The baselines, each with what is tuned.


def jet(y: Tensor, degree: int, k: int, times: int) -> Tensor:
    for _ in range(times):
        sizes = ((k,), ()) if degree == 1 else ((12,), (k,))
        y = y + fit_surfaces(y, *sizes).move[:, -1]
    return y


def moving_least_squares(y: Tensor, degree: int, h: float, times: int) -> Tensor:
    """Planes or quadrics through the cloud `y`, with Gaussian weights about the moving point."""
    tree, z = cKDTree(y.numpy()), y.clone()
    for _ in range(times):
        for rows in torch.arange(len(y)).split(2000):
            distance, near = tree.query(z[rows].numpy(), 300)
            w = torch.from_numpy(np.exp(-0.5 * (distance / h) ** 2))[..., None]
            w = w / w.sum(1, keepdim=True)
            P = y[torch.from_numpy(near)] - z[rows, None]
            mean = (w * P).sum(1, keepdim=True)
            axes = torch.linalg.eigh((P - mean).mT @ (w * (P - mean))).eigenvectors
            local, own = (P - mean) @ axes / h, -mean @ axes / h
            A, a = (monomials(value, degree) for value in (local, own))
            ridge = 1e-7 * torch.eye(A.shape[-1], dtype=A.dtype)
            c = torch.linalg.solve(A.mT @ (w * A) + ridge, A.mT @ (w * local[..., :1]))
            z[rows] += h * (a @ c - own[..., :1])[:, 0] * axes[..., 0]
    return z


def monomials(local: Tensor, degree: int) -> Tensor:
    _, u, v = local.unbind(-1)
    columns = [torch.ones_like(u), u, v] + ([u * u, u * v, v * v] if degree == 2 else [])
    return torch.stack(columns, -1)


@torch.no_grad()
def bilateral_glr(y: Tensor, mu: float, k: int, tilt: float) -> Tensor:
    """GLR on positions, weights from places and normals, on the graph of the noisy cloud."""
    topology = knn_graph(y, 12)
    unit = topology.gradient(y).norm(dim=-1).mean()
    normal = fit_surfaces(y, (k,)).normal[:, 0]
    # n n' knows no sign; its distances are those of normals for small angles
    outer = (normal.unsqueeze(-1) * normal.unsqueeze(-2)).flatten(1) / (2**0.5 * tilt)
    features = torch.cat([y / unit, outer], -1)
    graph = MahalanobisLearner(12, init=1.0).double()(features, topology)
    A, b = LeastSquares(Identity(), y).system(GLR(graph, mu).Q)
    return ConjugateGradient(rtol=1e-5).solve(A, b, x0=y).x


Method = Callable[[Tensor, float], Tensor]


def baselines() -> dict[str, list[Method]]:
    """Each method with all settings to choose from; a bandwidth is in units of the noise."""
    found: dict[str, list[Method]] = {"jet or plane": [], "MLS": [], "bilateral GLR": []}
    for times in (1, 2):
        for degree, sizes in (1, (12, 18, 25, 35, 50, 70)), (2, (25, 35, 50, 70, 100, 140, 200)):
            for k in sizes:
                found["jet or plane"].append(lambda y, _, a=(degree, k, times): jet(y, *a))
        for degree, widths in (1, (1.4, 2.0, 2.8)), (2, (2.0, 2.8, 4.0)):
            for h in widths:
                found["MLS"].append(
                    lambda y, s, a=(degree, h, times): moving_least_squares(y, a[0], a[1] * s, a[2])
                )
    for mu in (0.25, 0.5, 1.0, 2.0, 4.0):
        for k, tilt in (12, 0.3), (25, 0.3), (25, 1.0):
            found["bilateral GLR"].append(lambda y, _, a=(mu, k, tilt): bilateral_glr(y, *a))
    return found


# Training.


@dataclass(frozen=True, eq=False)
class Example:
    """A noisy cloud, and as a stage sees it, in the unit `sigma`; the surface in its own."""

    y: Tensor
    seen: Described
    sigma: float
    level: float
    shape: Shape
    surface: cKDTree
    near: cKDTree

    @classmethod
    def of(cls, x: Tensor, y: Tensor, *rest: Any) -> Example:
        seen = describe(x.double(), y.double())
        seen = Described(seen.x.float(), seen.move.float(), seen.features.float())
        return cls(y.float(), seen, *rest, cKDTree(seen.x.numpy()))

    @torch.no_grad()
    def after(self, stage: CloudStage) -> Example:
        rest = self.sigma, self.level, self.shape, self.surface
        return Example.of(stage(self.seen), self.y, *rest)


def examples(shapes: list[Shape], clouds: int, points: int, seed: int) -> Iterator[Example]:
    """Clouds of each shape: stretched, thinned and spoilt, each by chance."""
    random = torch.Generator().manual_seed(seed)
    for shape in shapes:
        for _ in range(clouds):
            other = shape.stretched(random)
            part, level = torch.rand(2, generator=random).tolist()
            most = min(points, len(shape.x))
            count, level = int(most * 3.0**-part), 0.004 * 5.5**level  # 0.4 to 2.2 %
            y = other.noisy(level, count, int(torch.randint(2**31, (), generator=random)))
            sigma = noise_in(y)
            surface = cKDTree(other.x.numpy())
            yield Example.of(y / sigma, y / sigma, sigma, level, other, surface)


def loss_on(stage: CloudStage, example: Example, patch: int) -> Tensor:
    """Mean distance to the surface on a patch, in units of the noise, without its rim."""
    seen = example.seen
    center = seen.x[torch.randint(len(seen.x), ())]
    rows = torch.from_numpy(example.near.query(center.numpy(), min(patch, len(seen.x)))[1])
    x = stage(Described(seen.x[rows], seen.move[rows], seen.features[rows]))
    x = x[: patch * 2 // 3] * (example.sigma / example.level)
    where = (x.detach() * example.level).double().numpy()
    near = torch.from_numpy(example.surface.query(where)[1])
    off = x - (example.shape.x[near] / example.level).float()
    height = (off * example.shape.normal[near].float()).sum(-1)
    along = off.square().sum(-1) - height.square()
    # the plane of the nearest point, and a little of the way along it beside open borders
    return (height.square() + 0.02 * along.clamp_min(0) + 1e-4).sqrt().mean()


def train(shapes: list[Shape], out: Path, options: argparse.Namespace) -> CloudDenoiser:
    """Goes on from the state in `out`, if there is one."""
    torch.manual_seed(options.seed)
    network = CloudDenoiser()
    names = "steps", "seed", "batch", "patch", "points", "clouds"
    asked = {name: getattr(options, name) for name in names}
    state = load_state(out) if out.exists() else {"asked": asked, "stage": 0, "step": 0}
    if state["asked"] != asked:
        raise SystemExit(f"{out} was trained with {state['asked']}: give another folder")
    if state["step"] > 0:
        network.load_state_dict(state["network"])
    if state["stage"] == len(network.stages) - 1 and state["step"] == options.steps:
        return network
    for number in range(state["stage"], len(network.stages)):
        # clouds that the stages before have not seen: on those they do better than elsewhere
        seed = 1000 * (1 + number) + options.seed
        made = examples(shapes, options.clouds, options.points, seed)
        for before in network.stages[:number]:
            made = map(partial(Example.after, stage=before), made)
        total = options.clouds * len(shapes)
        ready = list(tqdm(made, desc=f"clouds of stage {number + 1}", total=total, mininterval=5))
        train_stage(network, state, ready, out, options)
        state = {"asked": asked, "stage": number + 1, "step": 0}
    return network


def train_stage(
    network: CloudDenoiser, state: dict, made: list[Example], out: Path, options: argparse.Namespace
) -> None:
    """From `state` to its end; saves as it goes."""
    stage = network.stages[state["stage"]]
    optimizer = torch.optim.AdamW(stage.parameters(), 8e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    if state["step"] > 0:
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    title = f"training stage {state['stage'] + 1}"
    progress = tqdm(range(state["step"], options.steps), desc=title, mininterval=5)
    mean = 0.4
    for step in progress:
        torch.manual_seed(10_000 * options.seed + step)  # the same patches after an interruption
        batch = [made[i] for i in torch.randint(len(made), (options.batch,)).tolist()]
        optimizer.zero_grad()
        for example in batch:
            loss = loss_on(stage, example, options.patch) / len(batch)
            loss.backward()
            mean = 0.99 * mean + 0.01 * float(loss.detach()) * len(batch)
        torch.nn.utils.clip_grad_norm_(stage.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress.set_postfix(error=f"{mean:.3f} noise", refresh=False)
        if (step + 1) % 50 == 0 or step + 1 == options.steps:
            parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
            now = {name: part.state_dict() for name, part in parts.items()}
            save_state(out, {**state, **now, "step": step + 1})


# The table.


def tuned(methods: list[Method], shapes: list[Shape], level: float, points: int) -> Method:
    """The setting with the lowest error on these shapes, as plane distance."""
    clouds = [(shape, shape.noisy(level, points, seed=77)) for shape in shapes]

    def error(method: Method) -> float:
        each = (plane_distance(method(y, level), s.x, s.normal).mean() for s, y in clouds)
        return float(sum(each))

    return min(methods, key=error)


def main(options: argparse.Namespace) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    folder = options.data / "pointclouds"
    shapes = {n: Shape.load(folder, n) for n in (*HALVES[0], *HALVES[1], ALWAYS)}
    if options.all:
        network = train(list(shapes.values()), options.out / "all.state", options)
        network.save(options.out / "cloud.safetensors")
        return
    rows: list[list[str]] = []
    for half, names in enumerate(HALVES):
        others = [shapes[name] for name in (*HALVES[1 - half], ALWAYS)]
        network = train(others, options.out / f"half{half}.state", options)
        for level in LEVELS:
            settings: dict[bool, dict[str, Method]] = {}
            for scan in (True, False):
                alike = [s for s in others if (len(s.x) > options.points) == scan]
                settings[scan] = {
                    name: tuned(methods, alike, level, options.points)
                    for name, methods in baselines().items()
                }
            for name in names:
                shape, errors = shapes[name], dict[str, list[float]]()
                chosen = settings[len(shape.x) > options.points]
                for seed in range(options.seeds):
                    y = shape.noisy(level, options.points, seed)
                    results = {"noisy": y} | {m: f(y, level) for m, f in chosen.items()}
                    with torch.no_grad():
                        results["ours"] = network(y.float()).double()
                    for method, x in results.items():
                        errors.setdefault(method, []).append(shape.error(x) / level)
                mean = {method: float(np.mean(each)) for method, each in errors.items()}
                best = min(mean[method] for method in chosen)
                spread = float(np.std(errors["ours"]))
                rows.append(
                    [name, f"{level:.1%}"]
                    + [f"{value:.3f}" for value in mean.values()]
                    + [f"{spread:.3f}", f"{1 - mean['ours'] / best:.0%}"]
                )
                print(*rows[-1], sep="  ", flush=True)
    header = ["shape", "noise", "noisy", *baselines(), "ours", "spread", "less"]
    table = markdown_table(header, rows, [False, *[True] * (len(header) - 1)])
    (options.out / "table.md").write_text(table)
    with (options.out / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    print(table)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with pointclouds/")
    parser.add_argument("--out", type=Path, default=Path("runs/clouds"), help="takes the tables")
    parser.add_argument(
        "--all", action="store_true", help="train on all shapes and write weights, no tables"
    )
    parser.add_argument("--points", type=int, default=10_000, help="kept of large scans")
    parser.add_argument("--clouds", type=int, default=20, help="of each shape, to train a stage on")
    parser.add_argument("--steps", type=int, default=200, help="of training, for each stage")
    parser.add_argument("--batch", type=int, default=2, help="patches a step")
    parser.add_argument("--patch", type=int, default=900, help="points of a patch")
    parser.add_argument("--seeds", type=int, default=3, help="noises of each cell")
    parser.add_argument("--seed", type=int, default=0, help="of training")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(parse())
