"""`GraphImputer` keeps the promises of scikit-learn, and fills as `restore` does."""

import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from gsp_unroll import GLR, EdgeList, path_graph, restore
from gsp_unroll.restoration import Fixed, GraphImputer, HoldOut, place_graph

PLACE = np.random.default_rng(0).random((12, 2))


def samples(count, seed=1):
    random = np.random.default_rng(seed)
    X = np.sin(3 * random.normal(size=(count, 2)) @ PLACE.T) + random.normal(size=(count, 1))
    return np.where(random.random(X.shape) < 0.3, np.nan, X)


@parametrize_with_checks([GraphImputer(choose=Fixed(GLR, 0.1))])
def test_the_checks_of_scikit_learn_hold(estimator, check):
    check(estimator)


def test_readings_stay_and_gaps_take_what_restore_says():
    X, other = samples(20), samples(5, 2)
    imputer = GraphImputer(PLACE).fit(X)
    assert imputer.choice_.error == min(c.error for c in imputer.scores_)
    by_hand = restore(X.T, PLACE)
    assert (imputer.choice_.name, imputer.choice_.weight) == (by_hand.prior, by_hand.weight)
    filled = imputer.transform(other)
    gap = np.isnan(other)
    np.testing.assert_array_equal(filled[~gap], other[~gap])
    fixed = Fixed(by_hand.choice.prior, by_hand.weight)
    np.testing.assert_allclose(filled[gap], restore(other.T, PLACE, fixed).x.T[gap], atol=1e-6)


def test_without_gaps_the_samples_are_copied():
    whole = np.random.default_rng(0).random((6, 4))
    x = GraphImputer().fit(whole).transform(whole)
    np.testing.assert_array_equal(x, whole)
    assert not np.shares_memory(x, whole)


def test_it_is_better_than_the_mean_of_a_column():
    truth = np.nan_to_num(samples(60))
    gap = np.random.default_rng(3).random(truth.shape) < 0.3
    X = np.where(gap, np.nan, truth)
    filled = GraphImputer().fit_transform(X)  # the graph is found as well
    mean = np.broadcast_to(np.nanmean(X, 0), X.shape)
    assert ((filled - truth)[gap] ** 2).mean() < 0.8 * ((mean - truth)[gap] ** 2).mean()


def test_what_nothing_determines_takes_the_mean_of_its_column():
    apart = EdgeList(torch.tensor([[0], [1]]), 3)
    X = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]])
    imputer = GraphImputer(apart, Fixed(GLR, 1.0)).fit(X)
    new = np.array([[1.0, np.nan, np.nan], [np.nan] * 3])
    np.testing.assert_allclose(imputer.transform(new), [[1, 1, 4], [2, 3, 4]])


def test_it_is_cloned_and_stands_in_a_pipeline_with_names():
    pd = pytest.importorskip("pandas")
    imputer = GraphImputer(place_graph(PLACE), HoldOut(seed=3))
    again = clone(imputer)
    assert again.get_params()["choose"] == HoldOut(seed=3)
    assert again.set_params(choose=None).choose is None
    frame = pd.DataFrame(samples(10), columns=[f"s{i}" for i in range(12)])
    pipeline = make_pipeline(imputer, StandardScaler()).set_output(transform="pandas")
    out = pipeline.fit_transform(frame)
    assert out.columns.tolist() == frame.columns.tolist()
    assert not out.isna().any().any()


def test_columns_that_are_all_alike_have_no_neighbours():
    X = np.random.default_rng(0).random((20, 12))
    X[:, 2:] = np.nan
    with pytest.raises(ValueError, match=r"Got 10 columns .* or with none.* where="):
        GraphImputer().fit(X)


def test_one_sensor_says_nothing_of_another():
    with pytest.raises(ValueError, match=r"Got n_features=1\..*SimpleImputer"):
        GraphImputer(path_graph(1)).fit(np.ones((3, 1)))


def test_without_scikit_learn_the_rest_is_there():
    code = (
        "import sys; sys.modules['sklearn'] = sys.modules['sklearn.base'] = None\n"
        "from gsp_unroll import restoration\n"
        "restoration.restore\n"
        "try: restoration.GraphImputer\n"
        "except ImportError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "gsp_unroll[sklearn]" in run.stdout, run.stderr
