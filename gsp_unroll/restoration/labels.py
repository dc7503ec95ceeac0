"""Names of nodes, as objects of pandas and xarray carry them."""

from __future__ import annotations

from typing import Any

from .._checks import mistake


def packages_of(value: Any) -> set[str]:
    """The packages that an object is made by, without importing any of them."""
    return {base.__module__.partition(".")[0] for base in type(value).__mro__}


def labels_of(values: Any) -> Any | None:
    """The names of the entries, an index of pandas: of a Series or of an xarray.DataArray; None of
    anything else."""
    packages = packages_of(values)
    if "pandas" in packages:
        return values.index
    if "xarray" in packages and len(values.dims) == 1:
        return values.indexes.get(values.dims[0])
    return None


def check_labels(ours: Any | None, theirs: Any | None, name: str, other: str) -> None:
    """Names on both sides are the same, in the same order. A side that counts from 0 has no names,
    unless the other side has just these numbers in another order.

    Raises:
        ValueError: they are not.
    """
    if ours is None or theirs is None or ours.equals(theirs) or list(ours) == list(theirs):
        return
    same = len(ours) == len(theirs) and sorted(map(str, ours)) == sorted(map(str, theirs))
    if not same and (_counts(ours) or _counts(theirs)):
        return
    raise mistake(
        f"{name} {_few(ours)}, and {other} {_few(theirs)} "
        f"{'in another order' if same else 'of other names'}",
        "the same names in the same order",
        "Bring one into the order of the other, e.g. with latitude.reindex(y.columns), or pass "
        "bare numbers with .to_numpy().",
    )


def _counts(index: Any) -> bool:
    """Whether an index only counts from 0."""
    return index.dtype.kind in "iu" and list(index) == list(range(len(index)))


def _few(index: Any) -> str:
    """The first names of an index."""
    shown = [str(name) for name in index[:3]]
    return f"[{', '.join(shown)}{', ...' if len(index) > len(shown) else ''}]"
