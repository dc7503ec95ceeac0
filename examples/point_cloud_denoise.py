r"""Denoise a 3-D scan: move every point back towards the surface that it was measured on.

The problem. A scanner reports points y_i = x_i + noise. The points x that lie near the measured
ones, and near each other where they belong together, minimise on a graph of nearest neighbours

    1/2 sum |x_i - y_i|^2  +  mu/2  sum w_ij |x_i - x_j|^2    (GLR, graph Laplacian regulariser)
    1/2 sum |x_i - y_i|^2  +  lam   sum w_ij |x_i - x_j|      (vector GTV, graph total variation)

where |.| is the length in space. The square draws far points hardest and rounds off borders and
creases; the plain length draws near and far alike.

The graph is drawn on the noisy points: w_ij falls with the distance in position and in the
direction of the surface, first by hand and then by a metric that has been learned.

Run `python examples/point_cloud_denoise.py`: no argument is needed. The scan is one half of a
motorcycle, measured with structured light; weights are tuned and trained on the other half.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from common import fresh_folder, print_table
from scipy.spatial import cKDTree
from torch import Tensor
from tqdm import tqdm

from gsp_unroll import (
    ADMM,
    GLR,
    ConjugateGradient,
    Graph,
    Identity,
    LeastSquares,
    MahalanobisLearner,
    Problem,
    VectorGTV,
    VectorGTVUnroll,
    knn_graph,
)

NEIGHBORS = 16
#: Width and offset of the cameras, in pixels and millimetres (scikit-image, stereo_motorcycle).
FOCAL, BASELINE, CENTER, SHIFT = 994.978, 193.001, (311.193, 254.877), 31.086


def main(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    front, rear = motorcycle()
    scan = load_points(options.input) if options.input else front
    x, y = measure(scan, options)
    x_other, y_other = measure(rear, options)  # for tuning and training, and nothing else

    # The convex problems, solved to their optimum on a graph drawn by hand.
    by_hand = MahalanobisLearner(num_features=6, init=1.0).to(options.device)
    cg = ConjugateGradient(rtol=1e-4)

    def glr(y: Tensor, mu: float) -> Tensor:
        return restore(y, by_hand, lambda d, graph: cg.solve(*d.system(GLR(graph, mu).Q), d.y).x)

    def gtv(y: Tensor, lam: float) -> Tensor:
        admm = ADMM(rho=2 * lam, rtol=1e-4, max_steps=200, linear_solver=cg)
        return restore(y, by_hand, lambda d, graph: admm.solve(Problem(d, VectorGTV(graph, lam))).x)

    # One number of each method is tuned, on the other half of the motorcycle.
    def tuned(method: Callable[[Tensor, float], Tensor], values: Iterable[float]) -> float:
        return min(values, key=lambda value: rmse(method(y_other, value), x_other))

    with torch.no_grad():
        k_mean = tuned(mean_of_nearest, (2, 4, 6, 8, 12))
        k_plane = tuned(onto_planes, (8, 12, 16, 24))
        mu = tuned(glr, (0.25, 0.5, 1.0, 2.0))
        lam = tuned(gtv, (0.25, 0.5, 1.0))

    # The same steps unrolled, untrained and then trained together with the metric of the graph.
    learner = MahalanobisLearner(num_features=6, init=1.0).to(options.device)
    unrolled = VectorGTVUnroll(5, cg_steps=5, lam=lam, rho=2 * lam).to(options.device)
    methods: dict[str, Callable[[], Tensor]] = {
        "noisy": lambda: y,
        f"mean of {k_mean} nearest": lambda: mean_of_nearest(y, k_mean),
        f"plane through {k_plane} nearest": lambda: onto_planes(y, k_plane),
        f"GLR, convex, mu={mu}": lambda: glr(y, mu),
        f"vector GTV, convex, lam={lam}": lambda: gtv(y, lam),
        "vector GTV, unrolled, untrained": lambda: restore(y, learner, unrolled),
        "vector GTV, unrolled, trained": lambda: restore(y, learner, unrolled),
    }
    restored: dict[str, Tensor] = {}
    seconds: dict[str, float] = {}
    for name, method in methods.items():
        if name.endswith(", trained"):
            train(learner, unrolled, x_other, options)
        begin = time.perf_counter()
        with torch.no_grad():
            restored[name] = method()
        seconds[name] = time.perf_counter() - begin

    report(restored, seconds, x, scan, fresh_folder(options.output))


def restore(
    y: Tensor, learner: MahalanobisLearner, solve: Callable[[LeastSquares, Graph], Tensor]
) -> Tensor:
    """Draws the graph on the noisy points and solves on it, with its mean edge as the unit."""
    topology = knn_graph(y, NEIGHBORS)
    unit = topology.gradient(y).norm(dim=-1).mean()
    _, normal = local_planes(y, NEIGHBORS)
    graph = learner(torch.cat([y / unit, normal], -1), topology)
    return unit * solve(LeastSquares(Identity(), y / unit), graph)


def local_planes(y: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The mean of each point and its `k` nearest, and the direction in which they vary least,
    turned to the viewer."""
    nearest = knn_graph(y, k, symmetrize=None).edge_index[0].view(len(y), -1)
    patch = torch.cat([y[:, None], y[nearest]], 1)
    mean = patch.mean(1)
    spread = patch - mean[:, None]
    normal = torch.linalg.eigh(spread.mT @ spread).eigenvectors[..., 0]
    return mean, torch.where(normal[:, 2:] > 0, -normal, normal)


