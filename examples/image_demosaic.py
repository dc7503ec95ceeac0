r"""Demosaick a photo: one colour per pixel in, three out.

The problem. Behind a Bayer filter every pixel sees one colour, y = H x. The photo x is restored as
the signal that keeps every sample and is smoothest on a graph whose nodes are the pixels,

    min_x  1/2 sum w_ij (x_i - x_j)^2  (GLR, graph Laplacian regulariser)
    min_x  sum w_ij |x_i - x_j|        (GTV, graph total variation)       subject to  H x = y.

Sums run once over every pair (i, j) of pixels in a 5x5 window, for each colour by itself. By hand
v_ij = exp(-25 |c_i - c_j|^2 - 2.56 |p_i - p_j|^2) with colours c in [0, 1] and positions p in
pixels, and w_ij = v_ij (1/d_i + 1/d_j), where d_i sums v over the neighbours of i.

The graph decides. Two pixels are joined strongly where they look alike, so it is drawn on the image
itself, first by hand (colours and positions) and then by a network that has learned what to look
at. Green has half of the samples and is restored first; red and blue follow as differences to it.

Run `python examples/image_demosaic.py`: no argument is needed.
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
from tqdm import tqdm

from gsp_unroll import (
    ADMM,
    GLR,
    GTV,
    BayerMosaic,
    ConjugateGradient,
    DemosaicNetwork,
    GLRUnroll,
    Graph,
    GTVUnroll,
    Interpolation,
    Problem,
    from_pretrained,
    grid_graph,
    start,
)
from gsp_unroll.metrics import psnr
from gsp_unroll.models import ImageNetwork, bilateral_graph, bilinear, green_first
from gsp_unroll.photos import read_photo
from gsp_unroll.viz import draw_graph, draw_panels

TRAINING_PHOTOS = ("astronaut", "chelsea", "rocket", "retina")  # the photo restored is another one
BORDER = 4  # pixels left out of PSNR and SSIM, where every method sees half a neighbourhood


def main(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    photo = load_photo(options.input, options.size)
    height, width, _ = photo.shape
    truth = photo.reshape(-1, 3).to(options.device)

    # What the camera saw: the mosaic, and the constraint that every sample is kept.
    H = BayerMosaic(height, width, "RGGB", device=options.device)
    data = Interpolation(H, H @ truth)
    topology = grid_graph((height, width), window=5)

    restored: dict[str, Tensor] = {}
    seconds: dict[str, float] = {}

    def run(name: str, method: Callable[[], Tensor]) -> Tensor:
        begin = now(options.device)
        with torch.no_grad():
            restored[name] = method()
        seconds[name] = now(options.device) - begin
        return restored[name]

    # The yardstick: each colour by itself, the mean of its neighbours.
    first = run("bilinear", lambda: bilinear(data, (height, width)))

    # The convex problems, on a graph drawn twice. A duality gap certifies how near the optimum is.
    def in_two_stages(interpolate: Callable[[Interpolation, Graph], Tensor]) -> Tensor:
        x = first
        for _ in range(2):
            graph = bilateral_graph(x, topology)
            x = green_first(lambda d, g=graph: interpolate(d, g), data)
        return x

    cg = ConjugateGradient(rtol=1e-5)
    admm = ADMM(rtol=1e-3, max_steps=options.admm_steps, linear_solver=ConjugateGradient(1e-4))

    def convex_glr(d: Interpolation, graph: Graph) -> Tensor:
        A, b = d.system(GLR(graph).Q)
        return cg.solve(A, b, start(d, topology)).x

    certificates: list[str] = []

    def convex_gtv(d: Interpolation, graph: Graph) -> Tensor:
        problem = Problem(d, GTV(graph))
        solution = admm.solve(problem)
        gap = float(solution.duality_gap.sum() / problem.objective(solution.x).sum())
        certificates.append(f"{100 * gap:.2g} % after {solution.num_steps} steps")
        return solution.x

    run("GLR, convex", lambda: in_two_stages(convex_glr))
    run("GTV, convex", lambda: in_two_stages(convex_gtv))

    # The same steps unrolled: a fixed number of them, with coefficients that could be trained.
    glr = GLRUnroll(cg_steps=30).to(options.device)
    gtv = GTVUnroll(num_iterations=3, cg_steps=10).to(options.device)
    run("GLR, unrolled, untrained", lambda: in_two_stages(glr))
    run("GTV, unrolled, untrained", lambda: in_two_stages(gtv))

    # Now everything is learned: what to look at, which pixels to join, how to step. This network
    # was trained on photographs beforehand and comes with the package.
    network = from_pretrained("mosaic").to(options.device)
    run("network of the package", lambda: network(data, (height, width)))

    # A small one can be trained right here. Its control is the same convolutions trained alone:
    # what the graph adds is the difference.
    if options.train:
        torch.manual_seed(options.seed)
        control = DemosaicNetwork().to(options.device)
        train(control, control.without_graph, options, "its CNN alone")
        run("small CNN alone, trained", lambda: control.without_graph(data, (height, width)))
        torch.manual_seed(options.seed)  # both begin with the same weights
        small = DemosaicNetwork().to(options.device)
        train(small, small, options, "small network")
        run("small network, trained", lambda: small(data, (height, width)))

    report(restored, seconds, photo, fresh_folder(options.output), network)
    print("duality gaps of the convex GTV, in stages:", "; ".join(certificates))


def now(device: str) -> float:
    """The time, when the device has finished what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def train(
    network: DemosaicNetwork,
    restore: Callable[[Interpolation, tuple[int, int]], Tensor],
    options: argparse.Namespace,
    name: str,
) -> None:
    """Mean squared error on random 32x32 crops of other photos, by Adam with a falling rate."""
    photos = [load_skimage(name) for name in TRAINING_PHOTOS]
    H = BayerMosaic(32, 32, device=options.device)
    generator = torch.Generator().manual_seed(options.seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(options.train, 1))
    progress = tqdm(range(options.train), desc=f"training {name}", unit="step", mininterval=0.5)
    for _ in progress:
        crops = [random_crop(photos, generator) for _ in range(8)]
        x = torch.stack(crops).reshape(8, 32 * 32, 3).to(options.device)
        loss = (restore(Interpolation(H, H @ x), (32, 32)) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress.set_postfix(PSNR=f"{-10 * loss.detach().log10():.1f} dB", refresh=False)


def random_crop(photos: list[Tensor], generator: torch.Generator) -> Tensor:
    """32x32 pixels of one photo, at even coordinates so that the mosaic starts with red."""

    def draw(n: int) -> int:
        return int(torch.randint(n, (1,), generator=generator))

    photo = photos[draw(len(photos))]
    top, left = 2 * draw((photo.shape[0] - 32) // 2), 2 * draw((photo.shape[1] - 32) // 2)
    return photo[top : top + 32, left : left + 32]


def report(
    restored: dict[str, Tensor],
    seconds: dict[str, float],
    photo: Tensor,
    folder: Path,
    network: ImageNetwork,
) -> None:
    """The table, the comparison and the learned graph."""
    from skimage.metrics import structural_similarity

    inner = slice(BORDER, -BORDER)
    truth = photo[inner, inner].numpy()
    rows, images = [], {}
    for name, x in restored.items():
        image = x.clamp(0, 1).reshape(photo.shape).cpu()
        images[name] = image
        cut = image[inner, inner]
        quality = psnr(cut.reshape(-1, 3), photo[inner, inner].reshape(-1, 3))
        similarity = structural_similarity(cut.numpy(), truth, data_range=1, channel_axis=2)
        rows.append((name, f"{quality:.2f}", f"{similarity:.4f}", f"{seconds[name]:.2f}"))
    print_table(("method", "PSNR dB", "SSIM", "seconds"), rows)

    draw_comparison(images, photo, folder / "comparison.png")
    draw_learned_graph(network, photo, folder / "graph.png")
    print(f"pictures: {folder / 'comparison.png'} and {folder / 'graph.png'}")


def busiest_patch(photo: Tensor, size: int) -> tuple[slice, slice]:
    """Where the photo has most detail: there methods differ."""
    grey = photo.mean(-1)
    detail = (grey[1:, 1:] - grey[:-1, 1:]).abs() + (grey[1:, 1:] - grey[1:, :-1]).abs()
    pooled = torch.nn.functional.avg_pool2d(detail[None, None], min(size, *detail.shape), 1)[0, 0]
    top, left = divmod(int(pooled.argmax()), pooled.shape[1])
    return slice(top, top + size), slice(left, left + size)


def draw_comparison(images: dict[str, Tensor], photo: Tensor, path: Path) -> None:
    """Every result, and its busiest part enlarged."""
    from matplotlib.figure import Figure

    images = {"original": photo} | images
    figure = Figure(figsize=(16, 4.6), layout="constrained")
    top, bottom = figure.subplots(2, len(images))
    draw_panels(top, images, truth=photo, border=BORDER)
    draw_panels(bottom, images, part=busiest_patch(photo, 64))
    figure.savefig(path, dpi=150)


def draw_learned_graph(network: ImageNetwork, photo: Tensor, path: Path) -> None:
    """The graphs of both heads over the busiest 24x24 pixels of the mosaicked photo."""
    from matplotlib.figure import Figure

    top, left = (s.start // 2 * 2 for s in busiest_patch(photo, 24))  # the mosaic starts with red
    patch = photo[top : top + 24, left : left + 24]
    height, width, _ = patch.shape
    device = next(network.parameters()).device
    H = BayerMosaic(height, width, device=device)
    with torch.no_grad():
        graph = network.graph(
            Interpolation(H, H @ patch.reshape(-1, 3).to(device)), (height, width)
        )
    figure = Figure(figsize=(5.5 * graph.weight.shape[0], 5.5), layout="constrained")
    for head, ax in enumerate(figure.subplots(1, graph.weight.shape[0], squeeze=False)[0]):
        one = Graph(graph.topology, graph.weight[head])
        draw_graph(ax, one, background=(1 + patch) / 2, color="black").set_title(
            f"learned graph, head {head + 1}"
        )
    figure.savefig(path, dpi=150)


def load_photo(path: str | None, size: int) -> Tensor:
    """The photo, cut to its central `size` x `size` pixels (0: whole), values in [0, 1]."""
    if path is None:
        photo = load_skimage("coffee")
    else:
        photo = torch.from_numpy(read_photo(path))
    if size:
        top, left = ((n - min(size, n)) // 2 for n in photo.shape[:2])
        photo = photo[top : top + size, left : left + size]
    return photo


def load_skimage(name: str) -> Tensor:
    """A photo that ships with scikit-image, values in [0, 1]."""
    import skimage.data

    image = getattr(skimage.data, name)()
    return torch.from_numpy(np.ascontiguousarray(image[..., :3])).float() / 255


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--input", help="photo to restore (default: one from scikit-image)")
    parser.add_argument("--output", default="runs/image_demosaic", help="folder for the pictures")
    parser.add_argument("--size", type=int, default=160, help="central pixels used, 0: all")
    parser.add_argument("--train", type=int, default=0, metavar="STEPS", help="train a small one")
    parser.add_argument("--admm-steps", type=int, default=100, help="budget of the convex GTV")
    parser.add_argument("--device", default=cuda)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few seconds, to see that it runs")
    options = parser.parse_args(arguments)
    if options.smoke:
        options.size, options.train, options.admm_steps = 48, 3, 5
    return options


if __name__ == "__main__":
    main(parse())
