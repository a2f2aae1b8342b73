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
        measures: Columns checkpoint, measure, version, value, status, reason, seconds, doubt.
        ranking: Columns predicted_rank, checkpoint, score, lower, upper, tied_with, doubt.
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
    def doubts(self) -> dict[str, list[str]]:
        """Checkpoint → why it looks untrained, for every audited checkpoint that does."""
        found = {
            str(entry["checkpoint"]): [str(doubt["reason"]) for doubt in entry["doubts"]]
            for entry in self.run.get("checkpoints") or ()
            if entry.get("doubts")
        }
        failed = self.failed if found else {}
        return {name: reasons for name, reasons in found.items() if name not in failed}

    @property
    def checkpoint_notes(self) -> dict[str, list[str]]:
        """What was chosen, converted or left out on the way → the checkpoints that it holds of."""
        found: dict[str, list[str]] = {}
        for entry in self.run.get("checkpoints") or ():
            for note in entry.get("notes") or ():
                found.setdefault(str(note), []).append(str(entry["checkpoint"]))
        return found

    @property
    def partial(self) -> str:
        """What is to be known of tables that lack checkpoints, or ""."""
        n_missing = self.run.get("missing")
        if self.run.get("complete", True) or not n_missing:
            return ""
        have = "checkpoint has" if n_missing == 1 else "checkpoints have"
        return (
            f"this audit is partial: {n_missing} {have} not been measured yet; run it again to go "
            "on"
        )

    @property
    def notes(self) -> list[str]:
        """What is to be known of the audit and its training set before any number is believed."""
        notes = [str(note) for note in self.run.get("dataset", {}).get("notes") or ()]
        return [self.partial, *notes] if self.partial else notes

    @property
    def failed_reports(self) -> dict[str, str]:
        """Reporter → reason, for every report that could not be written."""
        return dict(self.run.get("reports", {}).get("failed", {}))

    def _repr_html_(self) -> str:
        """The ranking as a table, for notebooks."""
        html: str = self.ranking.to_html(index=False, float_format="{:.4f}".format)
        return html
