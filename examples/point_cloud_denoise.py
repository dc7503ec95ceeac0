r"""Denoise a 3-D scan: move every point back towards the surface that it was measured on.

The problem. A scanner reports points y_i = x_i + noise. Join each point to its nearest neighbours,
and look for points x that are close to y, with neighbours that are close to each other:

    min_x  1/2 sum |x_i - y_i|^2 + mu/2 sum w_ij |x_i - x_j|^2  (GLR, graph Laplacian regulariser)
    min_x  1/2 sum |x_i - y_i|^2 + lam  sum w_ij |x_i - x_j|    (vector GTV, graph total variation)

where |.| is the length in space, so that the three coordinates move together. Squares pull hardest
where points are far apart, at borders and creases, and round them off; lengths pull all alike.
A third prior leaves points where they are along the surface and asks chords to lie in it:

    min_x  1/2 sum |x_i - y_i|^2 + mu/2 sum w_ij (m_ij . (x_i - x_j))^2       (GLR of chords)

with m_ij the mean normal at the two ends. Planes and spheres do not pay for it.

The graph decides what belongs together. It is drawn on the noisy points: w_ij falls with the
distance in position and in the direction of the surface, first in a metric chosen by hand and then
in one that has been learned together with the steps of the solver.

What to expect: on this scan lengths do better than squares, and the trained layer does best. On
smoother ones planes and jets through the neighbours come nearer than GLR on positions; what beats
them there is `CloudDenoiser` (tables in docs/howto/point-clouds.md).

Run `python examples/point_cloud_denoise.py`: no argument is needed. The scan is the front half of a
motorcycle, measured with structured light; everything is tuned and trained on the rear half.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from _common import fresh_folder, print_table
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
from gsp_unroll.clouds import ChordGLR, CloudDenoiser, read_cloud

Solve = Callable[[LeastSquares, Graph], Tensor]


def main(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    front, rear = load_motorcycle()
    scan = load_points(options.input) if options.input else front
    x, y = measure(scan, options)
    x_other, y_other = measure(rear, options)

    # The convex problems, solved to their optimum on a graph drawn by hand.
    by_hand = MahalanobisLearner(num_features=6, init=1.0).to(options.device)
    cg = ConjugateGradient(rtol=1e-4)

    def glr(y: Tensor, mu: float) -> Tensor:
        return restore(y, by_hand, lambda d, graph: cg.solve(*d.system(GLR(graph, mu).Q), d.y).x)

    def gtv(y: Tensor, lam: float) -> Tensor:
        admm = ADMM(rho=2 * lam, rtol=1e-4, linear_solver=cg)
        return restore(y, by_hand, lambda d, graph: admm.solve(Problem(d, VectorGTV(graph, lam))).x)

    def chords(y: Tensor, mu: float) -> Tensor:
        for _ in range(2):  # the second time with the normals of a cleaner cloud
            topology, unit = knn_graph(y, 16), spacing(y)
            normals = local_planes(y, 16)[1]
            graph = by_hand(torch.cat([torch.zeros_like(y), normals], -1), topology)
            prior = ChordGLR(graph, mu, normals=normals)
            y = unit * cg.solve(*LeastSquares(Identity(), y / unit).system(prior.Q)).x
        return y

    # Each method has one number, tuned on the half that is not shown.
    def tuned(method: Callable[[Tensor, float], Tensor], values: Iterable[float]) -> float:
        return min(values, key=lambda value: rmse(method(y_other, value), x_other))

    with torch.no_grad():
        k = int(tuned(onto_planes, (8, 12, 16, 24)))
        mu = tuned(glr, (0.125, 0.25, 0.5, 1.0))
        lam = tuned(gtv, (0.125, 0.25, 0.5, 1.0))
        nu = tuned(chords, (1.0, 2.0, 4.0, 8.0))

    restored: dict[str, Tensor] = {}
    seconds: dict[str, float] = {}

    def run(name: str, method: Callable[[], Tensor]) -> None:
        begin = time.perf_counter()
        with torch.no_grad():
            restored[name] = method()
        rmse(restored[name], x)  # a number to wait for: a GPU may still be at work
        seconds[name] = time.perf_counter() - begin

    # The yardstick needs no graph: put each point on the plane through its neighbours.
    run("noisy", lambda: y)
    run(f"plane through {k} nearest", lambda: onto_planes(y, k))
    run(f"GLR, convex, mu={mu}", lambda: glr(y, mu))
    run(f"vector GTV, convex, lam={lam}", lambda: gtv(y, lam))

    run(f"GLR of chords, convex, mu={nu}", lambda: chords(y, nu))

    # The same steps unrolled: a fixed number of them, with coefficients and a metric to train.
    learner = MahalanobisLearner(num_features=6, init=1.0).to(options.device)
    unrolled = VectorGTVUnroll(5, cg_steps=5, lam=lam, rho=2 * lam).to(options.device)
    run("vector GTV, unrolled, untrained", lambda: restore(y, learner, unrolled))
    train(learner, unrolled, x_other, options)
    run("vector GTV, unrolled, trained", lambda: restore(y, learner, unrolled))

    # All of it, trained on other scans and models: fits of several sizes, and GLR of chords.
    denoiser = CloudDenoiser.load().to(options.device)
    run("CloudDenoiser of the package", lambda: denoiser(y))

    report(restored, seconds, x, scan, fresh_folder(options.output))


def restore(y: Tensor, learner: MahalanobisLearner, solve: Solve) -> Tensor:
    """Draws the graph on the noisy points and solves on it, with its mean edge as the unit."""
    topology = knn_graph(y, 16)
    unit = topology.gradient(y).norm(dim=-1).mean()
    _, normal = local_planes(y, 16)
    graph = learner(torch.cat([y / unit, normal], -1), topology)
    return unit * solve(LeastSquares(Identity(), y / unit), graph)


def local_planes(y: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The mean of each point and its `k` nearest, and the direction in which they vary least."""
    nearest = knn_graph(y, k, symmetrize=None).edge_index[0].view(len(y), -1)
    patch = torch.cat([y.unsqueeze(1), y[nearest]], 1)
    spread = patch - patch.mean(1, keepdim=True)
    normal = torch.linalg.eigh(spread.mT @ spread).eigenvectors[..., 0]
    return patch.mean(1), torch.where(normal[:, 2:] > 0, -normal, normal)  # turned to the viewer


