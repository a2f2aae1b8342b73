"""Do the tests notice when the program is changed? One small change at a time, as mutation testing.

Changes are made to the syntax tree: comparisons, `and` and `or`, arithmetic, numbers, truth values
and conditions turned round, what is returned or called left out. A mutant is a process of its own,
made from one that has the libraries imported, which imports a copy of the program with the change;
it is killed when a test of its area fails, and survives when all pass. Kernels that are
compiled are left out: what was compiled of the sound ones would be run.

Run: python -m tests.campaigns.mutants --count 400 [--json]
"""

from __future__ import annotations

import ast
import contextlib
import copy
import dataclasses
import importlib
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.campaigns.report import Report, command

ROOT = Path(__file__).parents[2]
PRELOAD = ("numpy", "pandas", "torch", "torchvision", "timm", "numba", "safetensors.torch")
PRELOAD += ("scipy.stats", "sklearn.datasets", "gudhi", "hypothesis.strategies", "pytest")
#: How long the tests of an area may take on a program without a change.
_PATIENCE_SECONDS = 1800.0


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
            *("tests/property/test_store_property.py", "tests/faults/test_store_faults.py"),
            *("tests/unit/test_store_bucket.py", "tests/faults/test_store_old.py"),
            *("tests/faults/test_files_without_end.py", "tests/faults/test_files_left_over.py"),
            "tests/faults/test_bucket_faults.py",
        ),
    ),
    "entropy": Area(
        ("audit/topology/entropy.py", "audit/topology/_estimators.py", "audit/topology/units.py"),
        (
            *("tests/unit/test_topology_entropy.py", "tests/unit/test_topology_estimators.py"),
            *("tests/property/test_entropy_properties.py", "tests/unit/test_topology_units.py"),
        ),
    ),
    "topology": Area(
        ("audit/topology/births.py", "audit/topology/_reference.py", "audit/topology/cycles.py"),
        (
            *("tests/unit/test_topology_births.py", "tests/unit/test_topology_inputs.py"),
            *("tests/unit/test_topology_backends.py", "tests/unit/test_topology_cycles.py"),
            "tests/property/test_topology_properties.py",
        ),
    ),
}

_COMPARED = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_COMPUTED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Mod: ast.Mult,
    ast.RShift: ast.LShift,
}


