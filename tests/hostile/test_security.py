"""No pickle, no code from data, no connection at import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "gsp_unroll"
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "examples").glob("*.py")])

#: Modules that execute what they read, or that connect.
MODULES = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal",
    "urllib", "requests", "http", "ftplib", "runpy", "builtins", "yaml",
}  # fmt: skip
#: Calls that execute what they are given. `.eval()` of a network is none.
BUILT_IN = {"eval", "exec", "compile", "__import__"}
CALLS = {
    "torch.load", "torch.save", "torch.hub", "torch.jit.load", "torch.serialization", "os.system",
    "os.popen", "pd.read_pickle", "pandas.read_pickle", "socket.create_connection", "socket.socket",
}  # fmt: skip


def dotted(node):
    return ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""


def dangers(tree):
    """What in a module could execute data or reach out, as `line: what`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        else:
            names = []
        yield from (f"{node.lineno}: {n}" for n in names if n.split(".")[0] in MODULES)
        if isinstance(node, ast.ImportFrom):  # the same calls by their bare names
            called = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (f"{node.lineno}: {name}" for name in called if name in CALLS)
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            bad = name in BUILT_IN or any(name.startswith(call) for call in CALLS)
            pickled = any(k.arg in ("allow_pickle", "shell") for k in node.keywords)
            if bad or pickled:
                yield f"{node.lineno}: {ast.unparse(node)[:80]}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled_or_executed(path):
    assert not list(dangers(ast.parse(path.read_text())))


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from urllib.request import urlopen", "eval('1')", "torch.load('a')",
        "np.load('a', allow_pickle=True)", "subprocess.run('a', shell=True)",
        "from torch import load", "from os import system", "import builtins", "pd.read_pickle('a')",
        "import yaml", "torch.serialization.load('a')", "socket.create_connection(('a', 1))",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(code):
    assert list(dangers(ast.parse(code)))


def test_no_module_connects_when_it_is_imported():
    """Every module of the package, in a process in which a socket cannot be made."""
    code = """
import importlib, importlib.util, pkgutil, socket
tried = []
def refused(*_, **__):
    tried.append("a connection at import")
    raise OSError(tried[0])
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
import gsp_unroll
count = 0
for module in pkgutil.walk_packages(gsp_unroll.__path__, "gsp_unroll."):
    name = module.name
    if name.endswith("__main__") or "triton_" in name:
        continue
    if not importlib.util.find_spec(name).origin.endswith(".py"):  # a compiled kernel
        continue
    try:
        importlib.import_module(name)
        count += 1
    except ImportError as error:  # an optional package that is not there
        assert "gsp_unroll" not in str(getattr(error, "name", "")), error
assert count > 100, count
assert not tried, tried
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr[-2000:]


# ---- files that are written -----------------------------------------------------------------

#: Where files are opened for writing, function by function: each was looked at. What is named
#: `beside` comes from `written_whole`; the others say here why they may do without.
WRITERS = {
    "evaluate/report.py:write_report",  # beside; and lines added to a file of its own, see there
    "evaluate/graphs.py:main",  # beside
    "train/log.py:cut_log",  # beside
    "train/log.py:append_to_log",  # a line more; one that was cut short is dropped when read
    "train/study.py:run_study",  # beside
    "train/loop.py:_draw_curve",  # beside
    "train/stopping.py:alone_in",  # a lock, empty
    "kernels/compile.py:_openmp_flags",  # a probe, in a temporary folder
    "photos.py:write_photo",  # beside
    "clouds/files.py:_write_text",  # beside, from write_cloud
    "_files.py:written_whole",
    "_safetensors.py:write_tensors",  # beside
}
WRITING = {"write_text", "write_bytes", "savetxt", "save_file", "imwrite", "savefig"}


def written(path):
    """The functions of a file that open something for writing."""
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if not isinstance(node, ast.Call):
                continue
            name = dotted(node.func).split(".")[-1] or getattr(node.func, "attr", "")
            modes = [a.value for a in node.args if isinstance(a, ast.Constant)]
            opened = name == "open" and any(
                isinstance(m, str) and len(m) < 4 and set(m) & set("wax+") for m in modes
            )
            image = name == "save" and bool(node.args)
            if name in WRITING or opened or image:
                yield f"{path.relative_to(PACKAGE).as_posix()}:{function.name}"


def test_every_writer_was_looked_at():
    found = {name for path in PACKAGE.rglob("*.py") for name in written(path)}
    assert found == WRITERS, "write through written_whole, and name the function here"
