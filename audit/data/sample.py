"""Which training images are looked at: one reproducible, readable sample for every checkpoint."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Mapping, MutableMapping, Sequence

import numpy as np

from audit.arrays import Labels
from audit.data.pixels import oddities, standard_mode
from audit.errors import ConfigError, DataError
from audit.plugin import ImageSplit


@dataclasses.dataclass(frozen=True)
class Sample:
    """The images of a split that every checkpoint is measured on.

    Attributes:
        indices: Shape (n,), positions in the split, class by class.
        labels: Shape (n,), the class of each chosen image.
        sample_ids: Of each chosen image.
        class_names: Of the split, all of them; the position is the label, whatever was chosen.
        fingerprint: SHA-256 over class names and, per chosen image, name, label and content.
        excluded: Name of each unreadable image met on the way → why it cannot be read.
        n_available: Images in the whole split.
        skipped: What the dataset passed over → how many.
        oddities: What is out of the ordinary in the pixels of chosen images, in words → how many.
    """

    indices: Labels
    labels: Labels
    sample_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    fingerprint: str
    excluded: dict[str, str]
    n_available: int
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    oddities: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def images_of_class(self) -> dict[str, int]:
        """Chosen class → how many of its images were chosen, in the order of labels."""
        counts = np.bincount(self.labels, minlength=len(self.class_names)).tolist()
        return {name: count for name, count in zip(self.class_names, counts, strict=True) if count}


def shuffle_key(seed: int, sample_id: str) -> bytes:
    """Sorting by it is a seeded permutation that no other image can change."""
    return hashlib.sha256(f"{seed}/{sample_id}".encode("utf-8", "surrogatepass")).digest()


def draw_sample(
    split: ImageSplit,
    images_per_class: int | None,
    seed: int,
    memo: MutableMapping[str, str] | None = None,
    max_classes: int | None = None,
) -> Sample:
    """Choose up to `images_per_class` readable images of every class, or of some classes.

    The order within a class depends on the seed and the image names alone, so a larger sample
    contains the smaller one; likewise that of classes. An unreadable image is replaced by the next
    of its class, so no more images are read than are chosen and excluded.

    Args:
        split: Where from.
        images_per_class: At least 1; None takes every readable image.
        seed: Of the permutation.
        memo: Keeps digests and decoding results between runs, by image name and `stamp`, as JSON
            text. Images whose stamp is empty are always read again.
        max_classes: How many classes are chosen where there are more; None chooses all. Labels
            keep their numbers.

    Raises:
        ConfigError: `images_per_class` or `max_classes` is below 1.
        DataError: A class of the split has no image, or a chosen one no readable image.
    """
    for name, value in (("images_per_class", images_per_class), ("max_classes", max_classes)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1; found {value}")
    chosen: list[int] = []
    seen: list[_Seen] = []
    excluded: dict[str, str] = {}
    members_of = _members(split)
    for label in _choose_classes(split.class_names, max_classes, seed):
        members = members_of[label]
        members.sort(key=lambda index: shuffle_key(seed, split.sample_ids[index]))
        wanted = len(members) if images_per_class is None else images_per_class
        found = _readable(split, members, wanted, excluded, memo)
        if not found:
            raise DataError(_unreadable(split, label, members, excluded))
        chosen += [index for index, _ in found]
        seen += [image for _, image in found]
    labels = np.asarray(split.labels, dtype=np.int64)[chosen]
    sample_ids = tuple(split.sample_ids[index] for index in chosen)
    digests = [image.digest for image in seen]
    content = list(zip(sample_ids, labels.tolist(), digests, strict=True))
    odd = collections.Counter(word for image in seen for word in image.oddities)
    return Sample(
        indices=np.asarray(chosen, dtype=np.int64),
        labels=labels,
        sample_ids=sample_ids,
        class_names=tuple(split.class_names),
        fingerprint=hashlib.sha256(json.dumps([split.class_names, content]).encode()).hexdigest(),
        excluded=excluded,
        n_available=len(split.sample_ids),
        skipped=dict(sorted(split.skipped.items())),
        oddities=dict(sorted(odd.items())),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of one image: its digest, what is odd about it, why it cannot be read."""

    digest: str
    problem: str
    oddities: tuple[str, ...] = ()


def _members(split: ImageSplit) -> list[list[int]]:
    """The positions of each class's images.

    Raises:
        DataError: A class has none.
    """
    labels = np.asarray(split.labels)
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(len(split.class_names) + 1))
    members = [order[a:b].tolist() for a, b in itertools.pairwise(ends)]
    empty = next((label for label, found in enumerate(members) if not found), None)
    if empty is not None:
        shown = _counts(split.class_names, [len(found) for found in members])
        raise DataError(
            f"class {split.class_names[empty]!r} has no image; images per class: {shown}"
        )
    return members


def _counts(names: Sequence[str], counts: Sequence[int], most: int = 40) -> str:
    """Images per class in words, the first classes where there are many."""
    pairs = list(zip(names, counts, strict=True))
    shown = ", ".join(f"{name}: {count}" for name, count in pairs[:most])
    return shown + (f" and {len(pairs) - most} more classes" if len(pairs) > most else "")


def _choose_classes(names: Sequence[str], most: int | None, seed: int) -> list[int]:
    """The labels of the chosen classes, in their order."""
    if most is None or len(names) <= most:
        return list(range(len(names)))
    shuffled = sorted(range(len(names)), key=lambda at: shuffle_key(seed, f"class/{names[at]}"))
    return sorted(shuffled[:most])


def _readable(
    split: ImageSplit,
    members: Sequence[int],
    wanted: int,
    excluded: dict[str, str],
    memo: MutableMapping[str, str] | None,
) -> list[tuple[int, _Seen]]:
    """The first `wanted` readable images with what is known of them; others go to `excluded`."""
    found: list[tuple[int, _Seen]] = []
    for index in members:
        if len(found) == wanted:
            break
        seen = _examine(split, index, memo)
        if seen.problem:
            excluded[split.sample_ids[index]] = seen.problem
        else:
            found.append((index, seen))
    return found


def _examine(split: ImageSplit, index: int, memo: MutableMapping[str, str] | None) -> _Seen:
    """What is known of one image, from memo if there."""
    try:
        stamp = split.stamp(index) if memo is not None else ""
        key = f"seen/{stamp}/{split.sample_ids[index]}"
        if memo is not None and stamp and key in memo:
            known = json.loads(memo[key])
            return _Seen(known["digest"], known["problem"], tuple(known["oddities"]))
        digest = split.digest(index)
    except DataError as error:
        return _Seen("", str(error))
    try:
        seen = _Seen(digest, "", oddities(standard_mode(split.load(index))))
    except DataError as error:
        seen = _Seen(digest, str(error))
        if isinstance(error.__cause__, OSError) and error.__cause__.errno:
            return seen  # the system refused to read it, which may pass: nothing to remember
    if memo is not None and stamp:
        memo[key] = json.dumps(dataclasses.asdict(seen))
    return seen


def _unreadable(
    split: ImageSplit, label: int, members: Sequence[int], excluded: Mapping[str, str]
) -> str:
    """Why a class gives no image."""
    first = excluded[split.sample_ids[members[0]]]
    name = split.class_names[label]
    return f"class {name!r} has no readable image among {len(members)}; the first: {first}"
