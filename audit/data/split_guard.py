"""The one place where a training split is opened for measuring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audit.plugin import DatasetEntry, ImageSplit


def open_training(entry: DatasetEntry, options: Mapping[str, Any]) -> ImageSplit:
    """The training split of a dataset: of all splits, the only one that measures may see."""
    return entry.open("train", options)
