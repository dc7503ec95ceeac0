"""Some heads of a module that has several, as a module of its own."""

from __future__ import annotations

from copy import copy
from typing import TypeVar

from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def with_heads(module: Module, heads: slice) -> Module | None:
    """`module` with some of its heads alone, its numbers views of the same memory.

    A class says on which axis a parameter of its own holds heads, None for one that they share:
    `head_axes = {"factor": 0}`. It speaks for that class and for no subclass, which may couple
    heads. What is inside (the linear solves of a layer) says it likewise.

    Args:
        module: what has heads.
        heads: which of them.

    Returns:
        A shallow copy; None where the module, or one inside, does not say.
    """
    axes = {} if type(module) is nn.ModuleList else vars(type(module)).get("head_axes")
    parameters = dict(module.named_parameters(recurse=False))
    if axes is None or not parameters.keys() <= axes.keys():
        return None
    inside = {name: with_heads(child, heads) for name, child in module.named_children()}
    if None in inside.values():
        return None
    part = copy(module)
    of_heads = {name: _narrowed(p, heads, axes[name]) for name, p in parameters.items()}
    count = vars(module).get("heads")
    # in place of the dictionaries that the copy shares with the module
    part.__dict__.update(
        _parameters=of_heads, _modules=inside, heads=count and len(range(count)[heads])
    )
    return part


def _narrowed(p: Tensor, heads: slice, axis: int | None) -> Tensor:
    return p if axis is None else p.movedim(axis, 0)[heads].movedim(0, axis)
