"""The units of two networks beside each other: three questions, each with its test and verdict.

Tables are enough for two of them: whether units have the same feature entropies, and whether the
classes come in the same order. The third, whether units that respond alike share their status,
needs what units answered to the same images. `audit.units.comparison` says what is tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from audit.errors import ConfigError, DataError, quoted
from audit.units._questions import Answers, Asked, distance_rows, judged, matched_row, order_row
from audit.units.comparison import UnitComparison
from audit.units.layers import LayerUnits, class_names_of, layers_of, pair_layers
from audit.units.order import LEAST_RATE

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Answers", "compare_layers", "compare_tables"]

Sizes: TypeAlias = Mapping[str, Sequence[int]] | None


def compare_tables(
    first: pd.DataFrame,
    second: pd.DataFrame,
    names: tuple[str, str] = ("first", "second"),
    *,
    sizes: tuple[Sizes, Sizes] = (None, None),
    level: float = 0.05,
    least_rate: float = LEAST_RATE,
    n_permutations: int = 999,
    seed: int = 0,
) -> UnitComparison:
    """Compare the unit tables of two networks on the same images.

    Args:
        first: As `audit.unit_table` returns it, or a part of `units.parquet`: of one network under
            one filtration.
        second: Likewise of the other network.
        names: Of the networks.
        sizes: For either, layer → height and width of its maps; by default as the tables say.
        level: Of the tests, in (0, 1).
        least_rate: Effective rate, in [0, 1], from which on a unit has a number.
        n_permutations: Of the tests.
        seed: Of the permutations.

    Returns:
        `UnitComparison`, without matched units.

    Raises:
        DataError: A table that cannot be used, no class in common, or numbers of images that
            differ: feature entropy depends on them.
        ConfigError: A level outside (0, 1).
    """
    known = set(class_names_of(second))
    shared = [name for name in class_names_of(first) if name in known]
    if not shared:
        raise DataError(
            "the unit tables have no class in common: one has "
            f"{quoted(class_names_of(first))}, the other {quoted(class_names_of(second))}"
        )
    own, others = (
        layers_of(table, shared, size) for table, size in zip((first, second), sizes, strict=True)
    )
    places = pair_layers([one.layer for one in own], [one.layer for one in others])
    pairs = [(own[a], others[b]) for a, b in places]
    _check_images(pairs, shared)
    return compare_layers(
        pairs,
        shared,
        names,
        states=state_shares(first, second),
        level=level,
        least_rate=least_rate,
        n_permutations=n_permutations,
        seed=seed,
    )


def compare_layers(
    pairs: Sequence[tuple[LayerUnits, LayerUnits]],
    class_names: Sequence[str],
    names: tuple[str, str],
    *,
    answers: Sequence[tuple[Answers, Answers]] = (),
    states: pd.DataFrame | None = None,
    level: float = 0.05,
    least_rate: float = LEAST_RATE,
    n_permutations: int = 999,
    seed: int = 0,
) -> UnitComparison:
    """Compare layers that stand beside each other.

    Args:
        pairs: From shallow to deep.
        class_names: Of the rows of their arrays.
        names: Of the networks.
        answers: Of each pair, where units are to be matched; none: they are not.
        states: `state_shares`, for the result.
        level: Of the tests, in (0, 1).
        least_rate: Effective rate, in [0, 1], from which on a unit has a number.
        n_permutations: Of the tests.
        seed: Of the permutations.

    Raises:
        ConfigError: A level outside (0, 1).
        DataError: No layers.
    """
    import pandas as pd

    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1; found {level}")
    if not pairs:
        raise DataError("there are no layers to compare")
    asked = Asked(level, least_rate, n_permutations, seed)
    rows: tuple[list[dict[str, Any]], ...] = ([], [], [], [])
    for number, (own, other) in enumerate(pairs):
        head = {"layer_first": own.layer, "layer_second": other.layer}
        over_classes, by_class = distance_rows(own, other, class_names, asked)
        asked_of = [[over_classes], by_class, [order_row(own, other, asked)], []]
        if answers:
            asked_of[3] = [matched_row(*answers[number], len(class_names), asked)]
        why = _incomparable(own, other)
        for found, table in zip(asked_of, rows, strict=True):
            table += [head | (_without_test(row, why) if why else row) for row in found]
    over, within, ordered, matched = (pd.DataFrame(found) for found in rows)
    tables = judged(over, within, ordered, matched, level)
    return UnitComparison(
        names=names,
        level=level,
        least_rate=least_rate,
        class_names=tuple(class_names),
        pairs=tuple(pairs),
        states=pd.DataFrame() if states is None else states,
        layers=tables[0],
        classes=tables[1],
        class_order=tables[2],
        matched=tables[3],
    )


def state_shares(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The share of a layer's (unit, class) rows in each state, in two unit tables.

    Args:
        first: A unit table; without a column `status` it has no shares.
        second: Another one.

    Returns:
        Columns network ("first" or "second"), layer, and one per state, in [0, 1].
    """
    import pandas as pd

    shares = []
    for which, table in (("first", first), ("second", second)):
        if "status" in table:
            by = [table["layer"].astype(str), table["status"].astype(str)]
            share = pd.crosstab(by[0], by[1], normalize="index")
            share = share.reindex(list(dict.fromkeys(by[0])))
            shares.append(share.reset_index().assign(network=which))
    if not shares:
        return pd.DataFrame()
    found = pd.concat(shares, ignore_index=True).fillna(0.0)
    found.columns.name = None
    first_columns = ["network", "layer"]
    others = [column for column in found.columns if column not in first_columns]
    return found.reindex(columns=[*first_columns, *others])


def _incomparable(own: LayerUnits, other: LayerUnits) -> str:
    """Why the numbers of two layers cannot be set beside each other, or ""."""
    if own.size is None or other.size is None or own.size == other.size:
        return ""
    sizes = " and of ".join(" × ".join(map(str, one.size or ())) for one in (own, other))
    return (
        f"maps of {sizes} pixels have different numbers of levels; give networks and not their "
        "tables, whose maps are then brought to one size"
    )


def _without_test(row: Mapping[str, Any], why: str) -> dict[str, Any]:
    """A row whose numbers do not compare."""
    return {**row, "p_value": np.nan, "reason": row["reason"] or why}


def _check_images(pairs: Sequence[tuple[LayerUnits, LayerUnits]], names: Sequence[str]) -> None:
    """Refuse tables of samples of different sizes.

    Raises:
        DataError: A class has another number of images in one table than in the other.
    """
    for own, other in pairs:
        for name, a, b in zip(names, own.n_images, other.n_images, strict=True):
            if a != b:
                raise DataError(
                    f"class {name!r} has {a} images in one table and {b} in the other, and feature "
                    "entropy depends on their number: make both with the same images_per_class"
                )
