"""The import graph is the one drawn in docs/explanation/architecture.md, and stays so.

Every import statement counts: at the top of a file, inside a function, under TYPE_CHECKING.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "gsp_unroll"

# package: the packages of ours that it may import. Files whose name starts with an underscore
# (`_checks`, `_typing`) and `kernels` lie below all of them.
MAY_IMPORT = {
    "kernels": set(),
    "graph": set(),
    "operators": {"graph"},
    "problems": {"graph", "operators"},
    "solvers": {"graph", "operators", "problems"},
    "unroll": {"graph", "operators", "problems", "solvers"},
    "learners": {"graph"},
    "features": {"graph"},
    "models": {"graph", "operators", "problems", "solvers", "unroll", "learners", "features"},
    "sensors": {"graph", "operators", "learners"},
    "clouds": {"graph", "operators", "problems", "solvers", "unroll", "learners", "features"},
    "pyg": {"graph", "operators", "problems", "solvers", "learners", "models"},
    "series": {"graph", "operators", "problems", "solvers", "unroll", "learners", "features"},
}
# What people run, large enough to be folders.
TOOLS = {"cli", "train", "evaluate", "restoration", "viz"}
# gsp_unroll/__init__.py is left out: the public names come from everywhere, resolved lazily.
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def place(path):
    """The first name below `gsp_unroll`: "graph" for graph/grid.py, "cli" for cli.py."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def is_foundation(name):
    return name.startswith("_") and name != "__main__"


def is_tool(name):
    """A file such as metrics.py, or a folder of TOOLS: it may import everything, and no package
    imports it."""
    return not is_foundation(name) and name not in MAY_IMPORT


def allowed(name):
    if is_foundation(name):
        return {other for other in map(place, FILES) if is_foundation(other)}
    if is_tool(name):
        return {place(path) for path in FILES} | {""}
    return MAY_IMPORT[name] | {name, "kernels"} | allowed("_")


def imported_modules(path):
    """(line, dotted name) of everything of ours that the file imports; relative names resolved."""
    package = ["gsp_unroll", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            # `from gsp_unroll import graph` names a package, not a value of gsp_unroll/__init__.py.
            names = [f"{module}.{a.name}" if module == "gsp_unroll" else module for a in node.names]
        else:
            continue
        yield from ((node.lineno, n) for n in names if n.split(".")[0] == "gsp_unroll")


def place_of_module(dotted):
    """Where a dotted name leads: "" means the public names in gsp_unroll/__init__.py."""
    first = [*dotted.split("."), ""][1]
    known = {place(path) for path in FILES}
    return first if first in known else ""


def test_every_package_has_a_place_in_the_diagram():
    packages = {path.name for path in PACKAGE.iterdir() if any(path.glob("*.py"))}
    assert packages <= {*MAY_IMPORT, *TOOLS}, "add the new package to the diagram and to MAY_IMPORT"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_diagram(path):
    may = allowed(place(path))
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {module}"
        for line, module in imported_modules(path)
        if place_of_module(module) not in may
    ]
    assert not wrong, "\n".join(wrong)


def lines_outside_docstrings(path):
    tree = ast.parse(path.read_text(), str(path))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    skip = set()
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            skip.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if number not in skip:
            yield number, line


# The storage classes as whole words: a model may well use a `GridCNN` from features/.
STORAGE = re.compile(r"\b(Grid|EdgeList)\b|edge_index|index_add|scatter")


@pytest.mark.parametrize("package", ["operators", "problems", "solvers", "unroll", "models"])
def test_only_graph_knows_how_edges_are_stored(package):
    found = [
        f"{path.relative_to(PACKAGE)}:{number}: {line.strip()}"
        for path in sorted((PACKAGE / package).rglob("*.py"))
        for number, line in lines_outside_docstrings(path)
        if STORAGE.search(line)
    ]
    assert not found, "\n".join(found)


def test_importing_the_package_does_not_import_torch():
    # `--help` must answer at once: torch and torch-geometric take seconds to import.
    code = "import gsp_unroll, sys; assert 'torch' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_every_public_name_resolves():
    code = "import gsp_unroll; [getattr(gsp_unroll, name) for name in gsp_unroll.__all__]"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
