"""A product with the Laplacian of a 24-neighbour grid, forward only."""

from collections.abc import Mapping

import _peers as peers
import torch
from _race import FAULT_FREE, OURS, OUT_OF_THE_BOX, Candidate, Claim, Options, Race, Target, main


def build(options: Options) -> Mapping[str, Race]:
    grid = peers.GridProblem(side=options.size(512, 24), channels=3)
    x, w, edges = grid.x, grid.weight, grid.edges
    both = edges.weight_both_ways

    def scipy_csr() -> Candidate:
        L, signal = edges.laplacian, x.numpy()
        return Candidate(lambda: L @ signal, view=lambda y: [torch.from_numpy(y)])

    def mkl_csr() -> Candidate:
        product = peers.mkl_csr(edges)
        return Candidate(lambda: product(x))

    def stacked() -> Candidate:
        offsets, weight = peers.stacked_weight(grid)
        product = peers.stacked(grid.side, offsets, grid.window // 2)
        image = grid.planes.unflatten(-1, (grid.side, grid.side))
        return peers.forward(product, image, weight, view=peers.from_planes)

    def slices(compiled: bool) -> Candidate:
        product = peers.flat_slices(grid.shifts)
        product = peers.compiled(product) if compiled else product
        return peers.forward(product, grid.planes, grid.plane_weight, view=peers.from_planes)

    entries = {
        OURS: lambda: peers.forward(peers.ours(grid.topology), x, w),
        peers.PYG: lambda: peers.forward(peers.message_passing(edges), x, both),
        peers.PYG_ADJACENCY: lambda: peers.forward(
            peers.message_passing(edges, adjacency_form=True), x, both
        ),
        peers.HALF_EDGES: lambda: peers.forward(peers.half_edges(edges), x, edges.weight),
        peers.COMPILED_EDGES: lambda: peers.forward(
            peers.compiled(peers.index_add(edges)), x, both
        ),
        peers.COMPILED_SLICES: lambda: slices(compiled=True),
        peers.SLICES: lambda: slices(compiled=False),
        peers.MKL: mkl_csr,
        peers.SCIPY: scipy_csr,
        peers.STACK: stacked,
    }
    return {"forward": Race(entries, tolerance=1e-4)}


CLAIM = Claim(
    what="L x on a 512 x 512 grid of 24 neighbours, 3 channels",
    build=build,
    targets=[
        Target("forward", peers.PYG, 200, OUT_OF_THE_BOX),
        Target("forward", peers.PYG, 70, FAULT_FREE),
        Target("forward", peers.COMPILED_EDGES, 10),
        Target("forward", peers.MKL, 7),
    ],
    notes=[
        "Index tensors, sparse matrices and compiled kernels are made beforehand and not timed.",
    ],
)

if __name__ == "__main__":
    main(__file__, CLAIM)
