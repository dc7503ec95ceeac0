"""Laws of training: stopping it in any way changes nothing, and no file is ever half of one."""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("accelerate")
Image = pytest.importorskip("PIL.Image")

from gsp_unroll import BayerMosaic, Interpolation, SamplingMask  # noqa: E402
from gsp_unroll._files import written_whole  # noqa: E402
from gsp_unroll._safetensors import write_tensors  # noqa: E402
from gsp_unroll.models import (  # noqa: E402
    NETWORKS,
    DemosaicNetwork,
    PublishedNetwork,
    load_network,
    save_network,
)
from gsp_unroll.models.named import FORMAT  # noqa: E402
from gsp_unroll.train.__main__ import main, parse  # noqa: E402
from gsp_unroll.train.average import running_mean  # noqa: E402
from gsp_unroll.train.checkpoint import load_state, save_state  # noqa: E402
from gsp_unroll.train.crops import (  # noqa: E402
    Crops,
    read_all,
    split_photos,
    white_noise,
    with_reduced,
)
from gsp_unroll.train.log import cut_log, read_log  # noqa: E402
from gsp_unroll.train.loop import Training  # noqa: E402
from gsp_unroll.train.plan import Plan  # noqa: E402
from gsp_unroll.train.rehearsal import rehearse  # noqa: E402
from gsp_unroll.train.stopping import alone_in, signals_noted  # noqa: E402
from gsp_unroll.train.tasks import TASKS, Demosaic, Interpolate, luma  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"width": 4, "depth": 1, "num_iterations": 1, "cg_steps": 2, "window": 3}
PLAN = Plan(
    "mosaic",
    "demosaic",
    steps=12,
    arguments=SMALL,
    batch=2,
    crop=8,
    rate=0.01,
    warmup=3,
    average=0.9,
    precision="no",
    holdout=0.3,
)
RANDOM = np.random.default_rng(0)


def picture(height, width):
    coarse = RANDOM.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return coarse.repeat(4, 0).repeat(4, 1)[:height, :width]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of four photographs, of odd sizes too."""
    folder = tmp_path_factory.mktemp("photos")
    for number, shape in enumerate([(20, 24), (17, 31), (24, 20), (9, 40)]):
        Image.fromarray(picture(*shape)).save(folder / f"p{number}.png")
    return folder


def training(folder, photos, plan=PLAN, **arguments):
    learn, held = split_photos([photos], plan.holdout, plan.seed)
    return Training(plan, list(read_all(learn)), list(read_all(held)), folder, **arguments)


def after(steps):
    """True from the call on that is asked after so many steps."""
    calls = []

    def until():
        calls.append(None)
        return len(calls) >= steps

    return until


def assert_same(a, b):
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b
        assert type(a) is type(b)


def assert_same_training(a, b):
    """Weights, running mean and optimiser to the last bit, and the weights that one uses."""
    first, second = (load_state(folder / "state.safetensors") for folder in (a, b))
    for state in (first, second):
        del state["seconds"]
    assert_same(first, second)
    assert_same(
        *(dict(load_network(folder / "network.safetensors").state_dict()) for folder in (a, b))
    )


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """The folder of a training that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    training(folder, photos).run(log_steps=5, validate_steps=4)
    return folder


# ---- stopping and going on ------------------------------------------------------------------


def options(photos, folder, plan=PLAN):
    named = [f"--{name}={getattr(plan, name)}" for name in ("network", "steps", "batch", "crop")]
    named += [f"--{n}={getattr(plan, n)}" for n in ("rate", "warmup", "average", "holdout")]
    places = ["--photos", str(photos), "--out", str(folder), "--save-seconds=0"]
    return [*named, *places, "--precision=no", "--arguments", json.dumps(plan.arguments)]


@pytest.mark.slow
def test_a_killed_training_goes_on_as_if_nothing_had_happened(photos, tmp_path):
    plan, killed, other = replace(PLAN, steps=400), tmp_path / "killed", tmp_path / "other"
    command = [sys.executable, "-m", "gsp_unroll.train", *options(photos, killed, plan)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        state = killed / "state.safetensors"
        while not state.exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.3))  # anywhere in a step, or in the writing of a file
    finally:
        process.kill()
        process.wait()
    reached = load_state(state)["step"]
    assert 0 < reached < plan.steps
    training(killed, photos, plan).run(until=after(20))
    training(other, photos, plan).run(until=after(reached + 20))
    assert_same_training(killed, other)


def test_a_stopped_training_goes_on_as_if_nothing_had_happened(photos, whole, tmp_path):
    for steps in (3, 1, 4, 99):
        one = training(tmp_path, photos)
        torch.rand(steps)  # a generator that stands elsewhere
        one.run(until=after(steps), log_steps=5, validate_steps=4)
    assert_same_training(tmp_path, whole)
    lines, expected = (read_log(folder / "log.jsonl") for folder in (tmp_path, whole))
    assert [line["step"] for line in lines if "photos" in line] == [0, 3, 4, 8]
    psnr, psnr_expected = ([x for x in log if "psnr" in x] for log in (lines, expected))
    assert psnr == psnr_expected
    assert [line["step"] for line in psnr] == [4, 8, 12]
    losses = [line for line in lines if "loss" in line]
    assert [line["step"] for line in losses] == [5, 10, 12]
    assert sorted(x["seconds"] for x in losses) == [x["seconds"] for x in losses]


