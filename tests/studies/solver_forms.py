r"""Which form of the solver trains best, and from which start? The published network with one part
changed at a time.

The linear program of the paper against the soft-threshold splitting; heavy-ball steps as published
against bounded momentum and guarded conjugate gradients; one penalty per edge on merged directions
against both directions of an edge on their own; then thresholds and metrics to begin with. Every
network has the published size, 5 stages of 4 graphs and 5 x 10 steps, and sees the same 2000
patches in the same order.

Run `python tests/studies/solver_forms.py --photos FOLDER --out runs/forms`: the same command goes
on with a study that was interrupted. The patches are of 32 x 32 pixels, a quarter of the paper's:
only one of the forms has fused kernels, and the others take seconds a step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from torch import nn

from gsp_unroll import BoundedMomentum, GTVLinearProgramUnroll, GTVUnroll, GuardedCG, HeavyBall
from gsp_unroll.models import NETWORKS, PublishedNetwork
from gsp_unroll.models.published import CG_STEPS, HEADS, ITERATIONS
from gsp_unroll.train.crops import read_all, split_photos
from gsp_unroll.train.study import Study, run_study

COMMON = {
    "task": "demosaic",
    "steps": 500,
    "batch": 4,
    "crop": 32,
    "patches": 2000,
    "choices": 4,
    "reduce": [1.5, 2, 3],
    "loss": "l1",
    "clip": 0.1,
    "precision": "no",
    "average": 0,
}


def form(layer: Callable[..., nn.Module], solver: type[nn.Module], weights: str):
    """A constructor of the published network with this solver."""
    return lambda: PublishedNetwork(
        lambda: layer(ITERATIONS, CG_STEPS, heads=HEADS, solver=solver), weights
    )


def begun(lam: float, metric: float):
    """A constructor of `ugtv_splitting` with another start."""
    return lambda: PublishedNetwork(
        lambda: GTVUnroll(ITERATIONS, CG_STEPS, heads=HEADS, lam=lam), "merged", metric=metric
    )


FORMS = {
    "splitting, bounded momentum, merged": form(GTVUnroll, BoundedMomentum, "merged"),
    "splitting, heavy ball, merged": form(GTVUnroll, HeavyBall, "merged"),
    "splitting, guarded CG, merged": form(GTVUnroll, GuardedCG, "merged"),
    "splitting, bounded momentum, rows": form(GTVUnroll, BoundedMomentum, "row"),
    "linear program, heavy ball, rows": form(GTVLinearProgramUnroll, HeavyBall, "row"),
    "threshold 1, metric 1.5": begun(1.0, 1.5),
    "threshold 1, metric 2.1": begun(1.0, 2.12),
    "threshold 1, metric 4": begun(1.0, 4.0),
    "threshold 1, metric 8": begun(1.0, 8.0),
    "threshold 1, metric 16": begun(1.0, 16.0),
    "threshold 1, metric 32": begun(1.0, 32.0),
    "threshold 1, metric 64": begun(1.0, 64.0),
    "threshold 0.03, metric 2.1": begun(0.03, 2.12),
    "threshold 0.03, metric 32": begun(0.03, 32.0),
}


def main(options: argparse.Namespace) -> None:
    begin = time.monotonic()
    NETWORKS.update(FORMS)
    study = Study(COMMON, {name: {"network": name} for name in FORMS}, options.seeds)
    learn, held = split_photos(options.photos, 0.03)
    photos = list(read_all(learn)), list(read_all(held))
    end = begin + 3600 * options.hours
    print(run_study(study, *photos, options.out, until=lambda: time.monotonic() > end))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", nargs="+", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--hours", type=float, default=float("inf"), help="stop after so long")
    main(parser.parse_args())
