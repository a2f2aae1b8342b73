"""From a table of measures and held-out accuracies to one row of statistics per measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from audit import statistics
from audit.correlation._controls import installed_controls
from audit.correlation._judge import FAMILY, judge
from audit.correlation._prepared import measure_columns, prepare
from audit.correlation._resampled import Samples, p_values_of
from audit.statistics.result import GAP, HELD_OUT, Codes, Statistic, codes_of

__all__ = ["CORRELATION_COLUMNS", "correlate", "measure_columns"]

#: The columns of `correlations.csv`, in order.
CORRELATION_COLUMNS: Final = (
    *("measure", "target", "n_models", "n_pairs", "direction"),
    *("kendall", "kendall_lower", "kendall_upper", "kendall_p", "kendall_p_holm"),
    *("spearman", "spearman_lower", "spearman_upper"),
    *("pearson", "pearson_lower", "pearson_upper"),
    *("weighted_kendall", "granulated_kendall", "cmi", "pgdl_score"),
    *("sign_error_mean", "sign_error_p90", "sign_error_max", "n_environments"),
    *("partial_kendall", "partial_spearman", "controls"),
    *("beyond_baselines", "beyond_baselines_p_holm", "beyond_baselines_power"),
    *("beyond_hyperparameters", "beyond_hyperparameters_p_holm", "beyond_hyperparameters_power"),
    *("within_family_kendall", "cross_validated_r2", "leave_one_family_out_r2"),
    *("top_k_regret", "verdict", "undefined"),
)


def correlate(
    table: pd.DataFrame | str | Path,
    target: str = HELD_OUT,
    *,
    measures: Sequence[str] | None = None,
    directions: Mapping[str, str] | None = None,
    baselines: Sequence[str] | None = None,
    called: Mapping[str, str] | None = None,
    hyperparameters: Sequence[str] | None = None,
    n_held_out: int | None = None,
    top_k: int = 1,
    n_bootstrap: int = 1000,
    n_permutations: int = 9999,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """One row of statistics per measure, and a verdict.

    A network that is there under several names is one observation (see
    `statistics.copies.network_codes`).

    Statistics keep the sign of the association as it stands. `cmi` and `pgdl_score` are computed
    on the gap, as published, whatever the target. `sign_error_*` and `top_k_regret` hold the
    measure to its declared direction, or without one to the direction observed, which flatters
    it. Infinite values are extremes for rank statistics; Pearson and R² are undefined there.

    Args:
        table: One row per checkpoint, or a CSV file of such rows. A column `network_digest`, or
            one named like a digest of weights, says which rows are the same network.
        target: The column to predict; `generalization_gap` is derived where absent.
        measures: Columns to judge; by default every numeric column without another role.
        directions: "higher", "lower" or "none" per measure; missing ones are "none".
        baselines: Columns a measure has to add information to, absent ones are skipped; by
            default the installed measures that declare themselves controls.
        called: What verdicts call the baselines; by default what those measures are called.
        hyperparameters: Columns of the design; by default all `hp.*` columns.
        n_held_out: Images behind the accuracies; by default column `n_held_out`, else 10,000.
        top_k: Models picked for `top_k_regret`.
        n_bootstrap: Bootstrap samples behind each interval.
        n_permutations: Permutations behind each p-value (up to 100 models).
        confidence: Of the intervals; verdicts test at 0.05.
        seed: Of bootstrap, permutations and partitions.

    Returns:
        Columns `CORRELATION_COLUMNS`. A statistic that is undefined is NaN, and column
        `undefined` says which and why. `attrs`: `resampled` (what intervals resample),
        `targets`, `controls`, `confidence`, `seed`, and `notes`: what was put right, left out or
        counted once.

    Raises:
        DataError: The target or a named column is not in the table, or the table cannot be used
            (columns of one name, a checkpoint with rows that differ, ambiguous numbers).
    """
    known = installed_controls()
    prepared = prepare(
        table,
        target,
        measures=measures,
        baselines=known.names if baselines is None else baselines,
        hyperparameters=hyperparameters,
        n_held_out=n_held_out,
    )
    table, measures, controls = prepared.table, prepared.measures, prepared.controls
    directions = dict(directions or {})
    clusters, resampled = _clusters(table)
    samples = Samples(
        statistics.bootstrap_weights(len(table), n_bootstrap, seed, clusters), confidence
    )
    designs = statistics.Designs(table, family=FAMILY)
    rows = []
    for measure in measures:
        direction = directions.get(measure, "none")
        found = _statistics(table, measure, target, direction, controls, seed, designs)
        found |= _held_to_its_direction(
            table, measure, target, direction, n_held_out, top_k, designs
        )
        row: dict[str, Any] = {"measure": measure, "target": target, "direction": direction}
        row |= {name: statistic.value for name, statistic in found.items()}
        row |= {"n_models": found["kendall"].n_models, "n_pairs": found["kendall"].n_pairs}
        row |= samples.intervals(table, measure, target)
        row["undefined"] = _say_undefined(found)
        row["controls"] = ", ".join(c for c in controls if c != measure)
        rows.append(row)
    result = pd.DataFrame(rows, columns=list(CORRELATION_COLUMNS))
    result["kendall_p"] = p_values_of(table, measures, target, n_permutations, seed)
    judge(result, table, target, controls, designs, called or known.called, prepared.aside)
    result.attrs = {
        "notes": prepared.notes,
        "resampled": resampled,
        "targets": {"cmi": GAP, "pgdl_score": GAP, "others": target},
        "controls": controls,
        "confidence": confidence,
        "seed": seed,
    }
    return result


def _clusters(table: pd.DataFrame) -> tuple[Codes | None, str]:
    """What is resampled together, and how to say so."""
    n_families = table[FAMILY].nunique(dropna=False) if FAMILY in table.columns else 0
    if n_families >= statistics.MIN_FAMILIES:
        return codes_of(table, [FAMILY]), f"{n_families} families"
    few = f" ({n_families} families are too few to resample)" if n_families > 1 else ""
    return None, f"{len(table)} models{few}"


def _statistics(
    table: pd.DataFrame,
    measure: str,
    target: str,
    direction: str,
    controls: Sequence[str],
    seed: int,
    designs: statistics.Designs,
) -> dict[str, Statistic]:
    """The statistics of one measure that keep the sign as it stands, by column name."""
    column = (table, measure, target)
    information = statistics.conditional_information(table, measure, designs=designs)
    return {
        "kendall": statistics.kendall(*column),
        "spearman": statistics.spearman(*column),
        "pearson": statistics.pearson(*column),
        "weighted_kendall": statistics.weighted_kendall(*column, direction),
        "granulated_kendall": statistics.granulated_kendall(*column, designs=designs),
        "cmi": information.cmi,
        "pgdl_score": information.pgdl_score,
        "partial_kendall": statistics.partial_kendall(*column, controls),
        "partial_spearman": statistics.partial_spearman(*column, controls),
        "within_family_kendall": statistics.within_family_kendall(*column, FAMILY),
        "cross_validated_r2": statistics.cross_validated_r2(*column, seed=seed),
        "leave_one_family_out_r2": statistics.leave_one_family_out_r2(*column, FAMILY),
    }


def _held_to_its_direction(
    table: pd.DataFrame,
    measure: str,
    target: str,
    direction: str,
    n_held_out: int | None,
    top_k: int,
    designs: statistics.Designs,
) -> dict[str, Statistic]:
    """The statistics of one measure that need its direction, by column name."""
    errors = statistics.sign_error(
        table, measure, target, direction, n_held_out=n_held_out, designs=designs
    )
    return {
        "sign_error_mean": errors.mean,
        "sign_error_p90": errors.p90,
        "sign_error_max": errors.max,
        "n_environments": Statistic(errors.n_environments),
        "top_k_regret": statistics.top_k_regret(table, measure, target, direction, top_k),
    }


def _say_undefined(found: Mapping[str, Statistic]) -> str:
    """Reasons and the statistics each one leaves undefined; empty when all are defined."""
    by_reason: dict[str, list[str]] = {}
    for name, statistic in found.items():
        if statistic.reason:
            by_reason.setdefault(statistic.reason.removeprefix("undefined: "), []).append(name)
    return "; ".join(f"{reason}: {', '.join(names)}" for reason, names in by_reason.items())
