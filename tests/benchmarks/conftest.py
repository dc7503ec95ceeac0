"""Benchmarks are scripts to run by hand: pytest neither imports nor runs them."""

collect_ignore_glob = ["*"]
