"""The command `python -m gsp_unroll.train.study`: trainings that differ in a few values, and a
table of what they reach."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from .._checks import mistake, plainly
from .._files import written_whole
from .._tables import markdown_table
from .plan import Plan

TABLE = "table.md"
#: what decides how a network is judged, and a precision, of which a process knows one
COMMON = {"task", "crop", "reduce", "noise", "holdout", "precision"}
EXAMPLE = '{"common": {"network": "mosaic", "task": "demosaic", "steps": 2000}, "arms": {"a": {}}}'


@dataclass(frozen=True)
class Study:
    """Plans that share most of their values.

    Args:
        common: values of every plan, by the names of `Plan`.
        arms: by name, the values of a plan that are not the common ones; `arguments` are added to
            the common ones, one by one. Task, crop, reduce, noise, holdout and precision are common
            to all, so that all are judged alike.
        seeds: each arm is trained once with each.

    Raises:
        ValueError: no arm, no seed or one twice; a name that cannot be one of a folder; values that
            make no plan, or that an arm may not have of its own.

    Example:
        >>> from gsp_unroll.train.study import Study
        >>> common = {"network": "mosaic", "task": "demosaic", "steps": 100}
        >>> study = Study(common, {"GTV": {}, "GLR": {"arguments": {"prior": "glr"}}})
        >>> list(study.plans)
        ['GTV-0', 'GLR-0']
    """

    common: dict[str, Any]
    arms: dict[str, dict[str, Any]]
    seeds: Sequence[int] = (0,)

    def __post_init__(self) -> None:
        if not self.arms or not self.seeds:
            raise mistake(
                "a study without arms or without seeds",
                "one at least",
                f"Write it as in {EXAMPLE}.",
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise mistake(f"seeds={list(self.seeds)}", "each once", "Leave out the repeated ones.")
        for name in self.arms:
            if not name or name != Path(name).name:
                raise mistake(
                    f"an arm {name!r}", "a name that a folder can have", "Leave the slashes out."
                )
            if own := COMMON & set(self.arms[name]):
                raise mistake(
                    f"an arm {name!r} with {', '.join(sorted(own))} of its own",
                    "the same for all arms, which are compared on the same pictures",
                    "Write it among the common values, or make another study.",
                )
        known = {field.name for field in fields(Plan)} - {"seed"}
        for values in (self.common, *self.arms.values()):
            if unknown := set(values) - known:
                raise mistake(
                    f"values named {', '.join(sorted(unknown))}",
                    "those of Plan but the seed: " + ", ".join(sorted(known)),
                    "Correct the names; seeds stand beside the arms.",
                )
        self.plans  # noqa: B018 - wrong values show here

    @property
    def plans(self) -> dict[str, Plan]:
        """What is trained, by the name of its folder."""
        return {f"{arm}-{seed}": self._plan(arm, seed) for arm in self.arms for seed in self.seeds}

    def _plan(self, arm: str, seed: int) -> Plan:
        changes = self.arms[arm]
        arguments = self.common.get("arguments", {}) | changes.get("arguments", {})
        values = self.common | changes | {"arguments": arguments, "seed": seed}
        try:
            return Plan(**values)
        except TypeError as error:  # a value that is missing
            raise mistake(
                f"an arm {arm!r} ({error})", "a whole plan", f"Write it as in {EXAMPLE}."
            ) from error

    @classmethod
    def read(cls, path: Path) -> Study:
        """The study in a JSON file.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a file that holds something else.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (
            TypeError,
            AttributeError,
            RecursionError,
            UnicodeDecodeError,
            json.JSONDecodeError,
        ) as error:
            raise mistake(
                f"{path} ({error})", "a JSON object such as " + EXAMPLE, "Correct the file."
            ) from error


