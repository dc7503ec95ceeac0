"""The command `gsp-unroll`: what the package does to files, without a line of Python.

Nothing here imports torch before there is something to compute.
"""

from .command import main

__all__ = ["main"]
