"""How do an audit's time, memory and space grow with images, units and classes?

Each count is varied alone, the others held: images of a ResNet-18, units of a network of one layer,
classes over the same images. Every audit is of the default measures, in a process of its own, with
an empty store, on one math thread; processor time, so that other work on the machine lengthens it
little; the counts in turn, several times, medians. A fixed cost hides growth at small counts, so
that the last doubling has an exponent of its own, and every measure too.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks.scaling.audits import WIDE, Asked, audited_alone
from benchmarks.scaling.fits import LINEAR, exponent, line

#: Of a measure that takes less than this at the largest count no exponent is told.
_LEAST_SECONDS: Final = 0.1

#: Question → (its counts, those of a quick look, and the audit with such a count).
SWEEPS: Final[dict[str, tuple[Sequence[int], Sequence[int], Callable[[int, bool], Asked]]]] = {
    "images": (
        (200, 400, 800, 1600, 3200),
        (40, 80, 160, 320),
        lambda n, quick: Asked("resnet18", n, 10),
    ),
    "units": (
        (128, 256, 512, 1024, 2048),
        (64, 128, 256, 512),
        lambda n, quick: Asked(WIDE, 40 if quick else 200, 10, width=n),
    ),
    "classes": (
        (5, 10, 20, 50, 100, 200),
        (4, 8, 16, 32),
        lambda n, quick: Asked(WIDE, 128 if quick else 1000, n, width=64 if quick else 256),
    ),
}


def measure(question: str, quick: bool) -> dict[str, Any]:
    """Medians at each count, and how they grow.

    Args:
        question: "images", "units" or "classes".
        quick: Fewer and smaller counts, once each.
    """
    counts, few, asked = SWEEPS[question]
    chosen = few if quick else counts
    found: dict[int, list[dict[str, Any]]] = {count: [] for count in chosen}
    for _ in range(1 if quick else 2):
        for count in chosen:
            found[count].append(audited_alone(asked(count, quick)))
            row = found[count][-1]
            print(question, count, row["seconds"], row["peak"], file=sys.stderr)
    rows = [_median(count, found[count]) for count in chosen]
    return {
        "question": question,
        "asked": dataclasses.asdict(asked(chosen[-1], quick)),
        "rows": rows,
        **growth(rows),
    }


def _median(count: int, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row of several equal audits."""
    names = ("seconds", "before", "peak", "store_bytes", "reads", "writes", "passes")
    row: dict[str, Any] = {name: statistics.median(one[name] for one in found) for name in names}
    measures = {
        name: statistics.median(one["measures"][name] for one in found)
        for name in found[0]["measures"]
    }
    return {"count": count, **row, "measures": measures}


def growth(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Exponents of time, memory and space, and the measures that grow faster than linearly."""
    counts = [row["count"] for row in rows]
    step = math.log(counts[-1] / counts[-2])
    last = math.log(rows[-1]["seconds"] / rows[-2]["seconds"]) / step
    fixed, each = line(counts, [row["seconds"] for row in rows])
    _, memory_each = line(counts, [row["peak"] for row in rows])
    _, bytes_each = line(counts, [row["store_bytes"] for row in rows])
    superlinear = {}
    for name, seconds in rows[-1]["measures"].items():
        series = [row["measures"][name] for row in rows]
        if seconds >= _LEAST_SECONDS and min(series) > 0:
            slope = exponent(counts, series)
            if slope.value > LINEAR:
                superlinear[name] = {**dataclasses.asdict(slope), "seconds": seconds}
    return {
        "seconds": dataclasses.asdict(exponent(counts, [row["seconds"] for row in rows])),
        "last_step": last,
        "fixed_seconds": fixed,
        "seconds_each": each,
        "memory": dataclasses.asdict(exponent(counts, [row["peak"] for row in rows])),
        "memory_each_mb": memory_each,
        "store_bytes_each": bytes_each,
        "superlinear": superlinear,
    }


def table(found: dict[str, Any]) -> str:
    """Costs at each count as a table."""
    lines = [
        f"| {found['question']} | processor seconds | peak memory, MB | store, MB | reads "
        "| writes |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['count']:,} | {row['seconds']:.2f} | {row['peak']:,.0f} | "
        f"{row['store_bytes'] / 1e6:.2f} | {row['reads']:.0f} | {row['writes']:.0f} |"
        for row in found["rows"]
    ]
    seconds, memory = found["seconds"], found["memory"]
    lines.append(
        f"\nExponent of time {seconds['value']:.2f} ({seconds['low']:.2f} to "
        f"{seconds['high']:.2f}), over the last step {found['last_step']:.2f}; of memory "
        f"{memory['value']:.3f} ({memory['low']:.3f} to {memory['high']:.3f}), "
        f"{1000 * found['memory_each_mb']:.1f} kB for each; {found['store_bytes_each'] / 1000:.2f} "
        "kB of store for each."
    )
    faster = [
        f"`{name}` ({slope['value']:.2f}, {slope['seconds']:.2f} s at the last count)"
        for name, slope in found["superlinear"].items()
    ]
    lines.append(
        f"Faster than linear: {', '.join(faster)}."
        if faster
        else "No measure is faster than linear."
    )
    return "\n".join(lines)
