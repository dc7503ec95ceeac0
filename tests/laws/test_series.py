"""Series: windows against slices, means against loops, gaps against those that were made."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from gsp_unroll.series import (
    DailyMean,
    Standardization,
    block_gaps,
    chronological_split,
    clock_features,
    collinear_runs,
    moved_on,
    scattered_gaps,
    sliding_windows,
)

F64 = torch.float64


def with_gaps(*shape, share=0.3, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=random, dtype=F64)
    return x.masked_fill(torch.rand(*shape, generator=random) < share, torch.nan)


# ---- windows --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(11, 3), (11, 3, 2)])
@pytest.mark.parametrize(("length", "stride"), [(1, 1), (4, 1), (4, 3), (11, 5)])
def test_window_k_is_the_slice_from_k_strides_on(shape, length, stride):
    series = with_gaps(*shape)
    windows = sliding_windows(series, length, stride)
    begins = range(0, 11 - length + 1, stride)
    assert len(windows) == len(begins)
    for window, begin in zip(windows, begins, strict=True):
        assert_close(window, series[begin : begin + length], equal_nan=True)


def test_windows_are_a_view():
    series = torch.zeros(5, 2)
    sliding_windows(series, 2)[1, 0] = 1
    assert series[1].tolist() == [1, 1]


@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.5), (0.7, 0.1, 0.2), (0.3, 0.3)])
@pytest.mark.parametrize("steps", [10, 97])
def test_parts_follow_one_another_and_cover_their_shares(steps, shares):
    parts = chronological_split(steps, shares)
    assert [p.start for p in parts] == [0, *(p.stop for p in parts[:-1])]
    assert parts[-1].stop == round(steps * sum(shares))


def test_a_standardised_training_part_has_mean_0_and_deviation_1_over_its_readings():
    training = 5 + 3 * with_gaps(200, 4, 2)
    z = Standardization.learned_from(training)(training)
    assert_close(z.nanmean(0), torch.zeros(4, 2, dtype=F64))
    assert_close(z.square().nanmean(0), torch.ones(4, 2, dtype=F64))


def test_scaling_and_back_is_the_identity_and_keeps_gaps():
    training, later = with_gaps(20, 3), 7 * with_gaps(5, 3, seed=1)
    scale = Standardization.learned_from(training)
    assert_close(scale.inverse(scale(later)), later, equal_nan=True)
    assert torch.equal(scale(later).isnan(), later.isnan())


def test_a_node_that_never_changes_or_was_never_read_keeps_its_unit():
    training = torch.stack([torch.full((9,), 0.1), torch.full((9,), torch.nan)], 1)
    scale = Standardization.learned_from(training)
    assert_close(scale.mean, torch.tensor([0.1, 0.0]))
    assert_close(scale.deviation, torch.ones(2))


# ---- clocks ---------------------------------------------------------------------------------


def test_the_clock_repeats_every_week_and_its_circle_every_day():
    times = np.arange("2012-03-01", "2012-03-15", np.timedelta64(6, "h"), dtype="datetime64[h]")
    clock = clock_features(times)
    assert_close(clock[:28], clock[28:])
    assert_close(clock[:-4, :2], clock[4:, :2])
    assert_close(clock[:, :2].square().sum(1), torch.ones(56))
    assert_close(clock[:, 2:].sum(1), torch.ones(56))
    for time, row in zip(times.tolist(), clock, strict=True):
        assert row[2 + time.weekday()] == 1


@pytest.mark.parametrize("reach", [0, 2])
def test_a_daily_mean_is_the_weighted_mean_of_the_readings_around_its_time(reach):
    slots, first = 6, 4
    training = with_gaps(40, 3, share=0.6)
    weight = torch.rand(40, dtype=F64)
    usual = DailyMean.learned_from(training, slots, first=first, reach=reach, weight=weight)
    for k in range(slots):
        for n in range(3):
            total = count = 0.0
            for t in range(40):
                apart = (first + t - k) % slots
                near = min(apart, slots - apart) <= reach
                if near and not training[t, n].isnan():
                    total += float(weight[t] * training[t, n])
                    count += float(weight[t])
            assert float(usual.mean[k, n]) == pytest.approx(total / count)


def test_days_that_are_alike_are_their_own_mean_from_any_slot_on():
    day = torch.randn(5, 2, 3)
    usual = DailyMean.learned_from(day.repeat(3, 1, 1), slots=5)
    assert_close(usual.at(3, 7), day.repeat(2, 1, 1)[3:10])


def test_what_was_never_read_takes_the_mean_of_its_node_or_of_all():
    nan = torch.nan
    training = torch.tensor([[1.0, nan], [nan, nan], [3.0, nan], [nan, nan]])
    assert_close(DailyMean.learned_from(training, 2).mean, torch.tensor([[2.0, 2.0], [2.0, 2.0]]))


# ---- gaps -----------------------------------------------------------------------------------


def filled(x, gaps):
    """Lines through the gaps of every column."""
    t = np.arange(len(x))
    columns = [np.interp(t, t[~g], c[~g]) for c, g in zip(x.T, gaps.T, strict=True)]
    return torch.from_numpy(np.stack(columns, 1))


@pytest.mark.parametrize("shortest", [1, 2, 3])
def test_runs_are_exactly_the_gaps_that_a_line_filled(shortest):
    random = torch.Generator().manual_seed(1)
    x = torch.rand(80, 4, generator=random, dtype=F64).numpy()
    gaps = np.zeros((80, 4), bool)
    gaps[10:11, 0] = gaps[20:22, 1] = gaps[30:40, 2] = gaps[60:63, 3] = True
    expected = gaps.copy()
    for n, m in enumerate(gaps.sum(0)):
        expected[:, n] &= m >= shortest
    runs = collinear_runs(filled(x, gaps), shortest)
    assert torch.equal(runs, torch.from_numpy(expected))


def test_runs_of_channels_are_those_of_each_alone_and_gaps_are_never_straight():
    x = torch.arange(12.0, dtype=F64).repeat(2, 1).T.clone()
    x[4, 0] = torch.nan
    runs = collinear_runs(torch.stack([x, x], -1))
    assert torch.equal(runs[..., 0], collinear_runs(x))
    assert runs[:, 0, 0].nonzero().flatten().tolist() == [1, 2, 6, 7, 8, 9, 10]
    assert not collinear_runs(x[:2]).any()
    assert not collinear_runs(x[:5], shortest=9).any()


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_gaps_have_their_share_and_are_those_of_their_generator(share):
    def made(make):
        return make(200, 50, share, generator=torch.Generator().manual_seed(3))

    for make, tolerance in ((scattered_gaps, 0.02), (block_gaps, 48 / 10_000)):
        assert float(made(make).float().mean()) == pytest.approx(share, abs=tolerance)
        assert torch.equal(made(make), made(make))


def test_blocks_are_no_shorter_than_asked_away_from_the_ends():
    missing = block_gaps(300, 20, 0.2, (5, 9), torch.Generator().manual_seed(0))
    for column in missing.T.tolist():
        runs = "".join("x" if m else "." for m in column).strip("x").split(".")
        assert all(len(run) == 0 or len(run) >= 5 for run in runs)


# ---- mistakes -------------------------------------------------------------------------------


def dates(*texts):
    return np.array(texts, dtype="datetime64[m]")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sliding_windows(torch.zeros(5), 2), "Put the time first"),
        (lambda: sliding_windows(torch.zeros(5, 2, dtype=torch.int64), 2), "convert integers"),
        (lambda: sliding_windows(torch.zeros(5, 2), 6), "windows of 6 steps from a series of 5"),
        (lambda: sliding_windows(torch.zeros(5, 2), 2, 0), "stride=0"),
        (lambda: chronological_split(10, [0.9, 0.2]), "together at most 1"),
        (lambda: chronological_split(3, [0.9, 0.1]), "at least a step long"),
        (lambda: chronological_split(3, []), "at least one"),
        (lambda: chronological_split(9, [0.5, math.nan]), "each above 0"),
        (lambda: moved_on(torch.zeros(4), 2), "Add a channel axis"),
        (lambda: Standardization(torch.zeros(2), torch.zeros(2)), "deviations above 0"),
        (lambda: clock_features(np.array(["2012-03-01"])), "dtype='datetime64"),
        (lambda: clock_features(dates("2012-03-01", "NaT")), "none of them missing"),
        (lambda: clock_features(dates("2012-03-02", "2012-03-01")), "do not mix time zones"),
        (lambda: clock_features(dates("2012-03-02", "2012-03-02")), "merge doubles"),
        (lambda: DailyMean(torch.full((2, 2), torch.nan)), "a value in every slot"),
        (lambda: DailyMean.learned_from(torch.full((2, 2), torch.nan), 2), "only NaN does"),
        (lambda: DailyMean.learned_from(torch.ones(2, 2), 0), "slots=0"),
        (lambda: DailyMean.learned_from(torch.ones(2, 2) / 0, 2), "4 infinite readings"),
        (lambda: DailyMean.learned_from(torch.ones(2, 2), 2, weight=torch.ones(3)), "one weight"),
        (lambda: collinear_runs(torch.ones(4, 2), 0), "shortest=0"),
        (lambda: collinear_runs(torch.ones(4, 2), tolerance=0.0), "tolerance=0.0"),
        (lambda: scattered_gaps(5, 5, 1.5), "from 0 to 1"),
        (lambda: block_gaps(5, 5, 0.5, (3, 2)), "the shortest and the longest"),
    ],
)
def test_mistakes_are_told_in_three_parts(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert str(caught.value).startswith("Got ")
    assert "Expected " in str(caught.value)
