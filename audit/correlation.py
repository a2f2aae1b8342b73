"""From a table of measures and held-out accuracies to one row of statistics per measure."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from audit import statistics
from audit.errors import DataError
from audit.statistics.result import (
    GAP,
    HELD_OUT,
    HYPERPARAMETER_PREFIX,
    TRAIN,
    Statistic,
    Values,
    codes_of,
    paired,
)

#: What a measure must add to: quantities that cost nothing.
BASELINES: Final = ("parameters", "macs", "train_accuracy", "train_loss")
FAMILY: Final = "family"
N_HELD_OUT: Final = "n_held_out"
_NOT_MEASURES: Final = frozenset({"checkpoint", HELD_OUT, GAP, FAMILY, N_HELD_OUT})


class HeldOut(NamedTuple):
    """A held-out table that was read and checked.

    Attributes:
        table: One row per measured checkpoint found in it, with column `checkpoint`.
        notes: What was left out and why, one sentence each.
    """

    table: pd.DataFrame
    notes: list[str]


def read_held_out(
    source: str | Path | pd.DataFrame, checkpoints: Iterable[str] | None = None
) -> HeldOut:
    """Read and check a table of held-out accuracies.

    Required columns: `checkpoint`, `held_out_accuracy` in [0, 1]. Optional: `train_accuracy`,
    `family`, `n_held_out` (images the accuracy was taken on), hyperparameters `hp.*`. Measured
    checkpoints without a row are named in the notes: they are ranked, but nothing is correlated
    on them.

    Args:
        source: A CSV file, or a table already read.
        checkpoints: The checkpoints that were measured; None accepts any name.

    Returns:
        The table, in the order of `checkpoints` where given, and the notes.

    Raises:
        DataError: The file cannot be read as CSV; a required column is missing; a checkpoint is
            named twice or was never measured; an accuracy is not a number in [0, 1].
    """
    where = "the held-out table" if isinstance(source, pd.DataFrame) else f"held-out table {source}"
    table = source.copy() if isinstance(source, pd.DataFrame) else _read_csv(Path(source), where)
    missing = [column for column in ("checkpoint", HELD_OUT) if column not in table.columns]
    if missing:
        raise DataError(
            f"{where} needs columns 'checkpoint' and '{HELD_OUT}'; "
            f"missing {_names(missing)}, found {_names(map(str, table.columns))}"
        )
    table["checkpoint"] = table["checkpoint"].astype(str)
    _refuse_duplicates(table, where)
    for column in (HELD_OUT, TRAIN):
        if column in table.columns:
            table[column] = _accuracies(table, column, where)
    notes: list[str] = []
    if checkpoints is not None:
        known = list(dict.fromkeys(map(str, checkpoints)))
        table, notes = _match(table, known, where)
    empty = table.loc[table[HELD_OUT].isna(), "checkpoint"]
    if len(empty):
        notes.append(f"no {HELD_OUT} given for {_names(empty)}: ranked, not used in correlation")
    return HeldOut(table.reset_index(drop=True), notes)


def _read_csv(path: Path, where: str) -> pd.DataFrame:
    """A CSV file as a table, whatever goes wrong told as a `DataError`."""
    try:
        return pd.read_csv(path, dtype={"checkpoint": str})
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error.strerror or error}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{where} is not a UTF-8 CSV file: {error}") from error


def _refuse_duplicates(table: pd.DataFrame, where: str) -> None:
    twice = table.loc[table["checkpoint"].duplicated(), "checkpoint"].unique()
    if len(twice):
        raise DataError(f"{where} names {_names(twice)} more than once; keep one row each")


def _accuracies(table: pd.DataFrame, column: str, where: str) -> pd.Series[float]:
    """An accuracy column as floats in [0, 1], empty cells as NaN."""
    values = pd.to_numeric(table[column], errors="coerce")
    bad = (values.isna() & table[column].notna()) | (values < 0) | (values > 1)
    if not bad.any():
        return values.astype(float)
    first = int(np.flatnonzero(bad)[0])
    found = f"{table[column].iloc[first]!s} for {table['checkpoint'].iloc[first]!r}"
    percent = values.max() <= 100 and values.min() >= 0 and not values[bad].isna().any()
    hint = "; these look like percent: divide them by 100" if percent else ""
    raise DataError(f"{where} needs {column} in [0, 1]; found {found}{hint}")


def _match(table: pd.DataFrame, known: list[str], where: str) -> tuple[pd.DataFrame, list[str]]:
    """Keep the measured checkpoints in their order; refuse rows for unknown ones."""
    unknown = [name for name in table["checkpoint"] if name not in set(known)]
    missing = [name for name in known if name not in set(table["checkpoint"])]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=3)
        hint = f"; nearest to {unknown[0]!r}: {_names(near)}" if near else ""
        raise DataError(
            f"{where} has rows for checkpoints that were not measured: {_names(unknown)}"
            + (f"; measured, but without a row: {_names(missing)}" if missing else "")
            + f"; known checkpoints: {_names(known)}{hint}"
        )
    notes = []
    if missing:
        notes.append(f"no row for {_names(missing)}: ranked, not used in correlation")
    kept = [name for name in known if name in set(table["checkpoint"])]
    return table.set_index("checkpoint").loc[kept].reset_index(), notes


def _names(names: Iterable[str], most: int = 10) -> str:
    """Names quoted and joined, the first few when there are many."""
    listed = [repr(str(name)) for name in names]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def measure_columns(table: pd.DataFrame, target: str = HELD_OUT) -> list[str]:
    """The columns taken as measures when none are named: the numeric ones without a role.

    Roles are the target, `checkpoint`, `held_out_accuracy`, `generalization_gap`, `family`,
    `n_held_out` and hyperparameters `hp.*`. Train accuracy is a measure: a baseline.
    """
    return [
        str(column)
        for column in table.columns
        if column not in _NOT_MEASURES
        and column != target
        and not str(column).startswith(HYPERPARAMETER_PREFIX)
        and pd.api.types.is_numeric_dtype(table[column])
        and not pd.api.types.is_bool_dtype(table[column])
    ]


def correlate(
    table: pd.DataFrame | str | Path,
    target: str = HELD_OUT,
    *,
    measures: Sequence[str] | None = None,
    directions: Mapping[str, str] | None = None,
    baselines: Sequence[str] = BASELINES,
    n_bootstrap: int = 1000,
    n_permutations: int = 9999,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """One row of statistics per measure.

    Args:
        table: One row per checkpoint, or a CSV file of such rows.
        target: The column to predict; `generalization_gap` is derived where absent.
        measures: Columns to judge; by default every numeric column without another role.
        directions: "higher", "lower" or "none" per measure; missing ones are "none".
        baselines: Columns a measure has to add information to; absent ones are skipped.
        n_bootstrap: Bootstrap samples behind each interval.
        n_permutations: Permutations behind each p-value.
        confidence: Of the intervals.
        seed: Of bootstrap and permutations.

    Returns:
        One row per measure. A statistic that is undefined is NaN, and column `undefined` says
        which and why. `attrs` holds how the intervals were drawn.

    Raises:
        DataError: The target or a named measure is not a column of the table.
    """
    if not isinstance(table, pd.DataFrame):
        table = _read_csv(Path(table), f"table {table}")
    measures = measure_columns(table, target) if measures is None else list(measures)
    directions = dict(directions or {})
    clusters, drawn_over = _clusters(table)
    weights = statistics.bootstrap_weights(len(table), n_bootstrap, seed, clusters)
    rows = []
    for measure in measures:
        direction = directions.get(measure, "none")
        row: dict[str, Any] = {"measure": measure, "target": target, "direction": direction}
        row |= _association(table, measure, target, direction)
        row |= _intervals(table, measure, target, weights, confidence)
        x, y, _, _ = paired(table, measure, target)
        row["kendall_p"] = statistics.kendall_p_value(x, y, n_permutations, seed)
        rows.append(row)
    result = pd.DataFrame(rows, columns=list(_COLUMNS))
    result["kendall_p_holm"] = statistics.holm(result["kendall_p"].to_numpy(dtype=float))
    result["verdict"] = [_verdict(row) for _, row in result.iterrows()]
    result.attrs = {"resampled": drawn_over, "confidence": confidence, "seed": seed}
    return result


_COLUMNS: Final = (
    *("measure", "target", "n_models", "n_pairs", "direction"),
    *("kendall", "kendall_lower", "kendall_upper", "kendall_p", "kendall_p_holm"),
    *("spearman", "spearman_lower", "spearman_upper"),
    *("pearson", "pearson_lower", "pearson_upper"),
    *("weighted_kendall", "granulated_kendall", "cmi", "pgdl_score"),
    *("verdict", "undefined"),
)


def _clusters(table: pd.DataFrame) -> tuple[Values | None, str]:
    """What is resampled together, and how to say so."""
    n_families = table[FAMILY].nunique(dropna=False) if FAMILY in table.columns else 0
    if n_families >= statistics.MIN_FAMILIES:
        return codes_of(table, [FAMILY]), f"{n_families} families"
    few = f" ({n_families} families are too few to resample)" if n_families > 1 else ""
    return None, f"{len(table)} models{few}"


def _association(
    table: pd.DataFrame, measure: str, target: str, direction: str
) -> dict[str, object]:
    """Every statistic of one measure, with the reasons of those that are undefined."""
    found: dict[str, Statistic] = {
        "kendall": statistics.kendall(table, measure, target),
        "spearman": statistics.spearman(table, measure, target),
        "pearson": statistics.pearson(table, measure, target),
        "weighted_kendall": statistics.weighted_kendall(table, measure, target, direction),
        "granulated_kendall": statistics.granulated_kendall(table, measure, target),
        "cmi": statistics.cmi(table, measure),
        "pgdl_score": statistics.pgdl_score_result(table, measure),
    }
    row: dict[str, object] = {name: statistic.value for name, statistic in found.items()}
    row["n_models"], row["n_pairs"] = found["kendall"].n_models, found["kendall"].n_pairs
    row["undefined"] = _say_undefined(found)
    return row


def _say_undefined(found: Mapping[str, Statistic]) -> str:
    """Reasons and the statistics each one leaves undefined; empty when all are defined."""
    by_reason: dict[str, list[str]] = {}
    for name, statistic in found.items():
        if statistic.reason:
            by_reason.setdefault(statistic.reason.removeprefix("undefined: "), []).append(name)
    return "; ".join(f"{reason}: {', '.join(names)}" for reason, names in by_reason.items())


def _intervals(
    table: pd.DataFrame, measure: str, target: str, weights: np.ndarray, confidence: float
) -> dict[str, float]:
    """Bootstrap intervals of τ, ρ and r; NaN where the statistic itself is undefined."""
    draws = {
        "kendall": statistics.kendall_draws,
        "spearman": statistics.spearman_draws,
        "pearson": statistics.pearson_draws,
    }
    bounds = {}
    for name, draw in draws.items():
        x, y, rows, reason = paired(table, measure, target, finite=name == "pearson")
        ends = (math.nan, math.nan)
        if not reason:
            ends = statistics.interval(draw(x, y, weights[:, rows]), confidence)
        bounds[f"{name}_lower"], bounds[f"{name}_upper"] = ends
    return bounds


def _verdict(row: pd.Series[Any]) -> str:
    """What to believe of a measure, in plain words."""
    if math.isnan(row["kendall"]):
        return "undefined: " + str(row["undefined"]).split(": ")[0]
    if not row["kendall_p_holm"] < 0.05:
        return "no evidence of association"
    return "associated with the target"
