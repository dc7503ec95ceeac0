"""The solver and the demosaicking network on a GPU: time, the same numbers as on the CPU, and how
near the memory's speed they come. Without CUDA it says so and stops.

"Replayed" is the same work as a CUDA graph, which the CPU starts by one call: what is left is the
time of the GPU."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from _race import OURS, Options, add_common_arguments, append, describe_machine, options_of
from torch import Tensor

from gsp_unroll import (
    BayerMosaic,
    DemosaicNetwork,
    Graph,
    GTVUnroll,
    Interpolation,
    LeastSquares,
    SamplingMask,
    backend,
    grid_graph,
    show_backends,
)

#: Fastest first; "triton" is what serves when nothing is asked for.
BACKENDS = {OURS: "triton", "kernels in PyTorch": "torch", "readable steps": "reference"}
#: Of CPU and GPU results in float64, in the norm: sums run in another order.
TOLERANCE = 1e-9
NEIGHBORS_STORED, CHANNELS, HEADS, ITERATIONS, CG_STEPS = 12, 3, 4, 5, 5


@dataclass
class Work:
    """Something to restore, with all it needs on one device.

    Args:
        restore: one forward pass, from the leaves.
        leaves: what gradients are taken by.
        floor: bytes that forward and training step must move at least, or None.
    """

    restore: Callable[[], Tensor]
    leaves: list[Tensor]
    floor: tuple[float, float] | None = None

    def forward(self) -> list[Tensor]:
        """The result, as inference computes it."""
        with torch.no_grad():
            return [self.restore()]

    def train(self) -> list[Tensor]:
        """The result and all gradients."""
        x = self.restore()
        return [x.detach(), *torch.autograd.grad(x.square().mean(), self.leaves)]


def solver(images: int, side: int, device: str) -> Work:
    """`GTVUnroll` on given weights, 24 neighbours."""
    torch.manual_seed(0)
    topology = grid_graph((side, side), window=5)
    layer = GTVUnroll(ITERATIONS, CG_STEPS, heads=HEADS, rho=1.0).to(device)
    mask = torch.rand(images, side * side, CHANNELS) < 0.34
    y = torch.where(mask, torch.rand(mask.shape), 0).to(device)
    w = topology.mask_edges(0.2 * torch.rand(images, HEADS, topology.num_edges))
    x0 = torch.rand(images, HEADS, side * side, CHANNELS)
    w, x0 = (t.to(device).requires_grad_() for t in (w, x0))
    data = LeastSquares(SamplingMask(mask.to(device)), y).per_head()
    return Work(
        lambda: layer(data, Graph.unchecked(topology, w), x0),
        [w, x0, *layer.parameters()],
        floor(images * HEADS * side * side),
    )


def network(images: int, side: int, device: str) -> Work:
    """`DemosaicNetwork` as the demo trains it: features, graph, solve."""
    torch.manual_seed(0)
    net = DemosaicNetwork()
    with torch.no_grad():  # its last layer starts at zero, and would hide the ones before
        for p in net.parameters():
            p += 0.05 * torch.randn_like(p)
    net.to(device)
    image = torch.rand(images, side * side, 3).to(device)
    H = BayerMosaic(side, side, device=device)
    data = Interpolation(H, H(image))
    return Work(lambda: net(data, (side, side)), list(net.parameters()))


def floor(places: int) -> tuple[float, float]:
    """Bytes of forward and training step when every sweep reads and writes each number once."""
    K, C, T, J = NEIGHBORS_STORED, CHANNELS, ITERATIONS, CG_STEPS
    edge = K + 2 * K * C + 5 * C + 1
    cg = K + 7 * C + 1
    forward = T * (edge + (J - 1) * cg)
    last_reverse = 6 * C + 3
    cg_reverse = 3 * K + 8 * C + 3
    edge_reverse = 3 * K + 3 * K * C + 7 * C
    reverse = T * (last_reverse + (J - 1) * cg_reverse + edge_reverse)
    # the backward pass runs the forward pass again
    return 4.0 * places * forward, 4.0 * places * (2 * forward + reverse)


def milliseconds(run: Callable[[], Any], rounds: int) -> float:
    """Median time on the GPU, between two marks in its own queue."""
    for _ in range(3):  # compiles, and fills the allocator's pool
        run()
    times = []
    for _ in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return median(times)


def captured(run: Callable[[], Any]) -> Callable[[], Any]:
    """The same work as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # compiles, and allocates what is kept
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def bandwidth(options: Options) -> float:
    """Bytes per second of a plain copy."""
    source = torch.empty(options.size(1 << 28, 1 << 20), device="cuda")
    target = torch.empty_like(source)
    return 2e3 * source.nbytes / milliseconds(lambda: target.copy_(source), options.rounds)


