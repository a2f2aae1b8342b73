"""What is installed, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.plugin.discovery import HOW_TO_NAME
from audit.plugin.registry import HOOKS, installed

if TYPE_CHECKING:
    import pandas as pd


def list_plugins() -> pd.DataFrame:
    """Everything that the loaded plugins provide, and the plugins that are not loaded.

    Returns:
        Columns kind, name, version, plugin, distribution, summary; one row per entry. A plugin that
        is installed, but that nobody named, has one row of the kind "not loaded", without a name.
    """
    import pandas as pd

    registry = installed()
    rows = [
        {
            "kind": hook.removeprefix("genaudit_").removesuffix("s"),
            "name": name,
            "version": entry.version,
            "plugin": registry.owners[hook, name],
            "distribution": registry.distributions.get(registry.owners[hook, name], ""),
            "summary": entry.summary,
        }
        for hook in HOOKS
        for name, entry in registry._entries[hook].items()
    ]
    rows += [
        {
            "kind": "not loaded",
            "name": "",
            "version": plugin.version,
            "plugin": plugin.name,
            "distribution": plugin.brought_by,
            "summary": f"not loaded: name it in {HOW_TO_NAME}",
        }
        for plugin in registry.not_loaded
    ]
    columns = ["kind", "name", "version", "plugin", "distribution", "summary"]
    return pd.DataFrame(rows, columns=columns)


def list_measures() -> pd.DataFrame:
    """Every registered measure.

    Returns:
        Columns name, version, direction, invariance, cost, baseline, diagnostic, default, plugin,
        summary.
    """
    import pandas as pd

    registry = installed()
    columns = [
        "name",
        "version",
        "direction",
        "invariance",
        "cost",
        "baseline",
        "diagnostic",
        "default",
    ]
    rows = [
        {column: getattr(entry, column) for column in columns}
        | {"plugin": registry.owners["genaudit_measures", name], "summary": entry.summary}
        for name, entry in registry.measures.items()
    ]
    return pd.DataFrame(rows, columns=[*columns, "plugin", "summary"])
