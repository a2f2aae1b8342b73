"""Many processes write and read a few keys of one store, with file locks that do nothing.

`fcntl.flock` and `lockf` do nothing here, as on some network file systems; nor is anything synced,
which costs time and decides nothing between processes that live.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from audit.store import Store
from tests.campaigns.report import Report, command

N_PROCESSES = 16
N_KEYS = 4


def key(number: int) -> dict[str, int]:
    """One of the few keys."""
    return {"number": number}


def is_whole(entry: Any, number: int) -> bool:
    """Whether an entry is all of one write."""
    values = entry.arrays["a"]
    return entry.meta["number"] == number and values.size and (values == entry.meta["value"]).all()


def work(folder: str, who: int, n_operations: int, seed: int, results: Any) -> None:
    """One process: half of what it does is writing."""
    for name in ("flock", "lockf"):
        setattr(fcntl, name, lambda *arguments: None)
    os.fsync = lambda descriptor: None  # type: ignore[assignment]
    store, rng = Store(Path(folder)), random.Random(f"{seed} {who}")
    n_reads = n_torn = n_notes = 0
    for number in range(n_operations):
        k = rng.randrange(N_KEYS)
        choice = rng.random()
        if choice < 0.45:
            value = rng.randrange(30_000)
            array = np.full(1 + rng.randrange(3000), value, np.int16)
            store.put(key(k), {"a": array}, {"value": value, "number": k})
        elif choice < 0.5:
            store.note({"who": who, "number": number})
            n_notes += 1
        else:
            entry = store.get(key(k))
            n_reads += entry is not None
            n_torn += entry is not None and not is_whole(entry, k)
    results.put((n_reads, n_torn, n_notes))


def run(count: int, seed: int) -> Report:
    """So many operations in each of sixteen processes."""
    report = Report()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["audit.store", "tests.campaigns.report"])
    with tempfile.TemporaryDirectory() as name:
        results = context.SimpleQueue()
        processes = [
            context.Process(target=work, args=(name, who, count, seed, results))
            for who in range(N_PROCESSES)
        ]
        for process in processes:
            process.start()
        found = [results.get() for _ in processes]
        for process in processes:
            process.join()
        store = Store(Path(name))
        n_reads, n_torn, n_notes = map(sum, zip(*found, strict=True))
        report.count("operations", N_PROCESSES * count)
        report.count("reads of an entry", n_reads)
        report.count("torn reads", n_torn)
        if n_torn:
            report.fail(f"{n_torn} torn reads")
        if (store.root / "quarantine").exists():
            report.fail("an entry was seen as damaged")
        lines = (store.root / "ledger.jsonl").read_bytes().splitlines() if n_notes else []
        for line in filter(None, lines):
            try:
                json.loads(line)
            except ValueError:
                report.fail(f"a torn line of the ledger: {line!r}")
        if len(list(store.ledger())) != n_notes:
            report.fail("lines of the ledger are missing")
        report.count("lines of the ledger", n_notes)
        report.count("temporary files left", len([*store.root.rglob("*.tmp")]))
        if [process.exitcode for process in processes] != [0] * N_PROCESSES:
            report.fail("a process failed")
    return report


if __name__ == "__main__":
    command(run, 10_000)
