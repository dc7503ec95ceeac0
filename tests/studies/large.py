r"""A cloud of a million points, and ten thousand places at 288 steps: seconds and memory.

    python tests/studies/large.py --out runs/large

Made-up signals of smooth shape, so that it can be seen whether the result is good. Every job runs
in a process of its own, whose peak memory is that of the job, in float32.
"""

from __future__ import annotations

import argparse
import math
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from gsp_unroll import (
    ADMM,
    GLR,
    GTV,
    ConjugateGradient,
    Graph,
    Identity,
    LeastSquares,
    MahalanobisLearner,
    Problem,
    SamplingMask,
    knn_graph,
    path_graph,
    product_graph,
)
from gsp_unroll._tables import markdown_table
from gsp_unroll.clouds import ChordGLR, CloudDenoiser, fit_surfaces
from gsp_unroll.series import block_gaps


def wavy(points: int) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """A ball with waves on it, and how far points are from its surface along rays."""

    def radius(direction: Tensor) -> Tensor:
        return 1 + 0.05 * (6 * direction).sin().prod(-1)

    def off(x: Tensor) -> Tensor:
        return (x.norm(dim=-1) - radius(torch.nn.functional.normalize(x, dim=-1))).abs().mean()

    direction = torch.nn.functional.normalize(torch.randn(points, 3), dim=-1)
    return direction * radius(direction).unsqueeze(-1), off


def cloud_convex(points: int) -> tuple[float, float]:
    """ChordGLR on the twelve nearest, once."""
    truth, off = wavy(points)
    y = truth + 2 / math.sqrt(points) * torch.randn_like(truth)
    topology = knn_graph(y, 12)
    normals = fit_surfaces(y, planes=(30,)).normal[:, 0]
    prior = ChordGLR(Graph(topology, torch.ones(topology.num_edges)), mu=0.25, normals=normals)
    x = ConjugateGradient(rtol=1e-4).solve(*LeastSquares(Identity(), y).system(prior.Q)).x
    return float(off(y)), float(off(x))


@torch.no_grad()
def cloud_network(points: int) -> tuple[float, float]:
    """The unrolled denoiser, untrained, which costs as much as trained."""
    truth, off = wavy(points)
    y = truth + 2 / math.sqrt(points) * torch.randn_like(truth)
    return float(off(y)), float(off(CloudDenoiser()(y)))


def network(places: int, steps: int = 288) -> tuple[Tensor, Tensor, Graph]:
    """A front that crosses places at random once a day: truth, readings `(steps * places, 1)` with
    half of them hidden in blocks, and the graph of places at steps."""
    place = torch.rand(places, 2)
    hour = torch.linspace(0, 1, steps).unsqueeze(-1)
    truth = torch.tanh(8 * (place[:, 0] + 0.2 * (9 * place[:, 1]).sin() - 1.4 * hour + 0.2))
    y = truth + 0.1 * torch.randn_like(truth)
    y[block_gaps(steps, places, share=0.5, lengths=(12, 48))] = torch.nan
    space = knn_graph(place, 6)
    learner = MahalanobisLearner(2, init=20.0, normalization="none")
    with torch.no_grad():
        weight = learner(place, space).weight
    along = path_graph(steps)
    graph = product_graph(Graph(along, 1.0 * along.edge_mask), Graph(space, weight))
    return truth.reshape(-1, 1), y.reshape(-1, 1), graph


def series_glr(places: int) -> tuple[float, float]:
    """GLR on the product of places and steps."""
    truth, y, graph = network(places)
    A, b = LeastSquares(SamplingMask(~y.isnan()), y).system(GLR(graph, mu=0.5).Q)
    x = ConjugateGradient(rtol=1e-4).solve(A, b).x
    return rms(y - truth), rms(x - truth)


def series_gtv(places: int) -> tuple[float, float]:
    """GTV on the same, to a hundredth of the objective."""
    truth, y, graph = network(places)
    problem = Problem(LeastSquares(SamplingMask(~y.isnan()), y), GTV(graph, lam=0.05))
    x = ADMM(rtol=1e-2).solve(problem).x
    return rms(y - truth), rms(x - truth)


def rms(error: Tensor) -> float:
    """Root mean square of what is no NaN."""
    return float(error.square().nanmean().sqrt())


JOBS = {
    "points, convex": (cloud_convex, 1_000_000),
    "points, network": (cloud_network, 1_000_000),
    "places x 288, GLR": (series_glr, 10_000),
    "places x 288, GTV": (series_gtv, 10_000),
}


def measured(name: str, size: int) -> list[str]:
    """One job, here: errors of readings and of the result (gaps too), seconds, GiB at most."""
    torch.manual_seed(0)
    begin = time.monotonic()
    before, after = JOBS[name][0](size)
    took = time.monotonic() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return [name, f"{size:,}", f"{before:.4f}", f"{after:.4f}", f"{took:.0f}", f"{peak:.1f}"]


def main(options: argparse.Namespace) -> None:
    rows = []
    for name, (_, size) in JOBS.items():
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
            rows.append(own.submit(measured, name, round(size * options.share)).result())
        print(*rows[-1], sep="  ", flush=True)
    names = ["job", "size", "error of what was read", "of the result", "seconds", "GiB"]
    table = markdown_table(names, rows, [False] + [True] * 5)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "table.md").write_text(table)
    print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="takes the table")
    parser.add_argument("--share", type=float, default=1.0, help="of the sizes, for a trial")
    main(parser.parse_args())
