"""Which order of a layer's units hurts least, and what does it cost? Run: benchmarks.ablation.

Two small networks are trained on scikit-learn's digits, and the units of one layer of each are set
to zero step by step in every order, on the images they were trained on. Passes are counted by the
images that reach the first convolution, those by which layers are found included.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import audit
from audit.units.cumulative import CumulativeAblation
from audit.zoo.networks import plain_convolutions


class Subject(NamedTuple):
    """A network to be trained, the size of its images, and the layer that is ablated."""

    make: Callable[[], nn.Module]
    side: int
    layer: str


SUBJECTS = {
    "VGG-like": Subject(lambda: plain_convolutions(10, 1, depth=1), 32, "stages.2.0.act"),
    "ResNet": Subject(
        lambda: timm.create_model("test_resnet", num_classes=10, in_chans=1), 64, "layer2"
    ),
}
_N_IMAGES = 1000
_BATCH = 50
_KEPT = ("layer", "n_units", "n_images", "verdict", "explanation", "areas")


def trained(subject: Subject, images: Tensor, labels: Tensor, epochs: int) -> nn.Module:
    """The network after so many epochs of AdamW."""
    network = subject.make().train()
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.02)
    steps = epochs * -(-len(images) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(images)), _BATCH):
            loss = functional.cross_entropy(network(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network.eval()


def ablated(
    subject: Subject, network: nn.Module, pixels: np.ndarray, labels: np.ndarray, filtration: Any
) -> tuple[CumulativeAblation, float, float]:
    """The curves of its layer, passes over the sample, and seconds."""
    n_seen = 0

    def see(part: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal n_seen
        n_seen += len(given[0])

    first = next(part for part in network.modules() if isinstance(part, nn.Conv2d))
    handle = first.register_forward_pre_hook(see)
    began = time.perf_counter()
    found = audit.cumulative_ablation(
        network,
        (pixels, labels),
        subject.layer,
        filtration=filtration,
        images_per_class=0,
        transform=preparation(subject.side),
        device="cpu",
    )
    handle.remove()
    return found, n_seen / found.n_images, time.perf_counter() - began


def preparation(side: int) -> dict[str, Any]:
    """How images are prepared: resized, and from −1 to 1."""
    return {"input_size": [1, side, side], "mean": [0.5], "std": [0.5], "crop_pct": 1.0}


def prepared(pixels: np.ndarray, side: int) -> Tensor:
    """Images in [−1, 1] as the networks are trained on, shape (n, 1, side, side)."""
    images = torch.from_numpy(pixels).float()[:, None] / 255
    larger = functional.interpolate(images, (side, side), mode="bicubic", antialias=True)
    return (larger.clamp(0, 1) - 0.5) / 0.5


def report(name: str, filtration: str, found: CumulativeAblation, passes: float, s: float) -> None:
    """Print what became of one network."""
    print(f"\n{name}, {found.layer}: {found.n_units} units, {found.n_images} images, {filtration}")
    print(f"{passes:.1f} forward passes, {s:.0f} s; {found.verdict}: {found.explanation}\n")
    columns = ["order", "accuracy", "accuracy_lower", "accuracy_upper", "loss", "n_undefined"]
    ordered = found.areas.sort_values("accuracy", ascending=False)[columns]
    print(ordered.to_string(index=False, float_format=lambda value: f"{value:.3f}"))


def main() -> None:
    """Train, ablate and print, or print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--epochs", type=int, default=8, help="of training")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    digits = load_digits()
    pixels = (digits.images[:_N_IMAGES] / 16 * 255).round().astype(np.uint8)
    labels = digits.target[:_N_IMAGES]
    results = []
    for name, subject in SUBJECTS.items():
        torch.manual_seed(chosen.seed)
        images = prepared(pixels, subject.side)
        network = trained(subject, images, torch.from_numpy(labels), chosen.epochs)
        for filtration in ("clique", "cubical"):
            found, passes, seconds = ablated(subject, network, pixels, labels, filtration)
            if not chosen.json:
                report(name, filtration, found, passes, seconds)
            kept = found.as_plain()
            about = {"network": name, "filtration": filtration, "passes": round(passes, 2)}
            about |= {name: kept[name] for name in _KEPT} | {"seconds": round(seconds)}
            results.append(about)
    if chosen.json:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
