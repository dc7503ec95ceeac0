"""How every benchmark measures, judges and records.

A script names its races and its targets and calls `main`. Each race is measured in one process,
its candidates taking turns round by round, so that whatever else the machine does hits all of them
alike. The process is started twice, because half the cost of edge-list code on Linux is page
faults, and a ratio against it means little unless it is known for both:

- *out of the box*: glibc as it is, which gives every big temporary back to the kernel;
- *fault-free*: glibc told to keep its memory.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import io
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "runs" / "benchmarks" / "results.jsonl"

#: The row that every ratio is taken against.
OURS = "gsp_unroll"
OUT_OF_THE_BOX = "out of the box"
FAULT_FREE = "fault-free"
#: What each way of handling memory adds to an environment without allocator settings.
MODES: dict[str, dict[str, str]] = {
    OUT_OF_THE_BOX: {},
    FAULT_FREE: {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**34),
        "MALLOC_TOP_PAD_": str(2**28),
    },
}
#: Settings of the allocator that a caller's environment must not smuggle in.
ALLOCATOR_SETTINGS = ("MALLOC_", "GLIBC_TUNABLES", "THP_MEM_ALLOC_ENABLE", "LD_PRELOAD")

#: A sample repeats a fast call until it has lasted about this long, in seconds.
SAMPLE = 2e-3
MOST_CALLS = 20
FEWEST_ROUNDS = 3


class Missing(Exception):
    """A candidate cannot run here; the message says why."""


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    threads: int = 1
    smoke: bool = False
    rounds: int = 15
    budget: float = 90.0

    def size(self, full: Any, smoke: Any) -> Any:
        """`full`, or `smoke` in a smoke run."""
        return smoke if self.smoke else full


@dataclass
class Candidate:
    """Something that can be timed.

    Args:
        run: one call of it.
        note: what a reader of the table should know, e.g. the accuracy it reaches.
        scale: how many calls make up the work that the race is about.
        view: brings the output of `run` into the form of the race's reference.
    """

    run: Callable[[], Any]
    note: str = ""
    scale: float = 1.0
    view: Callable[[Any], Sequence[Tensor]] | None = None


@dataclass
class Race:
    """Candidates for the same work.

    Args:
        entries: for each name, what builds the candidate. One of them is called `OURS`.
        tolerance: greatest difference of the outputs, relative to the largest value; None where
            the race is about accuracy and its notes say what was reached.
        reference: what outputs are compared with; by default that of `OURS`.
    """

    entries: Mapping[str, Callable[[], Candidate]]
    tolerance: float | None = None
    reference: Callable[[], Sequence[Tensor]] | None = None


@dataclass(frozen=True)
class Target:
    """`peer` takes at least `factor` times as long as ours in `race`; in one mode, or in both."""

    race: str
    peer: str
    factor: float
    mode: str | None = None


@dataclass(frozen=True)
class Ceiling:
    """A number that must not be exceeded, measured in a process of its own.

    Args:
        measure: returns the number.
        limit: the most it may be.
        unit: of the number.
        environment: added to that of the process.
    """

    measure: Callable[[Options], float]
    limit: float
    unit: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """What a script is there to show."""

    what: str
    build: Callable[[Options], Mapping[str, Race]]
    targets: Sequence[Target] = ()
    ceilings: Mapping[str, Ceiling] = field(default_factory=dict)
    notes: Sequence[str] = ()
    rounds: int = 15


# ---- measuring ----------------------------------------------------------------------------------


def need(module: str, how: str = "") -> ModuleType:
    """The module, or `Missing` with the way to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = f"{module} cannot be imported ({error})"
        raise Missing(f"{reason}; {how}" if how else reason) from error


