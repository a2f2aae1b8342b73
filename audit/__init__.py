"""genaudit: rank trained image networks by how well they will generalize, from the training set.

The names below are the whole public interface. They are imported on first use, so that
`import audit` costs milliseconds and loads neither torch nor timm.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audit import statistics as statistics
    from audit.arrays import NO_BIRTH as NO_BIRTH
    from audit.correlation import correlate as correlate
    from audit.errors import AuditError as AuditError
    from audit.following import Follower as Follower
    from audit.plugin import AuditResult as AuditResult
    from audit.plugin.listing import list_measures as list_measures
    from audit.plugin.listing import list_plugins as list_plugins
    from audit.ranking import GeneralizationRanker as GeneralizationRanker
    from audit.ranking import select as select
    from audit.runs.ablation_table import cumulative_ablation as cumulative_ablation
    from audit.runs.pipeline import run as run
    from audit.runs.unit_comparison import compare_units as compare_units
    from audit.runs.unit_figure import plot_unit as plot_unit
    from audit.runs.unit_table import unit_table as unit_table
    from audit.topology import birth_levels as birth_levels
    from audit.topology.entropy import feature_entropy as feature_entropy
    from audit.units.ablation import ablate as ablate
    from audit.units.order import rank_units as rank_units

__version__ = "0.1.0"

_HOME = {
    "birth_levels": "audit.topology",
    "NO_BIRTH": "audit.arrays",
    "feature_entropy": "audit.topology.entropy",
    "unit_table": "audit.runs.unit_table",
    "run": "audit.runs.pipeline",
    "AuditResult": "audit.plugin",
    "ablate": "audit.units.ablation",
    "cumulative_ablation": "audit.runs.ablation_table",
    "rank_units": "audit.units.order",
    "compare_units": "audit.runs.unit_comparison",
    "plot_unit": "audit.runs.unit_figure",
    "correlate": "audit.correlation",
    "statistics": "audit.statistics",
    "GeneralizationRanker": "audit.ranking",
    "select": "audit.ranking",
    "Follower": "audit.following",
    "list_plugins": "audit.plugin.listing",
    "list_measures": "audit.plugin.listing",
    "AuditError": "audit.errors",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it."""
    if name not in _HOME:
        raise AttributeError(f"module 'audit' has no attribute {name!r}")
    module = importlib.import_module(_HOME[name])
    value = module if name == "statistics" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
