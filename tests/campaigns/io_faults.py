"""Every call by which the store and `write_atomically` touch the disk fails, once or for ever.

The calls are not listed by hand: they are counted in a clean run of the same steps. Each in turn is
then refused with EIO, ENOSPC or EACCES, once or from there on, or it is the last thing that a
killed process does. Afterwards a reader sees old or new, never half; and the steps, done again,
come to what they come to without a fault.

With `--count` above the number of calls of these steps the rest falls on a whole audit.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from audit.errors import AuditError
from audit.files import write_atomically
from audit.store import Store
from tests.campaigns.disk import Disk, KilledError
from tests.campaigns.report import Report, command

CODES = (errno.EIO, errno.ENOSPC, errno.EACCES)
KINDS = (*itertools.product(("once", "for ever"), CODES), ("kill", 0))
OLD, NEW = {"key": "old"}, {"key": "new"}
BEFORE, AFTER = b"before\n" * 100, b"after\n" * 100


class Fault:
    """Refuses the call of a number, once or for ever, or ends the process there."""

    def __init__(self, number: int, kind: str, code: int) -> None:
        self.number, self.kind, self.code = number, kind, code
        self.seen = -1
        self.call = ""

    def __call__(self, name: str, path: str, content: bytes) -> None:
        self.seen += 1
        if self.seen < self.number or (self.seen > self.number and self.kind == "once"):
            return
        self.call = self.call or name
        if self.kind == "kill":
            raise KilledError
        raise OSError(self.code, os.strerror(self.code), path.partition("\0")[0])

    def __str__(self) -> str:
        what = self.kind if self.kind == "kill" else f"{errno.errorcode[self.code]} {self.kind}"
        return f"{what} at call {self.number} ({self.call})"


def prepare(root: Path) -> None:
    """What lies there before."""
    store = Store(root / "store")
    store.put(OLD, {"a": np.arange(5)}, {"value": "before"})
    store.note({"number": 0})
    write_atomically(root / "table.csv", BEFORE)


def steps(root: Path) -> Iterator[Callable[[], object]]:
    """One call of the store or of `write_atomically` after another."""
    store = Store(root / "store")
    yield lambda: store.has(OLD)
    yield lambda: store.get(OLD)
    yield lambda: store.put(OLD, {"a": np.arange(9)}, {"value": "after"})
    yield lambda: store.put(NEW, {"a": np.arange(3)}, {"value": "after"})
    yield lambda: store.having([OLD, NEW, {"key": "none"}])
    yield lambda: store.note({"number": 1})
    yield lambda: list(store.ledger())
    yield lambda: list(store.paths())
    yield lambda: store.verify()
    yield lambda: write_atomically(root / "table.csv", AFTER)
    yield lambda: write_atomically(root / "deep" / "er" / "table.csv", AFTER)


def do(root: Path, report: Report, fault: Fault | None = None) -> int:
    """Make the steps; the number of calls that were seen."""
    with Disk(root, fault) as disk, contextlib.suppress(KilledError):
        for step in steps(root):
            try:
                step()
            except AuditError:
                report.count("typed errors")
            except OSError as error:
                report.fail(f"{fault}: an untyped {type(error).__name__}: {error}")
    return len(disk.calls)


def problems(root: Path, *, final: bool) -> Iterator[str]:
    """What a reader must not see."""
    store = Store(root / "store")
    whole = {"before": np.arange(5), "after": np.arange(9)}
    for key, allowed in ((OLD, ("before", "after")), (NEW, (None, "after"))):
        entry = store.get(key)
        value = None if entry is None else entry.meta["value"]
        if value not in allowed or (final and value != "after"):
            yield f"{key} is {value}"
        elif (
            entry is not None and key is OLD and not np.array_equal(entry.arrays["a"], whole[value])
        ):
            yield f"{key} has the meta of one write and the arrays of another"
    if store.verify()[1] or (root / "store" / "quarantine").exists():
        yield "an entry is damaged"
    for path in (root / "table.csv", root / "deep" / "er" / "table.csv"):
        found = path.read_bytes() if path.exists() else None
        allowed_bytes = (BEFORE, AFTER) if path.parent == root else (None, AFTER)
        if found not in allowed_bytes or (final and found != AFTER):
            yield f"{path.name} is {len(found or b'')} bytes of neither content"
    numbers = [line["number"] for line in store.ledger()]
    if numbers[:1] != [0] or set(numbers) - {0, 1}:
        yield f"the ledger has {numbers}"


def faults(n_calls: int) -> Iterator[Fault]:
    """Every fault of every call."""
    for number in range(n_calls):
        for kind, code in KINDS:
            yield Fault(number, kind, code)


def chosen(every: list[Fault], count: int, seed: int) -> list[Fault]:
    """So many of them, drawn at random."""
    return random.Random(seed).sample(every, min(count, len(every)))


def on_the_store(count: int, seed: int, report: Report) -> None:
    """The steps, with faults."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        prepare(folder / "clean")
        n_calls = do(folder / "clean", report)
        report.count("calls of the store's steps", n_calls)
        for number, fault in enumerate(chosen(list(faults(n_calls)), count, seed)):
            root = folder / str(number)
            prepare(root)
            do(root, report, fault)
            found = list(problems(root, final=False))
            do(root, report)
            found += list(problems(root, final=True))
            for problem in found:
                report.fail(f"{fault}: {problem}")
            report.count("faults in the store's steps")
            shutil.rmtree(root)


def on_an_audit(count: int, seed: int, report: Report) -> None:
    """A whole audit of two networks, with faults, and again without."""
    from tests.campaigns.small_folder import SmallFolder

    with tempfile.TemporaryDirectory() as name:
        folder = SmallFolder(Path(name).resolve() / "user", ("train_loss", "path_norm", "random"))
        folder.write({"one": {"seed": 1}, "two": {"seed": 2}})
        folder.run("warm-up", "warm-up")
        with Disk(folder.path) as disk:
            folder.run("clean", "clean-cache")
        expected, n_calls = folder.tables("clean"), len(disk.calls)
        report.count("calls of an audit", n_calls)
        for number, fault in enumerate(chosen(list(faults(n_calls)), count, seed)):
            out, cache = f"out-{number}", f"cache-{number}"
            try:
                with Disk(folder.path, fault):
                    folder.run(out, cache)
                report.count("audits that went on")
            except KilledError:
                report.count("audits killed")
            except AuditError:
                report.count("audits stopped with a typed error")
            except Exception as error:  # noqa: BLE001  this is what is looked for
                report.fail(f"audit, {fault}: {type(error).__name__}: {error}")
            try:
                folder.run(out, cache)
                if folder.tables(out) != expected:
                    report.fail(f"audit, {fault}: other tables after a second run")
            except Exception as error:  # noqa: BLE001  likewise
                report.fail(f"audit, {fault}, second run: {type(error).__name__}: {error}")
            report.count("faults in an audit")
            shutil.rmtree(folder.path / out, ignore_errors=True)
            shutil.rmtree(folder.path / cache, ignore_errors=True)


def run(count: int, seed: int) -> Report:
    """So many faults: in the store's steps, and what is left of the count in an audit."""
    report = Report()
    on_the_store(count, seed, report)
    left = count - report.counts["faults in the store's steps"]
    if left > 0:
        on_an_audit(left, seed, report)
    return report


if __name__ == "__main__":
    command(run, 100_000)
