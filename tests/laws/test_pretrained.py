"""Trained networks are found, read and used without a network connection."""

import json
import re
import shlex
import shutil
import socket
from functools import partial

import pytest
import torch
from safetensors import safe_open

from gsp_unroll import (
    BayerMosaic,
    Interpolation,
    SamplingMask,
    from_pretrained,
    restore_mosaic,
)
from gsp_unroll.models import (
    DemosaicNetwork,
    MosaicNetwork,
    bilinear,
    load_network,
    pretrained_names,
    save_network,
)
from gsp_unroll.models.bayer import SHIFTS
from gsp_unroll.models.pretrained import WEIGHTS

MAX_BYTES = 4 * 2**20  # all weights in the wheel together


@pytest.fixture
def small(tmp_path):
    torch.manual_seed(3)
    network = DemosaicNetwork(width=8, features=2, num_iterations=1, cg_steps=2).eval()
    arguments = {"width": 8, "features": 2, "num_iterations": 1, "cg_steps": 2}
    save_network(network, tmp_path / "network.safetensors", "demosaic", arguments)
    return network


@pytest.mark.parametrize("name", pretrained_names())
def test_every_packaged_network_loads_without_a_connection(name, monkeypatch):
    def refuse(*_):
        raise AssertionError("a network connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    network = from_pretrained(name)
    assert not network.training
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("path", sorted(WEIGHTS.rglob("*.safetensors")), ids=lambda path: path.stem)
def test_every_packaged_network_has_a_card(path):
    card = path.with_suffix(".md").read_text()
    for heading in ("Data", "Budget", "Figures", "Licence", "Limits"):
        assert f"## {heading}" in card


def test_the_weights_are_small():
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*")) < MAX_BYTES


def test_a_file_a_folder_and_a_name(small, tmp_path):
    H = BayerMosaic(8, 8)
    data = Interpolation(H, torch.rand(64, 1))
    wanted = small(data, (8, 8))
    for place in (tmp_path, tmp_path / "network.safetensors", str(tmp_path)):
        torch.testing.assert_close(from_pretrained(place)(data, (8, 8)), wanted, rtol=0, atol=0)


def test_half_precision_in_the_file(small, tmp_path):
    path = tmp_path / "half.safetensors"
    arguments = {"width": 8, "features": 2, "num_iterations": 1, "cg_steps": 2}
    save_network(small, path, "demosaic", arguments, dtype=torch.float16)
    assert path.stat().st_size < 0.7 * (tmp_path / "network.safetensors").stat().st_size
    for ours, theirs in zip(load_network(path).parameters(), small.parameters(), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs.half().float(), rtol=0, atol=0)


def test_an_unknown_name():
    with pytest.raises(ValueError, match=r"Got 'mosaik'.* Expected one of .*mosaic.* Correct"):
        from_pretrained("mosaik")


def test_a_hub_without_its_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"Got 'someone/some'.* huggingface_hub .*hub"):
        from_pretrained("someone/some")


def test_a_hub_by_its_package(small, tmp_path, monkeypatch):
    hub = type("hub", (), {"hf_hub_download": lambda repo, file: str(tmp_path / repo / file)})
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", hub)
    (tmp_path / "someone" / "some-v1.0").mkdir(parents=True)
    shutil.copy(tmp_path / "network.safetensors", tmp_path / "someone" / "some-v1.0")
    monkeypatch.chdir(tmp_path.parent)  # where no such folder is
    assert isinstance(from_pretrained("someone/some-v1.0"), DemosaicNetwork)


def test_a_hub_that_does_not_answer(monkeypatch):
    def refuse(*_):
        raise OSError("no answer")

    hub = type("hub", (), {"hf_hub_download": refuse})
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", hub)
    with pytest.raises(
        ValueError, match=r"Got 'runs/frist'.*no answer.* Expected a file.* Correct"
    ):
        from_pretrained("runs/frist")


def test_one_head_has_nothing_to_average():
    with pytest.raises(ValueError, match=r"Got heads=1.* Expected at least 2"):
        MosaicNetwork(heads=1)
    with pytest.raises(ValueError, match=r"Got prior='hui'.* Expected one of"):
        MosaicNetwork(prior="hui")
    with pytest.raises(ValueError, match=r"Got weights='row'.* Expected one of"):
        MosaicNetwork(weights="row")


