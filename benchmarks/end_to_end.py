"""What does feature entropy cost beside a bare forward pass, where does it go, and what memory?

A ResNet-50 with random weights on JPEG crops of the photographs that come with scikit-learn, 224 ×
224 pixels. The audit takes the ends of all five stages and both filtrations, and writes an empty
store. The bare pass is the fastest there is on processors: channels last, no hooks, images decoded
beforehand, the same batches. Everything is counted on one thread; the two take turns, and the ratio
is that of each pair. Processor time is that of all threads of this process: other programs lengthen
it less than the wall's.

With --memory the peak memory of a ResNet-18 on 64 × 64 pixels instead, in a new process for each
number of images, which are drawn when they are asked for.

Run: python -m benchmarks.end_to_end [--images 64] [--runs 5] [--model resnet50] [--json]
     python -m benchmarks.end_to_end --memory [--counts 500 20000] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from audit.data.sample import draw_sample
from audit.data.transform import load_batch
from audit.measuring import checkpoint, task
from audit.measuring._births import BirthReducer
from audit.measuring.subject import Provided, Subject
from audit.measuring.task import audit_checkpoint
from audit.network.saving import write_weights
from audit.network.weights import file_digest
from audit.plugin import DatasetEntry, ImageSplit, MeasureEntry, hookimpl
from audit.plugin.registry import Registry, installed
from audit.store import Store
from audit.topology.units import unit_frame
from benchmarks.passes import N_CLASSES, bare_pass, plugins_of
from benchmarks.passes import subject_in as subject_on_crops
from benchmarks.timing import versions

SIDE: Final = 224
STAGES: Final = ("act1", "layer1", "layer2", "layer3", "layer4")
STEPS: Final = ("decode", "forward", "topology", "entropy", "store")
MEASURES: Final = ("feature_entropy.clique", "feature_entropy.cubical")
MEMORY_SIDE: Final = 64


class Clocks:
    """Processor seconds of the thread that takes each step; a step within another is not its own.

    Attributes:
        seconds: Step → processor seconds.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._within: list[str] = []

    def timed(self, step: str, call: Callable[..., Any], own_thread: bool = False) -> Any:
        """The same call, whose time is counted."""

        @functools.wraps(call)
        def counted(*args: Any, **options: Any) -> Any:
            started = time.thread_time()
            outer = self._within[-1] if self._within and not own_thread else ""
            if not own_thread:
                self._within.append(step)
            try:
                return call(*args, **options)
            finally:
                taken = time.thread_time() - started
                self.seconds[step] += taken
                if not own_thread:
                    self._within.pop()
                if outer:
                    self.seconds[outer] -= taken

        return counted

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Count the steps of every audit within."""
        loading = self.timed("decode", load_batch, own_thread=True)
        update = self.timed("topology", BirthReducer.update)
        units = self.timed("entropy", unit_frame)
        put, get = self.timed("store", Store.put), self.timed("store", Store.get)
        with (
            mock.patch.object(checkpoint, "load_batch", loading),
            mock.patch.object(BirthReducer, "update", update),
            mock.patch.object(task, "unit_frame", units),
            mock.patch.object(Store, "put", put),
            mock.patch.object(Store, "get", get),
        ):
            yield

    def on_calls(self, entry: MeasureEntry) -> MeasureEntry:
        """The measure, whose time is counted."""
        return dataclasses.replace(entry, compute=self.timed("entropy", entry.compute))


def write_jpegs(folder: Path, n_images: int) -> None:
    """Crops of two photographs, somewhat larger than what is looked at, ten folders."""
    photographs = load_sample_images().images
    side = SIDE + SIDE // 8
    for number in range(n_images):
        label = number % N_CLASSES
        photograph = photographs[label % 2]
        top = (label // 2) * 37 % (photograph.shape[0] - side) + (number // N_CLASSES) * 3 % 25
        left = (number * 41) % (photograph.shape[1] - side)
        path = folder / f"place{label}" / f"{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph[top : top + side, left : left + side]).save(path, quality=90)


def time_of(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a call on the wall, and of all threads on processors."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor


def measure(model: str, n_images: int, runs: int, batch_size: int) -> dict[str, Any]:
    """Medians over pairs of a bare pass and an audit."""
    registry = installed()
    clocks = Clocks()
    measures = [clocks.on_calls(registry.measures[name]) for name in MEASURES]
    pairs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write = functools.partial(write_jpegs, folder / "train", n_images)
        subject = subject_on_crops(folder, model, registry, n_images, write)
        subject = dataclasses.replace(subject, layers=STAGES, batch_size=batch_size)
        bare = bare_pass(subject, registry)
        for turn in range(runs + 1):
            checkpoint.forget_prepared()
            store = Store(folder / f"cache{turn}")
            bare_wall, bare_processor = time_of(bare)
            clocks.seconds.clear()
            with clocks.watching():
                network = functools.partial(_audit, subject, measures, store, registry, clocks)
                wall, processor = time_of(network)
            if turn:  # the first turn compiles and warms up
                steps = {step: clocks.seconds[step] for step in STEPS}
                pairs.append(
                    {
                        "bare wall": bare_wall,
                        "bare processor": bare_processor,
                        "audit wall": wall,
                        "audit processor": processor,
                        **steps,
                        "rest": processor - sum(steps.values()),
                        "wall ratio": wall / bare_wall,
                        "processor ratio": processor / bare_processor,
                    }
                )
    return {
        "model": model,
        "images": n_images,
        "batch_size": batch_size,
        "layers": list(STAGES),
        "medians": {k: statistics.median(pair[k] for pair in pairs) for k in pairs[0]},
        "pairs": pairs,
        "versions": versions(("torch", "timm", "numpy", "numba")),
    }


def _audit(
    subject: Subject,
    measures: Sequence[MeasureEntry],
    store: Store,
    registry: Registry,
    clocks: Clocks,
) -> None:
    """Audit, with the time within the network counted as forward."""
    real = torch.nn.Module.__call__
    depth = [0]

    def call(module: torch.nn.Module, *args: Any, **options: Any) -> Any:
        if depth[0]:
            return real(module, *args, **options)
        depth[0] += 1
        try:
            return clocks.timed("forward", real)(module, *args, **options)
        finally:
            depth[0] -= 1

    with mock.patch.object(torch.nn.Module, "__call__", call):
        outcome = audit_checkpoint(subject, measures, store, registry)
    if outcome.failure or outcome.failures:
        raise RuntimeError(f"the audit failed: {outcome}")


class DrawnSplit(ImageSplit):
    """Images of ten classes, each drawn when it is asked for: bars, rings and noise.

    Args:
        n_images: How many.
    """

    def __init__(self, n_images: int) -> None:
        self.class_names = tuple(f"class{label}" for label in range(N_CLASSES))
        self.labels = np.arange(n_images, dtype=np.int64) % N_CLASSES
        self.sample_ids = tuple(f"drawn-{number:06d}" for number in range(n_images))

    def digest(self, index: int) -> str:
        """SHA-256 of the pixels."""
        return hashlib.sha256(self._pixels(index).tobytes()).hexdigest()

    def load(self, index: int) -> Image.Image:
        """The image."""
        return Image.fromarray(self._pixels(index))

    def _pixels(self, index: int) -> np.ndarray:
        generator = np.random.default_rng(index)
        rows, columns = (
            np.mgrid[:MEMORY_SIDE, :MEMORY_SIDE] - generator.integers(20, 44, 2)[:, None, None]
        )
        label = index % N_CLASSES
        wave = np.hypot(rows, columns) if label % 2 else rows * label + columns
        pattern = 96 + 60 * np.sin(wave / (2 + label))
        noise = generator.integers(0, 60, (MEMORY_SIDE, MEMORY_SIDE, 3))
        pixels: np.ndarray = (pattern[..., None] + noise).clip(0, 255).astype(np.uint8)
        return pixels


class _Drawn:
    """A plugin with the drawn images."""

    @hookimpl
    def genaudit_datasets(self) -> list[DatasetEntry]:
        """The one training set."""

        def open_split(split: str, options: Mapping[str, Any]) -> ImageSplit:
            return DrawnSplit(int(options["n_images"]))

        return [
            DatasetEntry(
                name="drawn",
                summary="drawn images",
                version="1",
                open=open_split,
                options=("n_images",),
            )
        ]


def peak_memory(n_images: int) -> dict[str, float]:
    """Peak memory of this process after an audit of so many images, MB."""
    registry = Registry({**plugins_of(installed()), "drawn": _Drawn()})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        args = {"num_classes": N_CLASSES}
        source = registry.model_source("resnet18")
        torch.manual_seed(0)
        write_weights(source.create("resnet18", args, False), folder / "w.safetensors")
        subject = Subject(
            name="resnet18",
            model_source=Provided(source.name, source.version),
            source_digest="",
            model="resnet18",
            model_args=args,
            weights=folder / "w.safetensors",
            weights_digest=file_digest(folder / "w.safetensors"),
            data_source=Provided("drawn", "1"),
            dataset_options={"n_images": n_images},
            sample=draw_sample(DrawnSplit(n_images), None, 0),
            transform={"input_size": [3, MEMORY_SIDE, MEMORY_SIDE]},
            layers=STAGES,
            batch_size=64,
            device="cpu",
            seed=0,
        )
        before = _begin_peak()
        store = Store(folder / "cache")
        outcome = audit_checkpoint(
            subject, [registry.measures[name] for name in MEASURES], store, registry
        )
        if outcome.failure or outcome.failures:
            raise RuntimeError(f"the audit failed: {outcome}")
    return {"images": n_images, "before": before, "peak": _peak()}


def _begin_peak() -> float:
    """Forget the peak of memory so far, where the system can; resident memory now, MB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    """Peak resident memory of this process, MB.

    Linux counts in `ru_maxrss` what the parent had, so that its own account is read there.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def memory(counts: Sequence[int]) -> list[dict[str, float]]:
    """Peak memory for each number of images, in a new process each."""
    rows = []
    for count in counts:
        command = [sys.executable, "-m", "benchmarks.end_to_end", "--memory-of", str(count)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout))
    return rows


def _print(found: dict[str, Any]) -> None:
    """The table of one measurement."""
    medians, n_images = found["medians"], found["images"]
    print(f"{found['model']}, {n_images} images, batches of {found['batch_size']}, one math thread")
    print(f"{'':18} {'ms an image':>12} {'beside the bare pass':>22}")
    rows = ["bare processor", "audit processor", *STEPS, "rest", "bare wall", "audit wall"]
    for name in rows:
        beside = medians["bare wall" if name.endswith("wall") else "bare processor"]
        each = 1000 * medians[name] / n_images
        print(f"{name:18} {each:12.2f} {medians[name] / beside:21.3f}×")
    for clock in ("processor", "wall"):
        ratios = sorted(pair[f"{clock} ratio"] for pair in found["pairs"])
        median, ends = statistics.median(ratios), f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
        print(f"ratio by {clock} time: median {median:.3f} of {len(ratios)} pairs, {ends}")


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--counts", type=int, nargs="+", default=[500, 20_000])
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    os.environ.setdefault("GENAUDIT_THREADS", "1")
    if chosen.memory_of:
        print(json.dumps(peak_memory(chosen.memory_of)))
        return
    if chosen.memory:
        rows = memory(chosen.counts)
        if chosen.json:
            print(json.dumps({"model": "resnet18", "side": MEMORY_SIDE, "rows": rows}, indent=1))
            return
        for row in rows:
            more = 100 * (row["peak"] / rows[0]["peak"] - 1)
            print(f"{row['images']:>8} images: peak {row['peak']:.0f} MB ({more:+.1f}%)")
        return
    found = measure(chosen.model, chosen.images, chosen.runs, chosen.batch_size)
    if chosen.json:
        print(json.dumps(found, indent=1))
        return
    _print(found)


if __name__ == "__main__":
    main()
