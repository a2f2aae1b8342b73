"""`results.json`: the whole audit in one file for programs.

An object with these members, in this order (a number that does not exist is `null`, never NaN)::

    schema        int; 1. A member that changes its meaning changes this number
    genaudit      str or null; the version that made it
    failed        {checkpoint: reason} of checkpoints that could not be audited at all
    ranking       [{predicted_rank, checkpoint, score, lower, upper, tied_with, doubt}],
                  best first
    correlations  [{measure, target, n_models, kendall, …}], one per measure; [] without
                  held-out accuracies
    measures      [{checkpoint, measure, version, value, status, reason, seconds,
                  doubt}]
    held_out      [{checkpoint, held_out_accuracy, …}]; [] where none is known
    run           what `run.json` holds
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from audit.plugin import AuditResult
from audit_reports.output import write_text
from audit_reports.tables import failed_checkpoints

FILE_NAME: Final = "results.json"
SCHEMA: Final = 1
INDENT: Final = 1


def write(result: AuditResult, folder: Path, indent: int = INDENT) -> Path:
    """Write `results.json` into a folder.

    Args:
        result: The audit.
        folder: The output folder.
        indent: Spaces before a member, per level.

    Returns:
        The file.

    Raises:
        StoreError: It cannot be written.
    """
    text = json.dumps(document(result), ensure_ascii=False, allow_nan=False, indent=indent)
    return write_text(folder / FILE_NAME, text + "\n")


def document(result: AuditResult) -> dict[str, Any]:
    """The audit as plain JSON values; the members are those of the module's docstring."""
    return {
        "schema": SCHEMA,
        "genaudit": plain(result.run.get("genaudit")),
        "failed": failed_checkpoints(result.measures),
        "ranking": rows_of(result.ranking),
        "correlations": rows_of(result.correlations),
        "measures": rows_of(result.measures),
        "held_out": rows_of(result.held_out),
        "run": plain(result.run),
    }


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One object per row, columns in their order."""
    columns = [str(name) for name in frame.columns]
    values = [[plain(value) for value in frame[name].tolist()] for name in frame.columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def plain(value: Any) -> Any:
    """A value in JSON's vocabulary: what is not finite is None, what is foreign is text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(inner) for inner in value), key=str)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if value is pd.NA or value is pd.NaT else str(value)
