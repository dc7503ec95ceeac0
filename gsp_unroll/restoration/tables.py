"""Signals as people have them: what comes in as an array or a table goes out as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._checks import mistake
from .._typing import Signal

#: Names by which the dimension of the nodes is known in an xarray.DataArray.
NODE_NAMES = ("node", "station", "sensor", "site")


@dataclass(frozen=True, eq=False)
class Form:
    """A signal on nodes, and the way back to what it was given as.

    Args:
        signal: the signal.
        back: turns a signal of the same shape into that kind of object.

    Shapes:
        - **signal:** `(nodes, channels)`
    """

    signal: Signal
    back: Callable[[Tensor], Any]


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
