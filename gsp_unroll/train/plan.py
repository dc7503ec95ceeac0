"""All that decides the outcome of a training, in one value that is written beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Loss = Literal["mse", "l1"]
Precision = Literal["no", "bf16"]


@dataclass(frozen=True)
class Plan:
    """A training. Two runs of one plan on one machine give the same weights.

    Args:
        network: name in `gsp_unroll.models.NETWORKS`.
        arguments: of its constructor.
        task: name in `gsp_unroll.train.tasks.TASKS`.
        steps: of the optimiser.
        batch: crops a step, over all processes.
        crop: side of a crop in pixels.
        patches: None for fresh crops throughout, else the size of a fixed set.
        choices: positions drawn for a crop, of which the one with the most detail is taken.
        rate: of Adam, after `warmup` steps; falls to a hundredth along a cosine.
        warmup: steps in which the rate rises from 0.
        clip: greatest norm of a gradient.
        loss: mean squared or absolute error.
        average: share of the old value in the running mean of the weights, which is what is
            validated and kept; 0 for none.
        precision: of the convolutions; the solver stays in float32.
        holdout: share of the photographs that is validated on.
        seed: of the first weights and of the crops.
    """

    network: str
    task: str
    steps: int
    arguments: dict[str, Any] = field(default_factory=dict)
    batch: int = 16
    crop: int = 64
    patches: int | None = None
    choices: int = 1
    rate: float = 1e-3
    warmup: int = 100
    clip: float = 1.0
    loss: Loss = "mse"
    average: float = 0.999
    precision: Precision = "bf16"
    holdout: float = 0.03
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """The learning rate of step number `step`, counted from 0."""
        from math import cos, pi

        rise = min(1.0, (step + 1) / max(self.warmup, 1))
        fall = 0.5 * (1 + cos(pi * step / self.steps))
        return self.rate * rise * (0.01 + 0.99 * fall)
