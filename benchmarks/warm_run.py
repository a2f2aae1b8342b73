"""What does a run cost that has nothing left to compute?

A store is filled with the rows of many checkpoints and measures, made up, as tasks leave them. Then
the measuring stage runs on it as it is: it digests the weights files, reads what the store has, and
writes the tables. Reads of the store are counted.

Run: python -m benchmarks.warm_run [--checkpoints 1000] [--measures 45] [--json]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from audit.measuring.rows import measured_meta, row_entry
from audit.measuring.task import provided
from audit.measuring.view import Wanted
from audit.network.saving import write_weights
from audit.plugin import MeasureEntry, Value, hookimpl
from audit.plugin.registry import Registry, installed
from audit.runs import pipeline
from audit.runs.config import AuditConfig, RunOptions
from audit.runs.study import Study, resolve

FACTORY = """import torch


def build():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
"""


def made_up(name: str) -> MeasureEntry:
    """A measure that is never computed."""
    return MeasureEntry(
        name=name,
        summary="made up",
        compute=lambda view: 0.0,
        version="1",
        direction="none",
        invariance="none",
        cost="weights",
    )


def study_in(folder: Path, n_checkpoints: int, n_measures: int) -> Study:
    """A zoo of small networks on digits, and measures made up."""
    (folder / "tiny_factory.py").write_text(FACTORY)
    state = {"1.weight": torch.zeros(10, 64), "1.bias": torch.zeros(10)}
    for number in range(n_checkpoints):
        state["1.bias"][0] = number
        write_weights(state, folder / f"network-{number:05d}.safetensors")
    config = AuditConfig.parse(
        {
            "dataset": {
                "name": "digits",
                "transform": {"input_size": [1, 8, 8], "mean": [0.5], "std": [0.5]},
            },
            "checkpoints": [{"model": "tiny_factory:build", "weights": "network-*.safetensors"}],
            "measures": {"images_per_class": 2},
        },
        folder,
        "the benchmark",
    )
    options = RunOptions(
        output=folder / "out", cache=folder / "cache", device="cpu", workers=0, progress=False
    )
    study = resolve(config, options, installed())
    measures = tuple(made_up(f"made_up_{number:03d}") for number in range(n_measures))
    return dataclasses.replace(study, measures=measures, registry=_with(measures))


class _Plugin:
    """The measures, as a plugin hands them over."""

    def __init__(self, measures: tuple[MeasureEntry, ...]) -> None:
        self.genaudit_measures = hookimpl(lambda: list(measures))


def _with(measures: tuple[MeasureEntry, ...]) -> Registry:
    return Registry({"made_up": _Plugin(measures)})


def fill(study: Study) -> None:
    """Leave in the store what tasks would."""
    planned = provided(study.registry, study.measures)
    filtrations = Wanted.by(study.measures).filtrations
    values = {m.name: measured_meta({"": Value(1.0)}, 0.1) for m in planned}
    facts: dict[str, Any] = {"data_config": None, "notes": [], "layers": [], "doubts": []}
    entry = row_entry(values, {}, facts)
    for subject in study.subjects:
        study.store.put(subject.row_key(planned, filtrations), entry.arrays, entry.meta)


def measure(n_checkpoints: int, n_measures: int) -> dict[str, Any]:
    """Seconds and reads of a run that finds everything."""
    with tempfile.TemporaryDirectory() as place:
        before = Path.cwd()
        os.chdir(place)
        try:
            study = study_in(Path(place), n_checkpoints, n_measures)
            fill(study)
            reads, looks = study.store.n_reads, study.store.n_looks
            started = time.perf_counter()
            frame = pipeline.measure(study)
            seconds = time.perf_counter() - started
        finally:
            os.chdir(before)
        if (frame["status"] != "ok").any() or len(frame) != n_checkpoints * n_measures:
            raise RuntimeError("the store did not have everything")
        return {
            "checkpoints": n_checkpoints,
            "measures": n_measures,
            "reads": study.store.n_reads - reads,
            "looks": study.store.n_looks - looks,
            "seconds": round(seconds, 3),
        }


def main() -> None:
    """Print the figures, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoints", type=int, default=1000)
    parser.add_argument("--measures", type=int, default=45)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    row = measure(chosen.checkpoints, chosen.measures)
    if chosen.json:
        print(json.dumps(row, indent=1))
        return
    print(" ".join(f"{name}: {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
