"""The course of a training: its losses, and the numbers that it learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .._checks import mistake

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_training(ax: Axes, log: Sequence[Mapping[str, Any]]) -> Axes:
    """Draws the course of a training: the loss, and on a second scale the held-out PSNR.

    Args:
        ax: axes to draw on; a twin of them takes the PSNR.
        log: lines of a log, as `gsp_unroll.train.log.read_log` reads them.

    Returns:
        `ax`.

    Raises:
        ValueError: a log with neither losses nor PSNR.

    Example:
        >>> from matplotlib.figure import Figure
        >>> from gsp_unroll.viz import draw_training
        >>> log = [{"step": 1, "loss": 0.1}, {"step": 2, "loss": 0.02}, {"step": 2, "psnr": 30.0}]
        >>> ax = draw_training(Figure().subplots(), log)
        >>> ax.lines[0].get_ydata().tolist()
        [0.1, 0.02]
    """
    curves = {
        name: [(line["step"], line[name]) for line in log if {"step", name} <= {*line}]
        for name in ("loss", "psnr")
    }
    if not any(curves.values()):
        raise mistake(
            f"a log of {len(log)} lines without a loss or a PSNR",
            "the log of a training that has come some steps",
            "Give what gsp_unroll.train.log.read_log reads.",
        )
    ax.set_xlabel("step")
    ax.set_ylabel("loss", color="tab:blue")
    if curves["loss"]:
        ax.plot(*zip(*curves["loss"], strict=True), color="tab:blue", linewidth=1.0)
        ax.set_yscale("log")
    if curves["psnr"]:
        right = ax.twinx()
        right.plot(*zip(*curves["psnr"], strict=True), color="tab:red", marker=".")
        right.set_ylabel("held-out PSNR in dB", color="tab:red")
    return ax


#: Numbers of a tensor up to which it is drawn unasked: what a solver learns, no convolutions.
FEW = 16


def draw_parameters(
    ax: Axes,
    states: Sequence[Mapping[str, Tensor]],
    *,
    steps: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
) -> Axes:
    """Draws how learned numbers move during a training: one line for each number.

    A state is what `module.state_dict()` returns, or what was saved of it. The tensors in it are
    the living ones, so keep copies: `states.append(copy.deepcopy(module.state_dict()))`.
    The names tell how a number is stored (`log_mu` is the logarithm of `mu`).

    Args:
        ax: axes to draw on.
        states: one for each moment, in order.
        steps: when they were taken; 0, 1, 2, ... by default.
        names: of the tensors to be drawn; by default those of at most 16 numbers.

    Shapes:
        - **tensors of a state:** any; those of one name are of one shape

    Returns:
        `ax`.

    Raises:
        ValueError: no state, or another number of steps; a name that a state lacks, or that has
            another shape there; nothing to draw.

    Example:
        >>> import copy
        >>> from matplotlib.figure import Figure
        >>> from gsp_unroll import GLRUnroll
        >>> from gsp_unroll.viz import draw_parameters
        >>> layer, states = GLRUnroll(cg_steps=2, mu=1.0), []
        >>> for _ in range(3):
        ...     states.append(copy.deepcopy(layer.state_dict()))
        ...     _ = layer.log_mu.data.add_(0.5)
        >>> ax = draw_parameters(Figure().subplots(), states, names=["log_mu"])
        >>> ax.lines[0].get_ydata().tolist()
        [0.0, 0.5, 1.0]
    """
    steps = range(len(states)) if steps is None else steps
    if not states or len(steps) != len(states):
        raise mistake(
            f"{len(states)} states and {len(steps)} steps",
            "at least one state, and the step of each",
            "Append copy.deepcopy(module.state_dict()) to a list while you train.",
        )
    if names is None:
        numbers = {k: v for k, v in states[0].items() if v.is_floating_point()}
        names = [name for name, value in numbers.items() if 0 < value.numel() <= FEW]
    for name in names:
        shapes = {tuple(state[name].shape) if name in state else None for state in states}
        if len(shapes) > 1 or None in shapes:
            raise mistake(
                f"states in which {name} is missing or has several shapes",
                "states of one module",
                f"They hold {', '.join(states[0])}.",
            )
    if not names:
        raise mistake(
            "states without a tensor to be drawn",
            f"one of at most {FEW} numbers, or names",
            f"Name some: they hold {', '.join(states[0]) or 'nothing'}.",
        )
    for number, name in enumerate(names):
        values = torch.stack([state[name].detach().cpu().reshape(-1) for state in states])
        lines = ax.plot(list(steps), values.numpy(), color=f"C{number}", linewidth=1.0)
        lines[0].set_label(name)
    ax.set_xlabel("step")
    ax.legend(fontsize="small")
    return ax
