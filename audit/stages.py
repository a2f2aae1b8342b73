"""The stages after measuring; each reads what the one before it wrote into the output folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from audit import correlation, ranking
from audit.contracts import AuditResult
from audit.errors import ConfigError, DataError
from audit.record import (
    ACCURACIES,
    CORRELATIONS,
    MEASURES,
    RANKING,
    file_sha256,
    is_current,
    read_run,
    stage_digest,
    write_run,
)
from audit.registry import Registry
from audit.table import ALL_MEASURES, read_csv, read_measures, wide_frame, write_csv


def correlate_folder(
    folder: Path, table: Path | None = None, target: str = "held_out_accuracy"
) -> pd.DataFrame:
    """Set the measures of an output folder against held-out accuracies; write the statistics.

    Args:
        folder: Where `measure` wrote.
        table: The held-out table; by default the one the configuration names.
        target: "held_out_accuracy" or "generalization_gap".

    Raises:
        ConfigError: No held-out table is known.
        DataError: A table cannot be read, or names unknown checkpoints.
    """
    record = read_run(folder)
    measures = read_measures(folder / MEASURES)
    if table is None:
        config = record["config"]
        if not config.get("held_out"):
            raise ConfigError(
                "no held-out accuracies are known: give --held-out TABLE, or set [held_out] table"
            )
        table = Path(record["base"]) / config["held_out"]["table"]
    held_out, notes = correlation.read_held_out(table, sorted(measures["checkpoint"].unique()))
    write_csv(held_out, folder / ACCURACIES)
    inputs = stage_digest(
        ("statistics", "correlation"),
        measures=file_sha256(folder / MEASURES),
        accuracies=file_sha256(folder / ACCURACIES),
        target=target,
        seed=record["seed"],
    )
    path = folder / CORRELATIONS
    if is_current(record.get("correlation"), inputs, path):
        return read_csv(path, "correlations", ())
    wide = wide_frame(measures, held_out)
    statistics = correlation.correlate(
        wide,
        target,
        measures=sorted(set(measures["measure"]) - {ALL_MEASURES}),
        directions=_directions(record, wide),
        seed=record["seed"],
    )
    write_csv(statistics, path)
    record["correlation"] = {
        "target": target,
        "table": str(table),
        "n_models": int(wide["held_out_accuracy"].notna().sum()),
        "notes": list(notes),
        **statistics.attrs,
        "inputs": inputs,
        "sha256": file_sha256(path),
    }
    write_run(folder, record)
    return statistics


def rank_folder(
    folder: Path,
    card: str | Path | None = None,
    *,
    abstain: bool = False,
    leave_out: Literal["families", "checkpoints"] = "families",
) -> pd.DataFrame:
    """Rank the checkpoints of an output folder, and write `ranking.csv`.

    Args:
        folder: Where `measure` wrote.
        card: A calibrator card to rank by, shipped (by name) or a file; no accuracy is used then.
            By default the accuracies that `correlate` found fit a ranker, or, where they are too
            few, the measures vote in their declared directions.
        abstain: Outside the card's domain, leave every checkpoint tied.
        leave_out: What the ranker that predicts a checkpoint has not seen: its family or itself.

    Raises:
        DataError: A table or the card cannot be used, or every checkpoint failed.
    """
    record = read_run(folder)
    measures = read_measures(folder / MEASURES)
    wide = wide_frame(measures, _optional(folder / ACCURACIES))
    if wide.empty:
        raise DataError(f"every checkpoint of {folder / MEASURES} failed: there is none to rank")
    chosen = ranking.load_card(card) if card is not None else None
    inputs = stage_digest(
        ("statistics", "ranking"),
        measures=file_sha256(folder / MEASURES),
        accuracies=file_sha256(folder / ACCURACIES),
        seed=record["seed"],
        card=chosen.model_dump(mode="json") if chosen else None,
        options=[abstain, leave_out],
    )
    path = folder / RANKING
    if is_current(record.get("ranking"), inputs, path):
        return read_csv(path, "ranking", ())
    found = ranking.rank_table(
        wide,
        directions=_directions(record, wide),
        card=chosen,
        versions=dict(zip(measures["measure"], measures["version"], strict=True)),
        abstain=abstain,
        leave_out=leave_out,
        seed=record["seed"],
    )
    write_csv(found.table, path)
    record["ranking"] = {**found.about, "inputs": inputs, "sha256": file_sha256(path)}
    write_run(folder, record)
    return found.table


def fit_card(
    folders: Sequence[Path], name: str, measures: Sequence[str] = (), description: str = ""
) -> ranking.Card:
    """Fit a calibrator card on audits whose accuracies are known.

    Args:
        folders: Output folders in which `correlate` has been run; one zoo each.
        name: Of the card.
        measures: What the card weighs; by default every measure with a declared direction that
            has a number for every checkpoint of every zoo.
        description: For readers.

    Raises:
        DataError: A folder lacks accuracies, versions of a measure differ, or no measure is left.
    """
    zoos: dict[str, pd.DataFrame] = {}
    versions: dict[str, str] = {}
    usable: set[str] | None = None
    for folder in folders:
        record, tidy = read_run(folder), read_measures(folder / MEASURES)
        held_out = _optional(folder / ACCURACIES)
        if held_out is None:
            raise DataError(
                f"{folder} has no {ACCURACIES}: run `genaudit correlate {folder}` first"
            )
        wide = wide_frame(tidy, held_out)
        found = dict(zip(tidy["measure"], tidy["version"], strict=True))
        for measure_name in versions.keys() & found.keys():
            if versions[measure_name] != found[measure_name]:
                raise DataError(
                    f"{measure_name} has version {versions[measure_name]} in one folder and "
                    f"{found[measure_name]} in {folder}; measure again"
                )
        versions |= found
        directed = {c for c, way in _directions(record, wide).items() if way != "none"}
        whole = {column for column in directed if wide[column].notna().all()}
        usable = whole if usable is None else usable & whole
        zoos[folder.name] = wide
    chosen = list(measures) or sorted(usable or ())
    if not chosen:
        raise DataError("no measure has a direction and a number for every checkpoint")
    return ranking.fit_card(zoos, chosen, name=name, versions=versions, description=description)


def report_folder(folder: Path, registry: Registry) -> AuditResult:
    """Write every report of an output folder's tables.

    Raises:
        DataError: A table cannot be read.
        StoreError: A report cannot be written.
    """
    result = read_result(folder)
    for reporter in registry.reporters.values():
        reporter.write(result, folder)
    return result


def read_result(folder: Path) -> AuditResult:
    """The tables of an output folder; those of stages that were not run are empty.

    Raises:
        DataError: The folder holds no audit, or a table cannot be read.
    """
    record, empty = read_run(folder), pd.DataFrame()
    return AuditResult(
        measures=read_measures(folder / MEASURES),
        ranking=_or(_optional(folder / RANKING), empty),
        correlations=_or(_optional(folder / CORRELATIONS), empty),
        held_out=_or(_optional(folder / ACCURACIES), empty),
        run=record,
        output=folder,
    )


def _directions(record: Mapping[str, Any], wide: pd.DataFrame) -> dict[str, str]:
    """The declared direction of every column: that of the longest measure name it starts with."""
    declared = record["measures"]
    found: dict[str, str] = {}
    for column in wide.columns:
        parts = str(column).split(".")
        prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        name = next((prefix for prefix in prefixes if prefix in declared), None)
        if name is not None:
            found[str(column)] = declared[name]["direction"]
    return found


def _optional(path: Path) -> pd.DataFrame | None:
    """A table if its stage was run."""
    return read_csv(path, path.stem, ()) if path.exists() else None


def _or(frame: pd.DataFrame | None, fallback: pd.DataFrame) -> pd.DataFrame:
    return fallback if frame is None else frame