def difference(ours: list[Tensor], expected: list[Tensor]) -> float:
    """The greatest relative difference in the norm."""
    worst = 0.0
    for a, b in zip(ours, expected, strict=True):
        worst = max(worst, float((a.cpu() - b).norm() / b.norm().clamp(min=1e-12)))
    return worst


def rows(
    make: Callable[[str], Work], speed: float, options: Options
) -> Iterator[tuple[str, dict[str, Any]]]:
    """One row per backend, checked against the CPU first."""
    on_gpu, apart = make("cuda"), differences(make)
    for name, fastest in BACKENDS.items():
        if not apart[name] <= TOLERANCE:
            raise SystemExit(f"{name}: differs from the CPU by {apart[name]:.1e}")
        with backend(fastest):  # type: ignore[arg-type]
            torch.cuda.reset_peak_memory_stats()
            works = on_gpu.forward, on_gpu.train
            times = [milliseconds(run, options.rounds) for run in works]
            memory = torch.cuda.max_memory_allocated() / 2**20
            replays = [milliseconds(captured(run), options.rounds) for run in works]
        row: dict[str, Any] = {"forward_ms": times[0], "training_ms": times[1]}
        row |= {"forward_replayed_ms": replays[0], "training_replayed_ms": replays[1]}
        row |= {"peak_mb": memory, "apart": apart[name]}
        if on_gpu.floor is not None:
            shares = [1e3 * f / speed / t for f, t in zip(on_gpu.floor, replays, strict=True)]
            row["forward_share"], row["training_share"] = shares
        yield name, row


def differences(make: Callable[[str], Work]) -> dict[str, float]:
    """How far each backend is from the readable steps on the CPU, in float64: in float32 a value
    that rounding carries over a threshold has another gradient, and would say nothing."""
    torch.set_default_dtype(torch.float64)
    on_cpu, on_gpu, apart = make("cpu"), make("cuda"), {}
    with backend("reference"):
        expected = on_cpu.train()
    for name, fastest in BACKENDS.items():
        with backend(fastest):  # type: ignore[arg-type]
            apart[name] = difference(on_gpu.train(), expected)
    torch.set_default_dtype(torch.float32)
    return apart


def main() -> None:
    """Measure, print a table for each work, append the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser, 20)
    arguments = parser.parse_args()
    options = options_of(arguments)
    if not torch.cuda.is_available():
        print("bench_cuda: not measured: torch sees no CUDA device here.")
        return
    torch.backends.cudnn.allow_tf32 = False  # 10 bits of mantissa would hide a difference
    show_backends()
    speed = bandwidth(options)
    print(f"\n{torch.cuda.get_device_name()}, a copy runs at {speed / 1e9:.0f} GB/s")
    small, large = options.size(64, 12), options.size(512, 24)
    works: dict[str, Callable[[str], Work]] = {
        f"solver, 8 x {HEADS} heads of {small} x {small}": lambda d: solver(8, small, d),
        f"solver, 1 x {HEADS} heads of {large} x {large}": lambda d: solver(1, large, d),
        f"demosaicking, 8 crops of {small} x {small}": lambda d: network(8, small, d),
    }
    results: dict[str, Any] = {}
    for title, make in works.items():
        print(f"\n### {title}\n")
        print("| candidate | forward ms | training step ms | both replayed ms | of the floor |")
        print("| --- | ---: | ---: | ---: | ---: |")
        results[title] = {}
        for name, row in rows(make, speed, options):
            results[title][name] = row
            shares = [row[k] for k in ("forward_share", "training_share") if k in row]
            print(
                f"| {name} | {row['forward_ms']:.3g} | {row['training_ms']:.3g} "
                f"| {row['forward_replayed_ms']:.3g}, {row['training_replayed_ms']:.3g} "
                f"| {', '.join(f'{s:.0%}' for s in shares) or '-'} |"
            )
    machine = {**describe_machine(options), "gpu": torch.cuda.get_device_name(), "copy": speed}
    record = {"script": "bench_cuda.py", "smoke": options.smoke, "machine": machine}
    append(arguments.out, {**record, "works": results})


if __name__ == "__main__":
    main()
