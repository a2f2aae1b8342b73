"""The stage that sets an output folder's measures against held-out accuracies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from audit import correlation
from audit.correlation._controls import Controls, controls_of, installed_controls
from audit.errors import ConfigError, DataError
from audit.folder.columns import directions_of, judged_columns
from audit.folder.csv_files import write_csv
from audit.folder.currency import file_sha256, is_current, stage_digest
from audit.folder.record import (
    ACCURACIES,
    CORRELATIONS,
    MEASURES,
    network_digests,
    read_run,
    write_run,
)
from audit.folder.table_forms import CORRELATIONS_FORM, read_table
from audit.folder.tables import read_measures, wide_frame
from audit.plugin import KnownCheckpoint
from audit.plugin.registry import installed
from audit.statistics.copies import NETWORK
from audit.statistics.result import TRAIN

#: What decides this stage's table, of `audit`'s source.
SOURCES: Final = ("statistics", "correlation", "folder", "plugin/parts.py", "shown.py")


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
    needs = ("measures", "seed") if table is not None else ("measures", "seed", "config")
    record = read_run(folder, needs)
    measures = read_measures(folder / MEASURES)
    held_out, notes = _known_accuracies(record, sorted(measures["checkpoint"].unique()), table)
    write_csv(held_out, folder / ACCURACIES)
    inputs = stage_digest(
        SOURCES,
        declared=record["measures"],
        measures=file_sha256(folder / MEASURES),
        accuracies=file_sha256(folder / ACCURACIES),
        target=target,
        seed=record["seed"],
    )
    path = folder / CORRELATIONS
    if is_current(record.get("correlation"), inputs, path):
        return read_table(path, CORRELATIONS_FORM)
    wide = wide_frame(measures, held_out)
    judged, equal = judged_columns(record, wide)
    controls = _controls_of(record, held_out)
    statistics = correlation.correlate(
        wide.assign(**{NETWORK: wide["checkpoint"].map(network_digests(record))}),
        target,
        measures=judged,
        directions=directions_of(record, wide),
        baselines=controls.names,
        called=controls.called,
        seed=record["seed"],
    )
    write_csv(statistics, path)
    record["correlation"] = {
        "target": target,
        "equal_columns": equal,
        "n_models": int(wide["held_out_accuracy"].notna().sum()),
        **statistics.attrs,
        "notes": [*notes, *statistics.attrs["notes"]],
        "inputs": inputs,
        "sha256": file_sha256(path),
    }
    write_run(folder, record)
    return statistics


def _controls_of(record: Mapping[str, Any], held_out: pd.DataFrame) -> Controls:
    """What every measure is tested against: the run's controls, and any training accuracy given."""
    measures, known = record["measures"], installed_controls()
    if not any("control" in entry for entry in measures.values()):
        return known  # a record of an older run does not say
    found = controls_of(measures)
    if TRAIN not in held_out.columns or TRAIN in found.names:
        return found
    return Controls((*found.names, TRAIN), {**known.called, **found.called})


def _known_accuracies(
    record: Mapping[str, Any], names: Sequence[str], table: Path | None
) -> correlation.HeldOut:
    """The held-out accuracies of the checkpoints: from a given table, or as configured."""
    if table is not None:
        return correlation.read_held_out(table, names)
    held_out = record["config"].get("held_out")
    if not held_out or not held_out.get("table"):
        raise ConfigError(
            "no held-out accuracies are known: give --held-out TABLE, or set [held_out] table"
        )
    if "base" not in record:
        raise DataError(
            "the record does not say where the held-out table lies (base is missing): give "
            "--held-out TABLE"
        )
    path = Path(record["base"]) / held_out["table"]
    form = held_out.get("format", "table")
    if form == "table":
        return correlation.read_held_out(path, names)
    published = installed().held_out_format(form)
    known = [
        KnownCheckpoint(
            checkpoint["checkpoint"],
            checkpoint.get("model", ""),
            (checkpoint.get("data_config") or {"input_size": (0, None, 0)})["input_size"][1],
        )
        for checkpoint in record.get("checkpoints", ())
    ]
    frame, notes = published.read(path, known)
    found = correlation.read_held_out(frame, names)
    return correlation.HeldOut(found.table, [*notes, *found.notes])
