"""Laws of tiling: tiles give what the whole image gives, and a bad pixel stays where it is."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from gsp_unroll import (
    BayerMosaic,
    BilateralFeatures,
    Blur,
    DemosaicNetwork,
    DotProductLearner,
    Downsample,
    GLRUnroll,
    GridCNN,
    GridUNet,
    GTFUnroll,
    GTVLinearProgramUnroll,
    GTVUnroll,
    GuardedCG,
    HeavyBall,
    Identity,
    Interpolation,
    LeastSquares,
    MahalanobisLearner,
    OnGrid,
    PointMLP,
    SamplingMask,
    UnrolledBlock,
    UnrolledNetwork,
    VectorGTVUnroll,
    grid_graph,
    knn_graph,
    restore_tiled,
    start,
)
from gsp_unroll.features import Reach
from gsp_unroll.graph import Graph, path_graph
from gsp_unroll.models import in_tiles
from gsp_unroll.models.reach import num_products

SHAPE = (45, 58)
NODES = 45 * 58


def correction():
    return OnGrid(
        nn.Sequential(
            nn.Conv2d(6, 5, 3, padding=1, padding_mode="replicate"),
            nn.GELU(),
            nn.Conv2d(5, 3, 3, padding=1, padding_mode="replicate", bias=False),
        )
    )


def block(
    solver=GTVUnroll,
    features=GridCNN,
    learner=MahalanobisLearner,
    heads=None,
    normalization="merged",
    steps=(1, 2),
    depth=None,
    **arguments,
):
    """A stage with random parameters, short enough that its reach is small against the image."""
    look = {} if depth is None else {"num_layers": depth}
    kind = steps[1:] if solver is GLRUnroll else steps
    options = arguments.pop("options", {})
    stage = UnrolledBlock(
        features(3, 4 * (heads or 1), width=5, heads=heads, **look),
        learner(4, heads=heads, normalization=normalization),
        solver(*kind, heads=heads, **options),
        **arguments,
    )
    with torch.no_grad():
        for parameter in stage.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return stage


def mask_of(*batch):
    """A fifth of the pixels, in a pattern with one of them beside every pixel, and a few more.

    So `start` fills every pixel from its neighbours: the mean of all samples is not asked for.
    """
    row, column = torch.arange(SHAPE[0]).view(-1, 1, 1), torch.arange(SHAPE[1]).view(-1, 1)
    pattern = (row + 2 * column + torch.arange(3)) % 5 == 0
    return pattern.flatten(0, 1) | (torch.rand(*batch, NODES, 3) < 0.05)


def observed(dtype=torch.float64, *, kind=Interpolation):
    return kind(SamplingMask(mask_of()), torch.rand(NODES, 3).to(dtype))


def assert_tiles_give_the_whole(network, data, topology, *tiles, atol=1e-10):
    x0 = torch.rand_like(data.backprojected)
    for given in (None, x0):
        with torch.no_grad():
            whole = network(data, topology, given)
        for tile in tiles:
            tiled = restore_tiled(network, data, topology, tile=tile, x0=given)
            torch.testing.assert_close(tiled, whole, rtol=0, atol=atol)


# ---- tiles give the whole -------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("heads", [None, 1, 2])
@pytest.mark.parametrize("features", [GridCNN, GridUNet])
@pytest.mark.parametrize("solver", [GLRUnroll, GTVUnroll])
@pytest.mark.parametrize("corrected", [False, True])
def test_tiles_give_the_whole(solver, features, heads, corrected, dtype, atol):
    def stage():
        more = {"correction": correction(), "sweeps": 2} if corrected else {}
        return block(solver, features, heads=heads, **more)

    network = UnrolledNetwork([stage(), stage()]).to(dtype)
    data = observed(dtype)
    assert_tiles_give_the_whole(network, data, grid_graph(SHAPE, window=3), 29, atol=atol)


@pytest.mark.parametrize("features", [GridCNN, GridUNet])
def test_any_size_of_tile_will_do(features):
    # 15 and 29 divide a side; with 7 a margin is wider than its tile; 100 is one tile
    network = UnrolledNetwork([block(features=features, residual=0.8)]).double()
    tiles = (7, 15, 20, 29, 32, 100)
    assert_tiles_give_the_whole(network, observed(), grid_graph(SHAPE, window=3), *tiles)


STAGES = {
    "weights as learned": {"normalization": "none"},
    "symmetric, twice": {
        "normalization": "sym",
        "solver": GLRUnroll,
        "options": {"normalization": "sym"},
    },
    "attention": {"learner": DotProductLearner, "normalization": "none"},
    "attention, merged": {"learner": DotProductLearner},
    "heavy ball": {"options": {"solver": HeavyBall}},
    "vector": {"solver": VectorGTVUnroll},
    "the paper's": {"solver": GTVLinearProgramUnroll, "normalization": "row"},
    "nodes alone": {"features": PointMLP},
    "noisy": {"options": {"rho": 1.0}},
    "noisy, GLR": {"solver": GLRUnroll, "options": {"mu": 0.5}},
}


@pytest.mark.parametrize("arguments", STAGES.values(), ids=STAGES.keys())
def test_tiles_give_the_whole_with_every_part(arguments):
    soft = not {"rho", "mu"}.isdisjoint(arguments.get("options", {}))
    network = UnrolledNetwork([block(**arguments)]).double()
    data = observed(kind=LeastSquares if soft else Interpolation)
    assert_tiles_give_the_whole(network, data, grid_graph(SHAPE, window=3), 20)


@pytest.mark.parametrize("neighborhood", [{"window": 5}, {"neighbors": 12}, {"window": (1, 5)}])
def test_tiles_give_the_whole_on_other_windows(neighborhood):
    network = UnrolledNetwork([block()]).double()
    assert_tiles_give_the_whole(network, observed(), grid_graph(SHAPE, **neighborhood), 20)


@pytest.mark.parametrize("mask_batch", [(), (2, 1), (2, 3)])
def test_tiles_of_a_batch(mask_batch):
    network = UnrolledNetwork([block(heads=2, correction=correction(), sweeps=2)]).double()
    data = Interpolation(
        SamplingMask(mask_of(*mask_batch)), torch.rand(2, 3, NODES, 3, dtype=torch.float64)
    )
    assert_tiles_give_the_whole(network, data, grid_graph(SHAPE, window=3), 29)


def test_tiles_of_a_decimated_image():
    H = Downsample(SHAPE, 2)
    data = Interpolation(H, torch.rand(H.num_outputs, 3, dtype=torch.float64))
    network = UnrolledNetwork([block(correction=correction())]).double()
    assert_tiles_give_the_whole(network, data, grid_graph(SHAPE, window=3), 17)


@pytest.mark.parametrize("phase", ["RGGB", "GBRG"])
@pytest.mark.parametrize("tile", [13, 24])
def test_tiles_of_a_mosaic(phase, tile):
    network = DemosaicNetwork(2, heads=2, features=3, width=5, num_iterations=1, cg_steps=2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    network = network.double()
    H = BayerMosaic(*SHAPE, phase)
    data = Interpolation(H, H(torch.rand(2, NODES, 3, dtype=torch.float64)))
    tiled = network.restore_tiled(data, SHAPE, tile=tile)
    assert not tiled.requires_grad
    torch.testing.assert_close(tiled, network(data, SHAPE).detach(), rtol=0, atol=1e-10)


def test_nothing_is_recorded_for_a_derivative():
    network = UnrolledNetwork([block()]).double()
    data, topology = observed(), grid_graph(SHAPE, window=3)
    assert not restore_tiled(network, data, topology, tile=30).requires_grad


# ---- the reach ------------------------------------------------------------------------------


def farthest(f, shape, middle):
    """The largest distance, along an axis, from a pixel in the middle to one that moves it."""
    x = torch.randn(shape[0] * shape[1], 3, dtype=torch.float64, requires_grad=True)
    y, result = f(x).reshape(*shape, -1), 0
    for row, column in middle:
        (g,) = torch.autograd.grad(y[row, column].sum(), x, retain_graph=True)
        seen = (g.reshape(*shape, 3).abs().sum(-1) != 0).nonzero()
        distances = (seen - torch.tensor([row, column])).abs().flatten().tolist()
        result = max([result, *distances])
    return result


REACHES = {
    "GLR": ({"solver": GLRUnroll, "steps": (1, 3)}, 3 + 1 + 2),
    "GLR, weights as learned": (
        {"solver": GLRUnroll, "steps": (1, 3), "normalization": "none"},
        3 + 2,
    ),
    "GLR, symmetric, twice": (
        STAGES["symmetric, twice"] | {"steps": (1, 3)},
        3 + 1 + 1 + 2,
    ),
    "GTV": ({"steps": (2, 3)}, 2 * 3 + 1 + 2),
    "vector": ({"solver": VectorGTVUnroll, "steps": (2, 2)}, 2 * 2 + 1 + 2),
    "the paper's": (STAGES["the paper's"] | {"steps": (2, 2)}, 2 * 2 + 1 + 2),
    "attention": (STAGES["attention"] | {"steps": (1, 3)}, 3 + 1 + 2),
    "attention, merged": (STAGES["attention, merged"] | {"steps": (1, 3)}, 3 + 2 + 2),
}


@pytest.mark.parametrize(("arguments", "pixels"), REACHES.values(), ids=REACHES.keys())
@pytest.mark.parametrize("radius", [1, 2])
def test_the_reach_of_a_stage_is_attained_and_not_exceeded(arguments, pixels, radius):
    stage = block(depth=2, **arguments).double()
    expected = (pixels - 2) * radius + 2  # all but the two convolutions counts edges
    assert stage.reach(radius) == Reach(expected)
    side = 2 * expected + 5
    shape, middle = (side, side), side // 2
    topology = grid_graph(shape, window=2 * radius + 1)
    mask = torch.rand(side * side, 3) < 0.03
    mask[middle * side + middle] = False
    data = Interpolation(SamplingMask(mask), torch.rand(side * side, 3, dtype=torch.float64))
    assert farthest(lambda x: stage(data, topology, x), shape, [(middle, middle)]) == expected


@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_product_of_trend_filtering_moves_a_value_by_one_edge_more_than_its_order(order):
    path = path_graph(61)
    graph = Graph.unchecked(path, path.mask_edges(torch.ones(path.num_edges).double()))
    # the threshold is above every difference: all is linear
    layer = GTFUnroll(2, 3, order=order, lam=300.0, rho=0.7).double()
    y = torch.randn(61, 1).double().requires_grad_()
    layer(LeastSquares(Identity(), y), graph)[30].sum().backward()
    seen = (y.grad.abs().sum(-1) > 0).nonzero().flatten()
    reach = num_products(layer)
    assert reach == 6 * (order + 1)
    assert 30 - reach <= int(seen.min()) < int(seen.max()) <= 30 + reach
    assert int(seen.max()) > 30 + reach - 2 * (order + 1)


def test_a_correction_and_its_start_come_before_the_solve():
    stage = block(solver=GLRUnroll, steps=(1, 2), depth=1, correction=correction(), sweeps=3)
    assert stage.reach(1) == Reach(2 + 3 + 2)
    assert stage.reach(2) == Reach(2 * 2 + 3 * 2 + 2)
    unet = block(features=GridUNet, correction=correction())
    assert unet.reach(2) == Reach((2 + 1) * 2 + 14, stride=4)


def test_the_margin_is_needed(monkeypatch):
    network = UnrolledNetwork([block()]).double()
    data, topology = observed(), grid_graph(SHAPE, window=3)
    whole = network(data, topology).detach()
    monkeypatch.setattr(UnrolledBlock, "reach", lambda *_: Reach(1))
    tiled = restore_tiled(network, data, topology, tile=20, x0=start(data, topology))
    assert float((tiled - whole).abs().max()) > 1e-6


@pytest.mark.parametrize("tile", [20, 100])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("where", [(22, 30), (0, 57), (44, 0)])
def test_a_bad_pixel_stays_within_the_reach(bad, where, tile):
    # on a row's first or last pixel too: storage that wraps around must not carry it along
    def stage():
        return block(GTVUnroll, GridCNN, heads=2, depth=1, correction=correction(), sweeps=2)

    network = UnrolledNetwork([stage(), stage()]).double()
    topology = grid_graph(SHAPE, window=3)
    data = observed()
    node = where[0] * SHAPE[1] + where[1]
    mask = data.H.mask.clone()
    mask[node] = True
    good = data.y.clone()
    spoiled = good.clone()
    spoiled[node, 1] = bad
    x, x_bad = (
        restore_tiled(
            network, Interpolation.unchecked(SamplingMask(mask), y), topology, tile=tile
        ).reshape(*SHAPE, 3)
        for y in (good, spoiled)
    )
    # stage by stage, after the four rounds of the start
    reach = 4 + sum(b.reach(1).pixels for b in network.blocks)
    rows, columns = (torch.arange(n) for n in SHAPE)
    outside = ((rows - where[0]).abs() > reach).unsqueeze(-1) | ((columns - where[1]).abs() > reach)
    assert bool(outside.any())
    torch.testing.assert_close(x_bad[outside], x[outside], rtol=0, atol=1e-12)
    assert not bool(x_bad[where].isfinite().all())


# ---- one stage of your own ------------------------------------------------------------------


def test_a_stage_sees_its_tile_and_the_margin():
    shapes = []

    def stage(shape, x):
        shapes.append((shape, x.squeeze(-1).tolist()))
        return x

    x = torch.arange(35.0).unsqueeze(-1)
    assert torch.equal(in_tiles(stage, (5, 7), x, reach=Reach(1, stride=2), tile=4), x)
    sizes = [shape for shape, _ in shapes]
    # rows 0-3 and 4; columns 0-3 and 4-6; a margin of 1, from an even row and column on
    assert sizes == [(5, 5), (5, 5), (3, 5), (3, 5)]
    assert shapes[3][1] == [float(7 * row + column) for row in (2, 3, 4) for column in range(2, 7)]


# ---- memory ---------------------------------------------------------------------------------

MEGAPIXEL = """
import resource
import torch
from gsp_unroll import BayerMosaic, DemosaicNetwork, Interpolation

