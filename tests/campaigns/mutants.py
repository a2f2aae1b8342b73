"""Do the tests notice when the program is changed? One small change at a time, as mutation testing.

A mutant is a process of its own, made from one that has the libraries imported. It imports a copy
of the program with one change (`tests.campaigns.changes`); it is killed when a test of its area
fails, and survives when all pass. The tests that execute the changed line, as coverage saw them on
the program as it is, are run first; all others of the area only if these pass. Kernels that are
compiled are left out: what was compiled of the sound ones would be run.

Run: python -m tests.campaigns.mutants --count 400 [--only loading] [--json]
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.campaigns.changes import mutated, n_changes
from tests.campaigns.report import Report, command

ROOT = Path(__file__).parents[2]
PRELOAD = ("numpy", "pandas", "torch", "torchvision", "timm", "numba", "safetensors.torch")
PRELOAD += ("scipy.stats", "sklearn.datasets", "gudhi", "hypothesis.strategies", "pytest")
#: How long the tests of an area may take on a program without a change.
_PATIENCE_SECONDS = 1800.0
#: How many of the tests that execute a line are run before all others.
_N_FIRST = 60


@dataclasses.dataclass(frozen=True)
class Area:
    """Files that are changed, and the tests that must notice."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]

    def paths(self) -> list[Path]:
        """The files."""
        return sorted(path for pattern in self.sources for path in ROOT.glob(pattern))


AREAS = {
    "loading": Area(
        ("audit/network/weights/*.py", "audit/network/fitting.py"),
        (
            *("tests/unit/test_network_weights.py", "tests/unit/test_weights_choice.py"),
            *("tests/unit/test_weights_refusals.py", "tests/unit/test_weights_shards.py"),
            *("tests/unit/test_weights_answer.py", "tests/unit/test_weights_cage.py"),
            *("tests/unit/test_weights_zip.py", "tests/unit/test_weights_server.py"),
            *("tests/unit/test_weights_limits.py", "tests/unit/test_weights_folders.py"),
            *("tests/unit/test_weights_door.py", "tests/faults/test_pickles_trusted.py"),
            "tests/unit/test_fitting_names.py",
            *("tests/faults/test_weights_odd.py", "tests/faults/test_loading_archives.py"),
            *("tests/unit/test_remote_weights.py", "tests/faults/test_loading_confined.py"),
            "tests/faults/test_loading_hostile.py",
        ),
    ),
    "store": Area(
        ("audit/store/*.py", "audit/files.py"),
        (
            *("tests/unit/test_store.py", "tests/faults/test_store_power.py"),
            *("tests/unit/test_files.py", "tests/unit/test_store_tiers.py"),
            "tests/unit/test_cli_cache.py",
            *("tests/property/test_store_property.py", "tests/faults/test_store_faults.py"),
            *("tests/unit/test_store_bucket.py", "tests/faults/test_store_old.py"),
            *("tests/faults/test_files_without_end.py", "tests/faults/test_files_left_over.py"),
            "tests/faults/test_bucket_faults.py",
        ),
    ),
    "entropy": Area(
        (
            *("audit/topology/entropy.py", "audit/topology/_estimators.py"),
            *("audit/topology/units.py", "audit/topology/_levels.py"),
        ),
        (
            *("tests/unit/test_topology_entropy.py", "tests/unit/test_topology_estimators.py"),
            *("tests/property/test_entropy_properties.py", "tests/unit/test_topology_units.py"),
        ),
    ),
    "topology": Area(
        (
            *("audit/topology/births.py", "audit/topology/cycles.py", "audit/topology/diagrams.py"),
            *("audit/topology/_reference.py", "audit/topology/_clique.py"),
            *("audit/topology/_cubical.py", "audit/topology/_inputs.py"),
            "audit/topology/_tensor_ops.py",
        ),
        (
            *("tests/unit/test_topology_births.py", "tests/unit/test_topology_inputs.py"),
            *("tests/unit/test_topology_backends.py", "tests/unit/test_topology_cycles.py"),
            *("tests/property/test_topology_properties.py", "tests/unit/test_topology_diagrams.py"),
        ),
    ),
}


class Observed:
    """Which tests execute which lines of an area, and how long each takes."""

    def __init__(self, path: Path) -> None:
        found = json.loads(path.read_text("utf-8"))
        self._seconds: dict[str, float] = found["seconds"]
        self._lines: dict[str, dict[str, list[str]]] = found["lines"]

    def tests(self, path: Path, lines: range) -> list[str]:
        """The tests that execute one of these lines of a file, one of each function first."""
        of_file = self._lines.get(str(path.relative_to(ROOT)), {})
        tests = {test for line in lines for test in of_file.get(str(line), [])}
        functions: dict[str, list[str]] = defaultdict(list)
        for test in sorted(tests, key=lambda test: self._seconds.get(test, 0.0)):
            functions[test.partition("[")[0]].append(test)
        first = [cases[0] for cases in functions.values()]
        rest = [test for cases in functions.values() for test in cases[1:]]
        return (first + rest)[:_N_FIRST]

    def seconds(self, tests: Sequence[str]) -> float:
        """How long these tests took."""
        return sum(self._seconds.get(test, 0.0) for test in tests)