# ---- a whole frame --------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", SHIFTS)
@pytest.mark.parametrize("shape", [(12, 14), (9, 13), (8, 7)])
def test_every_phase_keeps_its_samples(pattern, shape):
    torch.manual_seed(1)
    network = MosaicNetwork(width=8, depth=1).eval()
    image = torch.rand(*shape, 3)
    H = BayerMosaic(*shape, pattern)
    mosaic = (H @ image.reshape(-1, 3)).reshape(shape)
    x = restore_mosaic(network, mosaic, pattern)
    assert x.shape == (*shape, 3)
    torch.testing.assert_close(H @ x.reshape(-1, 3), mosaic.reshape(-1, 1), rtol=0, atol=1e-6)


def test_a_constant_stays_constant_in_every_phase():
    network = MosaicNetwork(width=8, depth=1).eval()
    for pattern in SHIFTS:
        x = restore_mosaic(network, torch.full((9, 11), 0.25), pattern)
        torch.testing.assert_close(x, torch.full((9, 11, 3), 0.25))


def test_a_large_frame_goes_by_tiles(monkeypatch):
    network = MosaicNetwork(width=8, depth=1, num_iterations=1, cg_steps=2).eval()
    network.restore = partial(network.restore, whole=40)
    mosaic = torch.rand(61, 70)
    called = []
    tiled = network.restore_tiled
    monkeypatch.setattr(
        network, "restore_tiled", lambda *a, **k: called.append(1) or tiled(*a, **k)
    )
    x = restore_mosaic(network, mosaic, tile=32)
    assert called
    H = BayerMosaic(61, 70)
    with torch.no_grad():
        whole = network(Interpolation(H, mosaic.reshape(-1, 1)), (61, 70)).reshape(61, 70, 3)
    torch.testing.assert_close(x, whole, rtol=0, atol=1e-5)


def test_bad_frames():
    network = MosaicNetwork(width=8, depth=1)
    with pytest.raises(ValueError, match=r"Got a mosaic of shape \(1, 8, 8\).* Expected \(height"):
        restore_mosaic(network, torch.rand(1, 8, 8))
    with pytest.raises(ValueError, match=r"Got pattern='RGB'.* Expected RGGB, GRBG.* row by row"):
        restore_mosaic(network, torch.rand(8, 8), "RGB")


#: What each packaged network gains at least over the bilinear start on the photograph below, dB.
GAIN = {"mosaic": 4.0, "small": 3.5, "ugtv": 2.5, "noisy": 4.0, "interpolate": 0.5}


@pytest.mark.parametrize("name", pretrained_names())
def test_every_packaged_network_restores_a_photograph(name):
    # one that it has not seen: the start alone would be a pass for any network that does nothing
    from skimage.data import coffee

    photo = torch.from_numpy(coffee()[120:248, 200:328].copy()).float() / 255
    truth, shape = photo.reshape(-1, 3), (128, 128)
    H = BayerMosaic(*shape)
    if name == "interpolate":
        truth, known = truth.mean(-1, keepdim=True), torch.zeros(shape, dtype=torch.bool)
        known[::2, ::2] = True
        H = SamplingMask(known.flatten())
    y = H @ truth
    if name == "noisy":
        y = y + 20 / 255 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    network = from_pretrained(name)
    with torch.no_grad():
        ours = (network(network.data_term(H, y), shape) - truth).square().mean()
        plain = (bilinear(Interpolation(H, y), shape) - truth).square().mean()
    assert float(10 * torch.log10(plain / ours)) > GAIN[name]


@pytest.mark.parametrize("name", pretrained_names())
def test_the_command_on_a_card_is_the_plan_in_its_file(name):
    pytest.importorskip("accelerate")
    from gsp_unroll.train.__main__ import parse
    from gsp_unroll.train.plan import Plan

    card = (WEIGHTS / f"{name}.md").read_text()
    lines = re.findall(r"python -m gsp_unroll.train ((?:.*\\\n)*.*)", card)
    options = vars(parse(shlex.split(lines[-1].replace("\\\n", " "))))
    with safe_open(WEIGHTS / f"{name}.safetensors", "pt") as file:
        plan = json.loads(file.metadata()["about"])["plan"]
    # trained from the same first weights, where they now lie elsewhere
    asked = {key: options[key] for key in vars(Plan("mosaic", "demosaic", 1)) if key != "begin"}
    plan = {"fresh": []} | plan
    plan.pop("begin", None)
    assert json.loads(json.dumps(asked)) == plan
