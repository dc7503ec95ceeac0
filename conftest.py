"""What every test can rely on, and the Markdown pages as tests.

The ```python blocks of README.md and docs/ run as tests. The blocks of one page share their names
and run from top to bottom, as a reader would type them. A block that only prepares the next one and
would distract can be hidden in an HTML comment: ``<!--- invisible-code-block: python`` ... ``-->``.
"""

import importlib.util

import numpy as np
import pytest
import torch
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

# Triton comes with the CUDA builds of torch; tests/laws/test_triton.py says what is left out
# scikit-learn is optional, and cosmic-ray serves one study
collect_ignore_glob = [
    pattern
    for package, pattern in (
        ("triton", "gsp_unroll/kernels/triton_[prs]*.py"),
        ("sklearn", "gsp_unroll/restoration/imputer.py"),
        ("cosmic_ray", "tests/studies/mutants.py"),
    )
    if importlib.util.find_spec(package) is None
]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    # The graphs in the tests are small: more threads only cost time, and sums keep their order.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeds():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (PyGSP draws from the global generator)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/**/*.md"],
    fixtures=["one_thread", "seeds"],
).pytest()
