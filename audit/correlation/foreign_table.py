"""A table of measures made elsewhere: which of its columns plays which role."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from audit.correlation._accuracies import shares
from audit.correlation._controls import installed_controls
from audit.correlation._roles import (
    CHECKPOINT,
    NAMES,
    alike,
    first_of,
    is_design,
    is_digest,
    is_held_out_result,
)
from audit.correlation._rows import check_rows
from audit.correlation._set_aside import not_measures, said_of
from audit.correlation._sheet import NAMELESS, Sheet, read_sheet, type_columns
from audit.correlation._tidy import MEASURE, is_tidy, make_wide
from audit.errors import DataError, quoted, unknown_name
from audit.shown import column_names
from audit.statistics.copies import NETWORK
from audit.statistics.result import GAP, HELD_OUT, HYPERPARAMETER_PREFIX, TRAIN


class ForeignTable(NamedTuple):
    """A table whose columns have the names that `correlate` knows.

    Attributes:
        table: One row per checkpoint.
        roles: Role → the column of the file that plays it (a list for "hyperparameters" and
            "measures"); roles nothing plays are left out.
        notes: What was converted or set aside, one sentence each.
    """

    table: pd.DataFrame
    roles: dict[str, Any]
    notes: list[str]


def read_foreign_table(
    path: Path | pd.DataFrame,
    *,
    target: str | None = None,
    checkpoint: str | None = None,
    train_accuracy: str | None = None,
    family: str | None = None,
    hyperparameters: Sequence[str] = (),
    measures: Sequence[str] = (),
) -> ForeignTable:
    """Read any CSV with one row per checkpoint, or one per checkpoint and measure.

    Roles that are not named are guessed from the columns' names. Columns that begin with "hp."
    or bear the name of a usual hyperparameter are the design; numeric columns that are left are
    measures. Accuracies above 1 and up to 100 are percent, and are divided.

    Args:
        path: The file, or a data frame. With columns `measure` and `value` it is taken for a tidy
            table.
        target: Column with the held-out accuracy.
        checkpoint: Column with the names; row numbers where there is none.
        train_accuracy: Column with the training accuracy.
        family: Column with the family of each checkpoint.
        hyperparameters: Columns of the design.
        measures: Columns to judge.

    Raises:
        DataError: The file cannot be read; nothing in it is a held-out accuracy or a gap; a
            checkpoint has rows that differ; shares and percent are mixed; a number can be read in
            two ways. The message says in which column and line.
        ConfigError: A named column is not there.
    """
    sheet = read_sheet(path, "")
    named = {CHECKPOINT: checkpoint, HELD_OUT: target, TRAIN: train_accuracy, "family": family}
    given = [*(c for c in named.values() if c), *hyperparameters, *measures]
    _read_rows(sheet, checkpoint, [*hyperparameters, *([family] if family else [])])
    columns = [str(column) for column in sheet.table.columns]
    for column in given:
        if column not in columns:
            raise unknown_name("column", column, columns, f"the columns are {quoted(columns)}")
    roles = _roles(sheet, columns, named, measures)
    design = list(hyperparameters) or [
        c for c in columns if is_design(c) and c not in {*roles.values(), *measures}
    ]
    for role in (HELD_OUT, TRAIN):
        if role in roles:
            names = sheet.table[roles[CHECKPOINT]] if CHECKPOINT in roles else None
            sheet.table[roles[role]] = shares(sheet, roles[role], names)
    _note_unknown(sheet, roles)
    table = _renamed(sheet.table, roles, design)
    taken = {*roles.values(), *design} - {roles.get(TRAIN)}
    judged, aside = list(measures), {}
    if not judged:
        found = {c: TRAIN if c == roles.get(TRAIN) else c for c in columns if c not in taken}
        numbers = [c for c in found.values() if _is_number(table[c])]
        target_known = HELD_OUT if HELD_OUT in roles else GAP
        kept = (TRAIN, *installed_controls().names)
        aside = not_measures(table, numbers, target_known, trained=kept)
        sheet.notes += said_of(aside, "--measures judges it all the same")
        judged = [c for c in numbers if c not in aside]
    judged = [TRAIN if c == roles.get(TRAIN) else c for c in judged]
    if aside.pop(TRAIN, ""):
        table = table.drop(columns=TRAIN)
    _note_set_aside(sheet, columns, {*taken, *judged, *aside, roles.get(TRAIN)})
    roles |= {"hyperparameters": design, "measures": judged}
    roles.pop(NETWORK, None)
    return ForeignTable(table, roles, sheet.notes)


def _read_rows(sheet: Sheet, checkpoint: str | None, levels: Sequence[str]) -> None:
    """Find the names, read the cells, make a tidy table wide, and check the rows."""
    columns = [str(column) for column in sheet.table.columns]
    for several in alike(columns):
        raise DataError(
            f"{sheet.where} has columns whose names are alike: {quoted(several)}; keep one, or "
            "rename the others"
        )
    names = checkpoint or first_of(CHECKPOINT, columns, [])
    nameless = NAMELESS.format(1)
    if names is None and columns[0] in (nameless, "Unnamed: 0") and _holds_names(sheet):
        sheet.table = sheet.table.rename(columns={columns[0]: CHECKPOINT})
        sheet.notes.append("the first column has no name: taken for the names of checkpoints")
        columns[0] = names = CHECKPOINT
    tidy = is_tidy(columns, names)
    levels = [*levels, *(c for c in columns if is_design(c) or c in NAMES["family"])]
    text = [c for c in (names, MEASURE if tidy else None, *filter(is_digest, columns)) if c]
    type_columns(sheet, text=text, levels=levels)
    if tidy and names is not None:
        make_wide(sheet, names)
    else:
        check_rows(sheet, names if names in columns else None)


def _holds_names(sheet: Sheet) -> bool:
    """Whether the first column holds different words."""
    cells = sheet.table.iloc[:, 0].astype(str).str.strip()
    return bool(cells.is_unique and not pd.to_numeric(cells, errors="coerce").notna().any())


def _roles(
    sheet: Sheet, columns: Sequence[str], named: dict[str, str | None], measures: Sequence[str]
) -> dict[str, Any]:
    """Role → the column that plays it, as named or guessed."""
    roles: dict[str, Any] = {}
    for role in NAMES:
        found = named.get(role) or first_of(role, columns, taken=[*roles.values(), *measures])
        if found:
            roles[role] = found
    digest = next((c for c in columns if is_digest(c) and c not in roles.values()), None)
    if digest is not None:
        roles[NETWORK] = digest
    if HELD_OUT not in roles and GAP not in roles:
        raise DataError(
            f"{sheet.where} has no column that is named like a held-out accuracy "
            f"({', '.join(NAMES[HELD_OUT])}) or a gap; name it with --target-column. "
            f"Its columns are {column_names(columns)}"
        )
    others = [c for c in columns if is_held_out_result(c) and c not in roles.values()]
    if HELD_OUT in roles and others and not named.get(HELD_OUT):
        sheet.notes.append(
            f"{roles[HELD_OUT]} was taken as the held-out accuracy, not {', '.join(others)}; "
            "--target-column names another"
        )
    return roles


def _note_unknown(sheet: Sheet, roles: dict[str, Any]) -> None:
    """Say which rows have no held-out accuracy."""
    if HELD_OUT not in roles:
        return
    empty = sheet.table.index[sheet.table[roles[HELD_OUT]].isna()]
    if len(empty):
        sheet.notes.append(f"no {roles[HELD_OUT]} in {sheet.of(empty)}: not used")


def _renamed(table: pd.DataFrame, roles: dict[str, Any], design: Sequence[str]) -> pd.DataFrame:
    """The table with the names of columns that `correlate` knows."""
    prefix = HYPERPARAMETER_PREFIX
    names = {old: role for role, old in roles.items()}
    names |= {c: c if c.startswith(prefix) else prefix + c for c in design}
    return table.rename(columns=names)


def _note_set_aside(sheet: Sheet, columns: Sequence[str], known: set[Any]) -> None:
    """Say which columns are neither numbers nor a known role."""
    left = [c for c in columns if c not in known]
    for column in [c for c in left if c in sheet.strays]:
        row, text = sheet.strays[column]
        sheet.notes.append(
            f"{column} has numbers, but {text!r} in {sheet.places[row]}: set aside; correct or "
            "empty that cell"
        )
        left.remove(column)
    if left:
        sheet.notes.append(f"neither numbers nor a known role, set aside: {', '.join(left)}")


def _is_number(column: Any) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
