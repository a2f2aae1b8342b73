"""The unit table: one row for every unit, layer and class, and what state each unit is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from audit.arrays import NO_BIRTH, Labels, MapFlags, UnitBirths
from audit.errors import DataError
from audit.topology.entropy import feature_entropy_by_class
from audit.topology.layer_births import FLAG_CONSTANT, FLAG_ZERO, LayerBirths

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Int8

#: States are told for so many (image, unit) pairs at a time: counting takes more memory than they.
_ENTRIES_AT_A_TIME: Final = 1 << 19
#: Name of each code of `unit_status`.
STATUS_NAMES: Final = ("ok", "dead", "constant", "never_born", "no_images")
OK, DEAD, CONSTANT, NEVER_BORN, NO_IMAGES = range(len(STATUS_NAMES))

COLUMNS: Final = (
    "layer",
    "unit",
    "class_name",
    "n_images",
    "effective_rate",
    "birth_entropy",
    "feature_entropy",
    "status",
)


def unit_status(
    flags: MapFlags, birth_levels: UnitBirths, labels: Labels, n_classes: int
) -> Int8[np.ndarray, "c u"]:
    """State of every unit on the images of every class.

    dead: every map is zero everywhere. constant: every map has one value everywhere, and not all
    are zero. never_born: maps vary in space, and none has a birth. ok: at least one has a birth.

    Args:
        flags: Shape (n, u): `FLAG_CONSTANT`, `FLAG_ZERO` of each map; a zero map need not carry
            the first.
        birth_levels: Shape (n, u); `NO_BIRTH` where no hole is enclosed.
        labels: Shape (n,), in [0, n_classes). All zero with `n_classes=1` gives the states over
            the whole sample.
        n_classes: Number of classes.

    Returns:
        Shape (n_classes, u): positions in `STATUS_NAMES`; "no_images" for a class without any.

    Raises:
        DataError: Shapes that do not agree, or a label out of range.

    Example:
        >>> flags = np.array([[0, 3, 1], [0, 3, 3]], dtype=np.uint8)
        >>> births = np.array([[5, -1, -1], [-1, -1, -1]], dtype=np.int32)
        >>> codes = unit_status(flags, births, np.array([0, 0]), 1)
        >>> [STATUS_NAMES[code] for code in codes[0]]
        ['ok', 'dead', 'constant']
    """
    if flags.ndim != 2 or flags.shape != birth_levels.shape or len(flags) != len(labels):
        raise DataError(
            "flags and birth levels must share one shape (images, units) and labels have one "
            f"entry per image; found {flags.shape}, {birth_levels.shape} and {labels.shape}"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < n_classes:
        raise DataError(
            f"labels must lie in [0, {n_classes}); found {labels.min()} to {labels.max()}"
        )
    of_class = (np.arange(n_classes)[:, None] == labels).astype(np.float64)
    n_images = of_class.sum(1, keepdims=True)

    def states(flags: np.ndarray, birth_levels: np.ndarray) -> np.ndarray:
        def count(maps: np.ndarray) -> np.ndarray:
            counts: np.ndarray = of_class @ maps.astype(np.float64)
            return counts

        zero = (flags & FLAG_ZERO) != 0
        one_value = zero | ((flags & FLAG_CONSTANT) != 0)
        found = [
            np.broadcast_to(n_images == 0, (n_classes, flags.shape[1])),
            count(zero) == n_images,
            count(one_value) == n_images,
            count(birth_levels != NO_BIRTH) == 0,
        ]
        return np.select(found, [NO_IMAGES, DEAD, CONSTANT, NEVER_BORN], OK).astype(np.int8)

    parts = [np.empty((n_classes, 0), np.int8)]
    size = max(1, _ENTRIES_AT_A_TIME // max(1, len(labels)))
    for start in range(0, flags.shape[1], size):
        units = slice(start, start + size)
        parts.append(states(flags[:, units], birth_levels[:, units]))
    return np.concatenate(parts, axis=1)


def unit_frame(
    layers: Sequence[LayerBirths],
    labels: Labels,
    class_names: Sequence[str],
    estimator: str = "plug-in",
) -> pd.DataFrame:
    """Feature entropy and state of every (layer, unit, class).

    Args:
        layers: Births and flags, from shallow to deep.
        labels: Shape (n,), the class of each image.
        class_names: Name of each class, unique.
        estimator: Of the birth entropy, as `audit.topology.entropy` names it.

    Returns:
        Columns layer, unit, class_name, n_images (of that class), effective_rate in [0, 1],
        birth_entropy in nats, feature_entropy in nats (both NaN where no image has a birth) and
        status (`STATUS_NAMES`). Rows by layer, then unit, then class. No layers give no rows.
    """
    import pandas as pd

    n_classes = len(class_names)
    n_images = np.bincount(labels, minlength=n_classes).astype(np.int32)
    blocks: list[tuple[np.ndarray, ...]] = []
    for position, layer in enumerate(layers):
        entropy = feature_entropy_by_class(layer.birth_levels, labels, n_classes, estimator)
        codes = unit_status(layer.flags, layer.birth_levels, labels, n_classes)
        n_units = codes.shape[1]
        blocks.append(
            (
                np.full(n_units * n_classes, position, np.int32),
                np.repeat(np.arange(n_units, dtype=np.int32), n_classes),
                np.tile(np.arange(n_classes, dtype=np.int32), n_units),
                np.tile(n_images, n_units),
                *(
                    np.asarray(part, np.float64).T.ravel()
                    for part in (
                        entropy.effective_rate,
                        entropy.birth_entropy,
                        entropy.feature_entropy,
                    )
                ),
                codes.T.ravel(),
            )
        )
        del layer  # it may be large, and the next one is read now
    empty = tuple(np.empty(0, kind) for kind in (np.int32,) * 4 + (np.float64,) * 3 + (np.int8,))
    columns = dict(zip(COLUMNS, map(np.concatenate, zip(empty, *blocks, strict=True)), strict=True))
    words = {
        "layer": [layer.layer for layer in layers],
        "class_name": list(class_names),
        "status": list(STATUS_NAMES),
    }
    return pd.DataFrame(
        {
            name: pd.Categorical.from_codes(values, pd.Index(words[name]))
            if name in words
            else values
            for name, values in columns.items()
        }
    )


def sampled_unit_frame(
    layers: Sequence[LayerBirths], labels: Labels, class_names: Sequence[str]
) -> pd.DataFrame:
    """`unit_frame` of the classes that have an image; a sample may leave whole classes out.

    Args:
        layers: Births and flags, from shallow to deep.
        labels: Shape (n,), the class of each image.
        class_names: Name of each class, with or without images.
    """
    present, compact = np.unique(labels, return_inverse=True)
    return unit_frame(layers, compact, [class_names[label] for label in present])
