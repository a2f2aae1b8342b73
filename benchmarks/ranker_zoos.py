"""Zoo tables as rankers see them: scores within the zoo, and accuracies kept apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from audit.plugin.registry import installed
from audit.ranking.scores import family_scores, normal_scores
from audit.statistics.result import HELD_OUT, numeric_column
from audit.zoo.table import AS_TRAINED, Labels, ZooTable

#: Functions of the architecture alone, which say among a few which one it is, and chance.
LEFT_OUT: Final = ("parameters", "macs", "random")
#: Share of the checkpoints of every zoo that must have a number.
LEAST_KNOWN: Final = 0.9
#: Families with fewer checkpoints have no τ of their own.
MIN_FAMILY: Final = 6
WITHIN: Final = (0.0, 0.5)
#: What one measure set leaves out or keeps.
SETS: Final = ("all", "default", "no_loss", "topology", "no_topology")


class Columns(NamedTuple):
    """The columns that rankers may use, the same in every zoo.

    Attributes:
        names: Of the columns.
        owners: The measure each belongs to.
        signs: +1, −1 or 0 by the declared direction.
        kinds: The declared cost of the measure: weights, forward, backward, topology.
        default: Which belong to a default measure.
        fits: Which read nothing but how well the training images are fitted.
    """

    names: list[str]
    owners: list[str]
    signs: np.ndarray
    kinds: list[str]
    default: np.ndarray
    fits: np.ndarray

    def of_set(self, chosen: str) -> np.ndarray:
        """The indices of a measure set's columns."""
        topology = np.array([kind == "topology" for kind in self.kinds])
        keep = {
            "all": np.ones(len(self.names), dtype=bool),
            "default": self.default,
            "no_loss": ~self.fits,
            "topology": topology,
            "no_topology": ~topology,
        }[chosen]
        return np.flatnonzero(keep)


class View(NamedTuple):
    """What a ranker is given of a zoo that it ranks: no accuracy.

    Attributes:
        name: Of the zoo.
        source: Its data source.
        pooled: Normal scores within the zoo, shape (checkpoints, columns); 0 where unknown.
        inside: Normal scores within the family.
        families: Of the checkpoints, as integers.
        signs: By the declared directions of the columns.
        owners: Of the columns.
        names: Of the columns.
    """

    name: str
    source: str
    pooled: np.ndarray
    inside: np.ndarray
    families: np.ndarray
    signs: np.ndarray
    owners: tuple[str, ...]
    names: tuple[str, ...]

    def votes(self, within: float) -> np.ndarray:
        """Scores in which the family has the weight `within`."""
        return (1 - within) * self.pooled + within * self.inside

    def only(self, columns: np.ndarray) -> View:
        """The view of some of the columns."""
        return self._replace(
            pooled=self.pooled[:, columns],
            inside=self.inside[:, columns],
            signs=self.signs[columns],
            owners=tuple(self.owners[c] for c in columns),
            names=tuple(self.names[c] for c in columns),
        )


class Known(NamedTuple):
    """A zoo with its accuracies: what a ranker is fitted on.

    Attributes:
        view: The zoo without them.
        accuracy: Held-out accuracies.
        target: Their normal scores within the zoo.
        sign: Of accuracy differences of all pairs i < j, shape (pairs,).
        same: Which pairs are of one family, shape (pairs,).
    """

    view: View
    accuracy: np.ndarray
    target: np.ndarray
    sign: np.ndarray
    same: np.ndarray

    def only(self, columns: np.ndarray) -> Known:
        """The zoo with some of the columns."""
        return self._replace(view=self.view.only(columns))


