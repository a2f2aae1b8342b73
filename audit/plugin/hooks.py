"""The hooks a plugin may implement, and nothing else.

A plugin is an importable module (or package) named by an entry point in the group `genaudit`.
It implements any of these functions, decorated with `hookimpl`; each returns a list of entries
(see `audit.plugin.entries`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pluggy

from audit.plugin.entries import (
    DatasetEntry,
    EngineEntry,
    HeldOutEntry,
    MeasureEntry,
    ModelEntry,
    ReporterEntry,
)

PROJECT: Final = "genaudit"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def genaudit_models() -> Sequence[ModelEntry]:
    """Sources of networks."""
    raise NotImplementedError


@hookspec
def genaudit_datasets() -> Sequence[DatasetEntry]:
    """Labelled image datasets."""
    raise NotImplementedError


@hookspec
def genaudit_measures() -> Sequence[MeasureEntry]:
    """Numbers per checkpoint from weights and training set alone."""
    raise NotImplementedError


@hookspec
def genaudit_held_out() -> Sequence[HeldOutEntry]:
    """Forms in which held-out accuracies are published."""
    raise NotImplementedError


@hookspec
def genaudit_engines() -> Sequence[EngineEntry]:
    """Places where tasks run."""
    raise NotImplementedError


@hookspec
def genaudit_reporters() -> Sequence[ReporterEntry]:
    """Forms of output."""
    raise NotImplementedError
