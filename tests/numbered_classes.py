"""Class folders "1" to "12" of drawn numbers, and a timm network trained on them in some order."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional

SIDE = 32
PER_CLASS = 16
#: As timm sorts the folders.
NATURAL = tuple(str(number) for number in range(1, 13))
#: As torchvision's ImageFolder does.
PLAIN = tuple(sorted(NATURAL))


@functools.cache
def drawings(names: tuple[str, ...] = NATURAL) -> dict[str, list[Image.Image]]:
    """Name → images of it, each a little elsewhere."""
    rng = np.random.default_rng(0)
    font = ImageFont.load_default(20)
    found: dict[str, list[Image.Image]] = {}
    for name in names:
        for _ in range(PER_CLASS):
            image = Image.new("L", (SIDE, SIDE), 20)
            place = tuple(int(offset) for offset in rng.integers(1, 7, 2))
            ImageDraw.Draw(image).text(place, name, fill=230, font=font)
            noisy = np.asarray(image) + rng.normal(0, 6, (SIDE, SIDE))
            found.setdefault(name, []).append(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
    return found


def write_folder(root: Path, names: Sequence[str] = NATURAL) -> Path:
    """One folder of images per class; `names` are what the numbers' folders are called."""
    for name, images in zip(names, drawings().values(), strict=True):
        (root / name).mkdir(parents=True)
        for index, image in enumerate(images):
            image.save(root / name / f"{index:02}.png")
    return root


def trained(
    order: Sequence[str] = NATURAL, mean: float = 0.5, std: float = 0.5, seed: int = 0
) -> torch.nn.Module:
    """A network trained to answer every drawing; output k means `order[k]`."""
    return _trained(tuple(order), mean, std, seed)


@functools.cache
def _trained(order: tuple[str, ...], mean: float, std: float, seed: int) -> torch.nn.Module:
    pixels, labels = [], []
    for name, images in drawings().items():
        pixels += [np.asarray(image, dtype=np.float32) / 255 for image in images]
        labels += [order.index(name)] * len(images)
    x = (torch.from_numpy(np.stack(pixels))[:, None] - mean) / std
    y = torch.tensor(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = timm.create_model("test_resnet", num_classes=len(order), in_chans=1)
        optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
        for _ in range(14):
            network.train()
            for index in torch.randperm(len(x)).split(32):
                loss = functional.cross_entropy(network(x[index]), y[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    network.eval()
    with torch.inference_mode():
        assert (network(x).argmax(1) == y).float().mean() > 0.97
    return network