def columns_of(zoos: Mapping[str, ZooTable]) -> Columns:
    """Judged columns that are there, known and vary in every zoo; it looks at no accuracy."""
    first, *others = zoos.values()
    entries = installed().measures
    found = []
    for name in first.measures:
        about = first.about["measures"][name]
        entry = entries.get(about["measure"])
        if not about["judged"] or entry is None or about["measure"] in LEFT_OUT:
            continue
        if all(_usable(zoo, name) for zoo in (first, *others)):
            found.append((name, about, entry))
    direction = {"higher": 1, "lower": -1, "none": 0}
    return Columns(
        names=[name for name, _, _ in found],
        owners=[about["measure"] for _, about, _ in found],
        signs=np.array([direction[about["direction"]] for _, about, _ in found]),
        kinds=[entry.cost for _, _, entry in found],
        default=np.array([entry.default for _, _, entry in found]),
        fits=np.array([about["measure"].startswith("train_") for _, about, _ in found]),
    )


def _usable(zoo: ZooTable, name: str) -> bool:
    if name not in zoo.table.columns:
        return False
    for _, rows in zoo.table.groupby("labels"):
        values = numeric_column(rows, name)
        values = values[np.isfinite(values)]
        if len(values) < LEAST_KNOWN * len(rows) or np.ptp(values) == 0:
            return False
    return True


def known_zoo(zoo: ZooTable, columns: Columns, labels: Labels = AS_TRAINED) -> Known:
    """One audit of a zoo as rankers see it, and its accuracies."""
    table = zoo.audited(labels)
    accuracy = numeric_column(table, HELD_OUT)
    table = pd.DataFrame(table[np.isfinite(accuracy)])
    accuracy = accuracy[np.isfinite(accuracy)]
    families = pd.factorize(table["family"])[0]
    raw = [np.where(np.isfinite(v), v, np.nan) for v in (numeric_column(table, c) for c in columns.names)]
    view = View(
        name=zoo.name,
        source=zoo.source,
        pooled=np.column_stack([normal_scores(v) for v in raw]),
        inside=np.column_stack([family_scores(v, families) for v in raw]),
        families=families,
        signs=columns.signs,
        owners=tuple(columns.owners),
        names=tuple(columns.names),
    )
    same = pair_signs(families) == 0
    return Known(view, accuracy, normal_scores(accuracy), pair_signs(accuracy), same)


def pair_signs(values: np.ndarray) -> np.ndarray:
    """Signs of the differences of all pairs i < j; shape (pairs, …)."""
    i, j = np.triu_indices(len(values), 1)
    return np.sign(values[i] - values[j])


def kendall(scores: np.ndarray, known: Known, pairs: np.ndarray | None = None) -> np.ndarray:
    """Kendall's τ-b of each column of scores with the accuracies; 0 where a column is constant.

    Args:
        scores: Shape (checkpoints, columns).
        known: The zoo.
        pairs: The pairs to count; by default all.
    """
    signs, sign = pair_signs(scores), known.sign
    if pairs is not None:
        signs, sign = signs[pairs], sign[pairs]
    untied = np.sqrt((signs != 0).sum(axis=0) * (sign != 0).sum())
    return np.asarray(np.where(untied > 0, sign @ signs / np.maximum(untied, 1), 0.0))


def worth(scores: np.ndarray, known: Known) -> np.ndarray:
    """What rankers are tuned for: the mean of τ and of τ over the pairs of one family."""
    return (kendall(scores, known) + kendall(scores, known, known.same)) / 2


def tau(score: np.ndarray, known: Known) -> float:
    """Kendall's τ-b of one score."""
    return float(kendall(score[:, None], known)[0])


def family_taus(score: np.ndarray, known: Known) -> list[float]:
    """Kendall's τ-b within every family that is large enough."""
    found = []
    for family in np.unique(known.view.families):
        rows = known.view.families == family
        if rows.sum() >= MIN_FAMILY:
            found.append(float(stats.kendalltau(score[rows], known.accuracy[rows]).statistic))
    return found


def by_source(zoos: Sequence[Known]) -> list[tuple[list[Known], list[Known]]]:
    """Leave each data source out in turn: (zoos of the others, its own)."""
    sources = dict.fromkeys(zoo.view.source for zoo in zoos)
    return [
        (
            [zoo for zoo in zoos if zoo.view.source != source],
            [zoo for zoo in zoos if zoo.view.source == source],
        )
        for source in sources
    ]
