"""The docstring of every name in the reference is whole: arguments, shapes, errors, an example.

What has to be there is read from the code: a parameter asks for a line under `Args:`, a tensor
that goes in or out for `Shapes:`, a `raise` for `Raises:`. Whether what is said is true, no test
can tell; the examples are run, by the doctests of the package.
"""

import ast
import doctest
import inspect
import pkgutil
import re
import sys
import textwrap
from enum import Enum
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gsp_unroll._checks import check_positive, mistake
from tests.reference_pages import entries

# No example that runs everywhere.
WITHOUT_EXAMPLE = {
    "gsp_unroll.graph.to_sparse_tensor": "needs torch-sparse, which most environments lack",
}

TENSOR = re.compile(r"\b(Tensor|Signal|EdgeSignal|Weight|Mask|PerSystem|ndarray|ArrayLike)\b")
# Where a class is entered: how it is made and how it is called.
DOORS = "__init__", "__post_init__", "forward", "__call__"


def docstring(value):
    """Of a class its own: an inherited one would speak of the parent."""
    text = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    return inspect.cleandoc(text or "")


def section(value, name):
    """The lines of a section, None if there is none."""
    found = re.search(rf"^{name}:\n((?:(?:    .*)?\n?)*)", docstring(value), re.MULTILINE)
    return found and textwrap.dedent(found[1])


def written_here(function):
    """A function that somebody wrote, here: no `__init__` that a dataclass was given."""
    return (
        inspect.isfunction(function)
        and function.__module__.split(".")[0] in ("gsp_unroll", __name__.split(".")[0])
        and Path(function.__code__.co_filename).is_file()
    )


def doors(value):
    """The functions through which a caller enters."""
    if not inspect.isclass(value):
        return [inspect.unwrap(value)]
    found = (inspect.getattr_static(value, name, None) for name in DOORS)
    return [inspect.unwrap(function) for function in found if written_here(function)]


def makes_values_only(value):
    """An enumeration is not called, and nobody calls an exception class."""
    return inspect.isclass(value) and issubclass(value, (Enum, BaseException))


def parameters(value):
    if makes_values_only(value):
        return []
    kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    every = inspect.signature(value).parameters.values()
    # of `*signals` a line is asked for, not of the `*args` that nn.Module has
    return [p.name for p in every if p.kind not in kinds or p.name not in ("args", "kwargs")]


def takes_tensors(value):
    if makes_values_only(value):
        return False
    signatures = [inspect.signature(f) for f in [*doors(value), value]]
    annotations = [p.annotation for s in signatures for p in s.parameters.values()]
    annotations += [s.return_annotation for s in signatures]
    return any(TENSOR.search(inspect.formatannotation(a)) for a in annotations)


def raises(function, owner=None, seen=None):
    """Whether a function raises, or a check or helper does that it calls."""
    seen = set() if seen is None else seen
    if function in seen:
        return False
    seen.add(function)
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Raise) and node.exc is not None:
            if not ast.unparse(node.exc).startswith("NotImplementedError"):
                return True
        if isinstance(node, ast.Call):
            called = _called(node.func, function, owner)
            if written_here(called) and raises(inspect.unwrap(called), owner, seen):
                return True
    return False


def _called(name, function, owner):
    """A check, or a private helper of the same module or class; None for any other call."""
    if isinstance(name, ast.Name) and name.id.startswith(("_", "check_")):
        return function.__globals__.get(name.id)
    own = isinstance(name, ast.Attribute) and isinstance(name.value, ast.Name)
    if own and owner is not None and name.value.id == "self" and name.attr.startswith("_"):
        return inspect.getattr_static(owner, name.attr, None)
    return None


@lru_cache
def run_examples(module):
    """The examples of a module that its doctests run, by full name."""
    tests = doctest.DocTestFinder().find(sys.modules[module], module)
    return {
        test.name: [e for e in test.examples if not e.options.get(doctest.SKIP)] for test in tests
    }


def has_example(value):
    examples = run_examples(value.__module__).get(f"{value.__module__}.{value.__qualname__}", [])
    used = [e for e in examples if not e.source.startswith(("import ", "from "))]
    return any(value.__name__ in e.source or e.want for e in used)


def lacking(value):
    """What the docstring should have and has not."""
    lacks = set()
    # a named tuple has no signature of its own, only fields
    kind = "Attributes" if hasattr(value, "_fields") else "Args"
    arguments = section(value, kind) or ""
    for name in parameters(value):
        if not re.search(rf"^\**{name}:", arguments, re.MULTILINE):
            lacks.add(f"Args: {name}")
    if takes_tensors(value) and not section(value, "Shapes"):
        lacks.add("Shapes")
    owner = value if inspect.isclass(value) else None
    if any(raises(door, owner) for door in doors(value)) and not section(value, "Raises"):
        lacks.add("Raises")
    return lacks


@pytest.mark.parametrize("entry", entries())
def test_the_docstring_is_whole(entry):
    assert not lacking(pkgutil.resolve_name(entry))


@pytest.mark.parametrize("entry", entries())
def test_an_example_runs(entry):
    assert has_example(pkgutil.resolve_name(entry)) != (entry in WITHOUT_EXAMPLE)


# ---- the test itself ------------------------------------------------------------------------


def silent(x: Tensor, scale: float = 1.0) -> Tensor:
    """Says nothing.

    Args:
        x: values.
    """
    check_positive(scale, "scale")
    return scale * x


class SilentLayer(torch.nn.Module):
    """Says nothing, and has no example."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._check(width)

    def _check(self, width):
        if width < 1:
            raise mistake(f"width={width}", "1 or more", "Set it to 1.")

    def forward(self, x: Tensor) -> Tensor:
        return x


class Told(SilentLayer):
    """Says it all.

    Args:
        width: at least 1.

    Shapes:
        - **x:** any

    Raises:
        ValueError: a width below 1.

    Example:
        >>> Told(1)(torch.ones(1))
        tensor([1.])
    """


def skipped():
    """Has an example that never runs.

    Example:
        >>> skipped()  # doctest: +SKIP
    """


def test_what_is_not_said_is_found():
    assert lacking(silent) == {"Args: scale", "Shapes", "Raises"}
    assert lacking(SilentLayer) == {"Args: width", "Shapes", "Raises"}
    assert not has_example(SilentLayer)
    assert not has_example(skipped)


def test_what_is_said_is_found():
    assert not lacking(Told)
    assert has_example(Told)
