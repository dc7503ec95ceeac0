"""The command `python -m gsp_unroll.train`."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import fields
from pathlib import Path
from typing import Any


def parse(
    arguments: list[str] | None = None, prog: str = "python -m gsp_unroll.train"
) -> argparse.Namespace:
    """Options of the command, which calls itself `prog`; torch is not imported for them."""
    from .plan import Plan

    default = {field.name: field.default for field in fields(Plan)}
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Train an image network on folders of photographs. The same command takes up "
        "a training that was interrupted.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )

    def add(name: str, meaning: str, **options: Any) -> None:
        options.setdefault("default", default.get(name, argparse.SUPPRESS))
        parser.add_argument(f"--{name.replace('_', '-')}", help=meaning, **options)

    needed: dict[str, Any] = {"required": True, "default": argparse.SUPPRESS}
    add("network", "name in gsp_unroll.models.NETWORKS", **needed)
    add("arguments", "of its constructor", type=_json_object, default={}, metavar="JSON")
    add("task", "what is restored", choices=["demosaic", "interpolate"], default="demosaic")
    folders: dict[str, Any] = {"type": Path, "metavar": "FOLDER"} | needed
    add("photos", "searched with all folders in it", nargs="+", **folders)
    add("out", "takes state, log and weights", **folders)
    add("steps", "of the optimiser", type=int, **needed)
    add("begin", "trained network to begin with, a name or a path", metavar="NETWORK")
    add("fresh", "modules that begin anew all the same", nargs="*", metavar="MODULE")
    add("batch", "crops a step, over all processes", type=int)
    add("crop", "side of a crop in pixels", type=int)
    add("patches", "size of a fixed set of crops; without it always fresh ones", type=int)
    add("choices", "take the busiest of so many crops", type=int)
    reduced: dict[str, Any] = {"type": float, "nargs": "*", "metavar": "FACTOR"}
    add("reduce", "take each photograph also reduced by these factors", **reduced)
    add("noise", "greatest deviation of noise on what is observed, 0 to 255", type=float)
    add("rate", "learning rate of Adam", type=float)
    add("warmup", "steps in which the rate rises", type=int)
    add("clip", "greatest norm of a gradient", type=float)
    add("loss", "what is minimised", choices=["mse", "l1"])
    add("average", "share of the old value in the mean of the weights, 0: none", type=float)
    add("precision", "of the convolutions", choices=["no", "bf16"])
    add("holdout", "share of the photographs validated on", type=float)
    add("seed", "of the first weights and of the crops", type=int)
    add("hours", "stop after so long; the next call goes on", type=float, default=None)
    add("save_seconds", "time between two states on disk", type=float, default=120.0)
    add("log_steps", "steps between two lines of the log", type=int, default=50)
    add("validate_steps", "steps between two validations", type=int, default=1000)
    return parser.parse_args(arguments)


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is no JSON object such as {{"width": 64}}')
    return value


def main(options: argparse.Namespace) -> None:
    """Reads the photographs and trains."""
    begin = time.monotonic()
    from .crops import read_all, split_photos
    from .loop import Training
    from .plan import Plan
    from .rehearsal import rehearse

    plan = Plan(**{field.name: getattr(options, field.name) for field in fields(Plan)})
    rehearse(plan, options.out)
    learn, held = split_photos(options.photos, options.holdout, options.seed)
    training = Training(plan, list(read_all(learn)), list(read_all(held)), options.out)
    if training.step == plan.steps:
        print(f"{options.out}: all {plan.steps} steps are done")
    end = float("inf") if options.hours is None else begin + 3600 * options.hours
    training.run(
        until=lambda: time.monotonic() > end,
        save_seconds=options.save_seconds,
        log_steps=options.log_steps,
        validate_steps=options.validate_steps,
    )
    training.accelerator.end_training()


if __name__ == "__main__":
    options = parse()
    from .._checks import plainly

    with plainly():
        main(options)
