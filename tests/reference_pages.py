"""What the pages of the reference list."""

import re
from pathlib import Path

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"
ENTRY = re.compile(r"^::: (gsp_unroll\.\S+)$", re.MULTILINE)


def entries():
    """The full name of each entry, page by page."""
    pages = sorted(REFERENCE.glob("*.md"))
    return [entry for page in pages for entry in ENTRY.findall(page.read_text())]
