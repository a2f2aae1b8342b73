"""The tables of an output folder, read back."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from audit.folder.csv_files import read_csv
from audit.folder.record import ACCURACIES, CORRELATIONS, MEASURES, RANKING, read_run
from audit.folder.tables import read_measures
from audit.plugin import AuditResult


def read_result(folder: Path) -> AuditResult:
    """The tables of an output folder; those of stages that were not run are empty.

    Raises:
        DataError: The folder holds no audit, or a table cannot be read.
    """
    record, empty = read_run(folder), pd.DataFrame()
    return AuditResult(
        measures=read_measures(folder / MEASURES),
        ranking=_or(optional_table(folder / RANKING), empty),
        correlations=_or(optional_table(folder / CORRELATIONS), empty),
        held_out=_or(optional_table(folder / ACCURACIES), empty),
        run=record,
        output=folder,
    )


def optional_table(path: Path) -> pd.DataFrame | None:
    """A table if its stage was run."""
    return read_csv(path, path.stem) if path.exists() else None


def _or(frame: pd.DataFrame | None, fallback: pd.DataFrame) -> pd.DataFrame:
    return fallback if frame is None else frame