def clock(run: Callable[[], Any], calls: int = 1) -> tuple[float, float]:
    """CPU seconds (all threads) and wall seconds of one call, as the mean of `calls`."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        run()
    wall_now, cpu_now = time.perf_counter(), time.process_time()
    return (cpu_now - cpu) / calls, (wall_now - wall) / calls


def race(candidates: Mapping[str, Candidate], options: Options) -> dict[str, dict[str, Any]]:
    """Median CPU and wall milliseconds of every candidate, taking turns round by round.

    The order rotates, so that nobody always runs in the cache that the same other left behind.
    """
    calls = {}
    for name, candidate in candidates.items():
        first = clock(candidate.run)[1]  # plans, compiles, touches its memory
        warm = first if first > 1 else clock(candidate.run)[1]
        calls[name] = max(1, min(MOST_CALLS, math.ceil(SAMPLE / max(warm, 1e-9))))
    torch.set_num_threads(options.threads)  # a compiler's start-up may have changed it

    names = list(candidates)
    cpu: dict[str, list[float]] = {name: [] for name in names}
    wall: dict[str, list[float]] = {name: [] for name in names}
    began = time.perf_counter()
    gc.collect()
    gc.freeze()  # what exists stays: a collection then looks at a round's garbage only
    gc.disable()
    for done in range(options.rounds):
        turn = done % len(names)
        for name in names[turn:] + names[:turn]:
            spent = clock(candidates[name].run, calls[name])
            cpu[name].append(spent[0])
            wall[name].append(spent[1])
        gc.collect()
        if done + 1 >= FEWEST_ROUNDS and time.perf_counter() - began > options.budget:
            break
    gc.enable()
    gc.unfreeze()

    rows: dict[str, dict[str, Any]] = {}
    for name, candidate in candidates.items():
        rows[name] = {
            "cpu_ms": 1e3 * candidate.scale * median(cpu[name]),
            "wall_ms": 1e3 * candidate.scale * median(wall[name]),
            "rounds": len(cpu[name]),
            "calls": calls[name],
            "scale": candidate.scale,
            "note": candidate.note,
        }
    return rows


def measure(field_of: Race, options: Options) -> dict[str, Any]:
    """Build what can be built, check that all do the same work, and let them race."""
    candidates, skipped = {}, {}
    for name, make in field_of.entries.items():
        try:
            candidates[name] = make()
            _check(name, candidates[name], candidates[OURS], field_of)
        except Missing as reason:
            candidates.pop(name, None)
            skipped[name] = str(reason)
    return {"rows": race(candidates, options), "skipped": skipped}


def _check(name: str, candidate: Candidate, ours: Candidate, field_of: Race) -> None:
    """Stop unless the output is the reference's: a fast wrong answer is no result."""
    if field_of.tolerance is None:
        return
    output = _output(candidate)
    reference = _output(ours) if field_of.reference is None else field_of.reference()
    for part, (value, expected) in enumerate(zip(output, reference, strict=True)):
        difference = float((value - expected).abs().max() / expected.abs().max())
        if not difference <= field_of.tolerance:
            raise SystemExit(
                f"{name}: output {part} differs from the reference by {difference:.1e}, "
                f"more than {field_of.tolerance:.0e}"
            )


def _output(candidate: Candidate) -> list[Tensor]:
    output = candidate.run()
    if candidate.view is not None:
        output = candidate.view(output)
    parts = [output] if isinstance(output, Tensor) else list(output)
    return [part.detach().clone() for part in parts]  # a later run may reuse the memory


# ---- accuracy -----------------------------------------------------------------------------------


def loosest(
    settings: Iterable[Any], run: Callable[[Any], Any], error: Callable[[Any], float], goal: float
) -> tuple[Any, float]:
    """The first setting, from loose to tight, whose result is within `goal`, and its error."""
    reached = math.inf
    for setting in settings:
        reached = error(run(setting))
        if reached <= goal:
            return setting, reached
    raise Missing(f"reaches an error of {reached:.1e} only, not {goal:.0e}")


def fewest_steps(
    run: Callable[[int], Any], error: Callable[[Any], float], goal: float, most: int = 20000
) -> tuple[int, float]:
    """The fewest steps within `goal`, by doubling and bisection, and the error there."""
    low, high = 0, 4
    while (reached := error(run(high))) > goal:
        low, high = high, 2 * high
        if high > most:
            raise Missing(f"an error of {reached:.1e} after {low} steps, not {goal:.0e}")
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        there = error(run(middle))
        if there <= goal:
            high, reached = middle, there
        else:
            low = middle
    return high, reached


