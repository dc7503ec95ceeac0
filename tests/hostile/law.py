"""The law of every public door: a finite answer of the right form, or a documented refusal."""

import re
import warnings

import torch
from hypothesis import currently_in_test_context, event, given, settings

THREE_PARTS = re.compile(r"Got .+\. Expected .+\. [A-Z0-9].+\.", re.DOTALL)
#: Of a short run, the same in every run. `--hypothesis-profile=long` draws thousands of new ones.
EXAMPLES = 25
LONG = settings.default.max_examples if settings.get_current_profile_name() == "long" else None


def hostile(*strategies, examples=EXAMPLES):
    """The decorator of a property: few cases, or as many as the profile says."""

    def decorate(test):
        test = given(*strategies)(test)
        if LONG is not None:
            return settings(max_examples=LONG)(test)
        return settings(max_examples=examples, derandomize=True, deadline=None)(test)

    return decorate


def check_refusal(error):
    """That an error says what was got, what was expected and what to do."""
    assert THREE_PARTS.fullmatch(str(error)), f"no three parts: {error!r}"


def noted(what):
    """For `--hypothesis-show-statistics`: how many cases came to what."""
    if currently_in_test_context():
        event(what)


def answer(call):
    """What `call` returns, or None where it refuses by a `ValueError` of three parts."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Dropped .* self-loops", UserWarning)
            warnings.filterwarnings("ignore", ".* less than the tolerance", UserWarning)
            warnings.filterwarnings("ignore", ".* lie in parts of the graph", UserWarning)
            result = call()
    except ValueError as error:
        check_refusal(error)
        noted("refused")
        return None
    noted("answered")
    return result


def assert_answer(x, shape, dtype):
    """Finite numbers of this form."""
    assert tuple(x.shape) == tuple(shape)
    assert x.dtype == dtype
    assert bool(torch.isfinite(x).all()), "NaN or infinity, and nobody said so"


def assert_close(a, b, tolerance=1e-6):
    """Equal up to rounding, relative to the largest value of each channel."""
    assert a.shape == b.shape
    if not a.numel():
        return
    size = torch.maximum(a.abs(), b.abs()).amax(-2, keepdim=True)
    assert bool(((a - b).abs() <= tolerance * size).all())
