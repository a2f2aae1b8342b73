"""The tables of one audit, as reporters are given them and `audit.run` returns them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditResult:
    """The tables of one audit.

    Attributes:
        measures: Columns checkpoint, measure, version, value, status, reason, seconds.
        ranking: Columns predicted_rank, checkpoint, score, lower, upper, tied_with.
        correlations: One row of statistics per measure; empty without held-out accuracies.
        held_out: Columns checkpoint, held_out_accuracy, optional train_accuracy, family and
            hp.*; empty where none is known.
        run: What `run.json` holds: versions, digests, configuration, seeds, device, sample. A
            reporter is not told there what reporters wrote.
        output: The output folder.
    """

    measures: pd.DataFrame
    ranking: pd.DataFrame
    correlations: pd.DataFrame
    held_out: pd.DataFrame
    run: Mapping[str, Any]
    output: Path

    @property
    def failed(self) -> dict[str, str]:
        """Checkpoint → reason, for every checkpoint that could not be audited."""
        rows = self.measures[
            (self.measures["measure"] == "all") & (self.measures["status"] == "failed")
        ]
        return dict(zip(rows["checkpoint"], rows["reason"], strict=True))

    @property
    def failed_reports(self) -> dict[str, str]:
        """Reporter → reason, for every report that could not be written."""
        return dict(self.run.get("reports", {}).get("failed", {}))

    def _repr_html_(self) -> str:
        """The ranking as a table, for notebooks."""
        html: str = self.ranking.to_html(index=False, float_format="{:.4f}".format)
        return html
