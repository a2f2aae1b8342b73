"""What does each measure cost alone, what do all cost together, and how many passes is that?

A ResNet-18, trained for a few epochs on crops of the two photographs that come with scikit-learn,
ten places as classes, so that its margins are positive and perturbations have something to spoil.
Every audit begins with an empty store. "Passes" counts the images that go forward through the
network or through a copy of it, by a hook, over the images of the sample; the gradients of one
image show as one or more. Seconds are those of the processor in this process; measures run on one
math thread, as in a worker.

Run: python -m benchmarks.measures [--model resnet18] [--side 64] [--images 500] [--json]
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

from audit.data.split_guard import open_training
from audit.data.transform import eval_transform, load_batch, resolve_data_config
from audit.measuring.subject import Subject
from audit.measuring.task import audit_checkpoint
from audit.network.saving import write_weights
from audit.network.weights import file_digest
from audit.plugin import MeasureEntry
from audit.plugin.registry import Registry, installed
from audit.store import Store
from benchmarks.passes import N_CLASSES, Counter, _Counted, plugins_of, subject_in

EPOCHS: Final = 6
PASSES_ALLOWED: Final = 6.5


def write_places(folder: Path, n_images: int, side: int) -> None:
    """Square crops of two photographs, one folder for each of ten places that do not overlap."""
    photographs = load_sample_images().images
    for number in range(n_images):
        label = number % N_CLASSES
        photograph = photographs[label % 2]
        left = (label // 2) * (photograph.shape[1] // 5)
        step = number // N_CLASSES
        crop = photograph[
            step * 7 % (photograph.shape[0] - side) :,
            left + step * 3 % max(1, photograph.shape[1] // 5 - side) :,
        ][:side, :side]
        path = folder / f"place{label}" / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crop).save(path)


def trained_subject(
    folder: Path, model: str, side: int, n_images: int, registry: Registry
) -> Subject:
    """The network in a file, fitted to its sample, and the sample."""
    subject = subject_in(
        folder, model, registry, n_images, lambda: write_places(folder / "train", n_images, side)
    )
    subject = dataclasses.replace(subject, transform={"input_size": [3, side, side]})
    source = registry.models[subject.source]
    network = source.create(subject.model, subject.model_args, False)
    config = resolve_data_config(source, network, subject.model_args, subject.transform)
    split = open_training(registry.dataset("image_folder"), subject.dataset_options)
    images = load_batch(split, subject.sample.indices, eval_transform(config))
    labels = torch.as_tensor(subject.sample.labels)
    accuracy = _fit(network, images, labels)
    print(f"trained: {accuracy:.1%} of {n_images} images are right", file=sys.stderr)
    assert isinstance(subject.weights, Path)
    write_weights(network, subject.weights)
    return dataclasses.replace(subject, weights_digest=file_digest(subject.weights))


def _fit(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Train a network in place; its accuracy on the same images afterwards."""
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network.train()
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(labels)), 50):
            optimizer.zero_grad()
            torch.autograd.backward(
                nn.functional.cross_entropy(network(images[rows]), labels[rows])
            )
            optimizer.step()
    network.eval()
    with torch.no_grad():
        predicted = torch.cat([network(part).argmax(1) for part in torch.split(images, 100)])
    return float((predicted == labels).float().mean())


def measure(model: str, side: int, n_images: int, pattern: str) -> Iterator[dict[str, Any]]:
    """One row per measure, then one for each group together."""
    plugins = installed()
    counter = Counter()
    registry = Registry(
        {
            **{name: plugin for name, plugin in plugins_of(plugins).items() if name != "timm"},
            "timm": _Counted(plugins.models["timm"], counter),
        }
    )
    entries = [e for name, e in sorted(registry.measures.items()) if fnmatch.fnmatch(name, pattern)]
    forward = [entry for entry in entries if entry.cost != "backward"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        subject = trained_subject(folder, model, side, n_images, registry)

        def cost(name: str, measures: Sequence[MeasureEntry]) -> dict[str, Any]:
            counter.n = 0
            store = Store(folder / f"cache-{name.replace(' ', '-')}")
            wall, processor = time.perf_counter(), time.process_time()
            outcome = audit_checkpoint(subject, measures, store, registry)
            spent = time.process_time() - processor
            row = {
                "what": name,
                "cost": measures[0].cost if len(measures) == 1 else "",
                "seconds": round(spent, 2),
                "wall_seconds": round(time.perf_counter() - wall, 2),
                "passes": round(counter.n / n_images, 3),
                "failed": outcome.failure or "; ".join(map(str, outcome.failures.values())),
            }
            print(row, file=sys.stderr)
            return row

        cost("warm up", entries[:1])
        alone = 0.0
        alone_forward = 0.0
        for entry in entries:
            row = cost(entry.name, [entry])
            alone += row["seconds"]
            alone_forward += row["seconds"] if entry in forward else 0.0
            yield row
        groups = (("forward together", forward, alone_forward), ("all together", entries, alone))
        for name, measures, apart in groups:
            row = cost(name, measures)
            yield row | {
                "seconds_apart": round(apart, 2),
                "saving": round(1 - row["seconds"] / apart, 3),
            }


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--measures", default="*", help="a pattern, such as 'birth_*'")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rows = list(measure(chosen.model, chosen.side, chosen.images, chosen.measures))
    if chosen.json:
        about = {"model": chosen.model, "side": chosen.side, "images": chosen.images}
        print(json.dumps({**about, "torch": torch.__version__, "rows": rows}, indent=1))
        return
    print(f"{chosen.model}, {chosen.images} images of {chosen.side} × {chosen.side}")
    print(f"{'':44} {'cost':>9} {'seconds':>9} {'passes':>8}")
    for row in rows:
        saving = f"  {row['saving']:.0%} less than apart" if "saving" in row else ""
        print(
            f"{row['what']:44} {row['cost']:>9} {row['seconds']:9.2f} {row['passes']:8.2f}{saving}"
        )
    passes = next(row["passes"] for row in rows if row["what"] == "forward together")
    print(f"all that needs no gradients: {passes:.2f} passes of {PASSES_ALLOWED:g} allowed")


if __name__ == "__main__":
    main()
