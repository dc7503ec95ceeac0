"""Every public name is in the reference once."""

import pkgutil
from collections import Counter

import pytest

import gsp_unroll
from tests.reference_pages import entries

PUBLIC = [name for name in gsp_unroll.__all__ if name != "__version__"]


def test_every_public_name_has_exactly_one_entry():
    found = Counter(entry.rsplit(".", 1)[-1] for entry in entries())
    assert {name: found[name] for name in PUBLIC} == dict.fromkeys(PUBLIC, 1)


def test_no_entry_is_listed_twice():
    assert not [entry for entry, count in Counter(entries()).items() if count > 1]


@pytest.mark.parametrize("entry", entries())
def test_every_entry_exists_and_has_a_docstring(entry):
    assert (pkgutil.resolve_name(entry).__doc__ or "").strip()
