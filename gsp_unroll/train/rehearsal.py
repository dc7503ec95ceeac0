"""Before a training: what it begins with, and whether its parts fit together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from .._checks import mistake
from ..models import from_pretrained
from ..models.named import NETWORKS
from .checkpoint import KEPT
from .plan import Plan
from .tasks import TASKS


def begin_with(trained: str, network: nn.Module, fresh: Sequence[str] = ()) -> None:
    """Takes over what has the same name and the same shape in both.

    Args:
        trained: name or path of a trained network, for `from_pretrained`.
        network: takes the values.
        fresh: names of modules that are left as they are.

    Raises:
        ValueError: no such network, or one that shares nothing with this; a module that there is
            not.
    """
    state, found = network.state_dict(), from_pretrained(trained).state_dict()
    modules = {part for key in state for part in key.split(".")[:-1]}
    if unknown := set(fresh) - modules:
        raise mistake(
            f"fresh={sorted(unknown)}, which no module is called",
            f"some of {', '.join(sorted(modules))}",
            "Correct the names.",
        )
    shared = {
        k: v
        for k, v in found.items()
        if k in state and v.shape == state[k].shape and not set(fresh) & set(k.split("."))
    }
    if not shared:
        raise mistake(
            f"begin={trained!r}, no part of which has the name and the shape of one here",
            "a network of the same kind and width",
            "Correct the arguments, or leave begin out.",
        )
    network.load_state_dict(state | shared)


def rehearse(plan: Plan, folder: Path | None = None) -> None:
    """Restores one small grey image: what does not fit together shows before a photograph is read.

    Args:
        plan: what is to be trained.
        folder: where; a training that goes on there needs no network to begin with.

    Raises:
        ValueError: a network that cannot be built, or not for this task, or begun as asked.

    Example:
        >>> from gsp_unroll.train.rehearsal import rehearse
        >>> from gsp_unroll.train.plan import Plan
        >>> rehearse(Plan("demosaic", "demosaic", steps=10))
    """
    task, shape = TASKS[plan.task], (8, 8)
    truth = task.truth(torch.full((1, shape[0] * shape[1], 3), 0.5))
    try:
        network = NETWORKS[plan.network](**plan.arguments)
        data = task.observe(truth, shape, data_term=network.data_term)
        fits = network(data, shape).shape == truth.shape
        why = "its result has another shape"
    except (ValueError, RuntimeError, TypeError, IndexError) as error:
        fits, why = False, str(error)
    if not fits:
        raise mistake(
            f"network={plan.network!r} with arguments={plan.arguments!r} and task={plan.task!r}, "
            f"which do not go together ({why})",
            f"a network that restores {task.channels} channels of what this task observes",
            "Correct the arguments or the task; to interpolate, ugtv and uglr take --arguments "
            "'{\"channels\": 1}'.",
        )
    if plan.begin is not None and (folder is None or not (folder / KEPT).exists()):
        begin_with(plan.begin, network, plan.fresh)