def changes_of(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Every change of one node: in words, and the node that takes its place."""
    new: Any = copy.deepcopy(node)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARED:
        new.ops[0] = _COMPARED[type(node.ops[0])]()
        yield "another comparison", new
    elif isinstance(node, ast.BoolOp):
        new.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        yield "`and` for `or`, or the other way", new
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "no `not`", new.operand
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _COMPUTED:
        new.op = _COMPUTED[type(node.op)]()
        yield "another operation", new
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "the other truth value", ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield "one more", ast.Constant(node.value + 1)
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        new.test = ast.UnaryOp(ast.Not(), new.test)
        yield "the other condition", new
    elif isinstance(node, ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield "nothing returned", ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "a call left out", ast.Pass()
    elif isinstance(node, ast.Raise):
        yield "nothing raised", ast.Pass()


class _Sites(ast.NodeTransformer):
    """Counts the changes of a tree, and makes the one of a number."""

    def __init__(self, wanted: int | None) -> None:
        self.wanted, self.seen, self.about = wanted, 0, ""

    def visit(self, node: ast.AST) -> Any:
        """Go through all but annotations, names of types and blocks for type checkers."""
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return node
        for words, new in changes_of(node):
            if self.seen == self.wanted:
                self.about = f"line {getattr(node, 'lineno', 0)}: {words}"
                self.seen += 1
                return ast.copy_location(new, node)
            self.seen += 1
        return self.generic_visit(node)

    def visit_arguments(self, node: ast.arguments) -> Any:
        """Defaults alone."""
        node.defaults = [self.visit(default) for default in node.defaults]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        """The value alone."""
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        """All but what is returned, as a type."""
        returns, node.returns = node.returns, None
        node.args = self.visit_arguments(node.args)
        node.body = [self.visit(part) for part in node.body]
        node.returns = returns
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> Any:
        """Messages stay as they are."""
        return node


def n_changes(path: Path) -> int:
    """How many mutants a file has."""
    sites = _Sites(None)
    sites.visit(ast.parse(path.read_text("utf-8")))
    return sites.seen


def mutated(path: Path, number: int) -> tuple[ast.Module, str]:
    """A file's tree with one change, and the change in words."""
    sites = _Sites(number)
    tree = sites.visit(ast.parse(path.read_text("utf-8")))
    return ast.fix_missing_locations(tree), sites.about


@contextlib.contextmanager
def changed(place: Path, path: Path, number: int | None) -> Iterator[None]:
    """Change one file in a copy of the program, for a while."""
    file = place / path.relative_to(ROOT)
    if number is not None:
        file.write_text(ast.unparse(mutated(path, number)[0]), "utf-8")
    try:
        yield
    finally:
        if number is not None:
            shutil.copy2(path, file)


def attempt(place: str, tests: tuple[str, ...]) -> None:
    """Run the tests of an area on a copy of the program; the exit code says what came."""
    import torch

    os.chdir(ROOT)
    sys.path[:0] = [place, str(ROOT), str(ROOT / "plugins")]
    # processes that a test starts run the copy as well
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:3])
    os.environ["HYPOTHESIS_PROFILE"] = "default"
    torch.set_num_threads(1)
    importlib.import_module("audit")  # before pytest puts the sound one first
    os._exit(_tested(tests))


def _tested(tests: tuple[str, ...]) -> int:
    """How pytest ends."""
    import pytest

    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    given = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
    given += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main(given))


def outcome(
    context: Any, place: Path, path: Path, number: int | None, area: Area, seconds: float
) -> str:
    """What became of a mutant in so many seconds: "killed", "survived" or "timeout"."""
    with changed(place, path, number):
        process = context.Process(target=attempt, args=(str(place), area.tests))
        process.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
            return "timeout"
    return "survived" if process.exitcode == 0 else "killed"


def run(count: int, seed: int) -> Report:
    """So many mutants, shared out equally among the areas."""
    report = Report()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    with tempfile.TemporaryDirectory() as folder:
        # one copy for all, where what is compiled of the other files is kept between mutants
        shutil.copytree(ROOT / "audit", Path(folder) / "audit")
        _try_all(report, context, Path(folder), count, seed)
    for name in AREAS:
        tried = sum(report.counts[f"{name}: {word}"] for word in ("killed", "timeout", "survived"))
        if tried:
            killed = tried - report.counts[f"{name}: survived"]
            report.count(f"{name}: percent killed", round(100 * killed / tried))
    return report


def _try_all(report: Report, context: Any, place: Path, count: int, seed: int) -> None:
    """So many mutants in a copy of the program."""
    rng = random.Random(seed)
    for name, area in AREAS.items():
        started = time.monotonic()
        if outcome(context, place, ROOT, None, area, _PATIENCE_SECONDS) != "survived":
            report.fail(f"{name}: the tests fail without a change")
            continue
        seconds = 60 + 3 * (time.monotonic() - started)
        every = [(path, number) for path in area.paths() for number in range(n_changes(path))]
        report.count(f"{name}: mutants there are", len(every))
        for path, number in rng.sample(every, min(len(every), max(1, count // len(AREAS)))):
            about = mutated(path, number)[1]
            started = time.monotonic()
            became = outcome(context, place, path, number, area, seconds)
            report.count(f"{name}: {became}")
            where = f"{path.relative_to(ROOT)}, {about}"
            said = f"{became} after {time.monotonic() - started:.0f} s: {where}"
            print(said, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    command(run, 400)
