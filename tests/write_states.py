"""Writes a state for each registered module that has none yet in the folder of this version.

    python -m tests.write_states

Run it for a release, and when a class joins `tests/registries_states.py`. A file that is there is
never written again: it says what an earlier day computed.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

import gsp_unroll
from tests.registries_states import MODULES, pattern

DATA = Path(__file__).parent / "data"


def filled(module):
    """The module with numbers that no constructor would choose."""
    with torch.no_grad():
        for p in module.parameters():
            p += 0.1 * (p.abs() + 0.1) * torch.rand(p.shape, dtype=p.dtype)
    return module


def patterned(shapes):
    """The state of a large module: numbers by a formula, for the names and shapes of a file."""
    return {name: pattern(shape, place) for place, (name, shape) in enumerate(shapes.items())}


def write(name, path):
    """One file: the state or its shapes, the inputs and the output."""
    torch.manual_seed(0)
    case = MODULES[name]
    module, inputs = case.module(), case.inputs()
    shapes = {key: list(value.shape) for key, value in module.state_dict().items()}
    tensors = {f"input.{key}": value for key, value in inputs.items()}
    if case.large:
        module.load_state_dict(patterned(shapes))
    else:
        state = filled(module).state_dict()
        tensors |= {f"state.{key}": value.contiguous() for key, value in state.items()}
    with torch.no_grad():
        tensors["output"] = case.call(module, **inputs).contiguous()
    about = {"version": gsp_unroll.__version__, "shapes": json.dumps(shapes)}
    save_file(tensors, path, metadata=about)


def main():
    folder = DATA / f"state_{gsp_unroll.__version__}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODULES:
        path = folder / f"{name}.safetensors"
        if not path.exists():
            write(name, path)
            print(path.relative_to(DATA), path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
