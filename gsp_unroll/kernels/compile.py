"""Builds the C++ kernels with whatever compiler is there.

Run by the build backend when the package is installed (`hatch_build.py`), and by hand after an edit
of `src/`: `python gsp_unroll/kernels/compile.py`. It needs a C++17 compiler and nothing else: no
torch, no headers of Python. Without a compiler the package works all the same, slower;
`gsp_unroll.show_backends()` tells.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: Set to anything, this variable of the environment leaves the kernels out of an installation.
SWITCH = "GSP_UNROLL_NO_KERNELS"

#: Instruction sets: bytes in a register, and the flags that allow them. One library each: within
#: one, the linker would keep a single copy of every shared template, perhaps the one that this
#: processor cannot run.
Flags = tuple[str, ...]
BASE: dict[str, tuple[int, Flags]] = {"base": (16, ())}
X86: dict[str, tuple[int, Flags]] = {
    "avx2": (32, ("-mavx2", "-mfma")),
    "avx512": (64, ("-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mfma")),
}

# -fno-math-errno: a square root may be a vector instruction. No -ffast-math: NaN must stay NaN, and
# a sum must keep its order.
FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-ffp-contract=fast",
    "-Wno-psabi",
    "-Wno-ignored-attributes",
)


class CannotCompile(Exception):
    """There is no compiler, or it failed; the message says what was tried."""


def instruction_sets() -> dict[str, tuple[int, Flags]]:
    """What to compile for on this machine's architecture."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return BASE | X86 if x86 else BASE


def platform_tag() -> str:
    """The platform part of a wheel's name."""
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


def library(name: str) -> Path:
    """Where the kernels for an instruction set are kept."""
    return HERE / f"native_{name}.so"


def find_compiler() -> str:
    """The C++ compiler: `$CXX`, or the first one on the path."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and shutil.which(name):
            return name
    raise CannotCompile("no C++ compiler: looked for $CXX, c++, g++ and clang++")


def compile_libraries() -> list[Path]:
    """Compiles `src/` into one shared library per instruction set; those that are newer than all
    of it are kept.

    Raises:
        CannotCompile: no compiler, one that fails, or the switch is set.
    """
    if os.environ.get(SWITCH):
        raise CannotCompile(f"{SWITCH} is set")
    old = [name for name in instruction_sets() if not _is_current(name)]
    if old:
        compiler, sources = find_compiler(), sorted((HERE / "src").glob("*.cpp"))
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
            scratch = Path(folder)
            openmp = _openmp_flags(compiler, scratch)

            def compile_one(name: str, source: Path) -> Path:
                width, flags = instruction_sets()[name]
                options = [*FLAGS, *openmp, *flags, f"-DGSP_BYTES={width}"]
                output = scratch / f"{source.stem}_{name}.o"
                _run([compiler, *options, "-c", source, "-o", output])
                return output

            # all files of all instruction sets at once, so that no core waits for the last set
            pairs = list(product(old, sources))
            objects = list(pool.map(compile_one, *zip(*pairs, strict=True)))
            for number, name in enumerate(old):
                own = objects[number * len(sources) : (number + 1) * len(sources)]
                _link(compiler, own, scratch / f"{name}.so", library(name))
    return [library(name) for name in instruction_sets()]


def _link(compiler: str, objects: Sequence[Path], fresh: Path, target: Path) -> None:
    # No -fopenmp here: the OpenMP functions are those that torch has already loaded, so that a
    # process never has two pools of threads.
    undefined = ("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ()
    _run([compiler, "-shared", *undefined, *objects, "-o", fresh])
    # a new file under the old name: a process that has the old one open keeps it
    beside = target.with_suffix(f".{os.getpid()}")
    shutil.copy(fresh, beside)
    os.replace(beside, target)


def _is_current(name: str) -> bool:
    sources = [Path(__file__), *(HERE / "src").iterdir()]
    built = library(name)
    newest = max(path.stat().st_mtime_ns for path in sources)
    return built.exists() and built.stat().st_mtime_ns > newest


def _openmp_flags(compiler: str, scratch: Path) -> tuple[str, ...]:
    """`-fopenmp` where the compiler knows it; without, the kernels run on one thread."""
    probe = scratch / "probe.cpp"
    probe.write_text("int main() { return 0; }\n")
    try:
        _run([compiler, "-fopenmp", "-c", probe, "-o", scratch / "probe.o"])
    except CannotCompile:
        return ()
    return ("-fopenmp",)


def _run(command: Sequence[object]) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotCompile(f"{' '.join(words)}\n{done.stderr.strip()}")


if __name__ == "__main__":
    for path in compile_libraries():
        print(path)
