"""Does an audit on a CUDA device give the processor's tables, and how fast is each?

    python -m benchmarks.devices [--task digits] [--checkpoints 12] [--measures all]
                                 [--workers N] [--json] [--output FILE]

Trains some checkpoints of a shipped task on the device, audits them on the processor and on the
device, each with a store of its own, and compares every number of the two `measures.csv` and of the
two unit tables. The gap of a column is its largest difference over its largest absolute value on
the processor; its τ is Kendall's between the two devices' values, hence what a ranking would see.
Births are exact on both devices, but the feature maps under them are not bit-equal: convolutions
add in another order. Without a CUDA device it says so and ends with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from scipy.stats import kendalltau

from audit.plugin.registry import installed
from audit.runs import pipeline
from audit.runs.config import AuditConfig, RunOptions
from audit.runs.study import resolve
from audit.zoo.measuring import write_audits
from audit.zoo.recipes import TrainTask
from audit.zoo.tasks import read_task
from audit.zoo.train_zoo import train_zoo
from benchmarks.timing import versions

VERSIONS_OF: Final = ("torch", "numba", "numba-cuda", "numpy", "timm", "genaudit")
#: A column whose gap is above this is listed.
CLOSE: Final = 1e-4
UNIT_KEYS: Final = ["checkpoint", "filtration", "layer", "unit", "class_name"]
Row = dict[str, Any]


def audited(
    config: Path, folder: Path, device: str, workers: int
) -> tuple[float, pd.DataFrame, pd.DataFrame]:
    """Seconds of a cold run of a configuration on a device, its measures and its units."""
    options = RunOptions(
        output=folder, cache=folder / "cache", device=device, workers=workers, progress=False
    )
    study = resolve(AuditConfig.read(config), options, installed())
    started = time.perf_counter()
    pipeline.measure(study)
    seconds = time.perf_counter() - started
    units = pd.read_parquet(folder / "units.parquet")
    return seconds, pd.read_csv(folder / "measures.csv"), units


def compared(on_processor: pd.DataFrame, on_device: pd.DataFrame) -> list[Row]:
    """One row per measure: how far the two devices' values lie apart."""
    rows = []
    keys = ["checkpoint", "measure"]
    both = on_processor.merge(on_device, on=keys, how="outer", suffixes=("_cpu", "_cuda"))
    for measure, part in both.groupby("measure"):
        ours, theirs = (part[f"value_{d}"].to_numpy(float) for d in ("cpu", "cuda"))
        shared = np.isfinite(ours) & np.isfinite(theirs)
        scale = np.abs(ours[shared]).max(initial=0)
        gap = np.abs(ours[shared] - theirs[shared]).max(initial=0)
        spread = len(np.unique(ours[shared])) > 1 and len(np.unique(theirs[shared])) > 1
        rows.append(
            {
                "measure": measure,
                "checkpoints": len(part),
                "compared": int(shared.sum()),
                "status_differs": int((np.isfinite(ours) != np.isfinite(theirs)).sum()),
                "gap": float(gap / scale) if scale else float(gap),
                "tau": float(kendalltau(ours[shared], theirs[shared])[0]) if spread else None,
            }
        )
    return rows


def units_compared(on_processor: pd.DataFrame, on_device: pd.DataFrame) -> Row:
    """How many units of how many have the same feature entropy on both devices."""
    both = on_processor.merge(on_device, on=UNIT_KEYS, how="outer", suffixes=("_cpu", "_cuda"))
    ours, theirs = (both[f"feature_entropy_{d}"].to_numpy(float) for d in ("cpu", "cuda"))
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    gaps = np.abs(ours - theirs)[~same]
    return {
        "units": len(both),
        "equal": int(same.sum()),
        "largest_gap_bits": float(np.nanmax(gaps, initial=0)),
    }


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", default="digits")
    parser.add_argument("--checkpoints", type=int, default=12)
    parser.add_argument("--measures", nargs="*", default=["all"])
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device")
    task = read_task(chosen.task)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        train = RunOptions(output=root, device="cuda", workers=chosen.workers, progress=False)
        started = time.perf_counter()
        recipes = task.recipes()
        recipes = recipes[:: max(1, len(recipes) // chosen.checkpoints)][: chosen.checkpoints]
        train_zoo(task, root, train, recipes)
        training = time.perf_counter() - started
        tasks = [TrainTask(recipe, root) for recipe in recipes]
        configs = write_audits(task, root, tasks, "as_trained", chosen.measures)
        seconds, tables, units = {}, {}, {}
        for device in ("cpu", "cuda"):
            parts = [
                audited(config, root / device / config.stem, device, chosen.workers)
                for config in configs
            ]
            seconds[device] = sum(part[0] for part in parts)
            tables[device] = pd.concat([part[1] for part in parts], ignore_index=True)
            units[device] = pd.concat([part[2] for part in parts], ignore_index=True)
    rows = compared(tables["cpu"], tables["cuda"])
    found = {
        "device": torch.cuda.get_device_name(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "versions": versions(VERSIONS_OF),
        "task": task.name,
        "checkpoints": len(recipes),
        "workers": chosen.workers,
        "training_seconds": training,
        "seconds": seconds,
        "speedup": seconds["cpu"] / seconds["cuda"],
        "units": units_compared(units["cpu"], units["cuda"]),
        "measures": rows,
    }
    if chosen.output:
        chosen.output.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    if chosen.json:
        print(json.dumps(found, indent=1))
        return
    print(
        f"{task.name}, {len(recipes)} checkpoints on {found['device']}: training {training:.0f} s; "
        f"audit {seconds['cpu']:.0f} s on the processor, {seconds['cuda']:.0f} s on the device"
    )
    far = [r for r in rows if r["gap"] > CLOSE or r["status_differs"]]
    print(f"{len(rows) - len(far)} of {len(rows)} columns within {CLOSE:g}; the others:")
    print(pd.DataFrame(far).to_string(index=False) if far else "none")


if __name__ == "__main__":
    main()
