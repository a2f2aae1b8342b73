"""What does a store of a million entries cost to ask, to list and to verify?

Small made-up entries are written as a run would name them, without syncing each, into a temporary
folder; at each size the same questions are asked. Lookups and reads are of keys drawn at random,
so they are quick only as far as the system still has their pages in memory. What goes over the
whole store is told in processor time too, which other work on the machine lengthens little, and
grows by that.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from audit.errors import StoreError
from audit.runs import pipeline
from audit.store import Store
from audit.store._format import encode
from benchmarks.scaling.fits import exponent
from benchmarks.warm_run import fill, study_in

SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
QUICK_SIZES: Final = (500, 2_000, 8_000, 16_000)
#: Space that must be free for each entry: a block of the file system, and its name and inode.
_BYTES_EACH: Final = 5_500
_ASKED: Final = 1_000
_CHECKPOINTS: Final = 1_000
_QUICK_CHECKPOINTS: Final = 50
#: What takes time in proportion to the whole store, and what does not.
OF_THE_WHOLE: Final = ("having", "ls", "du", "verify")
OF_ONE: Final = ("has_us", "missing_us", "get_us")


def made_up_key(number: int) -> dict[str, Any]:
    """The key of a measure's values, as long as a real one."""
    return {
        "trace": "4",
        "weights": f"{number:064x}",
        "which": "auto",
        "model": {"name": "timm", "version": "1", "reference": "resnet50", "args": {}},
        "dataset": {"name": "image_folder", "version": "1", "options": {}},
        "data": "0" * 64,
        "layers": ["stages"],
        "batch_size": 64,
        "dtype": "float32",
        "device": "cpu",
        "seed": 0,
        "measure": {"name": "made_up", "version": "1", "origin": "genaudit 0.1.0"},
    }


def grow(store: Store, start: int, stop: int) -> float:
    """Write entries with these numbers; the seconds that took."""
    began = time.perf_counter()
    for number in range(start, stop):
        key = made_up_key(number)
        path = store.path(key)
        content = encode(key, {}, {"seconds": 0.1, "values": {"": [float(number), "ok", ""]}})
        try:
            path.write_bytes(content)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return time.perf_counter() - began


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _processor() -> float:
    """Processor seconds so far of this process and of children that have ended."""
    return sum(os.times()[:4])


def _spent(name: str, call: Callable[[], object]) -> dict[str, float]:
    """Seconds of a call on the wall and on processors, by name."""
    before = _processor()
    wall = _seconds(call)
    return {f"{name}_seconds": wall, f"{name}_processor": _processor() - before}


def _microseconds(call: Callable[[Any], object], keys: Sequence[Any]) -> float:
    """The median of a call on each key."""
    return 1e6 * statistics.median(_seconds(functools.partial(call, key)) for key in keys)


def _command(root: Path, action: str) -> None:
    """`genaudit cache` in a process of its own."""
    command = [sys.executable, "-m", "audit", "cache", action, "--cache", str(root), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def asked(store: Store, size: int, chosen: random.Random) -> dict[str, Any]:
    """What each question takes in a store of this size."""
    keys = [made_up_key(chosen.randrange(size)) for _ in range(_ASKED)]
    others = [made_up_key(size + number) for number in range(_ASKED)]
    row: dict[str, Any] = {
        "entries": size,
        "has_us": _microseconds(store.has, keys),
        "missing_us": _microseconds(store.get, others),
        "get_us": _microseconds(store.get, keys),
    }
    answers: list[bool] = []
    row |= _spent("having", lambda: answers.extend(store.having([*keys, *others])))
    if answers != [True] * _ASKED + [False] * _ASKED:
        raise StoreError("the store did not find what was written")
    for action in ("ls", "du"):
        row |= _spent(action, functools.partial(_command, store.root, action))
    whole: list[tuple[int, int]] = []
    row |= _spent("verify", lambda: whole.append(store.verify()))
    if whole[0][1] or whole[0][0] < size:
        raise StoreError(f"the store has {whole[0]} whole and damaged entries of {size}")
    return row


def kept_rows_seconds(store: Store, n_checkpoints: int) -> float:
    """Of finding all rows of a finished run of so many checkpoints in the store."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        try:
            study = dataclasses.replace(study_in(Path(place), n_checkpoints, 45), store=store)
            fill(study)
            found: list[str] = []
            seconds = _seconds(lambda: found.extend(s.name for s, _ in pipeline.kept_rows(study)))
        finally:
            os.chdir(before)
    if len(found) != n_checkpoints:
        raise StoreError(f"{len(found)} of {n_checkpoints} rows were found")
    return seconds


def measure(quick: bool) -> dict[str, Any]:
    """Times of each question at each size, and how they grow.

    Raises:
        StoreError: There is no room for the entries.
    """
    sizes = QUICK_SIZES if quick else SIZES
    n_checkpoints = _QUICK_CHECKPOINTS if quick else _CHECKPOINTS
    with tempfile.TemporaryDirectory() as place:
        free = shutil.disk_usage(place).free
        if free < 2 * sizes[-1] * _BYTES_EACH:
            raise StoreError(
                f"{sizes[-1]} entries take {sizes[-1] * _BYTES_EACH / 1e9:.1f} GB, and only "
                f"{free / 1e9:.1f} GB are free in {place}; set TMPDIR to a larger disk"
            )
        store = Store(Path(place) / "cache")
        rows: list[dict[str, Any]] = []
        written = 0
        for size in sizes:
            spent = grow(store, written, size)
            row = asked(store, size, random.Random(0))
            row["write_us"] = 1e6 * spent / (size - written)
            rows.append(row)
            written = size
            print(json.dumps(row), file=sys.stderr)
        kept = kept_rows_seconds(store, n_checkpoints)
        bytes_each = float(np.mean([p.stat().st_size for p in _some(store.paths())]))
    growth = {
        name: dataclasses.asdict(exponent([r["entries"] for r in rows], [r[name] for r in rows]))
        for name in (*OF_ONE, *(f"{name}_processor" for name in OF_THE_WHOLE))
    }
    return {
        "rows": rows,
        "growth": growth,
        "kept_rows": {"checkpoints": n_checkpoints, "seconds": kept},
        "bytes_each": bytes_each,
    }


def _some(paths: Any) -> list[Path]:
    """The first thousand."""
    return [path for path, _ in zip(paths, range(_ASKED), strict=False)]


def table(found: dict[str, Any]) -> str:
    """The times as a table."""
    lines = [
        f"| entries | {' | '.join(f'{name[:-3]}, µs' for name in OF_ONE)} | "
        f"{' | '.join(f'{name}, s (processor)' for name in OF_THE_WHOLE)} |",
        "|" + "---:|" * (1 + len(OF_ONE) + len(OF_THE_WHOLE)),
    ]
    for row in found["rows"]:
        each = [f"{row[name]:.0f}" for name in OF_ONE]
        whole = [
            f"{row[f'{name}_seconds']:.3g} ({row[f'{name}_processor']:.3g})"
            for name in OF_THE_WHOLE
        ]
        lines.append(f"| {row['entries']:,} | {' | '.join([*each, *whole])} |")
    slopes = [f"{slope['value']:.2f}" for slope in found["growth"].values()]
    lines.append(f"| exponent | {' | '.join(slopes)} |")
    kept = found["kept_rows"]
    lines.append(
        f"\nAll rows of {kept['checkpoints']:,} checkpoints are found in {kept['seconds']:.2f} s "
        f"in the largest store. An entry has {found['bytes_each']:.0f} bytes."
    )
    return "\n".join(lines)
