"""What does an audit of one checkpoint cost, in forward passes and beside a bare forward pass?

A ResNet-50 with random weights on crops of the photographs that come with scikit-learn, 224 × 224
pixels. Images that go through the network are counted by a hook on it, so that probes of a single
image count too. The bare pass is the fastest there is on processors: channels last, no hooks. All
run on one math thread, as workers do, and take turns.

Run: python -m benchmarks.passes [--images 100] [--runs 3] [--model resnet50] [--json]
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

from audit.data.sample import draw_sample
from audit.data.split_guard import open_training
from audit.data.transform import eval_transform, load_batch, resolve_data_config
from audit.measuring.subject import Provided, Subject
from audit.measuring.task import audit_checkpoint
from audit.network.saving import write_weights
from audit.network.threads import one_math_thread
from audit.network.weights import file_digest
from audit.plugin import MeasureEntry, ModelEntry, hookimpl
from audit.plugin.registry import Registry, installed
from audit.store import Store

SIDE: Final = 224
N_CLASSES: Final = 10
BATCH_SIZE: Final = 32


@dataclasses.dataclass
class Counter:
    """Images that went forward through the network."""

    n: int = 0

    def watch(self, network: nn.Module) -> nn.Module:
        """Count from now on."""
        network.register_forward_pre_hook(self._see)
        return network

    def __deepcopy__(self, memo: dict[int, Any]) -> Counter:
        """Copies of the network count here too."""
        return self

    def _see(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.n += len(inputs[0])


class _Counted:
    """A plugin with timm's networks, whose images are counted."""

    def __init__(self, source: ModelEntry, counter: Counter) -> None:
        self._source, self._counter = source, counter

    @hookimpl
    def genaudit_models(self) -> list[ModelEntry]:
        """The one source."""

        def create(reference: str, args: Mapping[str, Any], pretrained: bool) -> nn.Module:
            return self._counter.watch(self._source.create(reference, args, pretrained))

        return [dataclasses.replace(self._source, create=create)]


def write_crops(folder: Path, n_images: int) -> None:
    """Crops of two photographs, one folder for each of ten places."""
    photographs = load_sample_images().images
    for number in range(n_images):
        label = number % N_CLASSES
        photograph = photographs[label % 2]
        top = (label // 2) * 37 + (number // N_CLASSES) * 3 % 50
        left = (number * 41) % (photograph.shape[1] - SIDE)
        crop = photograph[top : top + SIDE, left : left + SIDE]
        path = folder / f"place{label}" / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crop).save(path)


def subject_in(
    folder: Path,
    model: str,
    registry: Registry,
    n_images: int,
    write: Callable[[], None] | None = None,
) -> Subject:
    """The network in a file and its sample; `write` puts other images in `folder / "train"`."""
    if write is None:
        write_crops(folder / "train", n_images)
    else:
        write()
    args = {"num_classes": N_CLASSES}
    source = registry.model_source(model)
    torch.manual_seed(0)
    weights = folder / "weights.safetensors"
    write_weights(source.create(model, args, False), weights)
    options = {"root": str(folder / "train")}
    split = open_training(registry.dataset("image_folder"), options)
    return Subject(
        name=model,
        model_source=Provided(source.name, source.version),
        source_digest="",
        model=model,
        model_args=args,
        weights=weights,
        weights_digest=file_digest(weights),
        data_source=Provided("image_folder", registry.dataset("image_folder").version),
        dataset_options=options,
        sample=draw_sample(split, None, 0),
        transform={"input_size": [3, SIDE, SIDE]},
        layers=("stages",),
        batch_size=BATCH_SIZE,
        device="cpu",
        seed=0,
    )


def bare_pass(subject: Subject, registry: Registry) -> Callable[[], None]:
    """The whole sample through the network, channels last, images prepared beforehand."""
    source = registry.models[subject.source]
    network = source.create(subject.model, subject.model_args, False).eval()
    config = resolve_data_config(source, network, subject.model_args, subject.transform)
    split = open_training(registry.dataset("image_folder"), subject.dataset_options)
    images = load_batch(split, subject.sample.indices, eval_transform(config))
    network = network.to(memory_format=torch.channels_last)
    size = subject.batch_size if isinstance(subject.batch_size, int) else BATCH_SIZE
    parts = torch.split(images, size)
    batches = [part.contiguous(memory_format=torch.channels_last) for part in parts]

    def run() -> None:
        with one_math_thread(), torch.inference_mode():
            for batch in batches:
                network(batch)

    return run


def measure(model: str, n_images: int, runs: int) -> list[dict[str, Any]]:
    """One row for the bare pass and one for each set of measures."""
    plugins = installed()
    counter = Counter()
    registry = Registry(
        {
            **{name: plugin for name, plugin in plugins_of(plugins).items() if name != "timm"},
            "timm": _Counted(plugins.models["timm"], counter),
        }
    )
    sets: dict[str, Sequence[MeasureEntry]] = {
        "feature entropy alone": [
            entry for name, entry in registry.measures.items() if name.startswith("feature_entropy")
        ],
        "default measures": registry.select_measures(),
    }
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        subject = subject_in(folder, model, registry, n_images)
        bare = bare_pass(subject, plugins)
        seconds: dict[str, list[float]] = {name: [] for name in ("bare pass", *sets)}
        passes: dict[str, float] = {"bare pass": 1.0}
        for turn in range(runs + 1):
            taken = {"bare pass": _seconds(bare)}
            for number, (name, measures) in enumerate(sets.items()):
                counter.n = 0
                store = Store(folder / f"cache{turn}-{number}")
                audit = functools.partial(_audit, subject, measures, store, registry)
                taken[name] = _seconds(audit)
                passes[name] = counter.n / n_images
            if turn:  # the first turn decodes, compiles and warms up
                for name, value in taken.items():
                    seconds[name].append(value)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return [
        {
            "what": name,
            "passes": round(passes[name], 3),
            "seconds": round(medians[name], 3),
            "ratio": round(medians[name] / medians["bare pass"], 3),
        }
        for name in medians
    ]


def plugins_of(registry: Registry) -> dict[str, Any]:
    """The plugins of a registry, by name."""
    return {name: registry.plugin(name) for name in set(registry.owners.values())}


def _audit(
    subject: Subject, measures: Sequence[MeasureEntry], store: Store, registry: Registry
) -> None:
    outcome = audit_checkpoint(subject, measures, store, registry)
    if outcome.failure or outcome.failures:
        raise RuntimeError(f"the audit failed: {outcome}")


def _seconds(call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rows = measure(chosen.model, chosen.images, chosen.runs)
    if chosen.json:
        about = {"model": chosen.model, "images": chosen.images, "torch": torch.__version__}
        print(json.dumps({**about, "rows": rows}, indent=1))
        return
    print(f"{chosen.model}, {chosen.images} images of {SIDE} × {SIDE}, one math thread")
    print(f"{'':24} {'passes':>8} {'seconds':>9} {'beside the bare pass':>22}")
    for row in rows:
        print(f"{row['what']:24} {row['passes']:8.3f} {row['seconds']:9.3f} {row['ratio']:21.2f}×")


if __name__ == "__main__":
    main()
