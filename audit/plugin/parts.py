"""Which measure a column of the table belongs to, and which of its parts it is.

A column is named by its measure, or by its measure, a dot and a part: `feature_entropy.clique` and
`feature_entropy.clique.layer_1`. Names of measures may hold dots themselves.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Container, Iterable
from typing import Literal, TypeAlias

Direction: TypeAlias = Literal["higher", "lower", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One number beside a measure's own: a layer, a slope, a quantile.

    Attributes:
        name: The suffix `compute` gives it, or a pattern with `*`, such as "layer_*".
        summary: One line: what quantity it is.
        direction: Which values predict better generalization; its own, not the measure's.
        claim: Who claims that direction and on what evidence, where it is not the measure's own.
        judged: Whether it is set against accuracies and ranked by. Every judged column makes the
            others' p-values larger (Holm), so judge what stands for a claim of its own.
        by_depth: Whether it is one of a series over layers, from shallow to deep; reports draw
            such series.
    """

    name: str
    summary: str
    direction: Direction = "none"
    claim: str = ""
    judged: bool = False
    by_depth: bool = False


def owner_of(column: str, measures: Container[str]) -> str:
    """The measure a column belongs to: the longest name that it starts with, up to a dot; or "".

    Example:
        >>> owner_of("margin.upper.p25", {"margin", "margin.upper"})
        'margin.upper'
        >>> owner_of("margins", {"margin"})
        ''
    """
    words = column.split(".")
    prefixes = (".".join(words[:n]) for n in range(len(words), 0, -1))
    return next((prefix for prefix in prefixes if prefix in measures), "")


def suffix_of(column: str, owner: str) -> str:
    """What a column's name adds to that of its measure: a part, or "" for the measure itself."""
    return column.removeprefix(owner).removeprefix(".")


def part_named(suffix: str, parts: Iterable[Part]) -> Part | None:
    """The declaration of a part, None if there is none; an exact name goes before a pattern.

    Example:
        >>> last = Part(name="last", summary="the deepest layer")
        >>> part_named("last", [Part(name="*", summary="a layer"), last]).summary
        'the deepest layer'
    """
    declared = list(parts)
    exact = (part for part in declared if part.name == suffix)
    fits = (part for part in declared if fnmatch.fnmatchcase(suffix, part.name))
    return next(exact, None) or next(fits, None)
