"""The images of a source: a few classes, many images of each, kept as the zoo keeps them.

Feature entropy of n images is at most log n, so that few classes with many images say more than
many classes with few.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.data.sample import shuffle_key
from audit.data.split_guard import open_held_out, open_training
from audit.errors import ConfigError, DataError
from audit.files import write_atomically
from audit.plugin import ImageSplit
from audit.plugin.registry import installed
from audit.zoo.images import held_out_file, moved_labels, training_file, write_arrays

if TYPE_CHECKING:
    from PIL import Image

    from audit.reproduction.form import Form, FormSource
    from audit.zoo.recipes import Recipe


class _SomeClasses(ImageSplit):
    """Some classes of a split, numbered anew.

    Args:
        split: Of which.
        classes: Their labels there, ascending.
    """

    def __init__(self, split: ImageSplit, classes: Sequence[int]) -> None:
        self._split = split
        self._rows = np.flatnonzero(np.isin(split.labels, classes))
        self.labels = np.searchsorted(classes, np.asarray(split.labels)[self._rows])
        self.class_names = tuple(split.class_names[label] for label in classes)
        self.sample_ids = tuple(split.sample_ids[row] for row in self._rows.tolist())

    def digest(self, index: int) -> str:
        """As the split says."""
        return self._split.digest(int(self._rows[index]))

    def load(self, index: int) -> Image.Image:
        """As the split does."""
        return self._split.load(int(self._rows[index]))


def write_images(
    form: Form, source: FormSource, seed: int, folder: Path, recipes: Sequence[Recipe]
) -> None:
    """Write what is missing of a source's images.

    Args:
        form: Sizes, and the share of labels that is moved.
        source: Where images come from.
        seed: Of the choice of images, and of moved labels.
        folder: Of the networks: `data/` is written into it.
        recipes: Whose images.

    Raises:
        ConfigError: A dataset is unknown or an option cannot be used, or the folder holds the
            images of another form.
        DataError: Images cannot be read, or there are too few.
    """
    said = json.dumps(_described(form, source, seed), indent=1, sort_keys=True) + "\n"
    about = folder / "data" / "about.json"
    if about.exists() and about.read_text("utf-8") != said:
        raise ConfigError(
            f"{folder} holds images of another form, or of this form as it was before a change; "
            "use another output folder, or delete it"
        )
    wanted = {training_file(folder, recipe): recipe.label_noise for recipe in recipes}
    wanted |= {training_file(folder, recipe, clean=True): 0.0 for recipe in recipes}
    if about.exists() and all(path.exists() for path in (held_out_file(folder), *wanted)):
        return
    training = _some(_open(source.dataset, held_out=False), source)
    held_out = _some(_open(source.held_out or source.dataset, held_out=True), source)
    if training.class_names != held_out.class_names:
        raise DataError(f"source {source.name}: held-out images are of other classes")
    write_arrays(
        held_out_file(folder), held_out, range(len(held_out.labels)), held_out.labels, form
    )
    chosen = _chosen(training, source, seed)
    clean = training.labels[chosen]
    for path, noise in wanted.items():
        given = moved_labels(clean, source.classes, noise, seed)
        write_arrays(path, training, chosen, given, form)
    write_atomically(about, said.encode())


def _described(form: Form, source: FormSource, seed: int) -> dict[str, Any]:
    """What decides the images."""
    return {
        "source": source.model_dump(exclude={"epochs"}),
        "side": form.side,
        "channels": form.channels,
        "seed": seed,
    }


def _open(options: Mapping[str, Any], *, held_out: bool) -> ImageSplit:
    rest = {key: value for key, value in options.items() if key != "name"}
    entry = installed().dataset(str(options["name"]))
    return open_held_out(entry, rest, own=True) if held_out else open_training(entry, rest)


def _some(split: ImageSplit, source: FormSource) -> _SomeClasses:
    """Evenly spaced classes of a split."""
    n_classes = len(split.class_names)
    if n_classes < source.classes:
        raise DataError(
            f"source {source.name} needs {source.classes} classes, and there are {n_classes}"
        )
    return _SomeClasses(split, [k * n_classes // source.classes for k in range(source.classes)])


def _chosen(split: ImageSplit, source: FormSource, seed: int) -> list[int]:
    """As many images of each class as the source says.

    Raises:
        DataError: A class has fewer.
    """
    found: list[int] = []
    for label, name in enumerate(split.class_names):
        members = np.flatnonzero(split.labels == label).tolist()
        if len(members) < source.images_per_class:
            raise DataError(
                f"source {source.name} needs {source.images_per_class} training images of class "
                f"{name}, and there are {len(members)}"
            )
        members.sort(key=lambda index: shuffle_key(seed, split.sample_ids[index]))
        found += members[: source.images_per_class]
    return sorted(found)
