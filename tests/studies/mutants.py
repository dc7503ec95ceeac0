r"""Do the tests notice a mistake? Small mistakes put into the mathematics, one at a time.

A mutant is the package with one operator, comparison, number or condition changed, as cosmic-ray
does. Places are drawn evenly over `graph operators problems solvers unroll learners`, then one of
the changes that the place allows. Annotations are left alone: nothing evaluates them. Every mutant
is met by the tests that run its line, the quickest first, until one fails.

    pip install cosmic-ray pytest-cov
    python -m pytest -q --cov=gsp_unroll --cov-context=test --junitxml=runs/mutants/tests.xml \
        gsp_unroll tests/laws tests/equivalence tests/errors
    python tests/studies/mutants.py --coverage .coverage --times runs/mutants/tests.xml \
        --out runs/mutants

The same command goes on with a sample that was interrupted. What survived stands in `mutants.jsonl`
with its difference.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from coverage import CoverageData
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = "graph", "operators", "problems", "solvers", "unroll", "learners"
#: Others are changes that nobody makes by mistake, such as a shift of floats: the first test that
#: runs the line meets a TypeError, and a high rate would mean little.
LIKELY = re.compile(
    r"core/(ReplaceBinaryOperator_("
    r"(Add|Sub|Mul|Div|FloorDiv|Pow)_(Add|Sub|Mul|Div)|BitOr_BitAnd|BitAnd_BitOr|BitAnd_BitXor)"
    r"|ReplaceComparisonOperator_((Eq|NotEq|Lt|LtE|Gt|GtE)_(Eq|NotEq|Lt|LtE|Gt|GtE)|Is_IsNot|IsNot_Is)"
    r"|ReplaceUnaryOperator_Delete|NumberReplacer|AddNot|Replace(Or|And)With|Replace(True|False)With"
    r"|ReplaceBreak|ReplaceContinue|ZeroIteration|RemoveDecorator|ExceptionReplacer)"
)
TAKEN_ALONG = "gsp_unroll", "tests", "conftest.py", "pyproject.toml", "examples", "README.md"


@dataclass(frozen=True)
class Mutation:
    """One change at one place of a module: the `occurrence`-th that the operator could make."""

    path: str
    line: int
    operator: str
    occurrence: int

    def is_code(self) -> bool:
        """False where the change is no Python, as that of the star alone in a signature."""
        try:
            ast.parse(self.difference()[0])
        except SyntaxError:
            return False
        return True

    def difference(self) -> tuple[str, str]:
        """The mutated source, and how it differs."""
        before = (ROOT / self.path).read_text(encoding="utf-8")
        after = str(mutate_code(before, get_operator(self.operator)(), self.occurrence))
        lines = difflib.unified_diff(
            before.splitlines(), after.splitlines(), self.path, self.path, lineterm="", n=2
        )
        return after, "\n".join(lines)


def mutations(path: Path) -> Iterator[Mutation]:
    """All that can be done to a module, outside of annotations."""
    source = path.read_text(encoding="utf-8")
    asides = list(annotations(source))
    nodes = list(ast_nodes(get_ast(source)))
    for name in filter(LIKELY.match, operator_names()):
        operator, occurrence = get_operator(name)(), 0
        for node in nodes:
            for start, stop in operator.mutation_positions(node):
                if not any(first <= start and stop <= last for first, last in asides):
                    yield Mutation(str(path.relative_to(ROOT)), start[0], name, occurrence)
                occurrence += 1


def annotations(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """From where to where each annotation goes."""
    for node in ast.walk(ast.parse(source)):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if part is not None:
                yield (part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)


def sample(count: int, seed: int, run: dict[tuple[str, int], set[str]]) -> list[Mutation]:
    """Places on lines that tests run, then one change at each."""
    places: dict[tuple[str, int], list[Mutation]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / "gsp_unroll" / package).rglob("*.py")):
            for mutation in mutations(path):
                if (mutation.path, mutation.line) in run:
                    places.setdefault((mutation.path, mutation.line), []).append(mutation)
    draw, chosen = random.Random(seed), []
    for place in draw.sample(sorted(places), len(places)):
        possible = [mutation for mutation in places[place] if mutation.is_code()]
        if possible:
            chosen.append(draw.choice(possible))
        if len(chosen) == count:
            break
    return chosen


def tests_of_lines(path: Path) -> dict[tuple[str, int], set[str]]:
    """Which tests run a line, by a coverage file with contexts."""
    data = CoverageData(str(path))
    data.read()
    run: dict[tuple[str, int], set[str]] = {}
    for file in data.measured_files():
        for line, contexts in data.contexts_by_lineno(file).items():
            tests = {context.partition("|")[0] for context in contexts if context}
            if tests:
                run[str(Path(file).resolve().relative_to(ROOT)), line] = tests
    return run


def seconds(path: Path) -> dict[str, float]:
    """How long each test took, by its name alone: enough to put the quick ones first."""
    cases = xml.etree.ElementTree.parse(path).iter("testcase")
    return {case.attrib["name"]: float(case.attrib["time"]) for case in cases}


def survives(mutation: Mutation, tests: list[str], limit: float, copy: Path) -> bool:
    """True if all these tests pass with the mutation in a copy of the project."""
    target = copy / mutation.path
    whole = target.read_text(encoding="utf-8")
    target.write_text(mutation.difference()[0], encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    collect = [*command, "--collect-only"]
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        done = subprocess.run(command, cwd=copy, env=environment, timeout=limit, **quiet)
    except subprocess.TimeoutExpired:
        return False  # a loop without an end is noticed
    finally:
        target.write_text(whole, encoding="utf-8")
    # any ending but 0 or 1 is of tests that did not run: a mutant that cannot be imported is
    # noticed, and tests that cannot be found are our own mistake
    if done.returncode > 1:
        found = subprocess.run(collect, cwd=copy, env=environment, check=False, **quiet)
        if found.returncode:
            raise SystemExit(f"not all of these tests are found without the mutant: {tests}")
    return done.returncode == 0


def main(options: argparse.Namespace) -> None:
    run, times = tests_of_lines(options.coverage), seconds(options.times)
    chosen = sample(options.count, options.seed, run)
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / "mutants.jsonl"
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    known = {tuple(one[key] for key in asdict(chosen[0])) for one in done}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in TAKEN_ALONG:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
        for mutation in tqdm(chosen, unit="mutant"):
            if tuple(asdict(mutation).values()) in known:
                continue
            tests = sorted(
                run[mutation.path, mutation.line],
                key=lambda test: times.get(test.rpartition("::")[2], 0.0),
            )[: options.tests]
            result = asdict(mutation) | {
                "survived": survives(mutation, tests, options.limit, copy),
                "tests": len(tests),
                "difference": mutation.difference()[1],
            }
            done.append(result)
            with log.open("a") as file:
                file.write(json.dumps(result) + "\n")
    alive = [one for one in done if one["survived"]]
    for one in alive:
        print(one["difference"], end="\n\n")
    print(f"{len(done) - len(alive)} of {len(done)} mutants killed")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--coverage", type=Path, required=True, help="file of coverage, with a context per test")
    add("--times", type=Path, required=True, help="report of the same run, by --junitxml")
    add("--out", type=Path, required=True, help="takes the log")
    add("--count", type=int, default=240, help="of mutants")
    add("--seed", type=int, default=0)
    add("--tests", type=int, default=400, help="the most that meet a mutant")
    add("--limit", type=float, default=300, help="seconds that they may take")
    main(parser.parse_args())