def mean_of_nearest(y: Tensor, k: float) -> Tensor:
    return local_planes(y, int(k))[0]


def onto_planes(y: Tensor, k: float) -> Tensor:
    mean, normal = local_planes(y, int(k))
    return y - ((y - mean) * normal).sum(-1, keepdim=True) * normal


def train(
    learner: MahalanobisLearner, unrolled: VectorGTVUnroll, x: Tensor, options: argparse.Namespace
) -> None:
    """Mean squared error on patches of `x` with fresh noise, by Adam with a falling rate."""
    tree, noise = cKDTree(x.cpu().numpy()), options.noise * spacing(x)
    optimizer = torch.optim.Adam([*learner.parameters(), *unrolled.parameters()], lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(options.train, 1))
    progress = tqdm(range(options.train), desc="training", unit="step", mininterval=0.5)
    for _ in progress:
        center = x[torch.randint(len(x), ())].cpu().numpy()
        patch = x[torch.from_numpy(tree.query(center, min(600, len(x)))[1]).to(x.device)]
        y = patch + noise * torch.randn_like(patch)
        loss = ((restore(y, learner, unrolled) - patch) / noise).square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress.set_postfix(error=f"{loss.detach().sqrt():.2f} noise", refresh=False)


def measure(scan: Tensor, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Some points of the scan, and what is left of them after Gaussian noise."""
    generator = torch.Generator().manual_seed(options.seed)
    x = scan[torch.randperm(len(scan), generator=generator)[: options.points]]
    y = x + options.noise * spacing(x) * torch.randn(x.shape, generator=generator)
    return x.to(options.device), y.to(options.device)


def spacing(x: Tensor) -> float:
    """Mean distance to the nearest other point."""
    x = x.cpu()
    return float(cKDTree(x).query(x, 2)[0][:, 1].mean())


def rmse(x: Tensor, truth: Tensor) -> float:
    return float((x - truth).square().sum(-1).mean().sqrt())


def report(
    restored: dict[str, Tensor], seconds: dict[str, float], x: Tensor, scan: Tensor, folder: Path
) -> None:
    """The table and the pictures: a view from the front, and one slice seen from above."""
    surface = cKDTree(scan)  # all points of the scan, many more than were measured
    off = {name: surface.query(points.cpu())[0] for name, points in restored.items()}
    rows = [
        (name, f"{rmse(points, x):.4g}", f"{off[name].mean():.4g}", f"{seconds[name]:.2f}")
        for name, points in restored.items()
    ]
    print(f"{len(x)} points, mean spacing {spacing(x):.4g} (millimetres for the motorcycle)")
    print_table(("method", "RMSE to true points", "mean distance to surface", "seconds"), rows)
    path = folder / "point_cloud.png"
    draw({"clean": x} | restored, {"clean": surface.query(x.cpu())[0]} | off, path)
    print(f"picture: {path}")


def draw(clouds: dict[str, Tensor], off: dict[str, np.ndarray], path: Path) -> None:
    from matplotlib.figure import Figure

    worst = np.quantile(off["noisy"], 0.95)
    height = clouds["clean"][:, 1]
    lowest, highest = (float(height.quantile(q)) for q in (0.45, 0.55))
    figure = Figure(figsize=(2.6 * len(clouds), 5.4), layout="constrained")
    for column, (name, points) in zip(figure.subplots(2, len(clouds)).T, clouds.items(), strict=True):
        across, up, away = points.cpu().T.numpy()
        slice_ = (up > lowest) & (up < highest)
        column[0].set_title(name.replace(", ", "\n"), fontsize=9)
        dots = column[0].scatter(across, -up, s=1, c=off[name], vmin=0, vmax=worst, cmap="magma_r")
        column[1].scatter(across[slice_], -away[slice_], s=2, color="tab:blue")
        for ax in column:
            ax.set_aspect("equal")
            ax.set_axis_off()
    figure.colorbar(dots, ax=figure.axes, label="distance to surface", shrink=0.6)
    figure.savefig(path, dpi=130)


def motorcycle() -> tuple[Tensor, Tensor]:
    """Front and rear of the motorcycle that ships with scikit-image, millimetres, depth last."""
    import skimage.data

    disparity = skimage.data.stereo_motorcycle()[2]
    row, column = np.indices(disparity.shape)
    depth = FOCAL * BASELINE / (disparity + SHIFT)
    across, down = ((p - c) * depth / FOCAL for p, c in zip((column, row), CENTER, strict=True))
    points = torch.from_numpy(np.stack([across, down, depth], -1)).float()
    vehicle = np.isfinite(disparity) & (disparity > 40) & (row < 380)  # neither floor nor wall
    front, rear = (points[torch.from_numpy(vehicle & p)] for p in (column > 400, column < 380))
    return front - front.mean(0), rear - rear.mean(0)


def load_points(name: str) -> Tensor:
    """Points of a file, about their mean: `.npz` with an array `xyz`, else text, x y z per line."""
    wanted = "an .npz file with an array xyz of shape (..., 3), or text with x y z on each line"
    try:
        with_names = np.load(name) if name.endswith(".npz") else {"xyz": np.loadtxt(name, ndmin=2)}
        xyz = np.asarray(with_names["xyz"], dtype=np.float64)[..., :3].reshape(-1, 3)
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise SystemExit(f"Got {name}: {error}. Expected {wanted}. Convert the file.") from None
    xyz = xyz[np.isfinite(xyz).all(-1)]
    if len(xyz) < 100:
        raise SystemExit(
            f"Got {len(xyz)} points in {name}. Expected 100 or more with finite coordinates. "
            "Give a scan with more points."
        )
    return torch.from_numpy(xyz - xyz.mean(0)).float()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--input", help="scan: .npz with `xyz`, or text with x y z on each line")
    parser.add_argument("--output", default="runs/point_cloud_denoise", help="folder for the picture")
    parser.add_argument("--points", type=int, default=4000, help="points used, drawn at random")
    parser.add_argument("--noise", type=float, default=1.0, help="deviation, in spacings of points")
    parser.add_argument("--train", type=int, default=150, metavar="STEPS", help="training steps")
    parser.add_argument("--device", default=cuda)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few seconds, to see that it runs")
    options = parser.parse_args(arguments)
    if options.smoke:
        options.points, options.train = 600, 3
    return options


if __name__ == "__main__":
    main(parse())
