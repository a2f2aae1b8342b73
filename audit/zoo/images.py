"""A task's images, brought to one size once and kept as arrays that everything else reads.

`data/held_out.npz` and, for every variant of the training images, `data/train-VARIANT.npz` hold
`images` (n, side, side) or (n, side, side, 3) of uint8, `labels`, `class_names` and `sample_ids`,
as the dataset plugin `arrays` reads them. A variant is a share of the images and a share of moved
labels; beside one with moved labels lies `train-VARIANT-clean.npz`, the same images with the
labels they came with.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from audit.data.sample import shuffle_key
from audit.errors import ConfigError, DataError
from audit.files import write_atomically
from audit.plugin import ImageSplit, Split
from audit.plugin.registry import installed

if TYPE_CHECKING:
    from audit.zoo.recipes import Recipe
    from audit.zoo.tasks import Task


class ImageSize(Protocol):
    """What images are brought to.

    Attributes:
        side: Height and width in pixels.
        channels: 1 (gray) or 3 (colour).
    """

    @property
    def side(self) -> int:
        """In pixels."""

    @property
    def channels(self) -> int:
        """1 or 3."""


#: A class needs at least this many training images.
_MIN_PER_CLASS: Final = 2


def training_file(folder: Path, recipe: Recipe, *, clean: bool = False) -> Path:
    """The training images of a recipe, with the labels it was trained on or clean ones."""
    suffix = "-clean" if clean and recipe.label_noise else ""
    return folder / "data" / f"train-{recipe.variant}{suffix}.npz"


def held_out_file(folder: Path) -> Path:
    """The held-out images."""
    return folder / "data" / "held_out.npz"


def write_images(task: Task, folder: Path, recipes: Iterable[Recipe]) -> None:
    """Write what is missing of a task's images.

    Raises:
        ConfigError: A dataset is unknown or an option cannot be used, or the folder holds the
            images of another task.
        DataError: Images cannot be read, or a class has fewer than two.
        StoreError: A file cannot be written.
    """
    variants = {recipe.variant: recipe for recipe in recipes}
    wanted = [held_out_file(folder)]
    wanted += [training_file(folder, r, clean=c) for r in variants.values() for c in (False, True)]
    said = _described(task)
    about = folder / "data" / "about.json"
    if about.exists() and about.read_text("utf-8") != said:
        raise ConfigError(
            f"{folder} holds images of another task, or of this task as it was before a change; "
            "use another folder, or delete it"
        )
    if about.exists() and all(path.exists() for path in wanted):
        return
    training = _open(task.dataset, "train")
    held_out = _open(task.held_out or task.dataset, "held_out")
    if tuple(training.class_names) != tuple(held_out.class_names):
        raise DataError(
            f"task {task.name}: training and held-out images are of different classes: "
            f"{', '.join(training.class_names)} and {', '.join(held_out.class_names)}"
        )
    size = task.training
    write_arrays(
        held_out_file(folder), held_out, range(len(held_out.labels)), held_out.labels, size
    )
    for recipe in variants.values():
        chosen = kept_images(training, recipe.train_share, recipe.seed)
        clean = training.labels[chosen]
        given = moved_labels(clean, len(training.class_names), recipe.label_noise, recipe.seed)
        write_arrays(training_file(folder, recipe), training, chosen, given, size)
        write_arrays(training_file(folder, recipe, clean=True), training, chosen, clean, size)
    write_atomically(about, said.encode())


def _described(task: Task) -> str:
    """What decides the images, as text."""
    content: dict[str, Any] = {
        "dataset": task.dataset,
        "held_out": task.held_out,
        "side": task.training.side,
        "channels": task.training.channels,
        "seed": task.training.seed,
    }
    return json.dumps(content, indent=1, sort_keys=True, default=str) + "\n"


def _open(options: dict[str, Any], split: Split) -> ImageSplit:
    entry = installed().dataset(options["name"])
    rest = {key: value for key, value in options.items() if key != "name"}
    return entry.open(split, rest)


def kept_images(split: ImageSplit, share: float, seed: int) -> list[int]:
    """The images of a share of every class, in their order.

    Raises:
        DataError: A class keeps fewer than two.
    """
    chosen: list[int] = []
    for label, name in enumerate(split.class_names):
        members = np.flatnonzero(split.labels == label).tolist()
        members.sort(key=lambda index: shuffle_key(seed, split.sample_ids[index]))
        kept = members[: round(share * len(members))]
        if len(kept) < _MIN_PER_CLASS:
            raise DataError(
                f"class {name} has {len(kept)} training images; at least {_MIN_PER_CLASS} needed"
            )
        chosen += kept
    return sorted(chosen)


def moved_labels(labels: np.ndarray, n_classes: int, rate: float, seed: int) -> np.ndarray:
    """The labels with a share of them moved to another class, uniformly.

    Args:
        labels: Shape (n,).
        n_classes: How many classes there are.
        rate: Share of labels that change, in [0, 1).
        seed: The same seed and rate give the same labels, whatever the network.
    """
    rng = np.random.default_rng([seed, 7])
    moved = labels.copy()
    chosen = rng.permutation(len(moved))[: round(rate * len(moved))]
    moved[chosen] = (moved[chosen] + rng.integers(1, n_classes, len(chosen))) % n_classes
    return moved


def write_arrays(
    path: Path, split: ImageSplit, chosen: Iterable[int], labels: np.ndarray, size: ImageSize
) -> None:
    """Write one file of arrays, whole or not at all; equal content gives equal bytes.

    Args:
        path: Of the file.
        split: Where images come from.
        chosen: Their positions.
        labels: Of the chosen images.
        size: What they are brought to.
    """
    chosen = list(chosen)
    arrays = {
        "images": np.stack([_pixels(split, index, size) for index in chosen]),
        "labels": np.asarray(labels, dtype=np.int64),
        "class_names": np.array(split.class_names),
        "sample_ids": np.array([split.sample_ids[index] for index in chosen]),
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its stub takes a flag for an array
    write_atomically(path, buffer.getvalue())


def _pixels(split: ImageSplit, index: int, size: ImageSize) -> np.ndarray:
    """One image at a size, uint8."""
    from PIL import Image

    side = size.side
    mode = "L" if size.channels == 1 else "RGB"
    picture = split.load(index).convert(mode)
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(picture)
