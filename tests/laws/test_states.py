"""A state that an earlier version stored is loaded, and computes what it computed then."""

import importlib
import json
import pkgutil

import pytest
import torch
from safetensors import safe_open
from torch import nn

import gsp_unroll
from tests.registries_states import MODULES
from tests.write_states import DATA, patterned, write

FILES = sorted(DATA.glob("state_*/*.safetensors"))
#: relative to the largest number of the output
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-4}

PACKAGES = ("clouds", "features", "learners", "models", "pyg", "sensors", "series", "unroll")
#: Public modules without a stored state of their own, and why.
WITHOUT = {
    "BilateralFeatures": "no parameters",
    "ConvergedSolve": "no parameters",
    "GuardedCG": "parameters only within a layer, whose state is stored",
}


def read(path):
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


def part(tensors, prefix):
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }


def stored_state(tensors, metadata):
    shapes = json.loads(metadata["shapes"])
    state = part(tensors, "state.")
    assert not state or {key: list(value.shape) for key, value in state.items()} == shapes
    return state or patterned(shapes)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_stored_state_computes_what_it_did(path, dtype):
    def cast(value):
        return value.to(dtype) if value.is_floating_point() else value

    case, (tensors, metadata) = MODULES[path.stem], read(path)
    module = case.module()
    module.load_state_dict(stored_state(tensors, metadata))
    inputs = {key: cast(value) for key, value in part(tensors, "input.").items()}
    with torch.no_grad():
        actual = case.call(module.to(dtype), **inputs)
    expected = cast(tensors["output"])
    scale = float(expected.abs().max())
    assert scale > 1e-3
    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("name", [name for name, case in MODULES.items() if not case.large])
def test_the_output_depends_on_the_state(name):
    """A file would say nothing about numbers that its output does not read."""
    tensors, metadata = read(DATA / f"state_{gsp_unroll.__version__}" / f"{name}.safetensors")
    module = MODULES[name].module()
    state = stored_state(tensors, metadata)
    if not any(True for _ in module.parameters()):
        pytest.skip("no parameters")
    module.load_state_dict(state)
    with torch.no_grad():
        for p in module.parameters():
            p += 0.3 * (p.abs() + 0.1)
        moved = MODULES[name].call(module, **part(tensors, "input."))
    assert not torch.allclose(moved, tensors["output"], rtol=1e-6, atol=1e-9)


def test_every_registered_module_has_a_state_of_this_version():
    folder = DATA / f"state_{gsp_unroll.__version__}"
    assert {path.stem for path in folder.glob("*.safetensors")} == set(MODULES), (
        "run python -m tests.write_states"
    )


def ours():
    """Every module class that a user can make, by its name."""
    found = {}
    for package in PACKAGES:
        parent = importlib.import_module(f"gsp_unroll.{package}")
        for info in pkgutil.iter_modules(parent.__path__, parent.__name__ + "."):
            for name, value in vars(importlib.import_module(info.name)).items():
                is_module = isinstance(value, type) and issubclass(value, nn.Module)
                if is_module and value.__module__ == info.name and not name.startswith("_"):
                    found[name] = value
    return found


def test_every_module_class_is_part_of_a_stored_state():
    stored = {type(m).__name__ for case in MODULES.values() for m in case.build().modules()}
    missing = {
        name
        for name, value in ours().items()
        if not getattr(value, "__abstractmethods__", None) and name not in stored
    }
    assert missing <= set(WITHOUT), "add it to tests/registries_states.py"


def test_a_file_that_is_there_is_not_written_again(tmp_path, monkeypatch, capsys):
    import tests.write_states as script

    monkeypatch.setattr(script, "DATA", tmp_path)
    monkeypatch.setattr(script, "MODULES", {"mahalanobis": MODULES["mahalanobis"]})
    script.main()
    (path,) = tmp_path.glob("*/*.safetensors")
    path.write_bytes(b"old")
    script.main()
    assert path.read_bytes() == b"old"
    assert capsys.readouterr().out.count("bytes") == 1


def test_writing_twice_gives_the_same_numbers(tmp_path):
    for name in ("gtv_soft", "mahalanobis", "unrolled_network"):
        write(name, tmp_path / "first")
        write(name, tmp_path / "second")
        (first, about), (second, same) = read(tmp_path / "first"), read(tmp_path / "second")
        assert about == same
        assert first.keys() == second.keys()
        for key, value in first.items():
            torch.testing.assert_close(second[key], value, rtol=0, atol=0, equal_nan=True)
