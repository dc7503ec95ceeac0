"""Products with the Laplacian of a nearest-neighbour graph of random points."""

from collections.abc import Mapping

import _peers as peers
import torch
from _race import Claim, Options, Race, Target, main
from _scattered import FORWARD, TRAINING, races

from gsp_unroll import knn_graph


def build(options: Options) -> Mapping[str, Race]:
    points = torch.rand(options.size(200_000, 500), 3)
    return races(knn_graph(points, k=16))


CLAIM = Claim(
    what="L x on the 16 nearest neighbours of 200 000 random points in space, 3 channels",
    build=build,
    targets=[Target(FORWARD, peers.MKL, 3), Target(TRAINING, peers.PYG, 25)],
    notes=["Nodes come in random order, for all candidates alike. Ours may renumber inside."],
    rounds=11,
)

if __name__ == "__main__":
    main(__file__, CLAIM)
