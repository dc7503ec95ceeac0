"""Waiting for a GPU, forbidden."""

import warnings
from contextlib import contextmanager

import torch


@contextmanager
def nothing_waits():
    """Within the `with`, an operation that waits until the GPU has caught up raises an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls this mode a prototype
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
