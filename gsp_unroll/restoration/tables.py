"""Signals as people have them: what comes in as an array or a table goes out as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._checks import mistake
from .._typing import Signal
from .labels import packages_of

#: Names by which the dimension of the nodes is known in an xarray.DataArray.
NODE_NAMES = ("node", "station", "sensor", "site")


@dataclass(frozen=True, eq=False)
class Form:
    """A signal on nodes, and the way back to what it was given as.

    Args:
        signal: the signal.
        back: turns a signal of the same shape into that kind of object.
        labels: the names of the nodes, an index of pandas; None if they have none.
        table: what a table is called in messages; None of anything else.

    Shapes:
        - **signal:** `(nodes, channels)`
    """

    signal: Signal
    back: Callable[[Tensor], Any]
    labels: Any | None = None
    table: str | None = None


def form_of(y: Any) -> Form:
    """The signal in `y`, a tensor, an array, or an object of pandas or xarray.

    Raises:
        ValueError: another kind of object; times that are not ascending or have no common zone; a
            DataArray without a dimension of the nodes.
    """
    if isinstance(y, Tensor):
        return _of_tensor(y)
    if isinstance(y, np.ndarray):
        return _of_array(y, lambda values: values)
    packages = packages_of(y)
    if "pandas" in packages:
        return _of_pandas(y)
    if "xarray" in packages:
        return _of_xarray(y)
    raise mistake(
        f"a signal as {type(y).__name__}",
        "a tensor or a NumPy array, (nodes,) or (nodes, channels), a pandas Series or DataFrame, "
        "or an xarray.DataArray",
        "Convert a list with torch.tensor.",
    )


def _of_tensor(y: Tensor) -> Form:
    if y.ndim == 1:
        return Form(y.unsqueeze(-1), lambda x: x.squeeze(-1).to(_kept(x, y)))
    return Form(y, lambda x: x.to(_kept(x, y)))


def _kept(x: Tensor, y: Tensor) -> torch.dtype:
    """A mask stays one, a signal has the dtype of the one that came in."""
    return x.dtype if x.dtype == torch.bool else y.dtype


def _of_array(values: np.ndarray, wrap: Callable[[np.ndarray], Any]) -> Form:
    if values.dtype.kind not in "fiub":
        raise mistake(
            f"values of dtype {values.dtype}",
            "numbers, with NaN where there is no reading",
            "Convert them, e.g. with astype(float).",
        )
    if values.dtype.kind != "f":  # without NaN all is known, and the estimate is no whole number
        values = values.astype(np.float64)
    form = _of_tensor(torch.from_numpy(np.array(values)))
    return Form(form.signal, lambda x: wrap(form.back(x).cpu().numpy()))


def _of_pandas(y: Any) -> Form:
    """A Series by node, or a DataFrame with a row for each time and a column for each node."""
    import pandas as pd

    check_times(y.index, "index")
    if isinstance(y, pd.DataFrame) and not y.columns.is_unique:
        twice = [str(name) for name in y.columns[y.columns.duplicated()].unique()]
        raise mistake(
            f"a table in which columns are called alike ({', '.join(twice)})",
            "a column for each node, each name once",
            "Merge the readings of one node, or rename the columns.",
        )
    kinds = {y.name: y.dtype} if isinstance(y, pd.Series) else dict(y.dtypes)
    if times := [str(name) for name, kind in kinds.items() if kind.kind in "mM"]:
        raise mistake(
            f"times as values, in {', '.join(times)}",
            "readings only, and times in the index",
            "Move them there with y.set_index('name of the column').",
        )
    values = y.to_numpy()
    if values.dtype.kind not in "fiub":
        # tables with columns of several kinds, and those that mark gaps by pandas.NA
        try:
            values = y.to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError, OverflowError):
            raise mistake(
                f"a {type(y).__name__} with values that are no numbers",
                "numbers, with NaN where there is no reading",
                "Drop the other columns, or convert them with pandas.to_numeric.",
            ) from None
    if isinstance(y, pd.Series):
        form = _of_array(values, lambda x: pd.Series(x, index=y.index, name=y.name))
        return replace(form, labels=y.index, table=f"a Series of {len(y)} values")
    form = _of_array(values.T, lambda x: pd.DataFrame(x.T, index=y.index, columns=y.columns))
    return replace(form, labels=y.columns, table=f"a DataFrame of shape {y.shape}")


def _of_xarray(y: Any) -> Form:
    """A DataArray whose dimension of nodes has one of `NODE_NAMES`; all others are channels."""
    import xarray as xr

    if not isinstance(y, xr.DataArray):
        raise mistake(
            f"an xarray.{type(y).__name__}",
            "one xarray.DataArray",
            "Pick a variable, e.g. dataset['temperature'].",
        )
    names = [name for name in y.dims if name in NODE_NAMES]
    if len(names) != 1:
        raise mistake(
            f"a DataArray with the dimensions {y.dims}",
            f"exactly one of {NODE_NAMES} among them",
            "Name the dimension of the nodes, e.g. with y.rename({'location': 'node'}).",
        )
    for name, index in y.indexes.items():
        check_times(index, f"coordinate {name!r}")
    others = [name for name in y.dims if name != names[0]]
    ordered = y.transpose(*names, *others)
    shape = ordered.shape

    def wrap(x: np.ndarray) -> Any:
        return ordered.copy(data=x.reshape(shape)).transpose(*y.dims)

    labels = y.indexes.get(names[0])
    form = _of_array(ordered.to_numpy().reshape(shape[0], -1), wrap)
    return replace(form, labels=labels)


def check_times(index: Any, name: str) -> None:
    """Times ascend, each once, in one zone or in none; any other index may be as it likes: what
    times written as text or as bare numbers mean, nobody can tell.

    Args:
        index: a pandas Index.
        name: what it is.

    Raises:
        ValueError: times that do not.
    """
    import pandas as pd

    if index.dtype == object:
        zones = {str(t.tzinfo) for t in index if isinstance(t, datetime)}
        if len(zones) > 1:
            raise mistake(
                f"times in the zones {sorted(zones)} in the {name}",
                "one zone",
                "Convert them with pandas.to_datetime(times, utc=True); times without a zone "
                "(None) need tz_localize first.",
            )
        if zones:
            index = pd.DatetimeIndex(index)
    if not isinstance(index, pd.DatetimeIndex | pd.PeriodIndex | pd.TimedeltaIndex):
        return
    if index.hasnans or not index.is_unique:
        raise mistake(
            f"{int(index.isna().sum())} times that are NaT and {int(index.duplicated().sum())} "
            f"that came before in the {name}",
            "every time once",
            "Drop rows without a time, y[y.index.notna()], and average those of one, e.g. with "
            "y.groupby(level=0).mean(); a table with a row for each reading needs y.pivot first.",
        )
    if not index.is_monotonic_increasing:
        raise mistake(
            f"times that do not ascend in the {name}",
            "ascending ones",
            "Sort them with y.sort_index() or y.sortby('time').",
        )
