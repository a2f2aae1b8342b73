"""The quantities that cost nothing: what every measure is tested against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, get_args

from audit.folder.columns import describe_measure
from audit.plugin import Cost
from audit.plugin.registry import installed

_COSTS: Final = get_args(Cost)


class Controls(NamedTuple):
    """What every measure is tested for adding to.

    Attributes:
        names: Columns, the cheapest first, then by name.
        called: What a sentence calls each of them.
    """

    names: tuple[str, ...]
    called: Mapping[str, str]


def controls_of(measures: Mapping[str, Mapping[str, Any]]) -> Controls:
    """The controls among measures.

    Args:
        measures: Name → what `run.json` says of it.
    """
    found = {name: entry for name, entry in measures.items() if entry.get("control")}
    place = {cost: index for index, cost in enumerate(_COSTS)}
    names = sorted(found, key=lambda name: (place.get(found[name].get("cost"), len(place)), name))
    return Controls(tuple(names), {name: str(found[name].get("called") or name) for name in names})


def installed_controls() -> Controls:
    """The controls among the installed measures."""
    entries = installed().measures.values()
    return controls_of({entry.name: describe_measure(entry) for entry in entries})
