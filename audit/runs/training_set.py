"""The training set of a configuration: its sample, and what of it is also held out."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from audit.data.duplicates import Overlap, find_overlap
from audit.data.sample import Sample, draw_sample
from audit.data.split_guard import open_held_out, open_training
from audit.errors import ConfigError, StoreError
from audit.plugin import DatasetEntry, ImageSplit
from audit.plugin.registry import Registry
from audit.remote import is_url, pretty
from audit.runs.config import AuditConfig
from audit.store import Store


def located_options(config: AuditConfig, dataset: DatasetEntry) -> dict[str, Any]:
    """The options of a configuration's dataset, with every path in them made absolute."""
    return config.located(config.dataset_options, dataset.locations)


def plain_words(value: Any) -> Any:
    """A value as a record can hold it; objects in memory become words, URLs lose their secrets."""
    if isinstance(value, str):
        return pretty(value) if is_url(value) else value
    if isinstance(value, Mapping):
        return {str(name): plain_words(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_words(part) for part in value]
    known = value is None or isinstance(value, int | float)
    return value if known else f"a {type(value).__name__} in memory"


def draw(config: AuditConfig, registry: Registry, store: Store) -> tuple[Sample, ImageSplit]:
    """The training sample, and the split it is of."""
    dataset = registry.dataset(config.dataset.name)
    options = located_options(config, dataset)
    split = open_training(dataset, options)
    with _remembered(store, dataset, options) as memo:
        sample = draw_sample(
            split,
            config.measures.images_per_class or None,
            config.seed,
            memo,
            config.measures.max_classes or None,
        )
    return sample, split


@contextlib.contextmanager
def _remembered(
    store: Store, dataset: DatasetEntry, options: Mapping[str, Any]
) -> Iterator[dict[str, str]]:
    """What is known of unchanged images of a dataset; what is new is put into the store.

    It is about files as this machine sees them, and changes; so it is kept on this machine.
    """
    store = store.local
    key = {"memo": dataset.name, "version": dataset.version, "options": plain_words(options)}
    known = store.get(key)
    memo: dict[str, str] = json.loads(known.arrays["json"].tobytes()) if known else {}
    before = len(memo)
    yield memo
    if len(memo) > before:
        content = np.frombuffer(json.dumps(memo).encode(), dtype=np.uint8)
        try:
            store.put(key, {"json": content})
        except StoreError as error:
            raise StoreError(
                f"{error} for the store, with --cache FOLDER or GENAUDIT_CACHE"
            ) from error


def compare(
    config: AuditConfig,
    registry: Registry,
    store: Store,
    split: ImageSplit,
    sample: Sample,
    progress: bool,
) -> Overlap | None:
    """The sampled images that are also held out, where the configuration names held-out images."""
    images = config.held_out.images if config.held_out else None
    if images is None:
        return None
    training = registry.dataset(config.dataset.name)
    named = dict(images) if isinstance(images, Mapping) else {}
    dataset = registry.dataset(named.pop("name", training.name))
    options = located_options(config, training)
    if isinstance(images, Mapping):
        options = config.located(named, ("root", *dataset.locations))
    elif isinstance(images, str):
        if not dataset.locations:
            raise ConfigError(
                f"[held_out] images = {images!r}: dataset {dataset.name!r} reads no path; give "
                "true for its own held-out split, or a table with the name of another dataset"
            )
        others = {k: v for k, v in options.items() if k not in dataset.locations}
        options = {**others, dataset.locations[0]: str(config.path(images))}
    held_out = open_held_out(dataset, options, own=images is True)
    with (
        _remembered(store, training, {"prints": located_options(config, training)}) as memo,
        _remembered(store, dataset, {"prints": options}) as held_out_memo,
    ):
        return find_overlap(split, sample, held_out, memo, held_out_memo, progress)
