"""The command `python -m gsp_unroll.train`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command; torch is not imported for them."""
    from .plan import Plan

    default = Plan("", "", 0)
    parser = argparse.ArgumentParser(
        prog="python -m gsp_unroll.train",
        description="Train an image network on folders of photographs. The same command takes up "
        "a training that was interrupted.",
    )
    add = parser.add_argument
    add("--network", required=True, help="name in gsp_unroll.models.NETWORKS")
    add("--arguments", type=json.loads, default={}, metavar="JSON", help="of its constructor")
    add("--task", choices=["demosaic", "interpolate"], default="demosaic")
    add("--photos", type=Path, nargs="+", required=True, metavar="FOLDER")
    add("--out", type=Path, required=True, metavar="FOLDER", help="state, log and weights")
    add("--steps", type=int, required=True)
    add("--batch", type=int, default=default.batch, help="crops a step")
    add("--crop", type=int, default=default.crop, help="side of a crop in pixels")
    add("--patches", type=int, help="size of a fixed set of crops (default: always fresh ones)")
    add("--choices", type=int, default=default.choices, help="take the busiest of so many crops")
    add("--rate", type=float, default=default.rate, help="learning rate of Adam")
    add("--warmup", type=int, default=default.warmup, help="steps in which the rate rises")
    add("--clip", type=float, default=default.clip, help="greatest norm of a gradient")
    add("--loss", choices=["mse", "l1"], default=default.loss)
    add("--average", type=float, default=default.average, help="of the weights, 0: none")
    add("--precision", choices=["no", "bf16"], default=default.precision)
    add("--holdout", type=float, default=default.holdout, help="share validated on")
    add("--seed", type=int, default=default.seed)
    add("--hours", type=float, help="stop after so long; the next call goes on")
    add("--validate-steps", type=int, default=1000)
    return parser.parse_args(arguments)


def main(options: argparse.Namespace) -> None:
    """Reads the photographs and trains."""
    from dataclasses import fields

    from .crops import read_all, split_photos
    from .loop import Training
    from .plan import Plan

    learn, held = split_photos(options.photos, options.holdout, options.seed)
    plan = Plan(**{f.name: getattr(options, f.name) for f in fields(Plan)})
    training = Training(plan, list(read_all(learn)), list(read_all(held)), options.out)
    end = time.monotonic() + 3600 * (options.hours or float("inf"))
    training.run(until=lambda: time.monotonic() > end, validate_steps=options.validate_steps)


if __name__ == "__main__":
    main(parse())
