"""All that decides the outcome of a training, in one value that is written beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Loss = Literal["mse", "l1"]
Precision = Literal["no", "bf16"]


@dataclass(frozen=True)
class Plan:
    """A training. Two runs of one plan on one machine give the same weights.

    Args:
        network: name in `gsp_unroll.models.NETWORKS`.
        task: name in `gsp_unroll.train.tasks.TASKS`.
        steps: of the optimiser.
        arguments: of the network's constructor, as JSON has them.
        begin: a trained network to begin with, by a name or path that `from_pretrained` takes:
            weights of the same name and shape are taken over, others begin as ever. None for none.
        fresh: names of modules that begin as ever all the same, wherever they stand.
        batch: crops a step, over all processes.
        crop: side of a crop in pixels.
        patches: None for fresh crops throughout, else the size of a fixed set.
        choices: positions drawn for a crop, of which the one with the most detail is taken.
        reduce: each photograph is also taken reduced by each of these factors, which makes fine
            patterns, rare at full size, as common as a hard photograph has them.
        noise: greatest standard deviation of noise on the observation, on the scale from 0 to 255;
            each crop draws its own between 0 and this.
        rate: of Adam, after `warmup` steps; falls to a hundredth along a cosine.
        warmup: steps in which the rate rises from 0.
        clip: greatest norm of a gradient.
        loss: mean squared or absolute error.
        average: share of the old value in the running mean of the weights, which is what is
            validated and kept; 0 for none. It grows to this from a tenth, so that the mean of
            a short training is not one of its beginning.
        precision: of the convolutions; the solver stays in float32.
        holdout: share of the photographs that is validated on.
        seed: of the first weights, the crops and the noise on them, and of which photographs the
            command holds out.

    Raises:
        ValueError: a value that no training can have; an unknown network, task or argument.

    Example:
        >>> from gsp_unroll.train.plan import Plan
        >>> plan = Plan("mosaic", "demosaic", steps=1000, warmup=10)
        >>> [round(plan.rate_at(step), 6) for step in (0, 9, 1000)]
        [0.0001, 0.001, 1e-05]
    """

    network: str
    task: str
    steps: int
    arguments: dict[str, Any] = field(default_factory=dict)
    begin: str | None = None
    fresh: Sequence[str] = ()
    batch: int = 16
    crop: int = 64
    patches: int | None = None
    choices: int = 1
    reduce: Sequence[float] = ()
    noise: float = 0.0
    rate: float = 1e-3
    warmup: int = 100
    clip: float = 1.0
    loss: Loss = "mse"
    average: float = 0.999
    precision: Precision = "bf16"
    holdout: float = 0.03
    seed: int = 0

    def __post_init__(self) -> None:
        # here, so that `--help` can read the defaults without waiting for torch
        from math import inf

        from .._checks import check_positive, check_positive_count, mistake
        from ..models.named import NETWORKS
        from .tasks import TASKS

        for name in ("steps", "batch", "crop", "choices"):
            check_positive_count(getattr(self, name), name)
        if self.patches is not None:
            check_positive_count(self.patches, "patches")
        for name in ("rate", "clip"):
            check_positive(getattr(self, name), name)
        if not all(isinstance(f, (int, float)) and 1 < f < inf for f in self.reduce):
            raise mistake(
                f"reduce={self.reduce!r}", "finite factors above 1", "Leave it out for full size."
            )
        if self.fresh and self.begin is None:
            raise mistake(
                f"fresh={self.fresh!r} and no network to begin with",
                "parts of a network that is begun with another's weights",
                "Name that network with begin, or leave fresh out: all is fresh.",
            )
        for name in ("warmup", "seed"):
            value = getattr(self, name)
            if not hasattr(value, "__index__") or value < 0:
                raise mistake(f"{name}={value!r}", "a whole number of at least 0", "Set it to 0.")
        if not 0 <= self.noise <= 255:
            raise mistake(f"noise={self.noise!r}", "a number from 0 to 255", "0 is for none.")
        for name in ("average", "holdout"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise mistake(f"{name}={value!r}", "a share from 0 to below 1", "0 is for none.")
        for name, known in {
            "network": tuple(NETWORKS),
            "task": tuple(TASKS),
            "loss": get_args(Loss),
            "precision": get_args(Precision),
        }.items():
            if getattr(self, name) not in known:
                raise mistake(
                    f"{name}={getattr(self, name)!r}",
                    "one of " + ", ".join(map(repr, known)),
                    f"Choose the {name} among these.",
                )
        self._check_arguments()

    def _check_arguments(self) -> None:
        import json
        from inspect import signature

        from .._checks import mistake
        from ..models.named import NETWORKS

        taken = signature(NETWORKS[self.network])
        try:
            json.dumps(self.arguments)
            taken.bind(**self.arguments)
        except TypeError as error:
            raise mistake(
                f"arguments={self.arguments!r} ({error})",
                f"what the constructor of {self.network!r} takes, {taken}, as plain values",
                "Correct the names, or leave the arguments out for the default network.",
            ) from error

    def rate_at(self, step: int) -> float:
        """The learning rate of step number `step`, counted from 0."""
        from math import cos, pi

        rise = min(1.0, (step + 1) / max(self.warmup, 1))
        fall = 0.5 * (1 + cos(pi * step / self.steps))
        return self.rate * rise * (0.01 + 0.99 * fall)
