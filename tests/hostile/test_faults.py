"""Processes that are killed, disks that are full, files that are damaged, two writers at once.

A few faults of each kind. For many more, all at new moments:

    python -m pytest tests/hostile/test_faults.py --hypothesis-profile=long --timeout=0
"""

import os
import random
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate")
Image = pytest.importorskip("PIL.Image")
pytest.importorskip("tifffile")
pytest.importorskip("png")

from gsp_unroll._files import written_whole  # noqa: E402
from gsp_unroll.cli import main  # noqa: E402
from gsp_unroll.models import load_network  # noqa: E402
from gsp_unroll.train.checkpoint import load_state, save_state  # noqa: E402
from gsp_unroll.train.log import read_log  # noqa: E402
from gsp_unroll.train.loop import Training  # noqa: E402
from gsp_unroll.train.plan import Plan  # noqa: E402
from tests.hostile.law import LONG, check_refusal  # noqa: E402

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked"),
    pytest.mark.skipif(
        torch.cuda.is_available(),
        reason="children are forked, which CUDA forbids: run it with CUDA_VISIBLE_DEVICES=",
    ),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

SMALL = {"width": 4, "depth": 1, "num_iterations": 1, "cg_steps": 2, "window": 3}
PLAN = Plan(
    "mosaic", "demosaic", steps=10_000, arguments=SMALL, batch=1, crop=8, warmup=3, precision="no"
)  # fmt: skip
PHOTOS = [np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)]
KILLS = 5 if LONG is None else LONG // 10
MOMENTS = random.Random(0 if LONG is None else None)


def child(work):
    """The number of a process that does `work` and ends, with status 0 unless it raises."""
    process = os.fork()
    if process:
        return process
    try:
        # not into the file in which pytest collects what is printed: it counts on a full disk
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        work()
        os._exit(0)
    except BaseException:
        with suppress(OSError):
            os.write(2, traceback.format_exc().encode())
        os._exit(1)


def ended(process):
    """How a child ended."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill_after(process, seconds):
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return ended(process)


def training(folder, plan=PLAN):
    return Training(plan, PHOTOS, [], folder)


def until(steps):
    """True from the call on that is asked after so many steps."""
    calls = iter(range(1, steps + 1))
    return lambda: next(calls) >= steps


def assert_same(a, b):
    for name in ("network", "average"):
        for key, value in a[name].items():
            assert torch.equal(value, b[name][key])


def test_a_killed_training_loses_what_came_after_its_last_state(tmp_path):
    folder, lost = tmp_path / "run", []
    for _ in range(KILLS):
        reading, writing = os.pipe()

        def work(writing=writing):
            one = training(folder)
            keep = one._keep

            def noted(losses):
                keep(losses)
                os.write(writing, one.step.to_bytes(4, "big"))

            one._keep = noted
            one.run(save_seconds=0, log_steps=1)

        process = child(work)
        os.close(writing)
        first = os.read(reading, 4)  # it has begun
        assert len(first) == 4
        assert kill_after(process, MOMENTS.uniform(0, 0.15)) == -signal.SIGKILL
        kept = [first]
        while said := os.read(reading, 4):
            kept.append(said)
        os.close(reading)
        promised = int.from_bytes(kept[-1], "big")
        state = load_state(folder / "state.safetensors")
        lost.append(promised - state["step"])
        load_network(folder / "network.safetensors")
        assert read_log(folder / "log.jsonl")[-1]["step"] >= state["step"]
    assert max(lost) <= 0  # a state that was reported is there, or a later one
    # and nothing but time was lost: the end is that of a training that nobody killed
    reached = load_state(folder / "state.safetensors")["step"]
    training(folder).run(until=until(3))
    training(tmp_path / "other").run(until=until(reached + 3))
    states = (load_state(f / "state.safetensors") for f in (folder, tmp_path / "other"))
    assert_same(*states)
    assert not list(folder.glob("state*.part"))  # what the killed ones left is gone


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of pictures, and what `demosaic` makes of them: name -> bytes."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "in").mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "in" / f"{number}.png")
    assert demosaic(folder / "in", folder / "whole") == 0
    return folder / "in", contents(folder / "whole")


def demosaic(source, out, *more):
    return main(["demosaic", str(source), str(out), "--simulate", "--network", "small", *more])


def contents(folder):
    """The files of a folder, but for what is still being written."""
    return {p.name: p.read_bytes() for p in Path(folder).glob("*") if p.suffix != ".part"}


def test_a_killed_command_leaves_whole_pictures_only(pictures, tmp_path):
    source, whole = pictures
    for number in range(KILLS):
        out = tmp_path / str(number)
        process = child(lambda out=out: demosaic(source, out))
        kill_after(process, MOMENTS.uniform(0, 0.4))
        found = contents(out) if out.exists() else {}
        assert found.items() <= whole.items()
        assert demosaic(source, out, "--force") == 0
        assert contents(out) == whole
        assert not list(out.glob("*.part"))


def test_two_commands_into_one_folder_leave_whole_pictures(pictures, tmp_path):
    source, whole = pictures
    out = tmp_path / "out"
    both = [child(lambda: demosaic(source, out, "--force")) for _ in range(2)]
    assert [ended(process) for process in both] == [0, 0]
    assert contents(out) == whole
    assert not list(out.glob("*.part"))


def test_two_writers_of_one_file_never_mix(tmp_path):
    path = tmp_path / "file"
    letters = "ab"
    both = threading.Barrier(2)

    def write(letter):
        with written_whole(path) as beside:
            both.wait()
            beside.write_text(100_000 * letter)
            both.wait()

    threads = [threading.Thread(target=write, args=letter) for letter in letters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in (100_000 * "a", 100_000 * "b")
    path.write_text("again")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_writer_left_goes_with_the_next(tmp_path):
    path = tmp_path / "file"
    path.write_text("again")

    def work():
        with written_whole(path) as beside:
            beside.write_text("from a child, half of")
            os.kill(os.getpid(), signal.SIGKILL)

    assert ended(child(work)) == -signal.SIGKILL
    assert path.read_text() == "again"
    assert len(list(tmp_path.iterdir())) == 2  # the half is beside it
    with written_whole(path) as beside:
        beside.write_text("whole")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_leftovers_of_a_process_that_lives_are_let_be(tmp_path):
    path = tmp_path / "file"

    def work():
        with written_whole(path) as beside:
            beside.write_text("slow")
            time.sleep(60)

    process = child(work)
    try:
        while not list(tmp_path.iterdir()):
            time.sleep(0.01)
        with written_whole(path) as beside:
            beside.write_text("quick")
        assert path.read_text() == "quick"
        assert len(list(tmp_path.iterdir())) == 2
    finally:
        kill_after(process, 0)


# ---- full disks -----------------------------------------------------------------------------


def full_at(size):
    """No file of this process may be larger: what a full disk does to a writer."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_full_disk_keeps_the_state_before(tmp_path, size):
    training(tmp_path).run(until=until(2))
    before = contents(tmp_path)

    def work():
        one = training(tmp_path)
        full_at(size)
        try:
            one.run(until=until(2), log_steps=1)
        except OSError:
            os._exit(7)  # as documented

    assert ended(child(work)) == 7
    after = contents(tmp_path)
    for name in ("state.safetensors", "network.safetensors"):
        assert after[name] == before[name]
    assert not list(tmp_path.glob("*.part"))
    training(tmp_path).run(until=until(1))
    assert load_state(tmp_path / "state.safetensors")["step"] == 3


