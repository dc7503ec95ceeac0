"""The kernels in Triton compute what the same sweeps in PyTorch compute.

On a GPU they are compiled. Elsewhere Triton's interpreter runs them, program by program, in a
process of its own: a kernel is made for one or the other when its module is imported.
"""

import os
import subprocess
import sys

import pytest
import torch

from gsp_unroll import Grid, grid_graph, path_graph
from gsp_unroll.kernels import registry
from gsp_unroll.kernels.block import Block
from gsp_unroll.kernels.torch_block import TorchBlock
from tests.laws.test_kernels import LAYERS, Case
from tests.waiting import nothing_waits

pytest.importorskip("triton")
# Triton announces a coming change of a default when it compiles for the first time
pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION:UserWarning")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
COMPILED = torch.cuda.is_available() and not INTERPRETED
DEVICE = "cuda" if COMPILED else "cpu"
runs = pytest.mark.skipif(
    not (INTERPRETED or COMPILED), reason="run by test_the_kernels_are_right_in_the_interpreter"
)

DTYPES = {torch.float32: 1e-5, torch.float64: 1e-12}
NORMS = ("none", "l1", "l2")
LATTICES = {
    "image": lambda: grid_graph((4, 5), window=3),
    "image smaller than its window": lambda: grid_graph((2, 3), window=5),
    "sequence": lambda: path_graph(9, lags=(1, 7)),
    "rows without a neighbour": lambda: Grid((2, 5), ((0, 1), (0, 3))),
    "volume": lambda: grid_graph((2, 3, 2), neighbors=6),
}


def draw(
    norm,
    topology,
    *,
    hard=False,
    scaled=True,
    dtype=torch.float64,
    channels=2,
    batch=(),
    heads=1,
    steps=2,
):
    """A block of random numbers, and a gradient by its result."""
    torch.manual_seed(topology.num_nodes + channels)
    T, J, n = 1 if norm == "none" else 2, steps, topology.num_nodes
    mask = (torch.rand(n, channels) < 0.4).to(dtype)
    x, y = (torch.randn(*batch, 1, n, channels, dtype=dtype) for _ in range(2))
    y = y * mask
    if hard:
        x = torch.where(mask > 0, y, x)
    w = topology.mask_edges(torch.rand(*batch, heads, topology.num_edges, dtype=dtype))

    def numbers(*shape):
        return 0.2 + 0.2 * torch.rand(heads, T, *shape, dtype=dtype)

    tensors = (mask, w, numbers(), numbers(), 1 + numbers(), numbers(J), numbers(J - 1))
    g = torch.randn(*batch, heads, n, channels, dtype=dtype).to(DEVICE)
    x, y, *rest = (t.to(DEVICE) for t in (x, y, *tensors))
    return Block(topology.plan, norm, hard, scaled, x, y, *rest), g


def kernel():
    from gsp_unroll.kernels.triton_planes import TritonPlanes

    return TorchBlock(TritonPlanes)


def check(block, g, tolerance):
    ours = [kernel().forward(block), *kernel().reverse(block, g)]
    theirs = [TorchBlock().forward(block), *TorchBlock().reverse(block, g)]
    assert len(ours) == 9
    for mine, expected in zip(ours, theirs, strict=True):
        assert mine.shape == expected.shape
        # a gradient by a coefficient is a sum over all nodes, of both signs
        scale = max(1.0, float(expected.abs().amax())) if expected.numel() else 1.0
        torch.testing.assert_close(mine, expected, rtol=0, atol=tolerance * scale)


@runs
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scaled", [True, False], ids=["scaled", "plain"])
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("norm", NORMS)
def test_value_and_gradients(norm, hard, scaled, dtype):
    block, g = draw(norm, LATTICES["image"](), hard=hard, scaled=scaled, dtype=dtype)
    check(block, g, DTYPES[dtype])


@runs
@pytest.mark.parametrize("lattice", LATTICES)
def test_on_every_lattice(lattice):
    check(*draw("l2", LATTICES[lattice]()), 1e-12)


@runs
@pytest.mark.parametrize(("channels", "steps"), [(1, 1), (3, 3)])
@pytest.mark.parametrize("norm", NORMS)
def test_any_number_of_channels_and_steps(norm, channels, steps):
    check(*draw(norm, grid_graph((3, 4)), channels=channels, steps=steps), 1e-12)


@runs
@pytest.mark.parametrize("batch", [(0,), (2,)], ids=str)
def test_any_batch_and_heads(batch):
    check(*draw("l1", grid_graph((3, 4)), batch=batch, heads=2), 1e-12)


@runs
def test_a_plane_of_several_tiles():
    check(*draw("l2", grid_graph((3, 30), window=3), channels=9), 1e-12)


@runs
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("norm", NORMS)
def test_a_nan_stays_within_reach(norm, hard):
    """Two iterations of a gradient and two products on a window of radius 1 reach 6 pixels."""
    height, width = 16, 9
    block, _ = draw(norm, grid_graph((height, width), window=3), hard=hard)
    pixel = 8 * width + width - 1  # at the right border, where a row ends and the next begins
    block.mask[pixel] = 1
    clean = kernel().forward(block)
    block.y[..., pixel, :], block.x[..., pixel, :] = torch.nan, torch.nan
    dirty = kernel().forward(block)
    rows = torch.arange(height * width, device=DEVICE) // width
    columns = torch.arange(height * width, device=DEVICE) % width
    far = torch.maximum((rows - 8).abs(), (columns - (width - 1)).abs()) > 2 * (1 + 2)
    assert far.any()
    assert dirty.isnan().any()
    assert torch.equal(dirty[..., far, :], clean[..., far, :])


@runs
def test_the_same_bits_on_every_run():
    block, g = draw("l2", grid_graph((3, 4)), dtype=torch.float32)
    first, second = ([kernel().forward(block), *kernel().reverse(block, g)] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.skipif(not COMPILED, reason="needs CUDA")
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_on_a_gpu_equals_the_layer_on_a_cpu(kind, hard):
    assert registry.kernels()["triton"]
    case = Case(kind, grid_graph((9, 13), window=5), hard=hard)
    expected = case.value_and_gradients("reference")
    case.layer.cuda()
    case.mask, case.g = case.mask.cuda(), case.g.cuda()
    case.inputs = tuple(t.detach().cuda().requires_grad_() for t in case.inputs)
    case.value_and_gradients("triton")  # places of the nodes are found once, and copied there
    with nothing_waits():
        found = case.value_and_gradients("triton")
    for ours, theirs in zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True):
        if theirs is not None:
            torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(INTERPRETED or COMPILED, reason="the tests above run by themselves")
def test_the_kernels_are_right_in_the_interpreter():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", __file__],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
