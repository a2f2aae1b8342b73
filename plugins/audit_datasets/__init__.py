"""The datasets that come with genaudit: one file per kind.

A file of this package whose name does not begin with an underscore holds a kind of dataset and
exposes `DATASETS`, a tuple of `DatasetEntry`; it is found by being there. Files that begin with an
underscore hold what kinds share. A file imports the package it reads with when images are opened.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

from audit.plugin import DatasetEntry, hookimpl


def modules() -> list[str]:
    """Names of the modules that hold datasets, one kind each, sorted."""
    found = pkgutil.iter_modules(__path__)
    return sorted(module.name for module in found if not module.name.startswith("_"))


@hookimpl
def genaudit_datasets() -> Sequence[DatasetEntry]:
    """The datasets of every kind."""
    return [
        entry
        for module in modules()
        for entry in importlib.import_module(f"{__name__}.{module}").DATASETS
    ]
