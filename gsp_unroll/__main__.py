"""The command `python -m gsp_unroll`, also installed as `gsp-unroll`."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
