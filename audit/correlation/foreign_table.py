"""A table of measures made elsewhere: which of its columns plays which role."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pandas as pd

from audit.errors import DataError, quoted, unknown_name
from audit.folder.csv_files import read_csv
from audit.statistics.result import GAP, HELD_OUT, HYPERPARAMETER_PREFIX, TRAIN

#: Names that say a column's role, lower case; the first that is there is taken.
_NAMES: Final = {
    "checkpoint": ("checkpoint", "checkpoint_id", "model_id", "network", "model", "name", "id"),
    HELD_OUT: (
        *("held_out_accuracy", "heldout_accuracy", "test_accuracy", "test_acc"),
        *("val_accuracy", "validation_accuracy", "val_acc", "accuracy", "acc", "top1"),
    ),
    TRAIN: ("train_accuracy", "training_accuracy", "train_acc"),
    GAP: ("generalization_gap", "generalisation_gap", "gap", "gen_gap"),
    "family": ("family", "architecture", "arch", "model_family"),
    "n_held_out": ("n_held_out",),
}
_HYPERPARAMETERS: Final = (
    *("learning_rate", "lr", "batch_size", "weight_decay", "decay", "dropout", "optimizer"),
    *("depth", "width", "epochs", "label_noise", "augmentation", "momentum"),
)


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
    path: Path,
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
        path: The file. With columns `measure` and `value` it is taken for a tidy table.
        target: Column with the held-out accuracy.
        checkpoint: Column with the names; row numbers where there is none.
        train_accuracy: Column with the training accuracy.
        family: Column with the family of each checkpoint.
        hyperparameters: Columns of the design.
        measures: Columns to judge.

    Raises:
        DataError: The file cannot be read, or nothing in it is a held-out accuracy or a gap.
        ConfigError: A named column is not there.
    """
    notes: list[str] = []
    names = checkpoint or _first([str(c) for c in read_csv(path, "")], _NAMES["checkpoint"], [])
    table = _untidied(read_csv(path, "", text=(names,) if names else ()), notes)
    columns = [str(column) for column in table.columns]
    table.columns = pd.Index(columns)
    named = {"checkpoint": checkpoint, HELD_OUT: target, TRAIN: train_accuracy, "family": family}
    for column in (*(c for c in named.values() if c), *hyperparameters, *measures):
        if column not in columns:
            raise unknown_name("column", column, columns, f"the columns are {quoted(columns)}")
    roles: dict[str, Any] = {}
    for role, usual in _NAMES.items():
        found = named.get(role) or _first(columns, usual, taken=[*roles.values(), *measures])
        if found:
            roles[role] = found
    if HELD_OUT not in roles and GAP not in roles:
        raise DataError(
            f"{path} has no column that is named like a held-out accuracy "
            f"({', '.join(_NAMES[HELD_OUT])}) or a gap; name it with --target-column. "
            f"Its columns are {quoted(columns)}"
        )
    design = list(hyperparameters) or [c for c in columns if _is_design(c, roles)]
    table = table.rename(columns={old: role for role, old in roles.items()})
    prefix = HYPERPARAMETER_PREFIX
    table = table.rename(columns={c: c if c.startswith(prefix) else prefix + c for c in design})
    for role in (HELD_OUT, TRAIN):
        if role in table:
            table[role] = _share(table[role], roles[role], path, notes)
    taken = {*roles.values(), *design} - {roles.get(TRAIN)}
    judged = list(measures) or [
        c for c in columns if c not in taken and _is_number(table.get(c, table.get(TRAIN)))
    ]
    judged = [TRAIN if c == roles.get(TRAIN) else c for c in judged]
    set_aside = [c for c in columns if c not in {*taken, *judged, roles.get(TRAIN)}]
    if set_aside:
        notes.append(f"neither numbers nor a known role, set aside: {', '.join(set_aside)}")
    roles |= {"hyperparameters": design, "measures": judged}
    return ForeignTable(table, roles, notes)


def _untidied(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """A tidy table (checkpoint, measure, value, and what does not vary within one) made wide."""
    if not {"checkpoint", "measure", "value"} <= set(table.columns):
        return table
    notes.append("one row per checkpoint and measure: made wide")
    spare = {"measure", "value", "version", "status", "reason", "seconds"}
    constant = [
        column
        for column in table.columns
        if column not in spare | {"checkpoint"}
        and (table.groupby("checkpoint")[column].nunique(dropna=False) == 1).all()
    ]
    wide = table.pivot(index="checkpoint", columns="measure", values="value")
    about = table.groupby("checkpoint")[constant].first()
    return wide.join(about).reset_index()


def _first(columns: Sequence[str], names: Sequence[str], taken: Sequence[str]) -> str | None:
    """The column that bears the first of these names, whatever its case."""
    by_name = {column.lower(): column for column in columns if column not in taken}
    return next((by_name[name] for name in names if name in by_name), None)


def _is_design(column: str, roles: dict[str, Any]) -> bool:
    """Whether a column is a hyperparameter by its name."""
    if column in roles.values():
        return False
    return column.startswith(HYPERPARAMETER_PREFIX) or column.lower() in _HYPERPARAMETERS


def _is_number(column: Any) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _share(column: pd.Series[Any], name: str, path: Path, notes: list[str]) -> pd.Series[float]:
    """An accuracy in [0, 1]."""
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    wrong = column[numbers.isna() & column.notna()]
    if len(wrong):
        raise DataError(f"{path}: column {name} needs numbers; found {wrong.iloc[0]!r}")
    if (numbers < 0).any() or (numbers > 100).any():
        raise DataError(f"{path}: column {name} needs shares in [0, 1] or percent")
    if (numbers > 1).any():
        notes.append(f"{name} is in percent: divided by 100")
        numbers = numbers / 100
    return numbers
