"""A product with the Laplacian of a 24-neighbour grid, and its gradients in signal and weights."""

from collections.abc import Mapping, Sequence

import _peers as peers
import torch
from _race import FAULT_FREE, OURS, OUT_OF_THE_BOX, Candidate, Claim, Options, Race, Target, main
from torch import Tensor

TITLE = "forward and backward"


def build(options: Options) -> Mapping[str, Race]:
    grid = peers.GridProblem(side=options.size(512, 24), channels=3)
    x, edges = grid.x, grid.edges
    g = torch.randn_like(x)
    real = grid.topology.edge_mask
    on_planes = g.T.contiguous().unsqueeze(0)

    def of_list(product: peers.Product, *, both: bool) -> Candidate:
        """A peer on edges: with one weight an edge, or one for each direction."""

        def view(grad_x: Tensor, grad_w: Tensor) -> Sequence[Tensor]:
            return grad_x, edges.merged(grad_w) if both else grad_w

        w = edges.weight_both_ways if both else edges.weight
        return peers.forward_and_backward(product, x, w, g, view)

    def of_planes(product: peers.Product) -> Candidate:
        def view(grad_x: Tensor, grad_w: Tensor) -> Sequence[Tensor]:
            return *peers.from_planes(grad_x), grad_w.reshape(-1)[real]

        return peers.forward_and_backward(product, grid.planes, grid.plane_weight, on_planes, view)

    def of_ours() -> Candidate:
        def view(grad_x: Tensor, grad_w: Tensor) -> Sequence[Tensor]:
            return grad_x, grad_w[real]

        return peers.forward_and_backward(peers.ours(grid.topology), x, grid.weight, g, view)

    def stacked() -> Candidate:
        offsets, weight = peers.stacked_weight(grid)
        product = peers.stacked(grid.side, offsets, grid.window // 2)
        shape = (grid.side, grid.side)

        def view(grad_x: Tensor, grad_w: Tensor) -> Sequence[Tensor]:
            # the gradients of both directions of an edge belong together; the far one of an
            # absent edge is not asked for, since only real edges are compared
            near, far = grad_w[0].flatten(1).chunk(2)
            merged = near.clone()
            for k, shift in enumerate(grid.shifts):
                merged[k, : near.shape[-1] - shift] += far[k, shift:]
            return *peers.from_planes(grad_x), merged.reshape(-1)[real]

        image, at_output = grid.planes.unflatten(-1, shape), on_planes.unflatten(-1, shape)
        return peers.forward_and_backward(product, image, weight, at_output, view)

    entries = {
        OURS: of_ours,
        peers.PYG: lambda: of_list(peers.message_passing(edges), both=True),
        peers.PYG_ADJACENCY: lambda: of_list(
            peers.message_passing(edges, adjacency_form=True), both=True
        ),
        peers.HALF_EDGES: lambda: of_list(peers.half_edges(edges), both=False),
        peers.COMPILED_EDGES: lambda: of_list(peers.compiled(peers.index_add(edges)), both=True),
        peers.COMPILED_SLICES: lambda: of_planes(peers.compiled(peers.flat_slices(grid.shifts))),
        peers.SLICES: lambda: of_planes(peers.flat_slices(grid.shifts)),
        peers.STACK: stacked,
    }
    return {TITLE: Race(entries, tolerance=1e-4)}


CLAIM = Claim(
    what="L x on a 512 x 512 grid of 24 neighbours, 3 channels, with gradients in x and w",
    build=build,
    targets=[
        Target(TITLE, peers.PYG, 150, OUT_OF_THE_BOX),
        Target(TITLE, peers.PYG, 60, FAULT_FREE),
    ],
    notes=[
        "PyG gets one weight for each direction of an edge as a leaf, which spares it the sum over "
        "both that ours delivers.",
    ],
    rounds=11,
)

if __name__ == "__main__":
    main(__file__, CLAIM)
