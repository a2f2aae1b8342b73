"""The measures that come with genaudit: one file per family.

A file of this package whose name does not begin with an underscore is a family and exposes
`MEASURES`, a tuple of `MeasureEntry`; it is found by being there. Files that begin with an
underscore hold what families share.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

from audit.plugin import MeasureEntry, hookimpl


def families() -> list[str]:
    """Names of the modules that hold a family of measures, sorted."""
    modules = pkgutil.iter_modules(__path__)
    return sorted(module.name for module in modules if not module.name.startswith("_"))


@hookimpl
def genaudit_measures() -> Sequence[MeasureEntry]:
    """The measures of every family."""
    return [
        entry
        for family in families()
        for entry in importlib.import_module(f"{__name__}.{family}").MEASURES
    ]
