"""Studies: several trainings that differ in a few values, and their table."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate")
Image = pytest.importorskip("PIL.Image")

from gsp_unroll._tables import markdown_table  # noqa: E402
from gsp_unroll.models import load_network  # noqa: E402
from gsp_unroll.train.plan import Plan  # noqa: E402
from gsp_unroll.train.study import Study, run_study, study_table  # noqa: E402

COMMON = {
    "network": "mosaic",
    "task": "demosaic",
    "steps": 4,
    "arguments": {"width": 4, "depth": 1, "num_iterations": 1, "cg_steps": 2, "window": 3},
    "batch": 2,
    "crop": 8,
    "warmup": 1,
    "precision": "no",
}
RANDOM = np.random.default_rng(0)
PHOTOS = [RANDOM.integers(0, 256, (20, 24, 3), dtype=np.uint8) for _ in range(3)]


def numbers(table):
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]


def test_an_arm_is_the_common_plan_with_its_changes():
    study = Study(COMMON, {"plain": {}, "glr": {"steps": 6, "arguments": {"prior": "glr"}}}, [0, 3])
    assert list(study.plans) == ["plain-0", "plain-3", "glr-0", "glr-3"]
    assert study.plans["plain-3"] == Plan(**COMMON, seed=3)
    assert study.plans["glr-0"].steps == 6
    assert study.plans["glr-0"].arguments == COMMON["arguments"] | {"prior": "glr"}


def test_a_study_that_is_stopped_goes_on_and_takes_new_arms(tmp_path):
    study = Study(COMMON, {"plain": {}, "control": {"arguments": {"graph": False}}}, [0, 1])
    calls = []

    def until():
        calls.append(None)
        return len(calls) == 6  # in the middle of the second training

    stopped = run_study(study, PHOTOS[1:], PHOTOS[:1], tmp_path, until)
    trained = load_network(tmp_path / "plain-0" / "network.safetensors")
    count = f"{sum(p.numel() for p in trained.parameters()):,}".replace(",", " ")
    assert [row[:3] for row in numbers(stopped)] == [["plain", count, "1"]]
    table = run_study(study, PHOTOS[1:], PHOTOS[:1], tmp_path)
    assert [row[0::2][:2] for row in numbers(table)] == [["plain", "2"], ["control", "2"]]
    assert (tmp_path / "table.md").read_text() == table == study_table(study, tmp_path)

    alone = run_study(Study(COMMON, {"plain": {}}, [1]), PHOTOS[1:], PHOTOS[:1], tmp_path / "alone")
    a, b = (
        load_network(f / "plain-1" / "network.safetensors") for f in (tmp_path, tmp_path / "alone")
    )
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(x, y)
    ends = [
        json.loads(line)["psnr"]
        for seed in (0, 1)
        for line in (tmp_path / f"plain-{seed}" / "log.jsonl").read_text().splitlines()
        if "psnr" in line
    ]
    assert len(ends) == 2
    (plain, _) = numbers(table)
    assert plain[3:5] == [f"{np.mean(ends):.2f}", f"{np.ptp(ends):.2f}"]
    assert numbers(alone)[0][3] == f"{ends[1]:.2f}"

    more = Study(COMMON, study.arms | {"glr": {"arguments": {"prior": "glr"}}}, [0, 1])
    assert [row[0] for row in numbers(run_study(more, PHOTOS[1:], PHOTOS[:1], tmp_path))] == [
        "plain",
        "control",
        "glr",
    ]


def test_without_anything_held_out_nothing_is_trained(tmp_path):
    with pytest.raises(ValueError, match="no photograph that is held out"):
        run_study(Study(COMMON, {"plain": {}}), PHOTOS, [], tmp_path)
    assert not list(tmp_path.iterdir())


def test_by_command(tmp_path):
    (tmp_path / "photos").mkdir()
    for number, photo in enumerate(PHOTOS):
        Image.fromarray(photo).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "study.json").write_text(json.dumps({"common": COMMON, "arms": {"plain": {}}}))
    command = [sys.executable, "-m", "gsp_unroll.train.study", "study.json"]
    command += ["--photos", "photos", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (tmp_path / "out" / "table.md").read_text().strip()
    (tmp_path / "study.json").write_text("[1]")
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "Got study.json" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"arms": {}}, r"Got a study without arms"),
        ({"seeds": []}, r"Got a study without arms or without seeds"),
        ({"seeds": [0, 1, 0]}, r"Got seeds=\[0, 1, 0\]\. Expected each once"),
        ({"arms": {"a": {"crop": 16, "noise": 5}}}, r"Got an arm 'a' with crop, noise of its own"),
        ({"arms": {"a/b": {}}}, r"Got an arm 'a/b'\. Expected a name that a folder can have"),
        ({"arms": {"a": {"stpes": 3}}}, r"Got values named stpes\. Expected those of Plan"),
        ({"arms": {"a": {"seed": 3}}}, r"Got values named seed"),
        ({"arms": {"a": {"steps": 0}}}, r"Got steps=0"),
        ({"arms": {"a": {"arguments": {"hui": 1}}}}, r"Got arguments="),
        ({"common": {"network": "mosaic"}}, r"Got an arm 'a' .*steps.* Expected a whole plan"),
    ],
    ids=str,
)
def test_mistakes(values, message):
    with pytest.raises(ValueError, match=message):
        Study(**{"common": COMMON, "arms": {"a": {}}} | values)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"common": 1, "arms": 2}', '{"hui": {}}'])
def test_a_file_that_is_no_study(tmp_path, text):
    path = tmp_path / "study.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"Got .*study\.json .* Expected a JSON object such as"):
        Study.read(path)


def test_columns_line_up():
    table = markdown_table(["a", "number"], [["long name", "1"], ["b", "23456789"]], [False, True])
    assert table == (
        "| a         |   number |\n"
        "| --------- | -------: |\n"
        "| long name |        1 |\n"
        "| b         | 23456789 |\n"
    )
