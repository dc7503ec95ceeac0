"""Every public name is in the reference once, and its docstring shows how it is used."""

import inspect
import pkgutil
import re
from collections import Counter
from pathlib import Path

import pytest

import gsp_unroll

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
ENTRY = re.compile(r"^::: (gsp_unroll\.\S+)$", re.MULTILINE)

# Classes that cannot be made, so that an example would be one of a subclass.
ABSTRACT = {
    "Topology": "five abstract methods; EdgeList and Grid show how one is used",
    "LinearOperator": "abstract `_apply`; the guide to a new operator writes one",
    "Selection": "abstract `observed`; SamplingMask is one",
    "DataTerm": "abstract `system`; LeastSquares is one",
    "Prior": "abstract `prox`; the guide to a new prior writes one",
    "GraphPrior": "abstract `prox`; GTV is one",
    "ADMMUnroll": "abstract `prior`; GTVUnroll is one",
    "QuadraticUnroll": "abstract `prior`; GLRUnroll is one",
}
PUBLIC = [name for name in gsp_unroll.__all__ if name != "__version__"]


def entries():
    pages = sorted(REFERENCE.glob("*.md"))
    return [entry for page in pages for entry in ENTRY.findall(page.read_text())]


def test_every_public_name_has_exactly_one_entry():
    found = Counter(entry.rsplit(".", 1)[-1] for entry in entries())
    assert {name: found[name] for name in PUBLIC} == dict.fromkeys(PUBLIC, 1)


def test_no_entry_is_listed_twice():
    assert not [entry for entry, count in Counter(entries()).items() if count > 1]


@pytest.mark.parametrize("entry", entries())
def test_every_entry_exists_and_has_a_docstring(entry):
    assert (pkgutil.resolve_name(entry).__doc__ or "").strip()


@pytest.mark.parametrize("name", PUBLIC)
def test_the_docstring_has_an_example(name):
    value = getattr(gsp_unroll, name)
    if name in ABSTRACT:
        assert value.__abstractmethods__, "no longer abstract: give it an example"
        return
    # of a class its own docstring: an inherited one would show the parent
    docstring = vars(value)["__doc__"] if inspect.isclass(value) else value.__doc__
    assert ">>>" in docstring.partition("Example:")[2]
