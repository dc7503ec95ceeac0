r"""Double the size of a photo: every second pixel of every second row in, all of them out.

The problem. Of a photo's luma x one pixel in four is known, y = H x, with no filter before, so fine
patterns are aliased. The photo is the signal that keeps every sample and is smoothest on a graph
whose nodes are the pixels,

    min_x  1/2 sum w_ij (x_i - x_j)^2  (GLR, graph Laplacian regulariser)
    min_x  sum w_ij |x_i - x_j|        (GTV, graph total variation)       subject to  H x = y.

Sums run once over every pair (i, j) of pixels in a 5x5 window. By hand w_ij is drawn on values and
positions of a first guess; a network learns what to look at.

Run `python examples/image_interpolation.py`: no argument is needed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _common import fresh_folder, print_table
from torch import Tensor

from gsp_unroll import (
    GLR,
    ConjugateGradient,
    GTVUnroll,
    Interpolation,
    from_pretrained,
    grid_graph,
    start,
)
from gsp_unroll.evaluate.methods import find_method
from gsp_unroll.metrics import psnr
from gsp_unroll.models import ImageNetwork, bilateral_graph
from gsp_unroll.photos import read_photo
from gsp_unroll.train.tasks import Interpolate
from gsp_unroll.viz import draw_panels

TRAINING_PHOTOS = ("astronaut", "chelsea", "rocket", "retina")  # the photo restored is another one
BORDER = 4  # pixels left out of the PSNR, where every method sees half a neighbourhood


def main(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    photo = load_photo(options.input, options.size)
    shape = (photo.shape[0], photo.shape[1])

    # What is known: the luma at even rows and columns, and the constraint that it is kept.
    task = Interpolate()
    truth = task.truth(photo.reshape(-1, 3).to(options.device))
    data = task.observe(truth, shape)
    assert isinstance(data, Interpolation)
    topology = grid_graph(shape, window=5)

    restored: dict[str, Tensor] = {}
    seconds: dict[str, float] = {}

    def run(name: str, method: Callable[[], Tensor]) -> None:
        begin = time.perf_counter()
        with torch.no_grad():
            restored[name] = method().cpu()
        seconds[name] = time.perf_counter() - begin

    # The yardsticks: means of the samples around a pixel, and cubic convolution.
    known = data.backprojected.reshape(*shape, 1).cpu().numpy()
    for name in ("bilinear", "bicubic_aligned"):
        method = find_method(name, "interpolate")
        run(name, lambda m=method: torch.from_numpy(m(known, 0.0)).reshape(-1, 1))

    # On a graph drawn on a first guess: the convex GLR to the optimum, GTV by a few unrolled steps.
    x0 = start(data, topology, sweeps=1)
    graph = bilateral_graph(x0, topology)
    A, b = data.system(GLR(graph).Q)
    run("GLR, convex", lambda: ConjugateGradient(rtol=1e-5).solve(A, b, x0).x)
    gtv = GTVUnroll(num_iterations=3, cg_steps=10).to(options.device)
    run("GTV, unrolled, untrained", lambda: gtv(data, graph, x0))

    # Everything learned: the network that comes with the package, or one that you trained.
    network = from_pretrained(options.network).to(options.device)
    run("network", lambda: network.restore(data, shape))

    # Or trained right here, a small one, on other photos.
    folder = fresh_folder(options.output)
    if options.train:
        small = train(options, folder / "training").to(options.device)
        run("small network, trained", lambda: small.restore(data, shape))

    rows = []
    inner = slice(BORDER, -BORDER)
    whole = truth.cpu().reshape(*shape, 1)
    for name, x in restored.items():
        a, c = (image[inner, inner].reshape(-1, 1) for image in (x.reshape(*shape, 1), whole))
        rows.append((name, f"{psnr(a, c):.2f}", f"{seconds[name]:.2f}"))
    print_table(("method", "PSNR dB", "seconds"), rows)
    images = {"original": whole} | {n: x.reshape(*shape, 1) for n, x in restored.items()}
    draw(images, whole, folder)
    print(f"picture: {folder / 'comparison.png'}")


def train(options: argparse.Namespace, folder: Path) -> ImageNetwork:
    """What `python -m gsp_unroll.train` does, on photos that ship with scikit-image."""
    import skimage.data

    from gsp_unroll.train.loop import Training
    from gsp_unroll.train.plan import Plan

    plan = Plan(
        network="mosaic",
        task="interpolate",
        steps=options.train,
        arguments={"channels": 1, "width": 16, "depth": 2},
        batch=8,
        crop=48,
        average=0.99,
        loss="l1",
        precision="no",
        seed=options.seed,
    )
    photos = [getattr(skimage.data, name)()[..., :3] for name in TRAINING_PHOTOS]
    Training(plan, photos, [], folder).run()
    return from_pretrained(folder)


def draw(images: dict[str, Tensor], truth: Tensor, folder: Path) -> None:
    """Every result, and its middle enlarged."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.3 * len(images), 4.8), layout="constrained")
    top, bottom = figure.subplots(2, len(images))
    row, column = (n // 2 for n in truth.shape[:2])
    middle = slice(row - 24, row + 24), slice(column - 24, column + 24)
    draw_panels(top, images, truth=truth, border=BORDER)
    draw_panels(bottom, images, part=middle)
    figure.savefig(folder / "comparison.png", dpi=150)


def load_photo(path: str | None, size: int) -> Tensor:
    """The photo, cut to its central `size` x `size` pixels (0: whole), colours in [0, 1]."""
    if path is None:
        import skimage.data

        photo = torch.from_numpy(np.ascontiguousarray(skimage.data.coffee())).float() / 255
    else:
        photo = torch.from_numpy(read_photo(path))
    if size:
        top, left = ((n - min(size, n)) // 2 for n in photo.shape[:2])
        photo = photo[top : top + size, left : left + size]
    return photo


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--input", help="photo to take pixels of (default: one of scikit-image)")
    parser.add_argument("--output", default="runs/image_interpolation", help="takes the picture")
    parser.add_argument("--size", type=int, default=256, help="central pixels used, 0: all")
    parser.add_argument("--network", default="interpolate", help="name, file or folder of weights")
    parser.add_argument("--train", type=int, default=0, metavar="STEPS", help="train a small one")
    parser.add_argument("--device", default=cuda)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few seconds, to see that it runs")
    options = parser.parse_args(arguments)
    if options.smoke:
        options.size = 96
    return options


if __name__ == "__main__":
    main(parse())
