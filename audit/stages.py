"""The stages after measuring; each reads what the one before it wrote into the output folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from audit import correlation, ranking
from audit.contracts import AuditResult, KnownCheckpoint
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
from audit.registry import Registry, installed
from audit.statistics import MIN_FAMILIES
from audit.table import read_csv, read_measures, wide_frame, write_csv


def correlate_folder(
    folder: Path, table: Path | None = None, target: str = "held_out_accuracy"
) -> pd.DataFrame:
    """Set the measures of an output folder against held-out accuracies; write the statistics.

    Diagnostic measures are not judged, and of columns that are equal throughout only one is.

    Args:
        folder: Where `measure` wrote.
        table: A held-out table; by default the one the configuration names, in its format.
        target: "held_out_accuracy" or "generalization_gap".

    Raises:
        ConfigError: No held-out table is known.
        DataError: A table cannot be read, or names unknown checkpoints.
    """
    record = read_run(folder)
    measures = read_measures(folder / MEASURES)
    held_out, notes = _known_accuracies(record, sorted(measures["checkpoint"].unique()), table)
    write_csv(held_out, folder / ACCURACIES)
    inputs = stage_digest(
        ("statistics", "correlation", "stages.py"),
        measures=file_sha256(folder / MEASURES),
        accuracies=file_sha256(folder / ACCURACIES),
        target=target,
        seed=record["seed"],
    )
    path = folder / CORRELATIONS
    if is_current(record.get("correlation"), inputs, path):
        return read_csv(path, "correlations", ())
    wide = wide_frame(measures, held_out)
    judged, equal = _judged(record, wide)
    statistics = correlation.correlate(
        wide,
        target,
        measures=judged,
        directions=_directions(record, wide),
        seed=record["seed"],
    )
    write_csv(statistics, path)
    record["correlation"] = {
        "target": target,
        "equal_columns": equal,
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
    leave_out: Literal["auto", "families", "checkpoints"] = "auto",
) -> pd.DataFrame:
    """Rank the checkpoints of an output folder, and write `ranking.csv`.

    Measures with a declared direction rank; those without, such as `random`, do not.

    Args:
        folder: Where `measure` wrote.
        card: A calibrator card to rank by, shipped (by name) or a file; no accuracy is used then.
            By default the accuracies that `correlate` found fit a ranker, or, where they are too
            few, the measures vote in their declared directions.
        abstain: Outside the card's domain, leave every checkpoint tied.
        leave_out: What the ranker that predicts a checkpoint has not seen: its family or itself.
            "auto": its family where there are at least `statistics.MIN_FAMILIES` of them.

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
        ("statistics", "ranking", "stages.py"),
        measures=file_sha256(folder / MEASURES),
        accuracies=file_sha256(folder / ACCURACIES),
        seed=record["seed"],
        card=chosen.model_dump(mode="json") if chosen else None,
        options=[abstain, leave_out],
    )
    path = folder / RANKING
    if is_current(record.get("ranking"), inputs, path):
        return read_csv(path, "ranking", ())
    directions = _directions(record, wide)
    if leave_out == "auto":
        n_families = wide["family"].nunique() if "family" in wide else 0
        leave_out = "families" if n_families >= MIN_FAMILIES else "checkpoints"
    if len(wide) == 1:
        found = _alone(str(wide["checkpoint"].iloc[0]))
    else:
        found = ranking.rank_table(
            wide,
            directions=directions,
            measures=[m for m in _judged(record, wide)[0] if directions.get(m, "none") != "none"],
            families={column: _measure_of(record, column) for column in directions},
            card=chosen,
            versions=dict(zip(measures["measure"], measures["version"], strict=True)),
            abstain=abstain,
            leave_out=leave_out,
            seed=record["seed"],
        )
    write_csv(found.table, path)
    about = found.to_dict()
    del about["ranking"]
    record["ranking"] = {**about, "inputs": inputs, "sha256": file_sha256(path)}
    write_run(folder, record)
    return found.table


def _alone(checkpoint: str) -> ranking.Ranking:
    """The ranking of a single checkpoint: first, with no score."""
    nan = float("nan")
    row = dict(zip(ranking.RANKING_COLUMNS, (1, checkpoint, nan, nan, nan, ""), strict=True))
    notes = ["one checkpoint was audited: there is none to rank it against"]
    return ranking.Ranking(pd.DataFrame([row]), {"mode": "one checkpoint", "notes": notes})


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


def _known_accuracies(
    record: Mapping[str, Any], names: Sequence[str], table: Path | None
) -> correlation.HeldOut:
    """The held-out accuracies of the checkpoints: from a given table, or as configured."""
    if table is not None:
        return correlation.read_held_out(table, names)
    held_out = record["config"].get("held_out")
    if not held_out:
        raise ConfigError(
            "no held-out accuracies are known: give --held-out TABLE, or set [held_out] table"
        )
    path = Path(record["base"]) / held_out["table"]
    if held_out["format"] == "table":
        return correlation.read_held_out(path, names)
    published = installed().held_out_format(held_out["format"])
    known = [
        KnownCheckpoint(
            checkpoint["checkpoint"],
            checkpoint["model"],
            (checkpoint["data_config"] or {"input_size": (0, None, 0)})["input_size"][1],
        )
        for checkpoint in record["checkpoints"]
    ]
    frame, notes = published.read(path, known)
    found = correlation.read_held_out(frame, names)
    return correlation.HeldOut(found.table, [*notes, *found.notes])


def _measure_of(record: Mapping[str, Any], column: str) -> str:
    """The measure a column belongs to: the longest measure name it starts with, or ""."""
    parts = column.split(".")
    prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in record["measures"]), "")


def _directions(record: Mapping[str, Any], wide: pd.DataFrame) -> dict[str, str]:
    """The declared direction of every column that belongs to a measure."""
    owners = {str(column): _measure_of(record, str(column)) for column in wide.columns}
    return {
        column: record["measures"][owner]["direction"] for column, owner in owners.items() if owner
    }


def _judged(record: Mapping[str, Any], wide: pd.DataFrame) -> tuple[list[str], dict[str, str]]:
    """Columns to judge, and those left out because they equal one that is: left out → kept."""
    columns = [
        column
        for column in sorted(_directions(record, wide), key=lambda name: (".layer_" in name, name))
        if not record["measures"][_measure_of(record, column)].get("diagnostic")
    ]
    kept: list[str] = []
    equal: dict[str, str] = {}
    for column in columns:
        twin = next((other for other in kept if wide[other].equals(wide[column])), None)
        if twin is not None and _measure_of(record, twin) == _measure_of(record, column):
            equal[column] = twin
        else:
            kept.append(column)
    return sorted(kept), equal


def _optional(path: Path) -> pd.DataFrame | None:
    """A table if its stage was run."""
    return read_csv(path, path.stem, ()) if path.exists() else None


def _or(frame: pd.DataFrame | None, fallback: pd.DataFrame) -> pd.DataFrame:
    return fallback if frame is None else frame
