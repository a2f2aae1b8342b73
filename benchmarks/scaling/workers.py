"""Do two workers audit twice as many checkpoints in the same time?

A zoo of small timm networks is audited by one worker process and by two, in turn, each run into an
empty store. Efficiency is t₁ / (2 t₂): *whole*, of all that a run does after its configuration is
read, processes' start included; and *steady*, of the tasks alone without each worker's first, which
imports torch and loads compiled kernels. Where whole is less than steady the difference is start,
first tasks, the driver's own work and a worker that waits at the end; each is given. What two
threads of hashing gain in the same minute, work that needs no memory, is what the machine has to
give.
"""

from __future__ import annotations

import functools
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from unittest import mock

from audit.plugin.registry import Registry
from audit.runs import pipeline
from audit.runs.study import Study
from benchmarks.scaling.timed import Ran, timing
from benchmarks.scaling.zoos import Zoo
from benchmarks.timing import hash_on, seconds_each

WORKERS: Final = (1, 2)
_TASKS_OF_HASHING: Final = 8


def run(study: Study) -> dict[str, Any]:
    """One run: its seconds, and where they went.

    Raises:
        RuntimeError: A checkpoint failed.
    """
    ran: list[Ran] = []
    real = Registry.engine
    with mock.patch.object(Registry, "engine", lambda self, name: timing(real(self, name), ran)):
        began = time.time()
        frame = pipeline.measure(study)
        ended = time.time()
    if (frame["status"] == "failed").any():
        raise RuntimeError(f"an audit failed: {frame.loc[frame['status'] == 'failed', 'reason']}")
    return {"seconds": ended - began, **parts(ran, began, ended)}


def parts(ran: Sequence[Ran], began: float, ended: float) -> dict[str, float]:
    """Where the seconds of a run went.

    Returns:
        start (until the first task), first (how much longer first tasks took than the others, per
        worker), task (a task that is not a worker's first), waiting (of workers at the end, per
        worker), driver (after the last task).
    """
    of_worker: dict[int, list[Ran]] = defaultdict(list)
    for one in sorted(ran, key=lambda one: one.began):
        of_worker[one.worker].append(one)
    others = [one.seconds for tasks in of_worker.values() for one in tasks[1:]]
    task = statistics.fmean(others or [one.seconds for one in ran])
    last = max(one.ended for one in ran)
    return {
        "start": min(one.began for one in ran) - began,
        "first": statistics.fmean(tasks[0].seconds for tasks in of_worker.values()) - task,
        "task": task,
        "waiting": statistics.fmean(last - tasks[-1].ended for tasks in of_worker.values()),
        "driver": ended - last,
    }


def measure(quick: bool) -> dict[str, Any]:
    """Medians over runs of one worker and of two, in turn."""
    n_checkpoints, images, runs = (6, 4, 1) if quick else (24, 20, 3)
    rows: dict[int, list[dict[str, float]]] = {workers: [] for workers in WORKERS}
    with tempfile.TemporaryDirectory() as place:
        zoo = Zoo(Path(place), n_checkpoints, images)
        zoo.write()
        run(zoo.study("warm-up", 2))  # compiles
        for turn in range(runs):
            for workers in WORKERS:
                rows[workers].append(run(zoo.study(f"run-{workers}-{turn}", workers)))
                print(workers, rows[workers][-1], file=sys.stderr)
        hashing = seconds_each(
            {str(n): functools.partial(hash_on, n, _TASKS_OF_HASHING) for n in WORKERS}, 5
        )
    medians = {
        workers: {name: statistics.median(row[name] for row in found) for name in found[0]}
        for workers, found in rows.items()
    }
    one, two = medians[1], medians[2]
    return {
        "checkpoints": n_checkpoints,
        "images": images * 10,
        "runs": runs,
        "rows": [
            {"workers": workers, "per_minute": 60 * n_checkpoints / row["seconds"], **row}
            for workers, row in medians.items()
        ],
        "efficiency_whole": one["seconds"] / (2 * two["seconds"]),
        "efficiency_steady": one["task"] / two["task"],
        "efficiency_hashing": hashing["1"].wall / (2 * hashing["2"].wall),
    }


def table(found: dict[str, Any]) -> str:
    """Throughput and efficiency as a table."""
    lines = [
        "| workers | checkpoints a minute | whole run, s | start | first task, more | a task | "
        "waiting at the end | driver after |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['workers']} | {row['per_minute']:.1f} | {row['seconds']:.1f} | "
        f"{row['start']:.2f} | {row['first']:.2f} | {row['task']:.2f} | {row['waiting']:.2f} | "
        f"{row['driver']:.2f} |"
        for row in found["rows"]
    ]
    lines.append(
        f"\nEfficiency at two workers: whole {found['efficiency_whole']:.0%}, steady "
        f"{found['efficiency_steady']:.0%}; hashing on two threads "
        f"{found['efficiency_hashing']:.0%}. {found['checkpoints']} checkpoints of "
        f"{found['images']} images, median of {found['runs']} runs."
    )
    return "\n".join(lines)
