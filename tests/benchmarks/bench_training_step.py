"""The solver's part of a training step: time against autograd, and the memory it needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import _peers as peers
import torch
from _race import OURS, Candidate, Ceiling, Claim, Missing, Options, Race, Target, main
from torch import Tensor

from gsp_unroll import Graph, GTVUnroll, LeastSquares, SamplingMask, backend

TITLE = "forward and backward"
IN_PYTORCH = "forward and backward, blocks in PyTorch"
HEADS, CHANNELS = 4, 3
EDGE_LIST = "edge list under autograd"
EDGE_LIST_FANCY = "edge list under autograd, gathered by x[index]"
SLICES = "shifted slices under autograd"
#: glibc then maps every tensor of more than 64 KiB by itself and unmaps it when it is freed: the
#: resident size is that of the living tensors, without what the allocator hoards.
LIVE_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536"}


@dataclass(frozen=True)
class Step:
    """A batch, and blocks that each have a solver and weights of their own.

    A block starts from the signal of the one before, each head from its own.
    """

    images: int
    side: int
    blocks: int

    @cached_property
    def grid(self) -> peers.GridProblem:
        return peers.GridProblem(self.side, CHANNELS)

    @cached_property
    def layers(self) -> list[GTVUnroll]:
        solver = {"num_iterations": 5, "cg_steps": 5, "heads": HEADS, "rho": 1.0}
        return [GTVUnroll(**solver) for _ in range(self.blocks)]

    @cached_property
    def mask(self) -> Tensor:
        return torch.rand(self.images, self.grid.topology.num_nodes, CHANNELS) < 0.34

    @cached_property
    def observation(self) -> Tensor:
        return torch.where(self.mask, torch.rand(self.mask.shape), 0)

    @cached_property
    def start(self) -> Tensor:
        # a leaf too: all blocks but the first hand a gradient on, and a peer has only one block
        num_nodes = self.grid.topology.num_nodes
        return torch.rand(self.images, HEADS, num_nodes, CHANNELS).requires_grad_()

    @cached_property
    def weights(self) -> list[Tensor]:
        shape = (self.images, HEADS, self.grid.topology.num_edges)
        drawn = [self.grid.topology.mask_edges(0.2 * torch.rand(shape)) for _ in self.layers]
        return [w.requires_grad_() for w in drawn]

    def leaves(self, weights: Sequence[Tensor]) -> list[Tensor]:
        return [*weights, self.start, *(p for layer in self.layers for p in layer.parameters())]

    def ours(self) -> Callable[[], Sequence[Tensor]]:
        H = SamplingMask(self.mask)
        data = LeastSquares(H, self.observation).per_head()
        topology, leaves = self.grid.topology, self.leaves(self.weights)

        def run() -> Sequence[Tensor]:
            _forget(leaves)
            x = self.start
            for layer, w in zip(self.layers, self.weights, strict=True):
                x = layer(data, Graph.unchecked(topology, w), x)
            x.square().mean().backward()
            return [x, *_gradients(leaves)]

        return run

    def autograd(
        self,
        space: peers.EdgeSpace,
        to_peer: Callable[[Tensor], Tensor],
        weights: Sequence[Tensor],
    ) -> Callable[[], Sequence[Tensor]]:
        """The same blocks in plain torch, on signals that `to_peer` brings into their layout."""
        mask = to_peer(self.mask.to(self.observation.dtype).unsqueeze(1).expand_as(self.start))
        t = to_peer(self.observation.unsqueeze(1).expand_as(self.start))
        x0 = to_peer(self.start.detach()).requires_grad_()
        leaves = [x0 if leaf is self.start else leaf for leaf in self.leaves(weights)]

        def run() -> Sequence[Tensor]:
            _forget(leaves)
            x = x0
            for layer, w in zip(self.layers, weights, strict=True):
                x = peers.unrolled_gtv(space, layer, self.images, mask, t, w, x)
            x.square().mean().backward()
            return [x, *_gradients(leaves)]

        return run

    def edge_list(self, *, fancy: bool) -> Candidate:
        edges, real = self.grid.edges, self.grid.topology.edge_mask
        planes, num_nodes = self.images * HEADS, self.grid.topology.num_nodes
        weights = [w.detach()[..., real].reshape(-1).requires_grad_() for w in self.weights]
        run = self.autograd(
            peers.EdgeListSpace(edges, planes, fancy=fancy),
            lambda x: x.reshape(-1, CHANNELS).clone(),
            weights,
        )

        def view(output: Sequence[Tensor]) -> Sequence[Tensor]:
            x, *gradients = output
            return self._comparable(x.view(planes, num_nodes, CHANNELS), gradients)

        return Candidate(run, view=view)

    def slices(self) -> Candidate:
        planes = self.images * HEADS
        num_nodes, offsets = self.grid.topology.num_nodes, len(self.grid.topology.offsets)
        weights = [
            w.detach().reshape(planes, offsets, num_nodes).clone().requires_grad_()
            for w in self.weights
        ]
        run = self.autograd(
            peers.SliceSpace(self.grid.shifts),
            lambda x: x.reshape(planes, num_nodes, CHANNELS).mT.contiguous(),
            weights,
        )

        def view(output: Sequence[Tensor]) -> Sequence[Tensor]:
            x, *gradients = output
            return self._comparable(x.mT, gradients)

        return Candidate(run, view=view)

    def reference(self) -> Sequence[Tensor]:
        x, *gradients = self.ours()()
        return self._comparable(x.flatten(0, 1), gradients)

    def _comparable(self, x: Tensor, gradients: Sequence[Tensor]) -> list[Tensor]:
        """The signal, and the gradients in the weights of real edges and in the solvers' numbers,
        apart from padded slots and layouts."""
        planes, real = self.images * HEADS, self.grid.topology.edge_mask
        parts = [x.detach()]
        for gradient in gradients[: self.blocks]:
            if gradient.numel() == planes * real.numel():
                gradient = gradient.reshape(planes, -1)[:, real]
            parts.append(gradient.reshape(planes, -1))
        return [*parts, *gradients[self.blocks + 1 :]]


def _forget(leaves: Sequence[Tensor]) -> None:
    for leaf in leaves:
        leaf.grad = None


def _gradients(leaves: Sequence[Tensor]) -> list[Tensor]:
    return [leaf.new_zeros(()) if leaf.grad is None else leaf.grad for leaf in leaves]


def build(options: Options) -> Mapping[str, Race]:
    blocks = options.size(5, 2)
    size = {"images": options.size(8, 2), "side": options.size(64, 12)}
    step, single = Step(**size, blocks=blocks), Step(**size, blocks=1)
    reference = single.reference()

    def scaled(candidate: Candidate) -> Candidate:
        """One block, checked against ours, and its time taken for all of them."""
        assert candidate.view is not None
        output = candidate.view(candidate.run())
        for number, (part, expected) in enumerate(zip(output, reference, strict=True)):
            # in the norm: where rounding moves a value across a threshold, the gradient jumps at
            # a few edges of a million (in float64 all agree to the last digits)
            difference = float((part - expected).norm() / expected.norm())
            if not difference <= 1e-3:
                raise SystemExit(f"output {number} of a peer differs from ours by {difference:.1e}")
        candidate.scale, candidate.note = blocks, f"1 block measured, times {blocks}"
        return candidate

    entries = {
        OURS: lambda: Candidate(step.ours()),
        SLICES: lambda: scaled(single.slices()),
        EDGE_LIST: lambda: scaled(single.edge_list(fancy=False)),
        EDGE_LIST_FANCY: lambda: scaled(single.edge_list(fancy=True)),
    }

    def in_pytorch() -> Candidate:
        run = single.ours()

        def without_compiler() -> Sequence[Tensor]:
            with backend("torch"):
                return run()

        return Candidate(without_compiler, f"1 block measured, times {blocks}", scale=blocks)

    rivals = {OURS: in_pytorch, EDGE_LIST: entries[EDGE_LIST]}
    return {TITLE: Race(entries), IN_PYTORCH: Race(rivals)}


def live_memory_in_pytorch(options: Options) -> float:
    """The same for the blocks in PyTorch."""
    with backend("torch"):
        return live_memory(options)


def live_memory(options: Options) -> float:
    """Megabytes that the step adds at its peak, gradients of the weights included."""
    tiny = Step(images=1, side=8, blocks=1)
    tiny.ours()()  # plans, library start-up, thread stacks: paid once, whatever the size
    step = Step(options.size(8, 2), options.size(64, 12), options.size(5, 2))
    run = step.ours()
    step.leaves(step.weights)  # drawn now: inputs are there before the step
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        before = _status("VmRSS")
        run()
        return (_status("VmHWM") - before) / 1024
    except OSError as error:
        raise Missing(f"resident memory is read from /proc ({error})") from error


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


CLAIM = Claim(
    what=(
        "solver part of a training step, batch 8 of 64 x 64, 24 neighbours, 4 heads, 3 channels, "
        "5 blocks of 5 ADMM x 5 CG steps"
    ),
    build=build,
    targets=[
        Target(TITLE, EDGE_LIST, 120),
        Target(TITLE, SLICES, 25),
        Target(IN_PYTORCH, EDGE_LIST, 25),
    ],
    ceilings={
        "live memory": Ceiling(live_memory, 60, "MB", LIVE_MEMORY),
        "live memory, blocks in PyTorch": Ceiling(live_memory_in_pytorch, 60, "MB", LIVE_MEMORY),
    },
    notes=[
        "Weights are leaves; the learner and the network around the solver are left out. All "
        "candidates do the same steps with the same parameters, and agree in the signal and in "
        "the gradients. The peers are measured on 1 block, since 5 would take up to 14 GB, and "
        "their times multiplied by 5.",
    ],
    rounds=5,
)

if __name__ == "__main__":
    main(__file__, CLAIM)
