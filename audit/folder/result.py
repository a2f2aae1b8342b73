"""The tables of an output folder, read back."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from audit.folder.record import ACCURACIES, CORRELATIONS, MEASURES, RANKING, read_run
from audit.folder.table_forms import (
    ACCURACIES_FORM,
    CORRELATIONS_FORM,
    RANKING_FORM,
    optional_table,
)
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
        ranking=_or(optional_table(folder / RANKING, RANKING_FORM), empty),
        correlations=_or(optional_table(folder / CORRELATIONS, CORRELATIONS_FORM), empty),
        held_out=_or(optional_table(folder / ACCURACIES, ACCURACIES_FORM), empty),
        run=record,
        output=folder,
    )


def _or(frame: pd.DataFrame | None, fallback: pd.DataFrame) -> pd.DataFrame:
    return fallback if frame is None else frame
