"""How our own cost grows with each size of the problem, on logarithmic axes.

Writes `cost_curves.json` and, where matplotlib is installed, one picture for each kind of work.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _race import (
    RESULTS,
    Candidate,
    Options,
    add_common_arguments,
    append,
    backend,
    describe_machine,
    options_of,
    race,
)

from gsp_unroll import (
    GLR,
    ConjugateGradient,
    Graph,
    GTVUnroll,
    Laplacian,
    LeastSquares,
    SamplingMask,
    grid_graph,
)

#: Where each curve starts; one size is changed at a time. `window` is the side of the window.
BASE = {"side": 64, "window": 5, "channels": 3, "heads": 1, "batch": 1}
SWEEPS: dict[str, tuple[int, ...]] = {
    "side": (32, 64, 128, 256, 512),
    "window": (3, 5, 7),
    "channels": (1, 2, 3, 4, 8, 16),
    "heads": (1, 2, 4, 8),
    "batch": (1, 2, 4, 8, 16),
}
SMOKE_BASE = {**BASE, "side": 12}
SMOKE_SWEEPS = {"side": (8, 16), "window": (3, 5), "channels": (1, 2), "heads": (1, 2)}
#: The claim: no cost grows faster than this power of nodes, edges, channels, heads or batch.
MOST = 1.1


class Size:
    """Random inputs of one size."""

    def __init__(self, side: int, window: int, channels: int, heads: int, batch: int) -> None:
        torch.manual_seed(0)
        self.topology = grid_graph((side, side), window=window)
        self.heads, num_edges = heads, self.topology.num_edges
        self.w = self.topology.mask_edges(0.2 * torch.rand(batch, heads, num_edges))
        mask = torch.rand(batch, side * side, channels) < 0.25
        self.x = torch.rand(batch, heads, side * side, channels)
        self.data = LeastSquares(SamplingMask(mask), torch.rand(mask.shape)).per_head()

    def product(self) -> Callable[[], Any]:
        L = Laplacian(Graph.unchecked(self.topology, self.w))

        def run() -> Any:
            with torch.no_grad():
                return L @ self.x

        return run

    def training_step(self) -> Callable[[], Any]:
        w = self.w.clone().requires_grad_()
        layer = GTVUnroll(num_iterations=5, cg_steps=5, heads=self.heads, rho=1.0)

        def run() -> None:
            w.grad = None
            layer.zero_grad()
            graph = Graph.unchecked(self.topology, w)
            layer(self.data, graph, self.x).square().mean().backward()

        return run

    def solve(self) -> Callable[[], Any]:
        def run() -> Any:
            Q = GLR(Graph.unchecked(self.topology, self.w), 2.0).Q
            A, b = self.data.system(Q)
            b = b.expand_as(self.x).contiguous()
            # a fixed number of steps: what one costs is the question, not how many it takes
            return ConjugateGradient(rtol=1e-30, max_steps=20).solve(A, b)

        return run


KINDS: dict[str, Callable[[Size], Callable[[], Any]]] = {
    "forward product": Size.product,
    "training step": Size.training_step,
    "GLR solve, 20 steps": Size.solve,
}


def amount(name: str, value: int) -> float:
    """What the cost should be proportional to."""
    return {"side": value**2, "window": value**2 - 1}.get(name, value)


AXES = {"side": "nodes", "window": "neighbours per node"}


def measure(options: Options) -> dict[str, dict[str, dict[str, list[float]]]]:
    """For each kind of work and swept size: amounts, CPU and wall milliseconds."""
    base = options.size(BASE, SMOKE_BASE)
    curves: dict[str, dict[str, dict[str, list[float]]]] = {}
    for kind, make in KINDS.items():
        curves[kind] = {}
        for name, values in options.size(SWEEPS, SMOKE_SWEEPS).items():
            points = {
                str(value): Candidate(make(Size(**{**base, name: value}))) for value in values
            }
            rows = race(points, options)
            curves[kind][AXES.get(name, name)] = {
                "amount": [amount(name, value) for value in values],
                "cpu_ms": [rows[str(value)]["cpu_ms"] for value in values],
                "wall_ms": [rows[str(value)]["wall_ms"] for value in values],
            }
    return curves


def exponent(curve: Mapping[str, list[float]]) -> float:
    """The power fitted to the upper half of the curve; below it, fixed overheads hide it."""
    half = max(2, (len(curve["amount"]) + 1) // 2)
    logs = [np.log(curve[key][-half:]) for key in ("amount", "cpu_ms")]
    return float(np.polyfit(*logs, 1)[0])


def draw(curves: Mapping[str, Mapping[str, Any]], folder: Path) -> list[Path]:
    """One picture for each kind of work."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        print("no pictures: matplotlib is not installed")
        return []
    paths = []
    for kind, sweeps in curves.items():
        figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
        for name, curve in sweeps.items():
            relative = [value / curve["amount"][0] for value in curve["amount"]]
            label = f"{name}, from {curve['amount'][0]:g}: power {exponent(curve):.2f}"
            axes.loglog(relative, curve["cpu_ms"], "o-", label=label)
        axes.set(xlabel="size, relative to the smallest", ylabel="CPU ms", title=kind)
        axes.grid(True, which="both", alpha=0.3)
        axes.legend()
        paths.append(folder / f"{kind.replace(',', '').replace(' ', '_').lower()}.png")
        figure.savefig(paths[-1], dpi=150)
        plt.close(figure)
    return paths


def main() -> None:
    """Measure the curves, print their powers, write them down."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser, rounds=5)
    folder_help = "folder for the curves"
    parser.add_argument("--out-dir", type=Path, default=RESULTS.parent, help=folder_help)
    arguments = parser.parse_args()
    options = options_of(arguments)
    torch.set_num_threads(options.threads)

    what = "cost of a product, a training step and a solve"
    print(f"## How the {what} grows\n")
    curves = measure(options)
    print("| work | along | smallest | CPU ms | largest | CPU ms | power |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for kind, sweeps in curves.items():
        for name, curve in sweeps.items():
            (first, *_, last), (fast, *_, slow) = curve["amount"], curve["cpu_ms"]
            print(
                f"| {kind} | {name} | {first:g} | {fast:.3g} | {last:g} | {slow:.3g} "
                f"| {exponent(curve):.2f} |"
            )
    powers = {
        f"{kind}, {name}": exponent(curve)
        for kind, sweeps in curves.items()
        for name, curve in sweeps.items()
    }
    steepest = max(powers, key=lambda name: powers[name])
    met = None if options.smoke else powers[steepest] <= MOST
    word = {True: "met", False: "missed", None: "not judged: smoke sizes"}[met]
    line = (
        f"claim: {what} grows at most in proportion to every size target: power {MOST:g} at most "
        f"measured: {powers[steepest]:.2f} ({steepest}) ({word})"
    )
    print(f"\n{line}")

    record = {
        "script": Path(__file__).name,
        "claim": what,
        "smoke": options.smoke,
        "machine": describe_machine(options),
        "backend": backend(),
        "curves": curves,
        "powers": powers,
        "verdicts": [{"measured": powers[steepest], "met": met, "line": line}],
    }
    arguments.out_dir.mkdir(parents=True, exist_ok=True)
    written = arguments.out_dir / "cost_curves.json"
    written.write_text(json.dumps(record, indent=1))
    for path in [written, *draw(curves, arguments.out_dir)]:
        print(f"wrote {path}")
    append(arguments.out, record)


if __name__ == "__main__":
    main()
