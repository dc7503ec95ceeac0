"""A mistake at a public door is answered by what was got, what was expected and what to do."""

import re

import pytest


def assert_three_parts(call, got, expected, advice):
    """`call` raises a `ValueError` of these three parts, each a regular expression."""
    with pytest.raises(ValueError, match=rf"^Got .*{got}.*\. Expected .*{expected}") as caught:
        call()
    parts = re.fullmatch(r"Got (.+?)\. Expected (.+?)\. ([A-Z].+\.)", str(caught.value))
    assert parts is not None
    assert re.search(got, parts[1])
    assert re.search(expected, parts[2])
    assert re.search(advice, parts[3])
