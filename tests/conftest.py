"""The folder of test data, for the tests that need real signals."""

from pathlib import Path

import pytest
from hypothesis import settings

# more cases of the properties in tests/hostile, see there; any other test sets its own number
settings.register_profile("long", max_examples=2000, deadline=None)

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY.parent / "shared" / "data"


def pytest_collection_modifyitems(items):
    for item in items:
        if "data_dir" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.data)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """A folder of test data beside the checkout; without it the tests that need it are skipped."""
    if not DATA.is_dir():
        pytest.skip(f"needs a folder of test data beside the checkout: {DATA} does not exist")
    return DATA
