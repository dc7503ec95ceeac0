"""`restore` as a step in a pipeline of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from .._checks import mistake
from ..graph import Graph
from .choice import Choice, Fixed, HoldOut
from .labels import check_labels
from .one_call import restore
from .places import NEIGHBORS, Where, graph_of, place_graph
from .readings import Readings
from .trend import plane_of


class GraphImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    r"""Fills gaps between sensors: rows are samples, columns are sensors of one quantity.

    `fit` chooses prior and weight on its samples, `transform` fills the NaN of any others and
    leaves all readings as they are. Each row is restored by itself. What no reading of a row
    determines takes the mean of its column in `fit`.

    Args:
        where: a graph, a topology or places, as `restore` takes them. None makes neighbours of
            sensors whose readings in `fit` are most alike (gaps filled with the mean of a column).
        choose: as in `restore`, `HoldOut()` by default.

    Attributes:
        graph_: the graph.
        choice_: prior and weight that were chosen.
        scores_: all that was tried.
        statistics_: the mean of each column; NaN of one without readings.

    Shapes:
        - **X:** `(samples, sensors)`

    Raises:
        ValueError: on `fit`: one sensor alone, and what `restore` refuses; on `transform`: another
            number of sensors.

    Example:
        >>> import numpy as np
        >>> from gsp_unroll.restoration import GraphImputer
        >>> X = np.outer([1.0, 2.0, 3.0, 5.0], [1.0, 1.01, 1.02, 1.0, 0.99])
        >>> X[0, 1] = np.nan
        >>> GraphImputer().fit_transform(X)[0].round(1)
        array([1., 1., 1., 1., 1.])
    """

    def __init__(self, where: Where | None = None, choose: Choice | None = None) -> None:
        self.where = where
        self.choose = choose

    def fit(self, X: Any, y: Any = None) -> GraphImputer:
        """Chooses prior and weight.

        Args:
            X: samples, NaN where nothing is known.
            y: not read.
        """
        names = getattr(X, "columns", None)
        check_labels(names, getattr(self.where, "labels", None), "columns", "places")
        X = self._checked(X, reset=True)
        if X.shape[1] < 2:
            raise mistake(
                f"n_features={X.shape[1]}",
                "two sensors or more, one of which says something of the other",
                "Use sklearn.impute.SimpleImputer for a single column.",
            )
        there = ~np.isnan(X)
        count = there.sum(0)
        total = np.where(there, X, 0).sum(0)
        self.statistics_ = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        signal = torch.from_numpy(X.T.copy())
        if self.where is None:
            filled = np.where(there, X, np.nan_to_num(self.statistics_))
            self.graph_, about = _alike(filled.T), None
        else:
            self.graph_ = graph_of(self.where, signal)
            about = plane_of(self.where, signal.device)
        choose = HoldOut() if self.choose is None else self.choose
        with torch.no_grad():
            readings = Readings.of(signal, self.graph_, about)
            self.scores_ = choose.candidates(readings)
        self.choice_ = choose.best(self.scores_)
        return self

    def transform(self, X: Any) -> Any:
        """The samples without gaps.

        Args:
            X: samples, NaN where nothing is known.
        """
        check_is_fitted(self)
        X = self._checked(X, reset=False)
        gap = np.isnan(X)
        if not gap.any():
            return X.copy()
        x = np.full_like(X, np.nan)
        some = ~gap.all(1)
        if some.any():
            fixed = Fixed(self.choice_.prior, self.choice_.weight)
            x[some] = restore(X[some].T.copy(), self.graph_, fixed).x.T
        x = np.where(np.isnan(x), self.statistics_, x).astype(X.dtype)
        return np.where(gap, x, X)

    def _checked(self, X: Any, reset: bool) -> np.ndarray[Any, Any]:
        checked: np.ndarray[Any, Any] = validate_data(
            self, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan"
        )
        return checked

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _alike(columns: np.ndarray[Any, Any]) -> Graph:
    """Neighbours of sensors whose readings, their places here, are most alike."""
    alike = int(np.unique(columns, axis=0, return_counts=True)[1].max())
    if alike > NEIGHBORS:
        raise mistake(
            f"{alike} columns with the same readings in fit, or with none",
            f"at most {NEIGHBORS}, the number of neighbours that are made of readings",
            "Drop columns without readings, or say with where= which sensors are near each other.",
        )
    return place_graph(columns)