@contextlib.contextmanager
def changed(place: Path, path: Path, number: int) -> Iterator[None]:
    """Change one file in a copy of the program, for a while."""

    file = place / path.relative_to(ROOT)
    file.write_text(ast.unparse(mutated(path, number).tree), "utf-8")
    try:
        yield
    finally:
        shutil.copy2(path, file)


def attempt(place: str, tests: Sequence[str], notes: str | None = None) -> None:
    """Run tests on a copy of the program; the exit code says what came.

    Args:
        place: The folder of the copy.
        tests: Files of tests, or single tests.
        notes: Where to write which test executes which lines, as JSON.
    """
    import torch

    os.chdir(ROOT)
    sys.path[:0] = [place, str(ROOT), str(ROOT / "plugins")]
    # processes that a test starts run the copy as well
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:3])
    os.environ["HYPOTHESIS_PROFILE"] = "default"
    torch.set_num_threads(1)
    importlib.import_module("audit")  # before pytest puts the sound one first
    os._exit(_tested(tests, notes and _Observer(place, notes)))


def _tested(tests: Sequence[str], observer: object) -> int:
    """How pytest ends."""
    import pytest

    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    given = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
    given += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main(given, plugins=[observer] if observer else None))


class _Observer:
    """A plugin of pytest that notes which test executes which lines, and for how long it runs."""

    def __init__(self, place: str, notes: str) -> None:
        import coverage

        self._place, self._notes = Path(place), Path(notes)
        self._seconds: dict[str, float] = defaultdict(float)
        self._coverage = coverage.Coverage(
            data_file=None, config_file=False, source=[str(self._place / "audit")], messages=False
        )
        self._coverage.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """From now on, lines are those of a test."""
        self._coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A part of a test has ended: its setting up, itself or what it cleans up."""
        self._seconds[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Write what was seen."""
        self._coverage.stop()
        data, lines = self._coverage.get_data(), {}
        for file in data.measured_files():
            name = str(Path(file).relative_to(self._place))
            lines[name] = {
                line: [test for test in tests if test]
                for line, tests in data.contexts_by_lineno(file).items()
            }
        found = {"seconds": self._seconds, "lines": lines}
        self._notes.write_text(json.dumps(found), "utf-8")


class Laboratory:
    """A copy of the program, and the processes that run tests on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.place = folder / "program"
        # one copy for all, where what is compiled of the other files is kept between mutants
        shutil.copytree(ROOT / "audit", self.place / "audit")
        # numba is imported before the tests could ask for its simulator
        os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOAD))

    def tested(self, tests: Sequence[str], seconds: float, notes: Path | None = None) -> str:
        """What came of these tests in so many seconds: "killed", "survived" or "timeout"."""
        given = (str(self.place), tests, notes and str(notes))
        process = self._context.Process(target=attempt, args=given)
        process.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
            return "timeout"
        return "survived" if process.exitcode == 0 else "killed"

    def observed(self, area: Area) -> Observed | None:
        """Which tests of an area execute which lines; None where the tests fail as it is."""
        notes = self._folder / "notes.json"
        if self.tested(area.tests, _PATIENCE_SECONDS, notes) != "survived":
            return None
        return Observed(notes)

    def outcome(self, path: Path, number: int, area: Area, seen: Observed, seconds: float) -> str:
        """What became of a mutant: "killed", "survived" or "timeout"."""
        first = seen.tests(path, mutated(path, number).lines)
        with changed(self.place, path, number):
            became = "survived"
            if first:
                became = self.tested(first, 60 + 3 * seen.seconds(first))
            return self.tested(area.tests, seconds) if became == "survived" else became


def run(count: int, seed: int, only: str | None = None) -> Report:
    """So many mutants, shared out equally among the areas."""
    report = Report()
    areas = {name: area for name, area in AREAS.items() if only in (None, name)}
    with tempfile.TemporaryDirectory() as folder:
        laboratory = Laboratory(Path(folder))
        for name in areas:
            _try(report, laboratory, name, max(1, count // len(areas)), seed)
    for name in areas:
        tried = sum(report.counts[f"{name}: {word}"] for word in ("killed", "timeout", "survived"))
        if tried:
            killed = tried - report.counts[f"{name}: survived"]
            report.count(f"{name}: percent killed", round(100 * killed / tried))
    return report


def _try(report: Report, laboratory: Laboratory, name: str, count: int, seed: int) -> None:
    """So many mutants of an area."""
    area = AREAS[name]
    seen = laboratory.observed(area)
    if seen is None:
        report.fail(f"{name}: the tests fail without a change")
        return
    started = time.monotonic()
    laboratory.tested(area.tests, _PATIENCE_SECONDS)
    seconds = 60 + 3 * (time.monotonic() - started)
    every = [(path, number) for path in area.paths() for number in range(n_changes(path))]
    report.count(f"{name}: mutants there are", len(every))
    for path, number in random.Random(seed).sample(every, min(len(every), count)):
        started = time.monotonic()
        became = laboratory.outcome(path, number, area, seen, seconds)
        report.count(f"{name}: {became}")
        where = f"{path.relative_to(ROOT)}, {mutated(path, number).words}"
        said = f"{became} after {time.monotonic() - started:.0f} s: {where}"
        print(said, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    command(run, 400, tuple(AREAS))
