"""The tables of what is measured so far: written now and then, and valid at every moment."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from audit.errors import StoreError
from audit.files import write_atomically
from audit.folder.csv_files import csv_bytes
from audit.folder.currency import file_sha256
from audit.folder.record import (
    ACCURACIES,
    CORRELATIONS,
    MEASURES,
    RANKING,
    RUN,
    UNITS,
    read_run,
    write_run,
)
from audit.folder.tables import ALL_MEASURES, DOUBT, measures_frame
from audit.folder.unit_rows import write_units
from audit.measuring.rows import kept_tables
from audit.measuring.task import Outcome
from audit.measuring.unit_spool import UnitSpool
from audit.measuring.view import Wanted
from audit.runs.study import Study, describe

if TYPE_CHECKING:
    from audit.measuring.subject import Provided, Subject
    from audit.store import Entry

#: Between two writings while a run goes on: at least so many seconds, and so many times what the
#: last one took, which keeps them below a fiftieth of the run.
_SECONDS_BETWEEN: Final = 1.0
_TIMES_BETWEEN: Final = 50.0

_DAMAGED: Final = "its cache entry was damaged while this ran; run again"


class MeasuredTables:
    """`measures.csv`, `units.parquet` and `run.json` of the checkpoints that are finished.

    Args:
        study: The run.
        planned: What is computed of every checkpoint.
    """

    def __init__(self, study: Study, planned: Sequence[Provided]) -> None:
        self._study, self._planned = study, tuple(planned)
        self._filtrations = Wanted.by(study.measures).filtrations
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._units = UnitSpool(study.store.root / "temporary")
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._stopped: set[str] = set()
        self._unsaved = False
        self._due = 0.0
        for name, reason in study.refused.items():
            self.add_failure(name, reason)

    @property
    def n_missing(self) -> int:
        """Checkpoints that are yet to be measured, those that a limit stopped among them."""
        return len(self._study.names) - len(self._rows) + len(self._stopped)

    def add_kept(self, subject: Subject, entry: Entry) -> None:
        """Take the rows of a checkpoint of which the store has all."""
        self._add(subject, Outcome("", {}), entry)

    def add(self, subject: Subject, outcome: Outcome) -> str:
        """Take what a task has left of a checkpoint; why that failed, or ""."""
        self._unsaved = True
        kept, _ = self._split(outcome)
        entry = None
        if not outcome.failure:
            entry = self._study.store.get(subject.row_key(kept, self._filtrations))
        return self._add(subject, outcome, entry)

    def add_stopped(self, name: str, reason: str) -> None:
        """Take note that a limit of the run came before a checkpoint was finished."""
        self._unsaved = True
        self._stopped.add(name)
        self.add_failure(name, reason)

    def add_failure(self, name: str, reason: str) -> str:
        """Make a checkpoint one row that says why there is no more."""
        self._rows[name] = [_failed_row(name, ALL_MEASURES, "", reason)]
        return reason

    def _add(self, subject: Subject, outcome: Outcome, entry: Entry | None) -> str:
        """Take a checkpoint; why it failed, or ""."""
        if outcome.failure or entry is None:
            return self.add_failure(subject.name, outcome.failure or _DAMAGED)
        kept, failed = self._split(outcome)
        try:
            numbers, units, doubts = kept_tables(subject.name, kept, entry)
        except StoreError as error:
            return self.add_failure(subject.name, str(error))
        if doubts and self._study.config.measures.on_doubt == "fail":
            return self.add_failure(subject.name, refusal_of(doubts))
        numbers += [
            _failed_row(subject.name, m.name, m.version, outcome.failures[m.name]) for m in failed
        ]
        kinds = ";".join(doubt["kind"] for doubt in doubts)
        self._rows[subject.name] = [row | {DOUBT: kinds} for row in numbers]
        self._units.put(subject.name, units)
        self._facts[subject.name] = entry.meta["facts"]
        return ""

    def _split(self, outcome: Outcome) -> tuple[list[Provided], list[Provided]]:
        """The measures that a task computed, and those that failed."""
        failed = [measure for measure in self._planned if measure.name in outcome.failures]
        return [measure for measure in self._planned if measure not in failed], failed

    def save_if_due(self) -> None:
        """Write what was finished since the last time, unless that was a moment ago.

        Raises:
            StoreError: A table cannot be written.
        """
        if self._unsaved and time.monotonic() >= self._due:
            started = time.monotonic()
            self.write()
            took = time.monotonic() - started
            self._due = time.monotonic() + max(_SECONDS_BETWEEN, _TIMES_BETWEEN * took)

    def save(self) -> None:
        """Write what is finished when a run ends early; tables that are there are kept for nothing.

        Raises:
            StoreError: A table cannot be written.
        """
        folder = self._study.options.output
        if self._unsaved or (self._rows and not (folder / MEASURES).exists()):
            self.write()

    def write(self) -> pd.DataFrame:
        """Write the three files; returns the measures table.

        Tables of later stages that an earlier run left in the folder are removed, unless the
        measures come out as they were. Whenever a crash comes, each file is whole, and none of a
        later stage was made from other measures.

        Raises:
            StoreError: A table cannot be written.
        """
        study, folder = self._study, self._study.options.output
        names = [*study.refused, *(subject.name for subject in study.subjects)]
        frame = measures_frame(row for name in names for row in self._rows.get(name, ()))
        record = describe(study, self._facts)
        record |= {"complete": not self.n_missing, "missing": self.n_missing}
        content = csv_bytes(frame)
        as_before = hashlib.sha256(content).hexdigest() == file_sha256(folder / MEASURES)
        if as_before and (folder / RUN).exists():
            earlier = read_run(folder)
            record |= {
                name: earlier[name] for name in ("correlation", "ranking") if name in earlier
            }
        else:
            for name in (ACCURACIES, CORRELATIONS, RANKING):
                (folder / name).unlink(missing_ok=True)
        write_run(folder, record)
        write_units(self._units.tables(names), folder / UNITS)
        write_atomically(folder / MEASURES, content)
        self._unsaved = False
        return frame


def refusal_of(doubts: Sequence[Mapping[str, str]]) -> str:
    """Why a doubtful checkpoint is a failed row."""
    reasons = "; ".join(doubt["reason"] for doubt in doubts)
    return f'doubtful, and on_doubt = "fail" in [measures]: {reasons}'


def _failed_row(checkpoint: str, measure: str, version: str, reason: str) -> dict[str, Any]:
    """A row that says why there is no number."""
    return {
        "checkpoint": checkpoint,
        "measure": measure,
        "version": version,
        "value": float("nan"),
        "status": "failed",
        "reason": reason,
        "seconds": float("nan"),
    }
