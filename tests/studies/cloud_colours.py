r"""Colours of point clouds filled in: `inpaint_attributes` against averages of neighbours.

Half and nine tenths of the colours are hidden, at random. The clouds are `spot_colored`, and the
`--points` points of a depth camera's frame that are nearest to a random one, at full density; each
seed draws place and gaps anew. Nothing is trained: all that is chosen is chosen by the colours that
are left.

The averages have every advantage: for each case the best number of neighbours, from 1 to 24, is
picked by the truth itself, once for even weights and once for powers 1 to 3 of the inverse distance
too. PSNR is that of the hidden colours, all channels together, in dB.

    python tests/studies/cloud_colours.py --data DIR --out runs/colours
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from gsp_unroll._tables import markdown_table
from gsp_unroll.clouds import inpaint_attributes
from gsp_unroll.metrics import psnr

CLOUDS = ("spot_colored", "rgbd_desk", "rgbd_osd_learn0", "rgbd_osd_learn20")
MISSING = (0.5, 0.9)
SIZES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24)
POWERS = (0, 1, 2, 3)


def load(folder: Path, name: str, points: int, seed: int) -> tuple[Tensor, Tensor]:
    """Places and colours of points whose place is known."""
    data = np.load(folder / f"{name}.npz")
    xyz, color = data["xyz"].reshape(-1, 3), data["rgb"].reshape(-1, 3) / 255
    there = np.isfinite(xyz).all(-1)
    xyz, color = xyz[there], color[there]
    if name.startswith("rgbd") and points < len(xyz):
        center = xyz[np.random.default_rng(seed).integers(len(xyz))]
        rows = cKDTree(xyz).query(center, points)[1]
        xyz, color = xyz[rows], color[rows]
    return torch.from_numpy(xyz).float(), torch.from_numpy(color).float()


def averages(xyz: Tensor, color: Tensor, known: Tensor) -> dict[tuple[int, int], float]:
    """PSNR of the mean of k neighbours under each power of the inverse distance."""
    d, near = cKDTree(xyz[known].numpy()).query(xyz[~known].numpy(), max(SIZES))
    d, y, truth = torch.from_numpy(d).float(), color[known][near], color[~known]
    scores = {}
    for power in POWERS:
        w = d.clamp_min(1e-9) ** -power
        for k in SIZES:
            mean = (w[:, :k, None] * y[:, :k]).sum(1) / w[:, :k].sum(1, keepdim=True)
            scores[k, power] = float(psnr(mean, truth))
    return scores


def main(options: argparse.Namespace) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    header = ["cloud", "missing", "even mean", "k", "weighted mean", "k, power", "ours", "spread"]
    header += ["over even", "over weighted"]
    rows: list[list[str]] = []
    for name in CLOUDS:
        for missing in MISSING:
            each = []
            chosen: list[tuple[tuple[int, int], tuple[int, int]]] = []
            for seed in range(options.seeds):
                xyz, color = load(options.data / "pointclouds", name, options.points, seed)
                random = torch.Generator().manual_seed(seed)
                known = torch.rand(len(xyz), generator=random) >= missing
                scores = averages(xyz, color, known)
                even = max((key for key in scores if key[1] == 0), key=lambda key: scores[key])
                best = max(scores, key=lambda key: scores[key])
                y = color.masked_fill(~known.unsqueeze(-1), torch.nan)
                filled = inpaint_attributes(xyz, y).y[~known].clamp(0, 1)
                ours = float(psnr(filled, color[~known]))
                each.append((scores[even], scores[best], ours))
                chosen.append((even, best))
            even_mean, weighted, ours = np.mean(each, 0)
            gain = np.array(each)[:, 2:] - np.array(each)[:, :2]
            rows.append(
                [name, f"{missing:.0%}", f"{even_mean:.2f}"]
                + [" ".join(str(even[0]) for even, _ in chosen), f"{weighted:.2f}"]
                + ["; ".join(f"{k}, {power}" for _, (k, power) in chosen), f"{ours:.2f}"]
                + [f"{np.std(np.array(each)[:, 2]):.2f}"]
                + [
                    f"{m:+.2f} ({low:+.2f})"
                    for m, low in zip(gain.mean(0), gain.min(0), strict=True)
                ]
            )
            print(*rows[-1], sep="  ", flush=True)
    table = markdown_table(header, rows, [False, *[True] * (len(header) - 1)])
    (options.out / "table.md").write_text(table)
    with (options.out / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    print(table)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with pointclouds/")
    parser.add_argument("--out", type=Path, default=Path("runs/colours"), help="takes the tables")
    parser.add_argument("--points", type=int, default=15_000, help="of a frame")
    parser.add_argument("--seeds", type=int, default=3, help="places and gaps of each case")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(parse())
