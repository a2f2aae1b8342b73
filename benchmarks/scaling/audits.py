"""One audit in a process of its own: what it takes in time, memory and space.

The networks are a timm architecture, or one layer as wide as is asked for; the images are drawn
when they are asked for, so that none are kept on disk.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn

from audit.data.sample import draw_sample
from audit.measuring.checkpoint import forget_prepared
from audit.measuring.subject import Provided, Subject
from audit.measuring.task import audit_checkpoint
from audit.network.saving import write_weights
from audit.network.weights import file_digest
from audit.plugin import DataConfig, DatasetEntry, ImageSplit, ModelEntry, hookimpl
from audit.plugin.registry import Registry, installed
from audit.store import Store
from benchmarks.end_to_end import DrawnSplit
from benchmarks.passes import plugins_of
from benchmarks.scaling.memory import begin_peak, peak_of
from benchmarks.scaling.traffic import counted

#: A network of one layer: `model_args` say how wide it is.
WIDE = "wide"


@dataclasses.dataclass(frozen=True)
class Asked:
    """One audit.

    Attributes:
        model: A timm name, or `WIDE`.
        images: In all.
        classes: That the images are spread over, evenly.
        side: Of the square that images are scaled to, pixels.
        width: Units of the layer of `WIDE`; no meaning for others.
    """

    model: str
    images: int
    classes: int
    side: int = 64
    width: int = 0

    @property
    def args(self) -> dict[str, Any]:
        """What the model is built with."""
        width = {"width": self.width} if self.model == WIDE else {}
        return {"num_classes": self.classes, **width}


class ClassedSplit(DrawnSplit):
    """Drawn images, spread over as many classes as one likes.

    Args:
        n_images: How many.
        n_classes: Of how many classes.
    """

    def __init__(self, n_images: int, n_classes: int) -> None:
        super().__init__(n_images)
        self.class_names = tuple(f"class{label:04d}" for label in range(n_classes))
        self.labels = np.arange(n_images, dtype=np.int64) % n_classes


class OneLayer(nn.Module):
    """One convolution with a ReLU, pooled, and a head: as many units as one likes.

    Args:
        width: Units.
        num_classes: Outputs.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, width, 3, stride=4, padding=1)
        self.activation = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores."""
        found: torch.Tensor = self.pool(self.activation(self.convolution(images))).flatten(1)
        scores: torch.Tensor = self.head(found)
        return scores


class _Plugin:
    """The drawn images and the one-layer network."""

    @hookimpl
    def genaudit_datasets(self) -> list[DatasetEntry]:
        """The one training set."""

        def open_split(split: str, options: Mapping[str, Any]) -> ImageSplit:
            return ClassedSplit(int(options["images"]), int(options["classes"]))

        return [
            DatasetEntry(
                name="classed",
                summary="drawn images",
                version="1",
                open=open_split,
                options=("images", "classes"),
            )
        ]

    @hookimpl
    def genaudit_models(self) -> list[ModelEntry]:
        """The one network."""

        def create(reference: str, args: Mapping[str, Any], pretrained: bool) -> nn.Module:
            return OneLayer(int(args["width"]), int(args["num_classes"]))

        return [
            ModelEntry(
                name=WIDE,
                summary="one layer",
                version="1",
                matches=lambda reference: reference == WIDE,
                names=lambda: (WIDE,),
                create=create,
                data_config=lambda network, args: DataConfig((3, 64, 64), (0.5,) * 3, (0.5,) * 3),
            )
        ]


def registry() -> Registry:
    """The plugins that are installed, and the benchmark's own."""
    return Registry({**plugins_of(installed()), "scaling": _Plugin()})


def subject_of(asked: Asked, folder: Path, plugins: Registry) -> Subject:
    """The checkpoint, its weights drawn into the folder, and its sample."""
    source = plugins.models[WIDE] if asked.model == WIDE else plugins.model_source(asked.model)
    torch.manual_seed(0)
    weights = folder / f"{asked.model}.safetensors"
    write_weights(source.create(asked.model, asked.args, False), weights)
    return Subject(
        name=asked.model,
        model_source=Provided(source.name, source.version),
        source_digest="",
        model=asked.model,
        model_args=asked.args,
        weights=weights,
        weights_digest=file_digest(weights),
        data_source=Provided("classed", "1"),
        dataset_options={"images": asked.images, "classes": asked.classes},
        sample=draw_sample(ClassedSplit(asked.images, asked.classes), None, 0),
        transform={"input_size": [3, asked.side, asked.side]},
        layers=("stages",),
        batch_size=64,
        device="cpu",
        seed=0,
    )


def audit_once(asked: Asked) -> dict[str, Any]:
    """Audit with the default measures into an empty store, after a small audit that compiles.

    Returns:
        seconds (processor time of all threads), wall_seconds, passes, before and peak (resident
        memory, MB), store_bytes, weights_bytes, reads, missed_measures, writes, notes,
        `measures` (name → seconds), `values` (name → number, where it has one).

    Raises:
        RuntimeError: The audit failed.
    """
    plugins = registry()
    measures = plugins.select_measures()
    with tempfile.TemporaryDirectory() as place:
        for turn, one in enumerate((dataclasses.replace(asked, images=2 * asked.classes), asked)):
            forget_prepared()
            folder = Path(place) / str(turn)
            folder.mkdir()
            subject = subject_of(one, folder, plugins)
            store = Store(folder / "cache")
            gc.collect()
            before = begin_peak()
            wall, processor = time.perf_counter(), time.process_time()
            with counted() as traffic:
                outcome = audit_checkpoint(subject, measures, store, plugins)
            spent = time.process_time() - processor, time.perf_counter() - wall
            if outcome.failure or outcome.failures:
                raise RuntimeError(f"the audit of {one} failed: {outcome}")
        ledger = list(store.ledger())
        size = sum(path.stat().st_size for path in store.paths())
        weights = subject.weights.stat().st_size if subject.weights else 0
        return {
            **dataclasses.asdict(asked),
            "seconds": spent[0],
            "wall_seconds": spent[1],
            "passes": next(line["passes"] for line in ledger if line.get("stage") == "passes"),
            "before": before,
            "peak": peak_of(psutil.Process()),
            "store_bytes": size,
            "weights_bytes": weights,
            "reads": traffic.reads,
            "missed_measures": traffic.missed_measures,
            "writes": traffic.written,
            "notes": traffic.noted,
            "measures": {line["measure"]: line["seconds"] for line in ledger if "measure" in line},
            "values": _values(subject, store, plugins),
        }


def _values(subject: Subject, store: Store, plugins: Registry) -> dict[str, float]:
    """Sizes of the network, as measures counted them."""
    found = {}
    for name in ("macs", "parameters"):
        entry = plugins.measures[name]
        origin = plugins.origin("genaudit_measures", name)
        kept = store.get(subject.measure_key(Provided(name, entry.version, origin)))
        if kept is not None and kept.meta["values"][""][0] is not None:
            found[name] = float(kept.meta["values"][""][0])
    return found


def audited_alone(asked: Asked) -> dict[str, Any]:
    """`audit_once` in a new process."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.scaling.audits",
        json.dumps(dataclasses.asdict(asked)),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    print(json.dumps(audit_once(Asked(**json.loads(sys.argv[1])))))