def test_a_full_disk_is_said_by_the_command(pictures, tmp_path):
    source, whole = pictures
    out = tmp_path / "out"

    def work():
        full_at(300)
        os._exit(demosaic(source, out))

    assert ended(child(work)) == 1
    assert contents(out) == {}
    assert not list(out.glob("*"))
    assert demosaic(source, out) == 0
    assert contents(out) == whole


# ---- what cannot be read --------------------------------------------------------------------


def test_two_trainings_in_one_folder(tmp_path):
    training(tmp_path).run(until=until(1))
    reading, writing = os.pipe()

    def work():
        one = training(tmp_path)
        one.run(until=lambda: bool(os.write(writing, b"x")) and False, save_seconds=0)

    process = child(work)
    assert os.read(reading, 1) == b"x"
    try:
        with pytest.raises(ValueError, match="where a training is running"):
            training(tmp_path).run()
    finally:
        assert kill_after(process, 0) == -signal.SIGKILL
    os.close(reading)
    os.close(writing)
    training(tmp_path).run(until=until(1))  # the lock went with the process


def test_a_damaged_state_is_refused_or_taken_as_it_is(tmp_path):
    """Cut short anywhere, or with a bit flipped in its header: refused, and left alone."""
    training(tmp_path).run(until=until(2))
    path = tmp_path / "state.safetensors"
    good = path.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    refused = 0
    for number in range(30 if LONG is None else LONG):
        bad = bytearray(good)
        if number % 2:
            del bad[MOMENTS.randrange(len(good)) :]
        else:
            bad[MOMENTS.randrange(header)] ^= 1 << MOMENTS.randrange(8)
        path.write_bytes(bad)
        try:
            training(tmp_path)
        except ValueError as error:
            check_refusal(error)
            refused += 1
        assert path.read_bytes() == bad
    assert refused >= 15


def test_a_state_of_something_else_is_refused(tmp_path):
    save_state(tmp_path / "state.safetensors", {"step": 3})
    with pytest.raises(ValueError, match=r"without average, network, optimizer, plan, seconds\."):
        training(tmp_path)


def test_a_picture_that_cannot_be_read_stops_no_other(pictures, tmp_path, capsys):
    source, whole = pictures
    folder = tmp_path / "in"
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "gone.png").symlink_to(tmp_path / "nowhere")
    (folder / "locked.png").write_bytes(b"")
    (folder / "locked.png").chmod(0)
    with suppress(OSError):
        os.mkfifo(folder / "pipe.png")
    assert demosaic(folder, tmp_path / "out") == 1
    assert contents(tmp_path / "out") == whole
    said = capsys.readouterr().err
    assert "3 of 7 failed" in said or not hasattr(os, "mkfifo")
    assert "Traceback" not in said


def test_a_plan_with_another_end_is_told_apart(tmp_path):
    training(tmp_path).run(until=until(1))
    with pytest.raises(ValueError, match="a training with another steps"):
        training(tmp_path, replace(PLAN, steps=11))
    assert load_state(tmp_path / "state.safetensors")["step"] == 1
