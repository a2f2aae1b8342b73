"""The tables of docs/scaling.md, written from the answers that are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.scaling import checkpoints, cost, counts, hub_tables, simulation, store, workers

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "scaling.md"
RESULTS: Final = ROOT / "benchmarks" / "results"

#: Name of a place in the page → (the question whose answer it tells, how).
TABLES: Final[Mapping[str, tuple[str, Callable[[Any], str]]]] = {
    "workers": ("workers", workers.table),
    **{name: (name, counts.table) for name in counts.SWEEPS},
    "checkpoints": ("checkpoints", checkpoints.table),
    "store": ("store", store.table),
    "simulation": ("simulation", simulation.table),
    "cost": ("cost", cost.table),
}
#: The same of tables that need the answers to `cost` and `simulation`.
OF_ALL: Final[Mapping[str, Callable[[Any], str]]] = {
    "each": hub_tables.each_table,
    "total": hub_tables.total_table,
    "sensitivity": hub_tables.sensitivity_table,
    "check": hub_tables.check_table,
}
_UNKNOWN: Final = "*Not measured yet.*"
_PLACE: Final = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def newest() -> Path:
    """The last kept answers."""
    return max(RESULTS.glob("scaling-????-??-??.json"))


def rendered(text: str, kept: Mapping[str, Any]) -> str:
    """The page with every table written anew; one whose questions were not asked says so.

    Args:
        text: The page.
        kept: Question → its answer.

    Raises:
        KeyError: The page asks for a table that there is none of.
    """
    return _PLACE.sub(lambda place: f"{place[1]}{_table(place[2], kept)}\n{place[3]}", text)


def _table(name: str, kept: Mapping[str, Any]) -> str:
    """What stands in one place."""
    if name in OF_ALL:
        return OF_ALL[name](kept) if {"cost", "simulation"} <= set(kept) else _UNKNOWN
    question, table = TABLES[name]
    answer = kept.get(question)
    return _UNKNOWN if answer is None else f"{table(answer)}\n\n{_about(answer)}"


def _about(answer: Mapping[str, Any]) -> str:
    """When and on what an answer was found, in one line."""
    load = answer["load_average"]
    beside = "" if load is None else f", load average {load:.1f} at the start"
    kind = "A quick look, with small counts" if answer["quick"] else "Measured"
    return f"*{kind}, {answer['date']}, {answer['processors']} processors{beside}.*"


def write(results: Path) -> None:
    """Write the tables of the page from a file of answers."""
    kept = json.loads(results.read_text("utf-8"))
    PAGE.write_text(rendered(PAGE.read_text("utf-8"), kept), "utf-8")
