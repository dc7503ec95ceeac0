r"""Interpolate a sensor network: what would a thermometer have read where there is none?

The problem. Stations at known places report y; the signal x is wanted at all of them, such that it
keeps every reading and changes least along the edges of a graph between neighbours,

    min_x  1/2 sum w_ij (x_i - x_j)^2  (GLR, graph Laplacian regulariser)
    min_x  sum w_ij |x_i - x_j|        (GTV, graph total variation)     subject to  x_i = y_i.

The weight w_ij falls with the distance between two stations. How many kilometres count as much as
a hundred metres of height? That is a metric on (east, north, height): first scaled by hand, then
learned together with the steps of the solver.

Temperature falls with height and towards the pole. A plane takes up this part of the readings of a
day, and all methods, the yardsticks included, fill in what it leaves over.

Run `python examples/sensor_interpolation.py`: no argument is needed. A third of the stations is
hidden. Neither their readings nor the days of the test are ever used to tune or to train.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import fresh_folder, print_table
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
from gsp_unroll.solvers import Solution
from gsp_unroll.viz import draw_graph

#: Fills the NaN of a signal (stations, days): `method(signal, place, number of its own)`.
Method = Callable[[Tensor, Tensor, float], Tensor]


def main(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    place, readings = (part.to(options.device) for part in load(options.data, options.signal))

    # Of every 30 days, 18 are for tuning and training and 8 for the test, with days in between.
    day = torch.arange(readings.shape[1], device=place.device) % 30
    truth, known = readings[:, (day >= 20) & (day < 28)], readings[:, day < 18]
    hidden = some_of(torch.ones_like(place[:, :1], dtype=torch.bool))
    y, known = truth.masked_fill(hidden, torch.nan), known.masked_fill(hidden, torch.nan)

    # Two numbers of each method are tuned: what height counts for, and the one of its own.
    trials = [(known[:, first :: options.every], some_of(~hidden)) for first in (0, 1, 2)]

    def tuned(method: Method, numbers: tuple[float, ...]) -> tuple[float, float]:
        def error(choice: tuple[float, float]) -> float:
            return sum(
                rmse(restore(x.masked_fill(left_out, torch.nan), place, method, *choice), x, left_out)
                for x, left_out in trials
            )

        return min(itertools.product((0.5, 1.0, 2.0), numbers), key=error)

    restored: dict[str, Tensor] = {}
    notes: dict[str, str] = {}
    seconds: dict[str, float] = {}

    def run(name: str, method: Method, choice: tuple[float, float], note: str) -> None:
        begin = time.perf_counter()
        with torch.no_grad():
            restored[name] = restore(y, place, method, *choice)
        seconds[name] = time.perf_counter() - begin
        notes[name] = f"height x {choice[0]:g}, {note}"

    # The yardsticks need no graph; the convex problems are solved to their optimum.
    choices: dict[str, tuple[float, float]] = {}
    for name, method, numbers, note in (
        ("nearest station", mean_of_nearest, (1,), "{:g} station"),
        ("mean of nearest", mean_of_nearest, (2, 3, 4, 6), "{:g} stations"),
        ("inverse distance", inverse_distance, (4, 8, 16), "{:g} stations"),
        ("GLR, convex", glr, (2.0, 4.0, 6.0), "reach 1/{:g}"),
        ("GTV, convex", gtv, (2.0, 4.0, 6.0), "reach 1/{:g}"),
    ):
        with torch.no_grad():
            choices[name] = choice = tuned(method, numbers)
        run(name, method, choice, note.format(choice[1]))

    # The same steps unrolled, from the tuned metric on; then both are trained.
    for name, layer in (("GLR", GLRUnroll(cg_steps=20)), ("GTV", GTVUnroll(4, cg_steps=6, lam=0.3))):
        choice = choices[f"{name}, convex"]
        learner = MahalanobisLearner(num_features=3, init=choice[1], normalization="none")
        model = nn.ModuleList([learner, layer]).to(options.device)

        def unrolled(r: Tensor, place: Tensor, _: float, model: nn.ModuleList = model) -> Tensor:
            learner, layer = model
            return layer(samples(r), learner(place, knn_graph(place, 10)))

        run(f"{name}, unrolled, untrained", unrolled, choice, f"reach 1/{choice[1]:g}")
        train(model, lambda y: restore(y, place, unrolled, *choice), known, ~hidden, options)
        run(f"{name}, unrolled, trained", unrolled, choice, "then learned")