def test_a_step_draws_no_random_number_of_torch(photos, tmp_path):
    one = training(tmp_path, photos)
    before = torch.get_rng_state()
    one.run(until=after(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_finished_training_stays_as_it_is(photos, whole):
    before = load_state(whole / "state.safetensors")
    log = (whole / "log.jsonl").read_bytes()
    again = training(whole, photos)
    again.run(until=lambda: pytest.fail("a step more than the plan has"))
    assert again.step == PLAN.steps
    assert_same(load_state(whole / "state.safetensors"), before)
    assert (whole / "log.jsonl").read_bytes() == log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_that_is_under_way(photos, whole, tmp_path, number):
    one = training(tmp_path, photos)
    step, calls = one.optimizer.step, []

    def interrupted():
        calls.append(None)
        if len(calls) == 3:
            os.kill(os.getpid(), number)  # in the middle of a step
        step()

    one.optimizer.step = interrupted
    one.run()
    assert one.step == 3
    training(tmp_path, photos).run()
    assert_same_training(tmp_path, whole)


def test_the_second_signal_interrupts_at_once_and_the_old_handlers_come_back():
    before = signal.getsignal(signal.SIGINT)
    with signals_noted() as noted:
        signal.raise_signal(signal.SIGINT)
        assert noted == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_half_a_step_is_never_saved(photos, whole, tmp_path):
    training(tmp_path, photos).run(until=after(2))
    state = (tmp_path / "state.safetensors").read_bytes()
    one = training(tmp_path, photos)
    one.average.update_parameters = lambda _: 1 / 0  # after the optimiser, before the mean
    with pytest.raises(ZeroDivisionError):
        one.run(save_seconds=0)
    assert (tmp_path / "state.safetensors").read_bytes() == state
    training(tmp_path, photos).run()
    assert_same_training(tmp_path, whole)


@pytest.mark.parametrize("log_steps", [1, 50])
def test_what_is_not_finite_is_never_saved(photos, tmp_path, log_steps):
    training(tmp_path, photos).run(until=after(2))
    state = (tmp_path / "state.safetensors").read_bytes()
    one = training(tmp_path, photos)
    with torch.no_grad():
        next(one.network.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match=r"Got a loss or a gradient that is not finite"):
        one.run(save_seconds=0, log_steps=log_steps)
    assert (tmp_path / "state.safetensors").read_bytes() == state


def test_lines_beyond_the_state_are_taken_out_of_the_log(photos, tmp_path):
    one = training(tmp_path, photos)
    one.run(until=after(4), log_steps=2)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 6, "loss": 1.0}\n{"step": 8, "lo')
    training(tmp_path, photos).run(until=after(4), log_steps=2)
    steps = [line["step"] for line in read_log(tmp_path / "log.jsonl") if "loss" in line]
    assert steps == [2, 4, 6, 8]
    assert [line["loss"] for line in read_log(tmp_path / "log.jsonl") if "loss" in line][2] != 1.0


def test_one_training_at_a_time_in_a_folder(photos, tmp_path):
    pytest.importorskip("fcntl")
    one = training(tmp_path, photos)
    with alone_in(tmp_path), pytest.raises(ValueError, match="where a training is running"):
        one.run()
    one.run(until=after(1))


# ---- what is taken up -----------------------------------------------------------------------


def refuse(message, folder, photos, plan=PLAN, **arguments):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match=message):
        training(folder, photos, plan, **arguments)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_state_of_another_training_is_refused_and_left_alone(photos, tmp_path):
    training(tmp_path, photos).run(until=after(1))
    for change in ({"steps": 13}, {"seed": 1}, {"arguments": SMALL | {"width": 5}}):
        (name,) = change
        refuse(rf"with another {name}\. Expected", tmp_path, photos, replace(PLAN, **change))
    learn = list(read_all(split_photos([photos], PLAN.holdout)[0]))
    with pytest.raises(ValueError, match="on other photographs"):
        Training(PLAN, learn[1:], [], tmp_path)


def test_of_two_trainings_of_one_folder_the_second_goes_back_nowhere(photos, tmp_path):
    first, second = (training(tmp_path, photos) for _ in range(2))
    first.run(until=after(2))
    log = (tmp_path / "log.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"stands at step 2\. Expected step 0.* anew"):
        second.run()
    assert (tmp_path / "log.jsonl").read_bytes() == log
    assert load_state(tmp_path / "state.safetensors")["step"] == 2


def test_a_state_from_before_a_plan_had_some_value_goes_on(photos, whole, tmp_path):
    state = load_state(whole / "state.safetensors")
    del state["plan"]["begin"]
    save_state(tmp_path / "state.safetensors", state)
    assert training(tmp_path, photos).step == PLAN.steps
    with pytest.raises(ValueError, match="a training with another begin"):
        training(tmp_path, photos, replace(PLAN, begin=str(whole)))


def test_weights_without_a_state_are_left_alone(photos, tmp_path):
    training(tmp_path, photos).run(until=after(1))
    (tmp_path / "state.safetensors").unlink()
    refuse(r"holds a network.safetensors and no state", tmp_path, photos)


def test_a_photograph_is_not_moved_from_what_is_held_out_to_what_is_learned(photos, tmp_path):
    learn, held = (list(read_all(part)) for part in split_photos([photos], 0.5))
    Training(PLAN, learn, held, tmp_path).run(until=after(1))
    with pytest.raises(ValueError, match="on other photographs"):
        Training(PLAN, [*learn, held[0]], held[1:], tmp_path)


def test_what_is_held_out_has_the_same_noise_for_every_seed(photos, tmp_path):
    part = np.zeros((16, 16, 3), np.uint8)
    errors = []
    for seed in (0, 1):
        plan = replace(PLAN, noise=50, seed=seed, begin=None)
        made = Training(
            plan, list(read_all(split_photos([photos], 0.5)[0])), [part], tmp_path / str(seed)
        )
        made.average.module.load_state_dict(
            {k: torch.zeros_like(v) for k, v in made.average.module.state_dict().items()}
        )
        errors.append(made.validate()["psnr"])
    assert errors[0] == errors[1]


def test_a_damaged_or_foreign_state_is_refused_and_left_alone(photos, tmp_path):
    training(tmp_path, photos).run(until=after(1))
    state = tmp_path / "state.safetensors"
    good = state.read_bytes()
    for bad in (b"", good[:7], good[:100], good[:-1], b"PK\x03\x04 not this"):
        state.write_bytes(bad)
        refuse(r"cannot be used .* training state .* nothing was overwritten", tmp_path, photos)
    state.write_bytes((tmp_path / "network.safetensors").read_bytes())
    refuse(r"another kind of file", tmp_path, photos)
    content = load_state_of(good, tmp_path)
    content["network"].popitem()
    save_state(state, content)
    refuse(r"whose weights do not fit", tmp_path, photos)


def load_state_of(data, folder):
    path = folder / "copy"
    path.write_bytes(data)
    state = load_state(path)
    path.unlink()
    return state


def test_a_plan_with_tuples_is_that_with_lists(photos, tmp_path):
    plan = replace(PLAN, arguments=SMALL | {"window": (3, 3)})
    training(tmp_path, photos, plan).run(until=after(1))
    assert training(tmp_path, photos, plan).step == 1


# ---- the running mean, validation, accelerators ---------------------------------------------


def test_without_an_average_the_weights_themselves_are_kept(photos, tmp_path):
    training(tmp_path, photos, replace(PLAN, average=0, steps=3)).run()
    state = load_state(tmp_path / "state.safetensors")
    for name, value in state["network"].items():
        assert torch.equal(state["average"][f"module.{name}"], value)


def test_the_average_soon_forgets_where_it_began():
    mean, update = torch.tensor([1.0], dtype=torch.float64), running_mean(0.999)
    for n in range(1, 41):
        update([mean], [torch.zeros(1, dtype=torch.float64)], n)
    assert 0 < mean.item() < 1e-8  # with 0.999 from the first step it were 0.96
    for n, share in ((0, 0.1), (8, 0.5), (8990, 0.999), (10**6, 0.999)):
        mean = torch.ones(1, dtype=torch.float64)
        update([mean], [torch.zeros(1, dtype=torch.float64)], n)
        assert mean.item() == pytest.approx(share, abs=1e-6)


def test_validation_is_of_the_average_and_changes_nothing(photos, tmp_path):
    one = training(tmp_path, photos)
    one.run(until=after(3))
    grad = torch.is_grad_enabled()
    weights = {k: v.clone() for k, v in one.network.state_dict().items()}
    first = one.validate()
    with torch.no_grad():
        for parameter in one.network.parameters():
            parameter.add_(1.0)
    assert one.validate() == first
    assert one.network.training
    assert not one.average.module.training
    assert torch.is_grad_enabled() == grad
    assert list(weights) == list(one.network.state_dict())
    (image,) = one.held_out
    truth = torch.from_numpy(image.reshape(-1, 3).copy()).float() / 255
    shape = image.shape[:2]
    network = load_network(tmp_path / "network.safetensors")
    with torch.no_grad():
        x = network(Demosaic().observe(truth, shape), shape)
    error = float((x - truth).square().mean())
    assert first["psnr"] == pytest.approx(-10 * np.log10(error), abs=1e-4)
    assert first["psnr_pooled"] == pytest.approx(first["psnr"])


def test_no_photograph_held_out_is_no_validation(photos, tmp_path):
    plan = replace(PLAN, holdout=0.0, steps=2)
    training(tmp_path, photos, plan).run(validate_steps=1)
    assert not [line for line in read_log(tmp_path / "log.jsonl") if "psnr" in line]


@pytest.mark.parametrize(
    ("task", "network"),
    [("demosaic", "mosaic"), ("demosaic", "demosaic"), ("interpolate", "ugtv_splitting")],
)
def test_under_autocast_start_and_samples_stay_in_32_bits(task, network):
    arguments = {"channels": 1} if task == "interpolate" else {}
    model, shape = NETWORKS[network](**arguments), (9, 7)
    truth = TASKS[task].truth(torch.rand(2, 63, 3))
    data = TASKS[task].observe(truth, shape)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        x, x0 = model(data, shape), model.x0(data, shape)
    assert x.dtype == x0.dtype == torch.float32
    assert torch.equal(x0, model.x0(data, shape))
    seen = data.mask.expand_as(x)
    torch.testing.assert_close(x[seen], truth[seen], rtol=0, atol=1e-5)


def test_the_curve_is_drawn_at_every_validation(whole):
    pytest.importorskip("matplotlib")
    with Image.open(whole / "curve.png") as image:
        assert min(image.size) > 100


def test_without_matplotlib_it_says_so_once(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    training(tmp_path, photos, replace(PLAN, steps=2)).run(validate_steps=1)
    assert capsys.readouterr().out.count("matplotlib is not installed") == 1
    assert not (tmp_path / "curve.png").exists()


def test_the_drawing_holds_the_log():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    from gsp_unroll.viz import draw_training

    log = [{"step": 0, "photos": "x"}, {"step": 5, "loss": 0.1}, {"step": 9, "psnr": 30.0}]
    ax = draw_training(figure.subplots(), log)
    assert ax.lines[0].get_xydata().tolist() == [[5, 0.1]]
    assert figure.axes[1].lines[0].get_xydata().tolist() == [[9, 30.0]]
    with pytest.raises(ValueError, match="Got a log of 1 lines without a loss or a PSNR"):
        draw_training(figure.subplots(), log[:1])


class Pair:
    """As much of an accelerator as its doors look at."""

    num_processes, mixed_precision = 2, "no"


def test_an_accelerator_that_does_not_fit_the_plan_is_refused(photos, tmp_path):
    pair = Pair()
    refuse(
        r"a batch of 3 for 2 processes", tmp_path, photos, replace(PLAN, batch=3), accelerator=pair
    )
    pair.mixed_precision = "fp16"
    refuse(r"an accelerator of mixed_precision='fp16'", tmp_path, photos, accelerator=pair)


@pytest.mark.slow
def test_two_processes_train_as_one(photos, whole, tmp_path):
    # what accelerate launches with on GPUs; its own command knows several CPU processes by MPI only
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "gsp_unroll.train", *options(photos, tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stderr
    two, one = (load_state(folder / "state.safetensors") for folder in (tmp_path, whole))
    for kind in ("network", "average"):
        for name, value in two[kind].items():
            torch.testing.assert_close(value, one[kind][name], rtol=1e-3, atol=1e-4)
    start, *_, last = read_log(tmp_path / "log.jsonl")
    assert start["processes"] == 2
    (expected,) = [x for x in read_log(whole / "log.jsonl") if x["step"] == 12 and "psnr" in x]
    assert last["psnr"] == pytest.approx(expected["psnr"], abs=1e-2)


# ---- the command ----------------------------------------------------------------------------


def test_the_help_text_comes_without_torch_and_at_once():
    code = (
        "import sys, resource\n"
        "from gsp_unroll.train.__main__ import parse\n"
        "try: parse(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(used.ru_utime + used.ru_stime)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert "--validate-steps" in run.stdout
    assert float(run.stdout.split()[-1]) < 0.5


def test_the_command_trains_as_the_class_does(photos, whole, tmp_path):
    main(parse([*options(photos, tmp_path), "--hours=0"]))
    assert load_state(tmp_path / "state.safetensors")["step"] == 1  # no time is no more than a step
    main(parse(options(photos, tmp_path)))
    assert_same_training(tmp_path, whole)


def test_what_cannot_be_trained_is_refused_before_a_photograph_is_read(tmp_path, capsys):
    def say(message, *more, plan=PLAN):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            main(parse([*options(tmp_path / "nowhere", tmp_path / "out", plan), *more]))

    say(r"Got network='hui'\. Expected one of .*'mosaic'.*Choose", "--network=hui")
    say(r"Got arguments=.*'widht'", '--arguments={"widht": 4}')
    say(r"Got steps=0\. Expected a whole number", "--steps=0")
    say(r"which do not go together.*\"channels\": 1", "--task=interpolate")
    say(
        r"Got 'hui/hui.safetensors', which is no file.*one of .*mosaic",
        "--begin=hui/hui.safetensors",
    )
    say(r"nowhere\. Expected a folder of images", "--seed=1")
    say(r"Got fresh=\['x'\] and no network to begin with", "--fresh=x")
    with pytest.raises(SystemExit):
        parse([*options(tmp_path, tmp_path), "--arguments=[4]"])
    assert "is no JSON object" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_networks_that_fit_a_task_pass_the_rehearsal():
    rehearse(PLAN)
    rehearse(Plan("uglr_combinatorial", "interpolate", 1, arguments={"channels": 1}))


def test_a_training_begins_with_what_fits_of_another(photos, whole, tmp_path):
    trained = load_network(whole / "network.safetensors").state_dict()
    arguments = SMALL | {"depth": 2, "noisy": True}
    plan = replace(PLAN, arguments=arguments, begin=str(whole), noise=10.0)
    first = training(tmp_path, photos, plan).network.state_dict()
    taken = {k for k, v in first.items() if k in trained and torch.equal(v.cpu(), trained[k])}
    assert {"network.blocks.0.enter.weight", "network.blocks.0.propose.weight"} <= taken
    new = {k for k in first if "look.1." in k}
    assert new
    assert not new & taken  # the second pair of convolutions
    assert all(first[k].std() > 0 for k in new if k.endswith("weight"))
    plan = replace(plan, fresh=["propose", "solver"])
    first = training(tmp_path / "b", photos, plan).network.state_dict()
    again = {k for k, v in first.items() if k in trained and torch.equal(v.cpu(), trained[k])}
    assert again == {k for k in taken if not {"propose", "solver"} & set(k.split("."))} != taken
    with pytest.raises(ValueError, match=r"fresh=\['hui'\].*some of .*attend"):
        training(tmp_path / "c", photos, replace(plan, fresh=["hui"]))
    with pytest.raises(ValueError, match=r"no part of which .*same kind and width"):
        training(tmp_path / "a", photos, replace(plan, network="ugtv", arguments={}, fresh=[]))


def test_a_training_goes_on_without_the_network_that_it_began_with(photos, whole, tmp_path):
    weights = tmp_path / "before.safetensors"
    weights.write_bytes((whole / "network.safetensors").read_bytes())
    plan, folder = replace(PLAN, begin=str(weights)), tmp_path / "out"
    training(folder, photos, plan).run(until=after(2))
    weights.unlink()
    rehearse(plan, folder)
    assert training(folder, photos, plan).step == 2
    with pytest.raises(ValueError, match="which is no file"):
        rehearse(plan, tmp_path / "another")


# ---- the plan -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"batch": 2.5},
        {"crop": -1},
        {"choices": 0},
        {"patches": 0},
        {"reduce": [1.0]},
        {"reduce": [2, float("inf")]},
        {"rate": 0.0},
        {"rate": float("nan")},
        {"clip": float("inf")},
        {"warmup": -1},
        {"seed": -1},
        {"average": 1.0},
        {"holdout": 1.0},
        {"network": "hui"},
        {"task": "hui"},
        {"loss": "hui"},
        {"precision": "fp16"},
        {"arguments": {"hui": 1}},
        {"arguments": {"width": torch.ones(1)}},
    ],
    ids=str,
)
def test_a_plan_checks_its_values(change):
    ((name, _),) = change.items()
    with pytest.raises(ValueError, match=rf"Got {name}=.*\. Expected .*\. \S"):
        replace(PLAN, **change)


def test_the_rate_rises_and_falls_to_a_hundredth():
    plan = replace(PLAN, steps=1000, warmup=10, rate=0.5)
    rates = [plan.rate_at(step) for step in range(1001)]
    fall = 0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * np.arange(1001) / 1000))
    rise = np.minimum((np.arange(1001) + 1) / 10, 1)
    np.testing.assert_allclose(rates, 0.5 * rise * fall)
    assert rates[0] == pytest.approx(0.05)
    assert rates[1000] == pytest.approx(0.005)
    assert rates[999] == pytest.approx(0.005, rel=1e-3)  # of the last step
    assert max(rates) == rates[9]
    assert replace(plan, warmup=0).rate_at(0) == 0.5


# ---- crops ----------------------------------------------------------------------------------

PICTURES = [picture(20, 24), picture(17, 31)]


@pytest.mark.parametrize("more", [{}, {"patches": 5}, {"choices": 3}, {"patches": 5, "choices": 2}])
def test_a_crop_is_a_function_of_its_number(more):
    crops = Crops(PICTURES, 8, seed=3, **more)
    together = crops.batch(range(30))
    again = Crops(PICTURES, 8, seed=3, **more)
    for number in (29, 0, 7, 7):
        assert torch.equal(again.batch(range(number, number + 1))[0], together[number])
    assert not torch.equal(Crops(PICTURES, 8, seed=4, **more).batch(range(30)), together)
    assert together.dtype == torch.float32
    assert 0 <= float(together.min()) <= float(together.max()) <= 1


def test_the_shares_of_two_processes_are_the_batch_of_one():
    crops = Crops(PICTURES, 8)
    for step in range(3):
        shares = [crops.batch(range(6 * step + 3 * p, 6 * step + 3 * p + 3)) for p in (0, 1)]
        assert torch.equal(torch.cat(shares), crops.batch(range(6 * step, 6 * step + 6)))


def orientations(crop):
    """A crop without its orientation: the eight of them as a set of bytes."""
    image = crop.reshape(8, 8, 3)
    turned = [image.rot90(k, (0, 1)) for k in range(4)]
    return frozenset(x.contiguous().numpy().tobytes() for t in turned for x in (t, t.flip(1)))


def test_a_fixed_set_is_visited_once_in_each_epoch_in_a_new_order():
    crops = Crops(PICTURES, 8, patches=7)
    epochs = [[orientations(c) for c in crops.batch(range(7 * e, 7 * e + 7))] for e in range(3)]
    assert all(len(set(epoch)) == 7 for epoch in epochs)
    assert set(epochs[0]) == set(epochs[1]) == set(epochs[2])
    assert epochs[0] != epochs[1]


def test_crops_are_cut_from_the_photographs_and_choices_prefer_detail():
    crops = Crops(PICTURES, 8)
    places = {
        p[top : top + 8, left : left + 8].tobytes()
        for p in PICTURES
        for top in range(p.shape[0] - 7)
        for left in range(p.shape[1] - 7)
    }
    for crop in crops.batch(range(20)):
        eight = orientations(crop * 255)
        as_bytes = {
            np.round(np.frombuffer(x, np.float32)).astype(np.uint8).tobytes() for x in eight
        }
        assert as_bytes & places
    half_flat = np.zeros((40, 40, 3), np.uint8)
    half_flat[:, 20:] = RANDOM.integers(0, 256, (40, 20, 3))
    plain, chosen = (Crops([half_flat], 8, choices=c).batch(range(40)) for c in (1, 4))
    assert float(chosen.std((1, 2)).mean()) > float(plain.std((1, 2)).mean())


def test_reduced_photographs_keep_means_and_are_left_out_where_they_are_too_small():
    smooth = np.broadcast_to(np.linspace(0, 255, 48)[:, None, None], (48, 40, 3))
    smooth = smooth.round().astype(np.uint8)
    every = with_reduced([smooth, PICTURES[0]], [1.5, 3], 12)
    assert [p.shape for p in every] == [
        (48, 40, 3),
        (20, 24, 3),
        (32, 26, 3),
        (13, 16, 3),
        (16, 13, 3),
    ]
    assert every[0] is smooth
    for photo, factor in ((every[2], 1.5), (every[4], 3)):
        centres = (np.arange(photo.shape[0]) + 0.5) * factor - 0.5  # of its pixels, in the larger
        inner = slice(3, -3)
        expected = (centres * 255 / 47)[inner, None, None]
        np.testing.assert_allclose(
            np.broadcast_to(expected, photo[inner].shape), photo[inner], atol=1.1
        )
    assert with_reduced(PICTURES, [], 8) == PICTURES


def test_a_training_reduces_what_it_learns_from_and_what_is_held_out(tmp_path):
    plan = replace(PLAN, reduce=[1.5])
    photos, held = [picture(30, 30)], [picture(27, 30)]
    training = Training(plan, photos, held, tmp_path)
    assert [p.shape[:2] for p in training.crops.photos] == [(30, 30), (20, 20)]
    assert [p.shape[:2] for p in training.held_out] == [(27, 30), (18, 20)]
    training.run(until=lambda: True)
    assert Training(plan, photos, held, tmp_path).step == 1  # the plan is the same as a file has it


def test_tiles_of_one_photograph_stay_together(tmp_path):
    for photo in range(6):
        for row in range(2):
            Image.new("RGB", (8, 8)).save(tmp_path / f"p{photo}_r{row}c0.png")
    for seed in range(5):
        learn, held = split_photos([tmp_path], 0.34, seed)
        names = [{path.stem.split("_")[0] for path in side} for side in (learn, held)]
        assert not names[0] & names[1]
        assert (len(learn), len(held)) == (8, 4)
    assert split_photos([tmp_path], 0.34, 1) == split_photos([tmp_path], 0.34, 1)
    named_twice = [tmp_path, tmp_path / ".." / tmp_path.name]
    learn, held = ({p.resolve() for p in side} for side in split_photos(named_twice, 0.34, 1))
    assert not learn & held
    assert split_photos([tmp_path], 0.0)[1] == []
    assert len(split_photos([tmp_path], 0.01)[1]) == 2  # one photograph at least


def test_mistakes_about_photographs(tmp_path):
    with pytest.raises(FileNotFoundError, match="no image"):
        split_photos([tmp_path], 0.1)
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    with pytest.raises(ValueError, match=r"Got 1 photographs, of which 1 are held out"):
        split_photos([tmp_path], 0.1)
    with pytest.raises(ValueError, match=r"Got holdout=1"):
        split_photos([tmp_path], 1)
    (tmp_path / "two.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"two\.png, which cannot be read"):
        list(read_all(split_photos([tmp_path], 0)[0]))
    with pytest.raises(ValueError, match=r"Got no photograph"):
        Crops([], 8)
    with pytest.raises(ValueError, match=r"a photograph of 17 x 31 pixels"):
        Crops(PICTURES, 18)
    with pytest.raises(ValueError, match=r"crops of 2 pixels, and choices=2"):
        Crops(PICTURES, 2, choices=2)


# ---- tasks ----------------------------------------------------------------------------------


def test_luma_is_that_of_scikit_image():
    color = pytest.importorskip("skimage.color")
    photo = np.random.default_rng(0).random((4, 5, 3))
    expected = color.rgb2ycbcr(photo)[..., :1] / 255
    torch.testing.assert_close(luma(torch.from_numpy(photo)), torch.from_numpy(expected))


def test_what_the_tasks_know():
    truth = torch.rand(2, 35, 1)
    data = Interpolate().observe(truth, (5, 7))
    known = data.mask.expand(35, 1).reshape(5, 7)
    assert known.nonzero().tolist() == [[i, j] for i in (0, 2, 4) for j in (0, 2, 4, 6)]
    colours = torch.rand(35, 3)
    assert torch.equal(Demosaic().truth(colours), colours)
    mosaic = Demosaic("GBRG").observe(colours, (5, 7))
    assert torch.equal(mosaic.y, BayerMosaic(5, 7, "GBRG") @ colours)


def test_noise_of_a_crop_is_the_same_whenever_it_is_asked_for():
    crops = Crops([picture(20, 24)], 8, seed=5)
    noise = white_noise(crops.noises(range(40)), 4000, 0.2)
    assert noise.shape == (40, 4000, 1)
    assert torch.equal(noise[7:9], white_noise(crops.noises(range(7, 9)), 4000, 0.2))
    other = Crops([picture(20, 24)], 8).noises(range(1))
    assert not torch.equal(noise[:1], white_noise(other, 4000, 0.2))
    deviation = noise.std(1).flatten()
    assert 0 < deviation.min() < 0.02 < 0.18 < deviation.max() < 0.21  # evenly up to the greatest
    torch.testing.assert_close(noise.mean((1, 2)), torch.zeros(40), rtol=0, atol=0.02)


def test_training_with_noise_goes_on_where_it_stopped(photos, tmp_path):
    plan = replace(PLAN, noise=50.0, arguments=SMALL | {"noisy": True}, steps=6)
    training(tmp_path / "a", photos, plan).run()
    training(tmp_path / "b", photos, plan).run(until=after(2))
    training(tmp_path / "b", photos, plan).run()
    assert_same_training(tmp_path / "a", tmp_path / "b")
    silent = replace(plan, noise=0.0)
    training(tmp_path / "c", photos, silent).run()
    different = [load_state(tmp_path / n / "state.safetensors")["network"] for n in "ac"]
    assert any(not torch.equal(a, b) for a, b in zip(*(d.values() for d in different), strict=True))


# ---- files ----------------------------------------------------------------------------------


def test_a_state_comes_back_as_it_was(tmp_path):
    state = {
        "tensors": {
            0: torch.rand(2, 3).double().T,
            1: torch.tensor(3.0),
            "half": torch.rand(4).bfloat16(),
            "whole": torch.arange(3),
            "truth": torch.tensor([True, False]),
            "none": torch.empty(0, 2),
        },
        "nothing": {},
        "texts": ["", "tensor", "a:b", "dict"],
        "dict": {"dict": [1, 2.5, None, True]},
        7: {8: {9: "ten"}},
    }
    same = state["tensors"][0]
    state["twice"] = same
    path = tmp_path / "state.safetensors"
    save_state(path, state)
    assert_same(load_state(path), state)
    save_state(path, {})
    assert load_state(path) == {}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": ["tensor:x"]}, r"Got the text 'tensor:x' at '/a/0'\. Expected texts"),
        ({"a/b": torch.ones(1), "a": {"b": torch.zeros(1)}}, r"two tensors at '/a/b'"),
        ({1: torch.ones(1), "1": torch.zeros(1)}, r"two tensors at '/1'"),
    ],
)
def test_what_could_not_come_back_is_refused(tmp_path, state, message):
    with pytest.raises(ValueError, match=message):
        save_state(tmp_path / "state.safetensors", state)
    assert not list(tmp_path.iterdir())


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail():
        with written_whole(path) as beside:
            beside.write_text("half of the n")
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    with written_whole(path) as beside:
        beside.write_text("new")
    assert path.read_text() == "new"


