"""Ways to colour checkpoints: by family, or by one axis of their hyperparameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from audit_reports.tables import Tables, natural_key
from audit_reports.wording import humanize, is_number, number

#: Colours of the style sheet: categories `c0`…, ordered levels `o0`…
MOST_CATEGORIES: Final = 6
MOST_LEVELS: Final = 5
#: Ways to colour that are offered.
MOST_AXES: Final = 5


@dataclasses.dataclass(frozen=True)
class Axis:
    """One way to colour.

    Attributes:
        title: What the colours mean.
        levels: (label, class of its colour), in reading order.
        css: Checkpoint → class.
        position: Checkpoint → position of its level.
    """

    title: str
    levels: Sequence[tuple[str, str]]
    css: Mapping[str, str]
    position: Mapping[str, int]


def axes(tables: Tables) -> list[Axis]:
    """Every way to colour: family first, then the axes that explain most of the accuracy."""
    names = tables.checkpoints
    found = []
    families = {name: tables.families[name] for name in names if name in tables.families}
    if len(set(families.values())) > 1:
        found.append(_categories("architecture", families))
    frame = tables.held_out.drop_duplicates("checkpoint").set_index("checkpoint")
    frame = frame.reindex([name for name in names if name in frame.index])
    columns = [str(column) for column in frame.columns if str(column).startswith("hp.")]
    columns = [column for column in columns if frame[column].nunique() > 1]
    levels = {column: frame[column].astype(str).to_dict() for column in columns}
    accuracy = tables.accuracy.to_dict()
    drawn = _partition(families)
    columns = [column for column in columns if _partition(levels[column]) != drawn]
    columns.sort(key=lambda column: (-explained(levels[column], accuracy), column))
    for column in columns[: MOST_AXES - len(found)]:
        title = humanize(column.removeprefix("hp."))
        known = frame[column].dropna()
        values = dict(zip(map(str, known.index), known.tolist(), strict=True))
        if all(is_number(value) for value in values.values()):
            found.append(_ordered(title, {k: float(value) for k, value in values.items()}))
        else:
            found.append(_categories(title, {k: str(value) for k, value in values.items()}))
    return found or [Axis("", [("checkpoints", "c0")], dict.fromkeys(names, "c0"), {})]


def _partition(values: Mapping[Any, str]) -> frozenset[frozenset[Any]]:
    """The groups of checkpoints that share a value, whatever it is called."""
    groups: dict[str, set[Any]] = {}
    for name, value in values.items():
        groups.setdefault(value, set()).add(name)
    return frozenset(map(frozenset, groups.values()))


def explained(values: Mapping[Any, str], accuracy: Mapping[Any, float]) -> float:
    """Share of the variance of the accuracy that lies between levels of an axis, in [0, 1].

    0 where that is undefined: nothing varies, or every checkpoint is a level of its own.
    """
    rows = [(level, accuracy[name]) for name, level in values.items() if name in accuracy]
    both = pd.DataFrame(rows, columns=["level", "accuracy"])
    total = ((both["accuracy"] - both["accuracy"].mean()) ** 2).sum()
    if not total or both["level"].nunique() in (1, len(both)):
        return 0.0
    means = both.groupby("level")["accuracy"].transform("mean")
    return float(((means - both["accuracy"].mean()) ** 2).sum() / total)


def _categories(title: str, values: Mapping[str, str]) -> Axis:
    """Colours without order; the rarest share the last."""
    counts = pd.Series(values, dtype=object).value_counts()
    kept = [str(level) for level in counts.index]
    others = ""
    if len(kept) > MOST_CATEGORIES:
        others = f"{len(kept) - MOST_CATEGORIES + 1} others"
        kept = kept[: MOST_CATEGORIES - 1]
    kept.sort(key=natural_key)
    place = {level: index for index, level in enumerate(kept)}
    position = {name: place.get(level, len(kept)) for name, level in values.items()}
    levels = [*kept, others] if others else kept
    return Axis(
        title,
        [(level, f"c{index}") for index, level in enumerate(levels)],
        {name: f"c{index}" for name, index in position.items()},
        position,
    )


def _ordered(title: str, values: Mapping[str, float]) -> Axis:
    """Colours in order; many values are gathered into ranges of about equal counts."""
    series = pd.Series(values, dtype=float)
    distinct = sorted(series.unique())
    if len(distinct) <= MOST_LEVELS:
        labels = [number(value, 3) for value in distinct]
        position = {name: distinct.index(value) for name, value in values.items()}
    else:
        cut = pd.qcut(series, MOST_LEVELS, duplicates="drop")
        labels = [
            f"{number(part.left, 3)} to {number(part.right, 3)}" for part in cut.cat.categories
        ]
        position = {str(name): int(code) for name, code in cut.cat.codes.items()}
    spread = [
        round(index * (MOST_LEVELS - 1) / max(1, len(labels) - 1)) for index in range(len(labels))
    ]
    return Axis(
        title,
        [(label, f"o{spread[index]}") for index, label in enumerate(labels)],
        {name: f"o{spread[index]}" for name, index in position.items()},
        position,
    )
