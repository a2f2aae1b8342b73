"""Measures against held-out accuracy: the only place where the two meet."""

from __future__ import annotations

from audit.correlation._verdict import Evidence, verdict
from audit.correlation.correlations import CORRELATION_COLUMNS, correlate, measure_columns
from audit.correlation.foreign_table import Ledger, read_ledger
from audit.correlation.held_out import HeldOut, read_held_out

__all__ = [
    "CORRELATION_COLUMNS",
    "Evidence",
    "HeldOut",
    "Ledger",
    "correlate",
    "measure_columns",
    "read_held_out",
    "read_ledger",
    "verdict",
]