def test_a_log_is_read_up_to_where_it_was_cut_short(tmp_path):
    log = tmp_path / "log.jsonl"
    assert read_log(log) == []
    log.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [line["step"] for line in read_log(log)] == [1, 2]
    cut_log(log, 1)
    assert log.read_text() == '{"step": 1}\n'
    log.write_text("my notes\nof today\n")
    with pytest.raises(ValueError, match=r"whose line 1 is 'my notes'.*nothing was overwritten"):
        cut_log(log, 1)
    assert log.read_text() == "my notes\nof today\n"


def test_a_network_comes_back_as_it_was(tmp_path):
    path, arguments = tmp_path / "n.safetensors", {"num_blocks": 2, "width": 4}
    network = DemosaicNetwork(**arguments)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter))
    save_network(network, path, "demosaic", arguments, {"why": "a test"})
    back = load_network(str(path))
    assert_same(dict(back.state_dict()), dict(network.state_dict()))
    assert not back.training
    H = BayerMosaic(8, 8)
    data = Interpolation(H, torch.rand(64, 1))
    assert torch.equal(back(data, (8, 8)), network(data, (8, 8)))


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_file_that_holds_no_network_is_refused_and_never_run(tmp_path):
    path, arguments = tmp_path / "n.safetensors", {"width": 4}
    network = DemosaicNetwork(**arguments)
    save_network(network, path, "demosaic", arguments)
    good = path.read_bytes()
    for bad in (b"", good[:9], good[: len(good) // 2], good[:-1], b"<html>"):
        path.write_bytes(bad)
        with pytest.raises(
            ValueError,
            match=r"cannot be used .* a whole file of .gsp_unroll network",
        ):
            load_network(path)
    for dump in (pickle.dump, torch.save):
        with path.open("wb") as file:
            dump(Bomb(tmp_path / "run"), file)
        with pytest.raises(ValueError, match="which cannot be used"):
            load_network(path)
    assert not (tmp_path / "run").exists()
    save_state(path, {"a": torch.ones(1)})
    with pytest.raises(ValueError, match="another kind of file"):
        load_network(path)
    with pytest.raises(FileNotFoundError):
        load_network(tmp_path / "none")


def test_weights_that_do_not_fit_are_named(tmp_path):
    path, network = tmp_path / "n.safetensors", DemosaicNetwork(width=4)

    def refuse(message, module, name="demosaic", arguments=None):
        arguments = arguments or {"width": 4}
        with pytest.raises(ValueError, match=f"(?s)to be written as {name!r}.*nothing was"):
            save_network(module, path, name, arguments)
        assert not path.exists()
        about = {"network": name, "arguments": json.dumps(arguments), "about": "{}"}
        write_tensors(path, module.state_dict(), FORMAT, about)
        with pytest.raises(ValueError, match=message):
            load_network(path)
        path.unlink()

    refuse(r"(?s)do not fit 'demosaic': .*size mismatch", network, arguments={"width": 5})
    refuse(r"(?s)do not fit 'mosaic': .*Missing key", network, "mosaic")
    refuse(r"do not fit 'demosaic': .*hui", network, arguments={"hui": 5})
    refuse(r"a network 'hui', which is not known", network, "hui")
    fewer = nn.Module()
    fewer.network = network.network.blocks[0]
    refuse(r"(?s)do not fit 'demosaic': .*Missing key", fewer)


# ---- the published networks -----------------------------------------------------------------


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_named_network_builds_with_its_defaults(name):
    assert count(NETWORKS[name]()) > 0


# the counts of the paper, as far as five scalars a stage that nothing in its text explains
PAPER = {("ugtv", 3): 323_435, ("uglr", 3): 323_410, ("ugtv", 1): 319_115, ("uglr", 1): 319_090}


@pytest.mark.parametrize(("name", "channels"), PAPER)
def test_the_published_networks_have_the_published_sizes(name, channels):
    network = NETWORKS[name](channels)
    assert count(network) == PAPER[name, channels] - 5 * 5
    stages = network.network.blocks
    assert len(stages) == 5
    for stage in stages:
        convolutions = [channels, 48, 48, 48, 48]
        assert count(stage.features) == sum(9 * a * b + b for a, b in pairwise(convolutions))
        assert count(stage.features) == {3: 63_696, 1: 62_832}[channels]
        assert count(stage.learner) == 4 * 12 * 12
        steps = {k: p.numel() for k, p in stage.solver.named_parameters() if "gamma" not in k}
        alpha, beta = (sum(n for k, n in steps.items() if word in k) for word in ("alpha", "beta"))
        assert alpha == beta == 5 * 10 * 4
        assert count(stage.solver) == 400 + (5 if name == "ugtv" else 0)
        assert count(stage.mixture) == 4
        assert stage.residual.numel() == 1
        parts = (stage.features, stage.learner, stage.solver, stage.mixture)
        assert count(stage) == sum(map(count, parts)) + 1


@pytest.mark.parametrize("name", ["ugtv", "uglr"])
def test_only_the_last_momentum_of_each_published_solve_is_dead(name):
    stage = getattr(PublishedNetwork, name)(1).double().network.blocks[0]
    topology = PublishedNetwork.ugtv(1).topology((5, 6))
    truth = torch.rand(30, 1, dtype=torch.float64)
    data = Interpolation(SamplingMask(torch.rand(30) < 0.4), truth)
    stage(data, topology, torch.rand_like(truth)).square().sum().backward()
    dead = 0
    for key, parameter in stage.solver.named_parameters():
        zeros = parameter.grad == 0
        dead += int(zeros.sum())
        if "beta" in key:
            assert bool(zeros[-1].all())
    assert dead == (5 * 4 if name == "ugtv" else 4)
