"""Unit tables of a checkpoint, kept in the store."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from audit.errors import UnavailableError
from audit.measuring.subject import Subject
from audit.measuring.view import CheckpointView
from audit.store import Store
from audit.topology import Filtration, LayerBirths
from audit.topology.units import unit_frame

#: Changes whenever a column of the unit table would.
UNITS_VERSION = "1"


def units_key(subject: Subject, filtration: str) -> dict[str, Any]:
    """The store key of the unit table."""
    return subject.trace_key(f"units.{filtration}") | {"version": UNITS_VERSION}


def keep_units(
    subject: Subject, view: CheckpointView, filtration: Filtration, store: Store
) -> None:
    """Compute the unit table of one filtration into the store."""
    key = units_key(subject, filtration)
    if store.get(key) is not None:
        return
    try:
        layers: tuple[LayerBirths, ...] = view.births(filtration)
    except UnavailableError:
        layers = ()
    frame = unit_frame(layers, view.labels, view.class_names)
    arrays: dict[str, np.ndarray] = {}
    words: dict[str, list[str]] = {}
    for column in frame:
        values = frame[column]
        if pd.api.types.is_numeric_dtype(values):
            arrays[str(column)] = values.to_numpy()
        else:
            codes, names = pd.factorize(values)
            arrays[str(column)] = codes.astype(np.int32)
            words[str(column)] = [str(name) for name in names]
    store.put(key, arrays, {"words": words, "columns": [str(column) for column in frame]})


def read_units(subject: Subject, filtration: str, store: Store) -> pd.DataFrame | None:
    """The unit table of one filtration from the store, or None where it is not there.

    Returns:
        Columns checkpoint, filtration, layer, unit, class_name, n_images, effective_rate,
        birth_entropy, feature_entropy, status.
    """
    entry = store.get(units_key(subject, filtration))
    if entry is None:
        return None
    columns: dict[str, Any] = {}
    for column in entry.meta["columns"]:
        values = entry.arrays[column]
        if column in entry.meta["words"]:
            columns[column] = pd.Categorical.from_codes(values, entry.meta["words"][column])
        else:
            columns[column] = values
    frame = pd.DataFrame(columns)
    frame.insert(0, "filtration", filtration)
    frame.insert(0, "checkpoint", subject.name)
    return frame