# ---- the command --------------------------------------------------------------------------------


def main(script: str, claim: Claim) -> None:
    """Measure, print the tables and the verdict, append the record."""
    arguments, options = _parse(claim)
    if arguments.child is not None:
        _be_child(arguments, claim, options)
        return

    print(f"## {claim.what}\n\n{_machine_line(options)}")
    if options.smoke:
        print("\nA smoke run: sizes are too small for its figures to mean anything.")
    for note in claim.notes:
        print(f"\n{note}")
    load = os.getloadavg()
    results = {mode: _in_child(script, arguments, mode, extra) for mode, extra in MODES.items()}
    ceilings = {
        name: _in_child(script, arguments, f"ceiling:{name}", ceiling.environment)
        for name, ceiling in claim.ceilings.items()
    }
    for mode, result in results.items():
        for title, outcome in result["races"].items():
            print(f"\n### {title}, {mode}\n\n{table(outcome['rows'])}")
            for name, reason in outcome["skipped"].items():
                print(f"\nskipped: {name}: {reason}")
    verdicts = [judge(target, claim, results, options) for target in claim.targets]
    verdicts += [
        judge_ceiling(name, ceiling, ceilings[name], claim, options)
        for name, ceiling in claim.ceilings.items()
    ]
    print()
    for verdict in verdicts:
        print(verdict["line"])
    record = {
        "script": Path(script).name,
        "claim": claim.what,
        "smoke": options.smoke,
        "machine": {**describe_machine(options), "load_before": load},
        "modes": results,
        "ceilings": ceilings,
        "verdicts": verdicts,
    }
    append(arguments.out, record)


def _parse(claim: Claim) -> tuple[argparse.Namespace, Options]:
    parser = argparse.ArgumentParser(description=claim.what)
    add_common_arguments(parser, claim.rounds)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--child-result", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    return arguments, options_of(arguments)


def add_common_arguments(parser: argparse.ArgumentParser, rounds: int = 15) -> None:
    """The options that every benchmark takes."""
    parser.add_argument("--threads", type=int, default=1, help="threads of every candidate")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds of each race")
    parser.add_argument("--budget", type=float, default=90.0, help="seconds for each race")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file that a line is added to")


def options_of(arguments: argparse.Namespace) -> Options:
    """The options as the scripts read them; a smoke run takes two rounds."""
    rounds = min(arguments.rounds, 2) if arguments.smoke else arguments.rounds
    return Options(arguments.threads, arguments.smoke, rounds, arguments.budget)


def _in_child(
    script: str, arguments: argparse.Namespace, mode: str, extra: Mapping[str, str]
) -> dict[str, Any]:
    """What a child process finds out under the environment of `mode`."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [
            sys.executable,
            script,
            *["--threads", str(arguments.threads)],
            *["--rounds", str(arguments.rounds)],
            *["--budget", str(arguments.budget)],
            *(["--smoke"] if arguments.smoke else []),
            *["--child", mode, "--child-result", str(result)],
        ]
        subprocess.run(command, env=environment(arguments.threads, extra), check=True)
        outcome: dict[str, Any] = json.loads(result.read_text())
        return outcome


def environment(threads: int, extra: Mapping[str, str]) -> dict[str, str]:
    """The present environment without allocator settings, with one number of threads for all."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ALLOCATOR_SETTINGS)}
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {**kept, **dict.fromkeys(names, str(threads)), **extra}


def _be_child(arguments: argparse.Namespace, claim: Claim, options: Options) -> None:
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    result: dict[str, Any]
    if arguments.child.startswith("ceiling:"):
        name = arguments.child.removeprefix("ceiling:")
        try:
            result = {"value": claim.ceilings[name].measure(options), "skipped": None}
        except Missing as reason:
            result = {"value": None, "skipped": str(reason)}
    else:
        races = claim.build(options)
        result = {"races": {title: measure(each, options) for title, each in races.items()}}
        result["backend"] = backend()
    arguments.child_result.write_text(json.dumps(result))


