"""Which training images are looked at: one reproducible, readable sample for every checkpoint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, MutableMapping, Sequence

import numpy as np

from audit.arrays import Labels
from audit.errors import ConfigError, DataError
from audit.plugin import ImageSplit


@dataclasses.dataclass(frozen=True)
class Sample:
    """The images of a split that every checkpoint is measured on.

    Attributes:
        indices: Shape (n,), positions in the split, class by class.
        labels: Shape (n,), the class of each chosen image.
        sample_ids: Of each chosen image.
        class_names: Of the split; the position is the label.
        fingerprint: SHA-256 over class names and, per chosen image, name, label and content.
        excluded: Name of each unreadable image met on the way → why it cannot be read.
        n_available: Images in the whole split.
    """

    indices: Labels
    labels: Labels
    sample_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    fingerprint: str
    excluded: dict[str, str]
    n_available: int


def shuffle_key(seed: int, sample_id: str) -> bytes:
    """Sorting by it is a seeded permutation that no other image can change."""
    return hashlib.sha256(f"{seed}/{sample_id}".encode("utf-8", "surrogatepass")).digest()


def draw_sample(
    split: ImageSplit,
    images_per_class: int | None,
    seed: int,
    memo: MutableMapping[str, str] | None = None,
) -> Sample:
    """Choose up to `images_per_class` readable images of every class.

    The order within a class depends on the seed and the image names alone, so a larger sample
    contains the smaller one. An unreadable image is replaced by the next of its class.

    Args:
        split: Where from.
        images_per_class: At least 1; None takes every readable image.
        seed: Of the permutation.
        memo: Keeps digests and decoding results between runs, by image name and `stamp`, as JSON
            text. Images whose stamp is empty are always read again.

    Raises:
        ConfigError: `images_per_class` is below 1.
        DataError: A class has no readable image.
    """
    if images_per_class is not None and images_per_class < 1:
        raise ConfigError(f"images_per_class must be at least 1; found {images_per_class}")
    chosen: list[int] = []
    digests: list[str] = []
    excluded: dict[str, str] = {}
    for label, class_name in enumerate(split.class_names):
        members = np.flatnonzero(np.asarray(split.labels) == label).tolist()
        members.sort(key=lambda index: shuffle_key(seed, split.sample_ids[index]))
        wanted = len(members) if images_per_class is None else images_per_class
        found = _readable(split, members, wanted, excluded, memo)
        if not found:
            raise DataError(_no_image(split, class_name, members, excluded))
        chosen += [index for index, _ in found]
        digests += [digest for _, digest in found]
    labels = np.asarray(split.labels, dtype=np.int64)[chosen]
    sample_ids = tuple(split.sample_ids[index] for index in chosen)
    content = list(zip(sample_ids, labels.tolist(), digests, strict=True))
    return Sample(
        indices=np.asarray(chosen, dtype=np.int64),
        labels=labels,
        sample_ids=sample_ids,
        class_names=tuple(split.class_names),
        fingerprint=hashlib.sha256(json.dumps([split.class_names, content]).encode()).hexdigest(),
        excluded=excluded,
        n_available=len(split.sample_ids),
    )


def _readable(
    split: ImageSplit,
    members: Sequence[int],
    wanted: int,
    excluded: dict[str, str],
    memo: MutableMapping[str, str] | None,
) -> list[tuple[int, str]]:
    """The first `wanted` readable images with their digests; the others go to `excluded`."""
    found: list[tuple[int, str]] = []
    for index in members:
        if len(found) == wanted:
            break
        digest, problem = _examine(split, index, memo)
        if problem:
            excluded[split.sample_ids[index]] = problem
        else:
            found.append((index, digest))
    return found


def _examine(
    split: ImageSplit, index: int, memo: MutableMapping[str, str] | None
) -> tuple[str, str]:
    """Content digest of one image and why it cannot be read ('' if it can), from memo if there."""
    try:
        stamp = split.stamp(index) if memo is not None else ""
        key = f"image/{stamp}/{split.sample_ids[index]}"
        if memo is not None and stamp and key in memo:
            known = json.loads(memo[key])
            return known["digest"], known["problem"]
        digest = split.digest(index)
    except DataError as error:
        return "", str(error)
    problem = ""
    try:
        split.load(index)
    except DataError as error:
        problem = str(error)
    if memo is not None and stamp:
        memo[key] = json.dumps({"digest": digest, "problem": problem})
    return digest, problem


def _no_image(
    split: ImageSplit, class_name: str, members: Sequence[int], excluded: Mapping[str, str]
) -> str:
    """Why a class gives no image."""
    if not members:
        counts = np.bincount(np.asarray(split.labels), minlength=len(split.class_names))
        shown = ", ".join(
            f"{name}: {count}" for name, count in zip(split.class_names, counts, strict=True)
        )
        return f"class {class_name!r} has no image; images per class: {shown}"
    first = excluded[split.sample_ids[members[0]]]
    return f"class {class_name!r} has no readable image among {len(members)}; the first: {first}"
