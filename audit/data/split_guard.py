"""The one place where a training split is opened to be measured.

Measures are given training images alone. Whoever opens images for them does so here, so that no
other split can be asked for by mistake, and so that whatever a plugin hands over is a split whose
images can be told apart by name: the sample, its fingerprint and the store's keys rest on that.
What a plugin can tell about its own files, such as a folder that holds splits instead of classes,
it refuses itself.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

from audit.errors import PluginError, quoted
from audit.plugin import DatasetEntry, ImageSplit


def open_training(entry: DatasetEntry, options: Mapping[str, Any]) -> ImageSplit:
    """Open the training split of a dataset, and no other.

    Args:
        entry: The dataset.
        options: Its own options.

    Raises:
        ConfigError: An option is unknown or cannot be used.
        DataError: The training set cannot be used.
        PluginError: The plugin breaks its contract: it gives something else than a split, labels
            and names that do not pair up, or one name to two images.
    """
    split: object = entry.open("train", options)
    if not isinstance(split, ImageSplit):
        raise PluginError(
            f"dataset {entry.name!r} must open an ImageSplit; it gave a {type(split).__name__}"
        )
    n_labels, n_names = len(split.labels), len(split.sample_ids)
    if n_labels != n_names:
        raise PluginError(
            f"dataset {entry.name!r} must give each training image one label and one name; "
            f"it gave {n_labels} labels and {n_names} names"
        )
    if len(set(split.sample_ids)) != n_names:
        counts = collections.Counter(split.sample_ids)
        twice = quoted(name for name, count in counts.items() if count > 1)
        raise PluginError(
            f"dataset {entry.name!r} must give each training image a name of its own; "
            f"it gave more than one the name {twice}"
        )
    return split
