"""What the untrained demosaickers reach on real photos (crops of test images, never trained on)."""

import numpy as np
import pytest
import torch

from gsp_unroll import BayerMosaic, GLRUnroll, GTVUnroll, Interpolation, grid_graph
from gsp_unroll.metrics import psnr
from gsp_unroll.models import bilateral_graph, bilinear, green_first

SIZE, BORDER = 96, 4
PICTURES = ("01", "05", "08", "13", "19", "23")


@pytest.fixture(scope="module")
def crops(data_dir):
    """The central 96x96 pixels of six Kodak pictures."""
    image = pytest.importorskip("PIL.Image")
    cut = []
    for number in PICTURES:
        photo = image.open(data_dir / "images" / "kodak24" / f"kodim{number}.png").convert("RGB")
        pixels = np.asarray(photo, dtype=np.float32) / 255
        top, left = ((n - SIZE) // 4 * 2 for n in pixels.shape[:2])
        cut.append(torch.from_numpy(pixels[top : top + SIZE, left : left + SIZE].copy()))
    return torch.stack(cut).reshape(len(cut), SIZE**2, 3)


def quality(x, truth):
    """Mean PSNR per picture, clipped, without a border of four pixels."""

    def inner(signal):
        image = signal.clamp(0, 1).reshape(-1, SIZE, SIZE, 3)
        cut = image[:, BORDER:-BORDER, BORDER:-BORDER]
        return cut.reshape(len(signal), -1, 3)

    return float(psnr(inner(x), inner(truth)).mean())


def test_bilinear_agrees_with_the_reference_value(crops):
    H = BayerMosaic(SIZE, SIZE)
    x = bilinear(Interpolation(H, H(crops)), (SIZE, SIZE))
    assert quality(x, crops) == pytest.approx(28.10, abs=0.01)


@pytest.mark.parametrize(
    ("layer", "at_least"),
    # a threshold of 0.03 is a true total variation; at 1.0 nearly every edge is below it, and what
    # is left of the iteration is a GLR
    [
        (GLRUnroll(cg_steps=30), 33.4),
        (GTVUnroll(num_iterations=3, cg_steps=10), 31.8),
        (GTVUnroll(num_iterations=3, cg_steps=10, lam=1.0), 33.0),
    ],
    ids=["GLR", "GTV", "GTV below its threshold"],
)
def test_untrained_layers_on_colour_differences(crops, layer, at_least):
    H = BayerMosaic(SIZE, SIZE)
    data, topology = Interpolation(H, H(crops)), grid_graph((SIZE, SIZE), window=5)
    x = bilinear(data, (SIZE, SIZE))
    with torch.no_grad():
        for _ in range(2):
            graph = bilateral_graph(x, topology)
            x = green_first(lambda d, g=graph: layer(d, g), data)
    assert quality(x, crops) >= at_least
