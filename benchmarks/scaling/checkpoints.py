"""How do a run's time and memory grow with checkpoints?

Cold: zoos of small networks are audited by one worker process, whose memory must not grow. Kept: a
run finds every checkpoint's rows in the store and writes the tables; the rows, unit tables
included, are those of one real audit put under every checkpoint's key. What the driver then holds
for each checkpoint is what a run of many needs memory for.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from audit.measuring.task import provided
from audit.measuring.view import Wanted
from audit.runs import pipeline
from audit.runs.study import Study
from benchmarks.scaling.fits import exponent, line
from benchmarks.scaling.memory import begin_peak, peak_of, watched_children
from benchmarks.scaling.workers import run
from benchmarks.scaling.zoos import Zoo

COLD: Final = (4, 8, 16, 32)
QUICK_COLD: Final = (1, 2, 4, 8)
KEPT: Final = (250, 500, 1000, 2000)
QUICK_KEPT: Final = (20, 40, 80, 160)


def cold(n_checkpoints: int, quick: bool) -> dict[str, Any]:
    """One run with an empty store and one worker: seconds of its parts, and peak memory in MB."""
    with tempfile.TemporaryDirectory() as place:
        zoo = Zoo(Path(place), n_checkpoints, 2 if quick else 10)
        zoo.write()
        study = zoo.study("run", 1)
        with watched_children() as peaks:
            found = run(study)
    driver = peak_of(psutil.Process())
    return {"count": n_checkpoints, **found, "worker": max(peaks.values()), "driver_peak": driver}


def kept(n_checkpoints: int, quick: bool) -> dict[str, Any]:
    """One run that finds everything: seconds, peak memory in MB, and the rows of its tables."""
    with tempfile.TemporaryDirectory() as place:
        zoo = Zoo(Path(place), 1, 2 if quick else 10)
        zoo.write(("test_vit",))
        pipeline.measure(zoo.study("run", 0))
        study = _many(zoo.study("run", 0), n_checkpoints)
        gc.collect()
        before = begin_peak()
        started = time.perf_counter()
        frame = pipeline.measure(study)
        seconds = time.perf_counter() - started
        peak = peak_of(psutil.Process())
        on_disk = sum(path.stat().st_size for path in study.options.output.glob("*.*"))
    if (frame["status"] == "failed").any() or frame["checkpoint"].nunique() != n_checkpoints:
        raise RuntimeError("the store did not have everything")
    return {
        "count": n_checkpoints,
        "seconds": seconds,
        "before": before,
        "peak": peak,
        "rows": len(frame),
        "table_bytes": on_disk,
    }


def _many(study: Study, n_checkpoints: int) -> Study:
    """The one checkpoint of a study under many names, each with a digest and rows of its own."""
    planned = provided(study.registry, study.measures)
    filtrations = Wanted.by(study.measures).filtrations
    (subject,) = study.subjects
    entry = study.store.get(subject.row_key(planned, filtrations))
    if entry is None:
        raise RuntimeError("the one audit left no rows")
    subjects = tuple(
        dataclasses.replace(subject, name=f"copy-{number:06d}", weights_digest=f"{number:064x}")
        for number in range(n_checkpoints)
    )
    for one in subjects:
        study.store.put(one.row_key(planned, filtrations), entry.arrays, entry.meta)
    return dataclasses.replace(study, subjects=subjects)


def _alone(kind: str, count: int, quick: bool) -> dict[str, Any]:
    """One of the two in a new process."""
    command = [sys.executable, "-m", "benchmarks.scaling.checkpoints", kind, str(count)]
    done = subprocess.run(
        [*command, *(["--quick"] if quick else [])], check=True, stdout=subprocess.PIPE, text=True
    )
    row: dict[str, Any] = json.loads(done.stdout)
    print(kind, row, file=sys.stderr)
    return row


def _medians(kind: str, counts: Sequence[int], quick: bool) -> list[dict[str, Any]]:
    """A row for each count, the counts in turn."""
    turns = [[_alone(kind, count, quick) for count in counts] for _ in range(1 if quick else 2)]
    return [
        {name: statistics.median(row[name] for row in rows) for name in rows[0]}
        for rows in zip(*turns, strict=True)
    ]


def measure(quick: bool) -> dict[str, Any]:
    """Rows of both kinds of run, and how they grow."""
    cold_rows = _medians("cold", QUICK_COLD if quick else COLD, quick)
    kept_rows = _medians("kept", QUICK_KEPT if quick else KEPT, quick)
    cold_counts = [row["count"] for row in cold_rows]
    kept_counts = [row["count"] for row in kept_rows]
    fixed, each = line(cold_counts, [row["seconds"] for row in cold_rows])
    _, driver_each = line(kept_counts, [row["peak"] for row in kept_rows])
    _, kept_each = line(kept_counts, [row["seconds"] for row in kept_rows])
    return {
        "cold": cold_rows,
        "kept": kept_rows,
        "cold_seconds": dataclasses.asdict(
            exponent(cold_counts, [row["seconds"] for row in cold_rows])
        ),
        "fixed_seconds": fixed,
        "seconds_each": each,
        "worker_memory": dataclasses.asdict(
            exponent(cold_counts, [row["worker"] for row in cold_rows])
        ),
        "kept_seconds": dataclasses.asdict(
            exponent(kept_counts, [row["seconds"] for row in kept_rows])
        ),
        "kept_seconds_each": kept_each,
        "driver_kb_each": 1000 * driver_each,
        "table_kb_each": kept_rows[-1]["table_bytes"] / kept_counts[-1] / 1000,
    }


def table(found: dict[str, Any]) -> str:
    """Both kinds of run as tables."""
    lines = [
        "| checkpoints, cold | seconds | peak of the worker, MB | peak of the driver, MB |",
        "|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['count']:,.0f} | {row['seconds']:.1f} | {row['worker']:,.0f} | "
        f"{row['driver_peak']:,.0f} |"
        for row in found["cold"]
    ]
    lines += [
        "",
        "| checkpoints, all kept | seconds | peak of the driver, MB | rows |",
        "|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['count']:,.0f} | {row['seconds']:.2f} | {row['peak']:,.0f} | {row['rows']:,.0f} |"
        for row in found["kept"]
    ]
    time_of, worker, again = (found[n] for n in ("cold_seconds", "worker_memory", "kept_seconds"))
    lines.append(
        f"\nExponent of time {time_of['value']:.2f} ({time_of['low']:.2f} to "
        f"{time_of['high']:.2f}), {found['seconds_each']:.2f} s for each; of the worker's memory "
        f"{worker['value']:.3f}. With all kept: exponent of time {again['value']:.2f}, "
        f"{1000 * found['kept_seconds_each']:.1f} ms, {found['driver_kb_each']:.0f} kB of the "
        f"driver's memory and {found['table_kb_each']:.1f} kB of tables for each."
    )
    return "\n".join(lines)


def main() -> None:
    """One run, as `measure` asks for it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=["cold", "kept"])
    parser.add_argument("count", type=int)
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    print(json.dumps((cold if chosen.kind == "cold" else kept)(chosen.count, chosen.quick)))


if __name__ == "__main__":
    main()
