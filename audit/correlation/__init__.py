"""Measures against held-out accuracy: the only place where the two meet."""

from __future__ import annotations

from audit.correlation._verdict import Evidence, verdict
from audit.correlation.correlations import CORRELATION_COLUMNS, correlate, measure_columns
from audit.correlation.foreign_table import ForeignTable, read_foreign_table
from audit.correlation.held_out import HeldOut, read_held_out

__all__ = [
    "CORRELATION_COLUMNS",
    "Evidence",
    "ForeignTable",
    "HeldOut",
    "correlate",
    "measure_columns",
    "read_foreign_table",
    "read_held_out",
    "verdict",
]