def onto_planes(y: Tensor, k: float) -> Tensor:
    mean, normal = local_planes(y, int(k))
    return y - ((y - mean) * normal).sum(-1, keepdim=True) * normal


def train(
    learner: MahalanobisLearner, unrolled: VectorGTVUnroll, x: Tensor, options: argparse.Namespace
) -> None:
    """Mean squared error on patches of `x` with fresh noise, by Adam with a falling rate."""
    tree, noise = cKDTree(x.cpu()), options.noise * spacing(x)
    optimizer = torch.optim.Adam([*learner.parameters(), *unrolled.parameters()], lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(options.train, 1))
    progress = tqdm(range(options.train), desc="training", unit="step", mininterval=0.5)
    for _ in progress:
        center = x[torch.randint(len(x), ())].cpu()
        patch = x[torch.from_numpy(tree.query(center, min(500, len(x)))[1]).to(x.device)]
        y = patch + noise * torch.randn_like(patch)
        loss = ((restore(y, learner, unrolled) - patch) / noise).square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress.set_postfix(error=f"{loss.detach().sqrt():.2f} noise", refresh=False)


def measure(scan: Tensor, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Some points of the scan, and what a noisy scanner would have reported."""
    generator = torch.Generator().manual_seed(options.seed)
    x = scan[torch.randperm(len(scan), generator=generator)[: options.points]]
    y = x + options.noise * spacing(x) * torch.randn(x.shape, generator=generator)
    return x.to(options.device), y.to(options.device)


def spacing(x: Tensor) -> float:
    """Mean distance to the nearest other point."""
    return float(cKDTree(x.cpu()).query(x.cpu(), 2)[0][:, 1].mean())


def rmse(x: Tensor, truth: Tensor) -> float:
    return float((x - truth).square().sum(-1).mean().sqrt())


def report(
    restored: dict[str, Tensor], seconds: dict[str, float], x: Tensor, scan: Tensor, folder: Path
) -> None:
    """The table and the picture. The surface is the whole scan, of which few points were taken."""
    surface = cKDTree(scan)
    off = {name: surface.query(cloud.cpu())[0] for name, cloud in restored.items()}
    rows = [
        (name, f"{rmse(cloud, x):.4g}", f"{off[name].mean():.4g}", f"{seconds[name]:.2f}")
        for name, cloud in restored.items()
    ]
    print_table(("method", "RMSE to true points", "mean distance to surface", "seconds"), rows)
    # who knew the surface would still not know where on it a point has been
    floor = (2 / 3) ** 0.5 * rmse(restored["noisy"], x)
    print(f"noise along the surface cannot be seen: the best RMSE to hope for is about {floor:.4g}")
    draw({"true points": x} | restored, off, folder / "point_cloud.png")
    print(f"picture: {folder / 'point_cloud.png'}")


def draw(clouds: dict[str, Tensor], off: dict[str, np.ndarray], path: Path) -> None:
    """Each cloud from the front: lit from one side, and coloured by its distance to the surface."""
    from matplotlib.figure import Figure

    worst = float(np.quantile(off["noisy"], 0.95))
    figure = Figure(figsize=(2.5 * len(clouds), 5.6), layout="constrained")
    columns = figure.subplots(2, len(clouds)).T
    for column, (name, cloud) in zip(columns, clouds.items(), strict=True):
        across, down, _ = cloud.cpu().T.numpy()
        light = local_planes(cloud, 8)[1].cpu() @ torch.tensor([-0.6, -0.6, -0.5])
        column[0].scatter(across, -down, s=2, c=light, vmin=-0.5, vmax=1, cmap="gray")
        column[0].set_title(name.replace(", ", "\n"), fontsize=9)
        if name in off:
            dots = column[1].scatter(across, -down, s=2, c=off[name], vmin=0, vmax=worst)
        for ax in column:
            ax.set_aspect("equal")
            ax.set_axis_off()
    figure.colorbar(dots, ax=columns, label="distance to surface", shrink=0.6)
    figure.savefig(path, dpi=130)


def load_motorcycle() -> tuple[Tensor, Tensor]:
    """Front and rear of the motorcycle that ships with scikit-image: millimetres, depth last."""
    import skimage.data

    disparity = skimage.data.stereo_motorcycle()[2]  # its calibration is documented there
    row, column = np.indices(disparity.shape)
    depth = 994.978 * 193.001 / (disparity + 31.086)
    across, down = (column - 311.193) * depth / 994.978, (row - 254.877) * depth / 994.978
    points = torch.from_numpy(np.stack([across, down, depth], -1)).float()
    vehicle = np.isfinite(disparity) & (disparity > 40) & (row < 380)  # neither wall nor floor
    front, rear = (points[torch.from_numpy(vehicle & p)] for p in (column > 400, column < 380))
    return front - front.mean(0), rear - rear.mean(0)


def load_points(name: str) -> Tensor:
    """The points of a file, about their mean."""
    try:
        archive = name.endswith(".npz")
        xyz = np.load(name)["xyz"] if archive else read_cloud(name).xyz.numpy()
        xyz = xyz.astype(np.float64)
    except (OSError, KeyError, ValueError, ImportError) as error:
        raise SystemExit(
            f"Got {name}, not to be read ({type(error).__name__}: {error}). Expected .npz with an "
            "array xyz, a PLY or LAS file, or text with x y z on each line, as .xyz. "
            "Check the path, or convert the file."
        ) from None
    if xyz.shape[-1:] != (3,):
        raise SystemExit(
            f"Got xyz of shape {xyz.shape} in {name}. Expected (..., 3). Keep three columns."
        )
    xyz = xyz[np.isfinite(xyz).all(-1)]  # a depth camera marks holes with NaN
    if len(xyz) < 200:
        raise SystemExit(
            f"Got {len(xyz)} finite points in {name}. Expected 200 or more. Give a denser scan."
        )
    return torch.from_numpy(xyz - xyz.mean(0)).float()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--input", help="scan: .ply, .xyz, .las, or .npz with `xyz`")
    parser.add_argument("--output", default="runs/point_cloud_denoise", help="folder for pictures")
    parser.add_argument("--points", type=int, default=4000, help="points used, drawn at random")
    parser.add_argument("--noise", type=float, default=1.0, help="deviation, in spacings of points")
    parser.add_argument("--train", type=int, default=120, metavar="STEPS", help="training steps")
    parser.add_argument("--device", default=cuda)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few seconds, to see that it runs")
    options = parser.parse_args(arguments)
    if options.smoke:
        options.points, options.train = 500, 3
    if options.points < 200:
        parser.error(
            f"Got --points {options.points}. Expected 200 or more: the denoiser fits surfaces to "
            "as many. Take more points."
        )
    return options


if __name__ == "__main__":
    main(parse())
