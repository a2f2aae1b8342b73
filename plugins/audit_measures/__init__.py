"""The measures that come with genaudit: one file per theme.

A file of this package whose name does not begin with an underscore holds a theme and exposes
`MEASURES`, a tuple of `MeasureEntry`; it is found by being there. Files that begin with an
underscore hold what themes share.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

from audit.plugin import MeasureEntry, hookimpl


def modules() -> list[str]:
    """Names of the modules that hold measures, one theme each, sorted."""
    found = pkgutil.iter_modules(__path__)
    return sorted(module.name for module in found if not module.name.startswith("_"))


@hookimpl
def genaudit_measures() -> Sequence[MeasureEntry]:
    """The measures of every theme."""
    return [
        entry
        for module in modules()
        for entry in importlib.import_module(f"{__name__}.{module}").MEASURES
    ]
