"""Tables in, tables out: the same numbers as for an array, with every label kept."""

import re

import numpy as np
import pytest

from gsp_unroll import GLR, path_graph, restore
from gsp_unroll.restoration import Fixed, OnGlobe

pd = pytest.importorskip("pandas")
xr = pytest.importorskip("xarray")

SENSORS = ["north", "east", "south", "west"]
HOURS = pd.date_range("2024-03-31", periods=5, freq="h", tz="Europe/Paris")
CHOICE = Fixed(GLR, 0.1)
PATH = path_graph(4)


@pytest.fixture
def values():
    """By node and time, with gaps."""
    y = np.random.default_rng(0).normal(size=(4, 5))
    y[[0, 2, 3], [1, 1, 4]] = np.nan
    return y


def expected(values):
    return restore(values, PATH, CHOICE)


def test_a_frame_has_a_row_for_each_time_and_a_column_for_each_sensor(values):
    frame = pd.DataFrame(values.T, index=HOURS, columns=SENSORS)
    result = restore(frame, PATH, CHOICE)
    for part in (result.x, result.known, result.deviation()):
        assert part.index.equals(HOURS)
        assert part.columns.tolist() == SENSORS
    np.testing.assert_allclose(result.x.to_numpy().T, expected(values).x, atol=1e-9)
    assert result.known.to_numpy().tolist() == (~np.isnan(values.T)).tolist()
    assert result.explain(2, 1).value == pytest.approx(result.x.loc[HOURS[1], "south"])


def test_a_series_is_by_node(values):
    series = pd.Series(values[:, 1], index=SENSORS, name="warmth")
    x = restore(series, PATH, CHOICE).x
    assert (x.index.tolist(), x.name) == (SENSORS, "warmth")
    np.testing.assert_allclose(x, expected(values[:, 1]).x, atol=1e-9)


def test_gaps_of_nullable_columns_are_gaps(values):
    frame = pd.DataFrame(values.T, columns=SENSORS)
    nullable = frame.convert_dtypes()
    nullable.iloc[0, 0] = pd.NA
    frame.iloc[0, 0] = np.nan
    x = restore(nullable, PATH, CHOICE).x
    np.testing.assert_allclose(x.to_numpy(), restore(frame, PATH, CHOICE).x.to_numpy())


@pytest.mark.parametrize("dims", [("station", "time"), ("time", "station")])
def test_an_array_keeps_dimensions_coordinates_and_attributes(values, dims):
    y = xr.DataArray(
        values,
        dims=("station", "time"),
        coords={"station": SENSORS, "time": HOURS.tz_convert(None), "lat": ("station", range(4))},
        attrs={"units": "K"},
        name="warmth",
    ).transpose(*dims)
    x = restore(y, PATH, CHOICE).x
    assert x.coords.equals(y.coords)
    assert (x.dims, x.attrs, x.name) == (dims, {"units": "K"}, "warmth")
    np.testing.assert_allclose(x.transpose("station", "time"), expected(values).x, atol=1e-9)


def test_other_dimensions_are_channels(values):
    y = xr.DataArray(np.stack([values, 2 * values]), dims=("level", "node", "time"))
    x = restore(y, PATH, CHOICE).x
    assert x.dims == y.dims
    np.testing.assert_allclose(x[0], expected(values).x, atol=1e-9)
    np.testing.assert_allclose(x[1], 2 * expected(values).x, atol=1e-9)


def frame(index):
    return pd.DataFrame(np.ones((len(index), 4)), index=index, columns=SENSORS)


ZONES = [pd.Timestamp("2024-01-01", tz=zone) for zone in ("Europe/Paris", "Asia/Tokyo")]
MISTAKES = {
    "unsorted": (lambda: frame(HOURS[::-1]), "do not ascend in the index.*sort_index"),
    "twice": (lambda: frame(HOURS[[0, 1, 1]]), "0 times that are NaT and 1.*pivot"),
    "no time": (lambda: frame(pd.DatetimeIndex([None, HOURS[0]])), "1 times that are NaT"),
    "two zones": (
        lambda: frame(pd.Index(ZONES, dtype=object)),
        r"zones \['Asia/Tokyo', 'Europe/Paris'\].*utc=True",
    ),
    "unsorted objects": (
        lambda: frame(pd.Index(list(HOURS[::-1]), dtype=object)),
        "do not ascend",
    ),
    "periods that fall": (
        lambda: frame(pd.period_range("2024-01", periods=3, freq="M")[::-1]),
        "do not ascend",
    ),
    "a column of times": (
        lambda: frame(HOURS[:4]).reset_index().iloc[:, :4],
        "times as values, in index.*set_index",
    ),
    "a Series of times": (lambda: pd.Series(HOURS[:4], SENSORS), "times as values"),
    "a row for each sensor": (
        lambda: pd.DataFrame(np.ones((4, 3)), SENSORS),
        r"a DataFrame of shape \(4, 3\) for 4 nodes.*y.T",
    ),
    "too many values": (lambda: pd.Series(np.ones(6)), "a Series of 6 values for 4 nodes"),
    "words": (lambda: frame(HOURS).assign(west="warm"), "values that are no numbers.*to_numeric"),
    "no node": (lambda: xr.DataArray(np.ones(4), dims="place"), r"\('place',\).*rename"),
    "two nodes": (lambda: xr.DataArray(np.ones((4, 4)), dims=("node", "site")), "exactly one"),
    "a set": (lambda: xr.Dataset({"t": ("node", np.ones(4))}), "xarray.Dataset.*Pick a variable"),
    "unsorted array": (
        lambda: xr.DataArray(
            np.ones((4, 5)), dims=("node", "time"), coords={"time": HOURS.tz_convert(None)[::-1]}
        ),
        "do not ascend in the coordinate 'time'.*sortby",
    ),
}


