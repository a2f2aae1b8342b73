"""Runs that are killed by SIGKILL at random instants and begun again until they end.

Each run is a process of its own, made from one that has everything imported; it measures in itself,
so that the kill comes anywhere in the measuring and in the writing of tables. After every kill no
entry of the store is damaged, and none that was there has gone. When a run ends, its tables are
those of a run that nobody killed, byte for byte (the seconds that measures took aside), with no row
lost and none twice; then all begins anew.
"""

from __future__ import annotations

import itertools
import multiprocessing
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from audit.store import Store
from tests.campaigns.report import Report, command
from tests.campaigns.small_folder import SmallFolder

N_CHECKPOINTS = 4
PRELOAD = ("torch", "timm", "pandas", "pyarrow.parquet", "sklearn.linear_model", "numba")
PRELOAD += ("audit.runs.pipeline", "tests.campaigns.small_folder")


def audit(path: str, out: str, cache: str) -> None:
    """One run, in this process."""
    import torch

    torch.set_num_threads(1)
    folder = SmallFolder.__new__(SmallFolder)
    folder.path = Path(path)
    import sys

    sys.path.insert(0, path)
    folder.run(out, cache)


def duplicated(folder: SmallFolder, out: str) -> int:
    """Rows that are there more than once."""
    measures = pd.read_csv(folder.path / out / "measures.csv")
    return int(measures.duplicated(["checkpoint", "measure"]).sum())


def differences(expected: dict[str, bytes], found: dict[str, bytes]) -> Iterator[str]:
    """What tables differ, and the first line of each that does."""
    for name in sorted(expected.keys() | found.keys()):
        sides = [tables.get(name, b"").splitlines() for tables in (expected, found)]
        pairs = itertools.zip_longest(*sides, fillvalue=b"")
        different = next(((old, new) for old, new in pairs if old != new), None)
        if different:
            yield f"another {name}: {different[1][:150]!r} in place of {different[0][:150]!r}"


def run(count: int, seed: int) -> Report:
    """So many kills."""
    report = Report()
    rng = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    with tempfile.TemporaryDirectory() as name:
        folder = SmallFolder(Path(name) / "user", ("train_loss", "feature_entropy.cubical"))
        folder.write({f"network {n}": {"seed": n} for n in range(N_CHECKPOINTS)})

        def start(out: str, cache: str) -> multiprocessing.process.BaseProcess:
            process = context.Process(target=audit, args=(str(folder.path), out, cache))
            process.start()
            return process

        start("clean", "clean-cache").join()  # fills what is kept between processes
        shutil.rmtree(folder.path / "clean-cache")
        began = time.monotonic()
        start("clean", "clean-cache").join()
        seconds = time.monotonic() - began
        expected = folder.tables("clean")
        store = Store(folder.path / "cache")
        entries: set[str] = set()
        while report.counts["kills"] < count:
            process = start("out", "cache")
            process.join(rng.random() * 1.1 * seconds)
            if process.is_alive():
                process.kill()
                process.join()
            if process.exitcode == -9:
                report.count("kills")
                _, damaged = store.verify()
                now = {path.name for path in store.paths()}
                if damaged or entries - now:
                    report.fail(f"{damaged} entries damaged, {len(entries - now)} lost by a kill")
                entries = now
                if now:
                    report.count("kills after which entries were there to lose")
                continue
            if process.exitcode != 0:
                report.fail(f"a run ended with {process.exitcode}")
            report.count("runs that ended, begun anew")
            for difference in differences(expected, folder.tables("out")):
                report.fail(f"a run that was killed and resumed has {difference}")
            report.count("rows doubled", duplicated(folder, "out"))
            left = [*folder.path.rglob("*.tmp")]
            report.count("temporary files left when a run had ended", len(left))
            if left:
                report.fail(f"a run that ended left {[path.name for path in left]}")
            for place in ("out", "cache"):
                shutil.rmtree(folder.path / place, ignore_errors=True)
            entries = set()
        if report.counts["rows doubled"]:
            report.fail("rows are there twice")
    return report


if __name__ == "__main__":
    command(run, 1000)
