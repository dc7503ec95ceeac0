"""Fused operations: what the library computes step by step, done in one go.

A kernel is looked up by operation, plan, dtype and device (`registry`). A plan (`plans`) is what it
needs to know of a graph's structure. Kernels know nothing of problems or layers: plain tensors go
in and come out.
"""

from .registry import backend, show_backends

__all__ = ["backend", "show_backends"]