def run_study(
    study: Study,
    photos: Sequence[np.ndarray],
    held_out: Sequence[np.ndarray],
    folder: Path,
    until: Callable[[], bool] = lambda: False,
) -> str:
    """Trains every arm, one after the other, and returns the table of those that are done.

    Each training has a folder of its own, so a study that was stopped goes on where it was, and
    arms can be added later.

    Args:
        study: what to compare.
        photos: to learn from, the same for all.
        held_out: to compare on, the same for all.
        folder: takes a folder for each training, and the table.
        until: see `Training.run`.

    Shapes:
        - **photos, held_out:** `(height, width, 3)` each, of uint8

    Raises:
        ValueError: as `Training`; nothing held out.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from gsp_unroll.train.study import Study, run_study
        >>> small = {"network": "demosaic", "task": "demosaic", "steps": 1, "batch": 1, "crop": 16}
        >>> study = Study({**small, "precision": "no"}, {"one head": {"arguments": {"heads": 1}}})
        >>> photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
        >>> print(run_study(study, [photo], [photo], Path(tempfile.mkdtemp())).splitlines()[0])
        | arm | parameters | seeds | PSNR | spread | PSNR (pooled) | s / step |
    """
    from .loop import Training

    if not held_out:
        raise mistake(
            "no photograph that is held out",
            "one to compare on",
            "Give held_out=[...], or in a file a share as holdout.",
        )
    for name, plan in study.plans.items():
        training = Training(plan, photos, held_out, folder / name)
        if training.step < plan.steps:
            training.run(until=until, validate_steps=plan.steps)
        if training.step < plan.steps:
            break
        table = study_table(study, folder)
        with written_whole(folder / TABLE) as beside:
            beside.write_text(table, encoding="utf-8")
    return study_table(study, folder)


def study_table(study: Study, folder: Path) -> str:
    """What the arms that are done have reached on what was held out, in Markdown.

    Args:
        study: what was compared.
        folder: of `run_study`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from gsp_unroll.train.study import Study, study_table
        >>> study = Study({"network": "mosaic", "task": "demosaic", "steps": 10}, {"all": {}})
        >>> len(study_table(study, Path(tempfile.mkdtemp())).splitlines())  # nothing is done yet
        2
    """
    from ..models.named import NETWORKS
    from .log import read_log

    rows = []
    for arm in study.arms:
        plan = study.plans[f"{arm}-{study.seeds[0]}"]
        ends: list[dict[str, Any]] = [{} for _ in study.seeds]  # what each logged at its last step
        for seed, end in zip(study.seeds, ends, strict=True):
            for line in read_log(folder / f"{arm}-{seed}" / "log.jsonl"):
                if line["step"] == plan.steps:
                    end |= line
        ends = [end for end in ends if "psnr" in end]
        if not ends:
            continue
        psnr, pooled, seconds = (
            [end[k] for end in ends] for k in ("psnr", "psnr_pooled", "seconds")
        )
        parameters = NETWORKS[plan.network](**plan.arguments).parameters()
        rows.append(
            (
                arm,
                f"{sum(p.numel() for p in parameters):,}".replace(",", " "),
                f"{len(ends)}",
                f"{fmean(psnr):.2f}",
                f"{max(psnr) - min(psnr):.2f}",
                f"{fmean(pooled):.2f}",
                f"{fmean(seconds) / plan.steps:.2f}",
            )
        )
    names = "arm", "parameters", "seeds", "PSNR", "spread", "PSNR (pooled)", "s / step"
    return markdown_table(names, rows, [False, *[True] * 6])


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m gsp_unroll.train.study",
        description="Train networks that differ in a few values, and compare them on photographs "
        "that were held out. The same command goes on with a study that was interrupted.",
    )
    parser.add_argument("study", type=Path, help=f"JSON file such as {EXAMPLE}")
    parser.add_argument("--photos", nargs="+", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--hours", type=float, help="stop after so long; the next call goes on")
    return parser.parse_args(arguments)


def main(options: argparse.Namespace) -> None:
    """Reads the photographs, trains and prints the table."""
    begin = time.monotonic()
    from .crops import read_all, split_photos
    from .rehearsal import rehearse

    study = Study.read(options.study)
    for name, plan in study.plans.items():
        rehearse(plan, options.out / name)
    # one split for all, whatever the seed of a training
    learn, held = split_photos(options.photos, next(iter(study.plans.values())).holdout)
    photos = list(read_all(learn)), list(read_all(held))
    end = float("inf") if options.hours is None else begin + 3600 * options.hours
    print(run_study(study, *photos, options.out, until=lambda: time.monotonic() > end))


if __name__ == "__main__":
    with plainly():
        main(parse())
