"""The convex priors that certificates are checked on: a new one joins by a line."""

import torch

from gsp_unroll.clouds import ChordGLR
from gsp_unroll.graph import MixedGraph, path_graph, space_time_graph
from gsp_unroll.problems import (
    DGLR,
    DGTV,
    GGLR,
    GGTV,
    GLR,
    GTV,
    BalancedGLR,
    MixedPrior,
    SumPrior,
    VectorGTV,
)
from gsp_unroll.restoration import PlaneGLR
from tests.registries import cloud
from tests.registries_operators import (
    IMAGE,
    ONE_WAY,
    POINTS,
    PRIORS,
    SCATTERED,
    numbers,
    signed,
    slopes_on,
    weighted,
)


def mixed(dtype):
    """Three places at three steps."""
    spatial, temporal = space_time_graph(path_graph(3), 3)
    return MixedPrior(
        MixedGraph(weighted(spatial, dtype=dtype), weighted(temporal, dtype=dtype)), 0.3, 0.2, 0.1
    )


def normals(dtype):
    directions = torch.cat([cloud(7, 2, seed=8) - 0.5, numbers(7, 1)], -1)
    return torch.nn.functional.normalize(directions, dim=-1).to(dtype)


#: Name -> (a function of the dtype that gives the prior, channels of its signals).
CONVEX = {
    **{
        f"{name} on {where}": (
            lambda t, build=build, topology=topology: build(weighted(topology, dtype=t)),
            2,
        )
        for name, build in PRIORS.items()
        if "firm" not in name
        for where, topology in {"an image": IMAGE, "parts": SCATTERED}.items()
    },
    "GGLR": (lambda t: GGLR(slopes_on(IMAGE, dtype=t), 0.4), 2),
    "GGLR of points": (lambda t: GGLR(slopes_on(POINTS, dtype=t), 0.4), 2),
    "GGTV": (lambda t: GGTV(slopes_on(IMAGE, dtype=t), 0.2), 2),
    "GGTV of points": (lambda t: GGTV(slopes_on(POINTS, dtype=t), 0.2), 2),
    "DGLR": (lambda t: DGLR(weighted(ONE_WAY, dtype=t), 0.5), 2),
    "DGTV": (lambda t: DGTV(weighted(ONE_WAY, dtype=t), 0.3), 2),
    "mixed": (mixed, 2),
    "mixed + GLR": (lambda t: mixed(t) + GLR(weighted(path_graph(9), dtype=t), 0.1), 2),
    "balanced GLR": (lambda t: BalancedGLR(signed(IMAGE, dtype=t), 0.6), 2),
    "balanced GLR sym": (lambda t: BalancedGLR(signed(SCATTERED, dtype=t), 0.6, "sym"), 2),
    "GLR about a plane": (
        lambda t: PlaneGLR(weighted(POINTS, dtype=t), 0.5, axes=cloud(7).to(t)),
        2,
    ),
    "GLR of chords": (lambda t: ChordGLR(weighted(POINTS, dtype=t), 0.5, normals=normals(t)), 3),
    "GLR + GTV of parts of a batch": (
        lambda t: SumPrior((GLR(weighted(SCATTERED, dtype=t)), GTV(weighted(SCATTERED, dtype=t)))),
        2,
    ),
    "vector GTV + GLR of points": (
        lambda t: VectorGTV(weighted(POINTS, dtype=t), 0.2) + GLR(weighted(POINTS, dtype=t), 0.3),
        3,
    ),
}