# ---- what is printed and kept -------------------------------------------------------------------


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The rows as a Markdown table, fastest first."""
    ours = rows[OURS]
    lines = [
        "| candidate | CPU ms | wall ms | CPU / ours | wall / ours | rounds | note |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, row in sorted(rows.items(), key=lambda item: item[1]["cpu_ms"]):
        cpu, wall = row["cpu_ms"] / ours["cpu_ms"], row["wall_ms"] / ours["wall_ms"]
        lines.append(
            f"| {name} | {row['cpu_ms']:.3g} | {row['wall_ms']:.3g} | {cpu:.2f} | {wall:.2f} "
            f"| {row['rounds']} | {row['note']} |"
        )
    return "\n".join(lines)


def judge(
    target: Target, claim: Claim, results: Mapping[str, Any], options: Options
) -> dict[str, Any]:
    """Is the ratio there? In every mode asked for; the lowest one counts.

    One thread is judged by CPU time, which other processes hardly disturb; several by wall time,
    since their CPU times add up.
    """
    key = "cpu_ms" if options.threads == 1 else "wall_ms"
    modes = [target.mode] if target.mode else list(MODES)
    ratios, reason = {}, ""
    for mode in modes:
        outcome = results[mode]["races"][target.race]
        if target.peer in outcome["skipped"]:
            reason = outcome["skipped"][target.peer]
            continue
        rows = outcome["rows"]
        ratios[mode] = rows[target.peer][key] / rows[OURS][key]
    measured = min(ratios.values()) if len(ratios) == len(modes) else None
    met = None if measured is None else measured >= target.factor
    word = {True: "met", False: "missed", None: f"not measured: {reason}"}[met]
    if options.smoke and met is not None:
        met, word = None, "not judged: smoke sizes"
    figures = ", ".join(f"{ratio:.3g}x {mode}" for mode, ratio in ratios.items()) or "nothing"
    line = (
        f"claim: {claim.what}, {target.race}, against {target.peer} "
        f"target: {target.factor:g}x {' and '.join(modes)} measured: {figures} ({word})"
    )
    return {**vars(target), "measured": measured, "met": met, "line": line}


def judge_ceiling(
    name: str, ceiling: Ceiling, result: Mapping[str, Any], claim: Claim, options: Options
) -> dict[str, Any]:
    """Is the number below its limit?"""
    value, met = result["value"], None
    measured = "nothing" if value is None else f"{value:.3g} {ceiling.unit}"
    word = f"not measured: {result['skipped']}" if value is None else "not judged: smoke sizes"
    if value is not None and not options.smoke:
        met = value <= ceiling.limit
        word = "met" if met else "missed"
    line = (
        f"claim: {claim.what}, {name} target: {ceiling.limit:g} {ceiling.unit} at most "
        f"measured: {measured} ({word})"
    )
    return {"ceiling": name, "limit": ceiling.limit, "measured": value, "met": met, "line": line}


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add a record to the file of results, as one line."""
    stamped = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **record}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(stamped) + "\n")
    print(f"\nadded a line to {path}")


def describe_machine(options: Options) -> dict[str, Any]:
    """Everything about this machine that a ratio may depend on."""
    versions = {}
    for name in ("gsp_unroll", "torch", "torch_geometric", "scipy", "numpy"):
        try:
            versions[name] = importlib.import_module(name).__version__
        except ImportError:
            versions[name] = None
    return {
        "cpu": _cpu_model(),
        "logical_cpus": os.cpu_count(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "threads": options.threads,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "commit": _commit(),
    }


def backend() -> str | None:
    """What the package says about the code that it runs, where it says anything."""
    import gsp_unroll

    show = getattr(gsp_unroll, "show_backends", None)
    if show is None:
        return None
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            returned = show()
    except Exception as error:  # a broken description must not cost the measurement
        return f"show_backends failed: {error!r}"
    return printed.getvalue() + ("" if returned is None else str(returned))


def _machine_line(options: Options) -> str:
    return (
        f"{_cpu_model()}, {os.cpu_count()} logical CPUs, {options.threads} thread(s), "
        f"torch {torch.__version__}"
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown CPU"
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown CPU"


def _commit() -> str | None:
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
