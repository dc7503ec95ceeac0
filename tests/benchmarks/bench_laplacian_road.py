"""Products with the Laplacian of a road-like graph: planar, four edges a node."""

from collections.abc import Mapping

import _peers as peers
import torch
from _race import Claim, Options, Race, Target, main
from _scattered import FORWARD, TRAINING, races

from gsp_unroll import EdgeList


def build(options: Options) -> Mapping[str, Race]:
    num_nodes = options.size(50_000, 500)
    tail, head = peers.road_like(num_nodes)
    return races(EdgeList(torch.stack([tail, head]), num_nodes))


CLAIM = Claim(
    what="L x on a road-like graph of 50 000 nodes and degree 4, 3 channels",
    build=build,
    targets=[Target(FORWARD, peers.PYG, 8), Target(TRAINING, peers.PYG, 10)],
    notes=["The graph: the shortest 100 000 edges of a Delaunay triangulation of random points."],
    rounds=25,
)

if __name__ == "__main__":
    main(__file__, CLAIM)
