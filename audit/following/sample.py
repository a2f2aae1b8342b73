"""The images that a network is followed on: few, fixed, prepared once, kept where it runs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch.utils.data import DataLoader

from audit.data.sample import draw_sample
from audit.data.transform import eval_transform, load_batch, resolve_data_config
from audit.errors import DataError
from audit.following._apart import same_randomness
from audit.plugin import DataConfig, ModelEntry
from audit.plugin.registry import installed
from audit.runs.one_network import open_dataset, source_in_memory

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Of a loader whose labels nobody knows, so many times the images that are wanted are looked at.
_LOOKED_AT: Final = 10
#: Names under which datasets keep all labels, and batches their images and labels.
_KEPT_LABELS: Final = ("targets", "labels")
_IMAGES: Final = ("pixel_values", "image", "images", "inputs", "input", "x")
_LABELS: Final = ("labels", "label", "targets", "target", "y")


@dataclasses.dataclass(frozen=True)
class FixedSample:
    """Training images as the network is given them, and their classes.

    Attributes:
        images: Shape (n, channels, height, width), prepared as the network expects.
        labels: Shape (n,), the class of each image, as the network's outputs are numbered.
        class_names: By label; their numbers where none are given.
        data_config: How the images were prepared; by default mean 0 and standard deviation 1.

    Raises:
        DataError: Shapes that do not fit, values that are not finite, or fewer than two images.
    """

    images: Tensor
    labels: np.ndarray
    class_names: tuple[str, ...] = ()
    data_config: DataConfig | None = None

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels, np.int64)
        images = self.images.detach().float()
        if images.ndim != 4 or labels.shape != (len(images),) or len(images) < 2:
            raise DataError(
                "a sample to follow a network on needs images of shape (n, channels, height, "
                "width), n at least 2, and labels (n,); found "
                f"{tuple(images.shape)} and {labels.shape}"
            )
        if not torch.isfinite(images).all() or labels.min() < 0:
            raise DataError(
                "a sample to follow a network on needs finite images and labels from 0 on; found "
                f"labels from {labels.min()} and images from {float(images.min())}"
            )
        names = self.class_names or tuple(map(str, range(int(labels.max()) + 1)))
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "class_names", tuple(names))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def config(self) -> DataConfig:
        """How the images were prepared."""
        if self.data_config is not None:
            return self.data_config
        channels, height, width = self.images.shape[1:]
        return DataConfig((channels, height, width), (0.0,) * channels, (1.0,) * channels)

    def to(self, device: torch.device) -> FixedSample:
        """The same on a device."""
        if self.images.device == device:
            return self
        return dataclasses.replace(self, images=self.images.to(device))


def fixed_sample(
    dataset: Any,
    network: nn.Module,
    images_per_class: int,
    max_classes: int,
    seed: int,
    transform: Mapping[str, Any] | None = None,
    model_args: Mapping[str, Any] | None = None,
    source: ModelEntry | None = None,
) -> FixedSample:
    """Draw the images that a network is followed on.

    Args:
        dataset: A `FixedSample`; a `DataLoader` of torch, whose items are taken as the network is
            given them; or what `audit.unit_table` takes: name of a dataset plugin, mapping of
            `name` and options, open split, or an object that a plugin reads.
        network: As plain Python; the source that recognises it says how images are prepared.
        images_per_class: At most; 0 means all.
        max_classes: At most; 0 means all.
        seed: Of the choice of images.
        transform: Overrides of the network's data configuration.
        model_args: What the network was built with, where its source has to know.
        source: What built it; by default the source that recognises it.

    Raises:
        ConfigError: A dataset that is unknown, or a network of which nobody knows how its images
            are prepared.
        DataError: The dataset cannot be used.
    """
    if isinstance(dataset, FixedSample):
        return dataset
    if isinstance(dataset, DataLoader):
        with same_randomness(seed):
            return _from_loader(dataset, images_per_class, max_classes, seed)
    registry = installed()
    split, _, _ = open_dataset(dataset, registry)
    sample = draw_sample(split, images_per_class or None, seed, None, max_classes or None)
    source = source or source_in_memory(network, registry)
    config = resolve_data_config(source, network, dict(model_args or {}), dict(transform or {}))
    images = load_batch(split, sample.indices, eval_transform(config))
    return FixedSample(images, sample.labels, sample.class_names, config)


def _from_loader(
    loader: DataLoader[Any], images_per_class: int, max_classes: int, seed: int
) -> FixedSample:
    """Items of the dataset behind a loader, drawn at random, collated one by one."""
    dataset, n_items = _items_of(loader)
    order = np.random.default_rng(seed).permutation(n_items).tolist()
    known = _known_labels(dataset, n_items)
    if known is None:
        wanted = images_per_class * max_classes
        looked_at = order[: _LOOKED_AT * wanted] if wanted else order
        items = {index: _split_item(loader, dataset, index) for index in looked_at}
        known = np.full(n_items, -1)
        known[looked_at] = [label for _, label in items.values()]
        order = looked_at
    else:
        items = {}
    chosen = _balanced(order, known, images_per_class, max_classes)
    pairs = [items.get(index) or _split_item(loader, dataset, index) for index in chosen]
    images = torch.stack([image for image, _ in pairs])
    labels = np.array([label for _, label in pairs], np.int64)
    return FixedSample(images, labels)


def _items_of(loader: DataLoader[Any]) -> tuple[Any, int]:
    """The dataset behind a loader, and its length.

    Raises:
        DataError: It has no items by number.
    """
    dataset: Any = loader.dataset
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise DataError(
            f"a sample can only be drawn from a loader whose dataset has items by number; "
            f"{type(dataset).__name__} has not: give a FixedSample of images and labels instead"
        )
    return dataset, len(dataset)


def _known_labels(dataset: Any, n_items: int) -> np.ndarray | None:
    """The label of every item where a dataset keeps them, so that no image need be opened."""
    inner, indices = getattr(dataset, "dataset", None), getattr(dataset, "indices", None)
    if inner is not None and indices is not None:
        known = _known_labels(inner, len(inner))
        return None if known is None else known[np.asarray(indices)]
    if getattr(dataset, "target_transform", None) is not None:
        return None
    tensors = getattr(dataset, "tensors", None)
    kept = [getattr(dataset, name, None) for name in _KEPT_LABELS]
    for values in (*kept, tensors[1] if isinstance(tensors, tuple) and len(tensors) > 1 else None):
        if isinstance(values, list | tuple | np.ndarray | torch.Tensor):
            found = np.asarray(values)
            if found.shape == (n_items,) and found.dtype.kind in "iu":
                return found.astype(np.int64)
    return None


def _split_item(loader: DataLoader[Any], dataset: Any, index: int) -> tuple[Tensor, int]:
    """One image and its label, as a batch would hold them.

    Raises:
        DataError: A batch does not hold a tensor of images and one of labels.
    """
    collate: Any = loader.collate_fn
    batch = collate([dataset[index]])
    images, labels = images_and_labels(batch)
    if images is None or labels is None or labels.numel() != 1 or images.ndim != 4:
        raise DataError(
            "batches must hold a tensor of images, shape (b, channels, height, width), and one of "
            f"labels, shape (b,); found {_described(batch)}: give a FixedSample of images and "
            "labels instead"
        )
    return images[0], int(labels)


def images_and_labels(batch: Any) -> tuple[Tensor | None, Tensor | None]:
    """Images and labels of a batch: a pair, or a mapping under the usual names."""
    if isinstance(batch, Mapping):
        images = next((batch[name] for name in _IMAGES if name in batch), None)
        labels = next((batch[name] for name in _LABELS if name in batch), None)
    elif isinstance(batch, list | tuple) and len(batch) >= 2:
        images, labels = batch[0], batch[1]
    else:
        return None, None
    found = [part if isinstance(part, torch.Tensor) else None for part in (images, labels)]
    return found[0], found[1]


def _described(batch: Any) -> str:
    """What a batch holds, in words."""
    if isinstance(batch, Mapping):
        return f"{type(batch).__name__} with {', '.join(map(str, batch))}"
    if isinstance(batch, list | tuple):
        parts = (str(tuple(p.shape)) if hasattr(p, "shape") else type(p).__name__ for p in batch)
        return f"{type(batch).__name__} of {', '.join(parts)}"
    return type(batch).__name__


def _balanced(
    order: Sequence[int], labels: np.ndarray, images_per_class: int, max_classes: int
) -> list[int]:
    """The first images of each class in a random order; of many classes those with most of them.

    Raises:
        DataError: Fewer than two classes have two images.
    """
    by_class: dict[int, list[int]] = {}
    for index in order:
        members = by_class.setdefault(int(labels[index]), [])
        if not images_per_class or len(members) < images_per_class:
            members.append(index)
    full = sorted(by_class.items(), key=lambda item: -len(item[1]))[: max_classes or None]
    kept = sorted((label, members) for label, members in full if len(members) > 1)
    if len(kept) < 2:
        raise DataError(
            f"two classes with two images each are needed; among {len(order)} items of the loader "
            f"{len(kept)} have: give a FixedSample of images and labels instead"
        )
    return list(itertools.chain.from_iterable(members for _, members in kept))
