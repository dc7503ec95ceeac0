"""Comparison of methods on photographs: `python -m gsp_unroll.evaluate --help`."""
