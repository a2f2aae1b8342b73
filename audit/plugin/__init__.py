"""All that the author of a plugin imports.

A plugin is a module named by an entry point in the group `genaudit`. It implements hooks (see
`hooks`), decorated with `hookimpl`, that return entries: `ModelEntry`, `DatasetEntry`,
`MeasureEntry`, `HeldOutEntry`, `EngineEntry`, `ReporterEntry`. A measure is given a `TrainView`.

Beside this package a plugin may use `audit.arrays` and `audit.errors`, `audit.topology` (birth
levels, entropy, unit tables), `audit.data` (decoding, transforms, seeded order of images),
`audit.transforms` (networks with other weights), `audit.remote` (what URLs name), `audit.files`
(files that are there whole or not at all) and `audit.parquet` (what one may unpack to); in its
tests `audit.conformance`, which checks that it keeps its promises. The rest of `audit` is not for
plugins, and a test holds the shipped ones to that.
"""

from __future__ import annotations

from audit.plugin.datasets import DataConfig, ImageSplit, Split
from audit.plugin.entries import (
    Change,
    Cost,
    DatasetEntry,
    EngineEntry,
    HeldOutEntry,
    Invariance,
    KnownCheckpoint,
    MeasureEntry,
    ModelEntry,
    ReporterEntry,
)
from audit.plugin.hooks import hookimpl
from audit.plugin.parts import Direction, Part
from audit.plugin.reducers import (
    PLAIN,
    Alteration,
    Batch,
    FeatureReducer,
    GradientReducer,
    Layer,
    MapReducer,
    Reducer,
    Rendition,
    ScoreReducer,
)
from audit.plugin.result import AuditResult
from audit.plugin.values import Measured, Status, Value
from audit.plugin.view import TrainView
from audit.topology.layer_births import FLAG_CONSTANT, FLAG_ZERO, Filtration, LayerBirths

__all__ = [
    "hookimpl",
    "MeasureEntry",
    "Part",
    "Measured",
    "Value",
    "Status",
    "Direction",
    "Invariance",
    "Change",
    "Cost",
    "TrainView",
    "Layer",
    "Reducer",
    "MapReducer",
    "FeatureReducer",
    "ScoreReducer",
    "GradientReducer",
    "Batch",
    "Rendition",
    "Alteration",
    "PLAIN",
    "LayerBirths",
    "Filtration",
    "FLAG_CONSTANT",
    "FLAG_ZERO",
    "DataConfig",
    "ModelEntry",
    "DatasetEntry",
    "ImageSplit",
    "Split",
    "HeldOutEntry",
    "KnownCheckpoint",
    "EngineEntry",
    "ReporterEntry",
    "AuditResult",
]
