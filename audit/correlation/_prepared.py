"""From what people bring to the table that statistics are computed on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pandas as pd

from audit.correlation._controls import installed_controls
from audit.correlation._judge import FAMILY
from audit.correlation._roles import CHECKPOINT, is_digest
from audit.correlation._rows import check_rows
from audit.correlation._set_aside import answers, copied_answer, not_measures, said_of
from audit.correlation._sheet import read_sheet, type_columns
from audit.errors import DataError
from audit.statistics.copies import NETWORK, network_codes, one_row_each, say_copies
from audit.statistics.result import (
    GAP,
    HELD_OUT,
    HYPERPARAMETER_PREFIX,
    TRAIN,
    hyperparameter_columns,
    numeric_column,
    target_values,
)

_NOT_MEASURES: Final = frozenset({"checkpoint", HELD_OUT, GAP, FAMILY, "n_held_out"})


class Prepared(NamedTuple):
    """A table that was checked, one row per network.

    Attributes:
        table: Its design in columns `hp.*`, its rows numbered from 0.
        measures: The columns that get a row of statistics.
        controls: The baselines that are in the table, vary and are not the answer itself.
        aside: Measures that are not judged → why.
        notes: What was put right, left out or counted once, one sentence each.
    """

    table: pd.DataFrame
    measures: list[str]
    controls: list[str]
    aside: dict[str, str]
    notes: list[str]


def prepare(
    source: pd.DataFrame | str | Path,
    target: str,
    *,
    measures: Sequence[str] | None,
    baselines: Sequence[str],
    hyperparameters: Sequence[str] | None,
    n_held_out: int | None,
) -> Prepared:
    """Read, check and number a table; the arguments are those of `correlate`.

    Raises:
        DataError: As `correlate`.
    """
    table, notes = _read(source, [*(hyperparameters or ()), FAMILY])
    if n_held_out is not None:
        table = table.assign(n_held_out=n_held_out)
    if measures is None:
        found = _numeric_columns(table, target)
        no_measures = not_measures(table, found, target, trained=_trained())
        notes += said_of(no_measures, "name it among the measures to judge it")
        measures = [column for column in found if column not in no_measures]
    measures = list(measures)
    table = _numbered(table, measures, target, hyperparameters)
    known = answers(table, target)

    def copied(column: str) -> str:
        return copied_answer(numeric_column(table, column), known)

    aside = {measure: f"a copy of {copied(measure)}" for measure in measures if copied(measure)}
    controls = [c for c in _controls(table, baselines, target) if not copied(c)]
    table, said = _one_row_per_network(table, measures)
    return Prepared(table, measures, controls, aside, [*notes, *said])


def measure_columns(table: pd.DataFrame, target: str = HELD_OUT) -> list[str]:
    """The columns taken as measures when none are named: the numeric ones without a role.

    Roles are the target, `checkpoint`, `held_out_accuracy`, `generalization_gap`, `family`,
    `n_held_out` and hyperparameters `hp.*`. Train accuracy is a measure: a baseline. Numbers of
    rows, other results on held-out images, and columns that are the target on another scale are
    no measures.
    """
    found = _numeric_columns(table, target)
    aside = not_measures(table, found, target, trained=_trained())
    return [column for column in found if column not in aside]


def _numeric_columns(table: pd.DataFrame, target: str) -> list[str]:
    """The numeric columns without a role."""
    return [
        str(column)
        for column in table.columns
        if column not in _NOT_MEASURES
        and column != target
        and not str(column).startswith(HYPERPARAMETER_PREFIX)
        and pd.api.types.is_numeric_dtype(table[column])
        and not pd.api.types.is_bool_dtype(table[column])
    ]


def _trained() -> tuple[str, ...]:
    """Columns that are measures whatever their numbers look like."""
    return (TRAIN, *installed_controls().names)


def _read(
    source: pd.DataFrame | str | Path, levels: Sequence[str]
) -> tuple[pd.DataFrame, list[str]]:
    """The table with its cells and rows checked, and what was made of them."""
    sheet = read_sheet(source, "")
    type_columns(sheet, text=(CHECKPOINT,) if CHECKPOINT in sheet.table else (), levels=levels)
    if CHECKPOINT in sheet.table or not isinstance(source, pd.DataFrame):
        check_rows(sheet, CHECKPOINT if CHECKPOINT in sheet.table else None)
    return sheet.table, sheet.notes


def _one_row_per_network(
    table: pd.DataFrame, measures: Sequence[str]
) -> tuple[pd.DataFrame, list[str]]:
    """The table with one row for every network, and which ones had several."""
    named = [str(c) for c in table.columns if c == NETWORK or is_digest(str(c))]
    codes = network_codes(table, measures, named[0] if named else None)
    names = (
        table[CHECKPOINT] if CHECKPOINT in table else [f"row {i + 1}" for i in range(len(table))]
    )
    return one_row_each(table, codes), say_copies(list(map(str, names)), codes)


def _numbered(
    table: pd.DataFrame,
    measures: Sequence[str],
    target: str,
    hyperparameters: Sequence[str] | None,
) -> pd.DataFrame:
    """The table with rows numbered, its columns checked, and the design named `hp.*`."""
    missing = [name for name in measures if name not in table.columns]
    if missing:
        raise DataError(
            f"the table has no measure {', '.join(map(repr, missing))}; "
            f"its columns are {', '.join(map(str, table.columns))}"
        )
    table = table.reset_index(drop=True)
    target_values(table, target)
    for name in measures:
        numeric_column(table, name)
    if hyperparameters is None:
        return table
    hyperparameter_columns(table, hyperparameters)
    others = [c for c in table.columns if str(c).startswith(HYPERPARAMETER_PREFIX)]
    table = table.drop(columns=[c for c in others if c not in hyperparameters])
    prefix = HYPERPARAMETER_PREFIX
    named = {c: c if c.startswith(prefix) else prefix + c for c in hyperparameters}
    return table.assign(**{new: table[old] for old, new in named.items()})


def _controls(table: pd.DataFrame, baselines: Sequence[str], target: str) -> list[str]:
    """The baselines that are in the table and vary."""
    found = [name for name in baselines if name in table.columns and name != target]
    return [name for name in found if table[name].nunique() > 1]
