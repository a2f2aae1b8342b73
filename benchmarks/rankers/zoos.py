"""Zoo tables as the rankers that are tried see them: the columns they may use, and what of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from audit.plugin.registry import installed
from audit.ranking.scores import KnownZoo, column_or_gaps, known_zoo, zoo_scores
from audit.zoo.table import Labels, ZooTable

#: Functions of the architecture alone, which say among a few which one it is, and chance.
LEFT_OUT: Final = ("parameters", "macs", "random")
#: Share of the checkpoints of every zoo that must have a number.
LEAST_KNOWN: Final = 0.9
#: Measure sets, and what each is.
SETS: Final = {
    "all": "every judged measure",
    "default": "measures that are taken by default",
    "no loss": "without training loss and accuracy",
    "topology": "topology alone",
    "no topology": "without topology",
}
_SIGN: Final = {"higher": 1, "lower": -1, "none": 0}


class Columns(NamedTuple):
    """The columns that rankers may use, the same in every zoo.

    Attributes:
        names: Of the columns.
        owners: The measure each belongs to.
        signs: +1, −1 or 0 by the declared direction.
        costs: What the measure declares: "weights", "forward", "backward" or "topology".
        default: Which belong to a default measure.
        versions: Of the measures.
    """

    names: list[str]
    owners: list[str]
    signs: np.ndarray
    costs: list[str]
    default: np.ndarray
    versions: dict[str, str]

    def of_set(self, name: str) -> np.ndarray:
        """The indices of a measure set's columns."""
        topology = np.array([cost == "topology" for cost in self.costs])
        fits = np.array([owner in ("train_loss", "train_accuracy") for owner in self.owners])
        keep = {
            "all": np.full(len(self.names), True),
            "default": self.default,
            "no loss": ~fits,
            "topology": topology,
            "no topology": ~topology,
        }[name]
        return np.flatnonzero(keep)

    def only(self, chosen: np.ndarray) -> Columns:
        """Some of the columns, by index."""
        return Columns(
            names=[self.names[i] for i in chosen],
            owners=[self.owners[i] for i in chosen],
            signs=self.signs[chosen],
            costs=[self.costs[i] for i in chosen],
            default=self.default[chosen],
            versions=self.versions,
        )


def columns_of(zoos: Mapping[str, ZooTable], marks: bool = False) -> Columns:
    """Columns that are there, known and vary in every zoo; no accuracy is looked at.

    They are the judged ones, and parts that declare a direction.

    Args:
        zoos: The tables.
        marks: Only the columns that no ranker may use: sizes and chance.
    """
    first = next(iter(zoos.values()))
    entries = installed().measures
    names = [name for name in first.measures if all(_usable(z, name) for z in zoos.values())]
    about = {name: first.about["measures"][name] for name in names}
    names = [name for name in names if (about[name]["measure"] in LEFT_OUT) == marks]
    names = [n for n in names if about[n]["measure"] in entries]
    owners = [about[name]["measure"] for name in names]
    return Columns(
        names=names,
        owners=owners,
        signs=np.array([_SIGN[about[name]["direction"]] for name in names]),
        costs=[entries[owner].cost for owner in owners],
        default=np.array([entries[owner].default for owner in owners]),
        versions={name: about[name]["version"] for name in names},
    )


def _usable(zoo: ZooTable, name: str) -> bool:
    about = zoo.about["measures"].get(name)
    if about is None or not (about["judged"] or about["direction"] != "none"):
        return False
    for _, rows in zoo.table.groupby("labels"):
        values = column_or_gaps(rows, name)
        values = values[~np.isnan(values)]
        if len(values) < LEAST_KNOWN * len(rows) or np.ptp(values) == 0:
            return False
    return True


def read_known(zoo: ZooTable, columns: Columns, labels: Labels) -> KnownZoo:
    """One audit of a zoo as rankers see it, and its accuracies."""
    table = zoo.audited(labels)
    table = table[np.isfinite(column_or_gaps(table, "held_out_accuracy"))]
    scores = zoo_scores(table, columns.names, zoo.name, zoo.source)
    return known_zoo(scores, column_or_gaps(table, "held_out_accuracy"))