torch.set_num_threads(1)
network = DemosaicNetwork()


def restore(side):
    data = Interpolation(BayerMosaic(side, side), torch.rand(side * side, 1))
    assert bool(network.restore_tiled(data, (side, side), tile=256).isfinite().all())


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


restore(64)  # what torch itself takes
before = peak()
restore(1024)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts kilobytes on Linux")
def test_memory_is_that_of_a_crop_and_a_few_images():
    # a crop of 298 x 298 pixels takes about 250 MB, the images 50; the whole in one piece 3 GB
    command = [sys.executable, "-c", MEGAPIXEL]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(run.stdout) / 1024 < 600


# ---- mistakes -------------------------------------------------------------------------------


def test_mistakes():
    topology, data = grid_graph(SHAPE, window=3), observed(torch.float32)

    def refuse(message, stage=None, data=data, topology=topology, **arguments):
        with pytest.raises(ValueError, match=message):
            restore_tiled(UnrolledNetwork([stage or block()]), data, topology, **arguments)

    refuse(
        r"inner products over the whole image.*BoundedMomentum",
        block(options={"solver": GuardedCG}),
    )
    refuse(
        r"Got a Linear as solver",
        UnrolledBlock(GridCNN(3, 4), MahalanobisLearner(4), nn.Linear(1, 1)),
    )
    refuse(
        r"Got a BilateralFeatures, which does not tell how far it looks",
        UnrolledBlock(BilateralFeatures(1.0, 1.0), MahalanobisLearner(5), GLRUnroll(2)),
    )
    refuse(r"tile=0", tile=0)
    blurred = LeastSquares(Blur(SHAPE, torch.ones(3, 3)), torch.rand(NODES, 3))
    refuse(r"Got data through Blur, which has no mask", data=blurred)
    refuse(r"the pixels of an image", topology=knn_graph(torch.rand(NODES, 2), k=3))
    refuse(r"BothDirections, whose edges", topology=topology.both_directions())
    refuse(r"a start of shape .*Expected 2610 on axis -2", x0=torch.rand(7, 3))
    refuse(r"the start x0 of dtype torch.float64", x0=torch.rand(NODES, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"on an image of 4 x 5\. Expected 20 on axis -2"):
        in_tiles(lambda _shape, x: x, (4, 5), torch.rand(19, 1), reach=Reach(0))
