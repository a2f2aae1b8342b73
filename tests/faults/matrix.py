"""The matrix of faults: run the tests of every row, and print the rows with pass or fail.

A test belongs to the row whose number its name carries: `test_row_09_...` shows row 9.

Run: python -m tests.faults.matrix [--rows 9,12] [--markdown FILE] [--list] [pytest's options]
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROWS = {
    1: "pickle gadget in a checkpoint",
    2: "legacy tar, bad zip flags or CRC, renamed extension",
    3: "zip bomb, header of 100,000 tensors",
    4: "`../`, symlink, hard link in a shard index",
    5: "truncated checkpoint",
    6: "loader segfaults or hangs",
    7: "prefixes of wrappers, nested `state_dict`, averaged and raw weights together",
    8: "missing, extra, wrong-shape keys",
    9: "SIGKILL at any instant",
    10: "SIGTERM, Ctrl-C",
    11: "disk full, I/O error, read-only folder",
    12: "power loss",
    13: "store entry damaged, or valid but under another key",
    14: "many processes, one key; file locks that do nothing",
    15: "old schema or version",
    16: "out of memory on the device",
    17: "host kills the worker for memory",
    18: "an error that is not memory",
    19: "NaN or infinite weights or activations",
    20: "dead, constant, tied maps",
    21: "1×1, 1×N, non-square maps; no convolution; tokens; channels last",
    22: "int8, complex, bfloat16, compiled, DataParallel modules",
    23: "model left in train mode; dropout; BatchNorm statistics",
    24: "in-place ReLU after the hooked module",
    25: "hooks after an exception",
    26: "wrong input size, dynamic shapes",
    27: "corrupt, truncated, bomb, CMYK, 16-bit, alpha, EXIF-rotated images",
    28: "empty class folder, missing folder, one-image class, class count ≠ head",
    29: "training images found in the held-out set",
    30: "constant target, fewer than three models, all-tied measure",
    31: "a plugin fails to import; an unnamed plugin",
    32: "held-out table with unknown, duplicate or missing checkpoints",
    33: "unicode, spaces, 255-byte names",
    34: "cluster node lost, task run twice",
}
_ROW = re.compile(r"::test_row_(\d\d)_")


@dataclasses.dataclass
class Found:
    """What the tests of one row came to."""

    passed: int = 0
    failed: list[str] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)

    @property
    def status(self) -> str:
        """One word; a row without a test fails."""
        if self.failed:
            return "fail"
        if self.passed:
            return "pass"
        return "skipped" if self.skipped else "no test"

    @property
    def about(self) -> str:
        """How many tests, and what failed or why something was skipped."""
        words = [f"{self.passed} passed"]
        words += [f"{len(self.failed)} failed: {', '.join(self.failed[:3])}"] if self.failed else []
        reasons = "; ".join(dict.fromkeys(self.skipped))
        words += [f"{len(self.skipped)} skipped: {reasons}"] if self.skipped else []
        return ", ".join(words)


class Collector:
    """A plugin of pytest that notes outcomes by row."""

    def __init__(self) -> None:
        self.rows: defaultdict[int, Found] = defaultdict(Found)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what became of a test."""
        match = _ROW.search(report.nodeid)
        if match is None:
            return
        row = self.rows[int(match[1])]
        if report.failed:
            row.failed.append(report.nodeid.rpartition("::")[2])
        elif report.skipped:
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            row.skipped.append(str(why).removeprefix("Skipped: "))
        elif report.when == "call":
            row.passed += 1


def files() -> list[Path]:
    """Every file with a test of a row; some that need a cluster lie elsewhere."""
    found = sorted(TESTS.rglob("test_*.py"))
    return [path for path in found if "def test_row_" in path.read_text("utf-8")]


def tests_of(rows: Iterable[int]) -> dict[int, list[str]]:
    """Row → the names of its tests, read off the files."""
    found: dict[int, list[str]] = {row: [] for row in rows}
    for path in files():
        for number, name in re.findall(
            r"^def test_row_(\d\d)_(\w+)", path.read_text("utf-8"), re.M
        ):
            if int(number) in found:
                found[int(number)].append(f"{path.name}: {name.replace('_', ' ')}")
    return found


def markdown(found: Mapping[int, Found], rows: Iterable[int]) -> str:
    """The matrix as a table."""
    lines = ["| # | fault | | tests |", "|---|---|---|---|"]
    for row in rows:
        outcome = found.get(row, Found())
        lines.append(f"| {row} | {ROWS[row]} | {outcome.status} | {outcome.about} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the tests and print the matrix; 1 if a row fails or has no test."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", default="", help="numbers, such as 9,12; all by default")
    parser.add_argument("--markdown", type=Path, help="write the matrix to this file")
    parser.add_argument("--list", action="store_true", help="show the tests, and run none")
    given, options = parser.parse_known_args()
    rows = [int(row) for row in given.rows.split(",") if row] or list(ROWS)
    if given.list:
        for row, names in tests_of(rows).items():
            print(f"{row:>2}  {ROWS[row]}: {len(names)} tests")  # noqa: T201
            for name in names:
                print(f"      {name}")  # noqa: T201
        return 0
    collector = Collector()
    chosen = " or ".join(f"test_row_{row:02d}_" for row in rows)
    pytest.main([*map(str, files()), "-q", "-k", chosen, *options], plugins=[collector])
    table = markdown(collector.rows, rows)
    if given.markdown:
        given.markdown.write_text(table, "utf-8")
    print(table)  # noqa: T201
    return int(any(collector.rows[row].status not in ("pass", "skipped") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