LATITUDE = pd.Series([54.0, 51.0, 48.0, 51.5], SENSORS)
LONGITUDE = pd.Series([9.0, 13.0, 11.0, 7.0], SENSORS)
ORDERS = {
    "Series": lambda y, names: pd.Series(y[:, 0], SENSORS)[names],
    "DataFrame": lambda y, names: pd.DataFrame(y.T, HOURS, SENSORS)[names],
    "DataArray": lambda y, names: xr.DataArray(
        y, dims=("station", "time"), coords={"station": SENSORS}
    ).sel(station=names),
}


@pytest.mark.parametrize("kind", ORDERS)
def test_names_of_places_and_of_the_signal_are_the_same(kind, values):
    y, where = np.nan_to_num(values), OnGlobe(LATITUDE, LONGITUDE)
    result = restore(ORDERS[kind](y, SENSORS), where, CHOICE)
    bare = restore(y[:, :1] if kind == "Series" else y, where, CHOICE)
    np.testing.assert_allclose(
        np.asarray(result.x).reshape(-1),
        np.asarray(bare.x.T if kind == "DataFrame" else bare.x).reshape(-1),
    )
    turned = ORDERS[kind](y, SENSORS[::-1])
    with pytest.raises(ValueError, match=r"Got a signal on \[west, .*in another order.*reindex"):
        restore(turned, where, CHOICE)
    others = OnGlobe(LATITUDE.rename(str.upper), LONGITUDE.rename(str.upper))
    with pytest.raises(ValueError, match=r"places \[NORTH, .*of other names"):
        restore(turned, others, CHOICE)
    # a side without names, or with numbers from 0, is taken as it comes
    for unnamed in (OnGlobe(LATITUDE.to_numpy(), LONGITUDE.reset_index(drop=True)), where):
        restore(turned if unnamed is not where else y, unnamed, CHOICE)


def test_numbers_in_another_order_are_names():
    y = pd.Series([1.0, 2.0, 3.0, np.nan])
    latitude, longitude = (v.reset_index(drop=True) for v in (LATITUDE, LONGITUDE))
    turned = [2, 0, 3, 1]
    for call in (
        lambda: restore(y, OnGlobe(latitude[turned], longitude[turned]), CHOICE),
        lambda: restore(y[turned], OnGlobe(latitude, longitude), CHOICE),
        lambda: OnGlobe(latitude[turned], longitude),
        lambda: OnGlobe(xr.DataArray(LATITUDE, dims="node")[turned], LONGITUDE),
    ):
        with pytest.raises(ValueError, match="in another order"):
            call()
    restore(y, OnGlobe(LATITUDE, LONGITUDE), CHOICE)  # here they only count


def test_the_imputer_compares_names_too():
    imputer = pytest.importorskip("gsp_unroll.restoration.imputer").GraphImputer
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(6, 4)), columns=SENSORS)
    where = OnGlobe(LATITUDE, LONGITUDE)
    imputer(where, choose=CHOICE).fit(X)
    with pytest.raises(ValueError, match=r"Got columns \[west.*places .*in another order"):
        imputer(where, choose=CHOICE).fit(X[SENSORS[::-1]])


def test_latitudes_and_longitudes_have_one_order():
    with pytest.raises(ValueError, match=r"Got latitudes .*longitudes .*in another order"):
        OnGlobe(LATITUDE, LONGITUDE[::-1])
    assert repr(OnGlobe(LATITUDE, LONGITUDE)) == (
        "OnGlobe(4 places, latitude 48 to 54, longitude 7 to 13)"
    )
    assert repr(OnGlobe([], [])) == "OnGlobe(no places)"


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_answered(name):
    table, message = MISTAKES[name]
    with pytest.raises(ValueError, match=re.compile(f"^Got .*{message}", re.DOTALL)) as error:
        restore(table(), PATH, CHOICE)
    assert ". Expected " in str(error.value)
