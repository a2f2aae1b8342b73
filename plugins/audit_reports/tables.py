"""The tables of an audit made safe to read: every optional part may be missing."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from audit.notations import json_of
from audit.plugin import AuditResult
from audit.plugin.names import split_names as names_in
from audit.plugin.parts import owner_of
from audit_reports.wording import humanize

ALL_MEASURES: Final = "all"
#: What a measure may need, the cheapest first.
COSTS: Final = ("weights", "forward", "topology", "backward")
MEASURE_COLUMNS: Final = (
    "checkpoint",
    "measure",
    "version",
    "value",
    "status",
    "reason",
    "seconds",
)
RANKING_COLUMNS: Final = ("predicted_rank", "checkpoint", "score", "lower", "upper", "tied_with")
CORRELATION_COLUMNS: Final = (
    "measure",
    "target",
    "n_models",
    "kendall",
    "kendall_lower",
    "kendall_upper",
    "spearman",
    "pearson",
)
_NUMERIC: Final = {
    "value", "seconds", "predicted_rank", "score", "lower", "upper", "n_models", "kendall",
    "kendall_lower", "kendall_upper", "spearman", "pearson", "held_out_accuracy", "train_accuracy",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Tables:
    """One audit, with every expected column and table present, if only empty.

    Attributes:
        measures: Tidy rows of checkpoints that could be audited.
        ranking: Best first.
        correlations: One row per measure.
        held_out: One row per checkpoint whose accuracy is known.
        failed: Checkpoint → reason.
        doubts: Checkpoint → why it looks untrained; those that do not are left out.
        run: The run record.
        partial: What is to be known where checkpoints are yet to be measured, or "".
    """

    measures: pd.DataFrame
    ranking: pd.DataFrame
    correlations: pd.DataFrame
    held_out: pd.DataFrame
    failed: Mapping[str, str]
    doubts: Mapping[str, Sequence[str]]
    run: Mapping[str, Any]
    partial: str = ""

    @classmethod
    def of(cls, result: AuditResult) -> Tables:
        """Read an audit."""
        measures = _complete(result.measures, MEASURE_COLUMNS)
        failed = failed_checkpoints(result.measures)
        ranking = _complete(result.ranking, RANKING_COLUMNS)
        ranking = ranking[ranking["checkpoint"].notna()]
        return cls(
            measures=measures[measures["measure"] != ALL_MEASURES],
            ranking=ranking.sort_values("predicted_rank", kind="stable", ignore_index=True),
            correlations=_complete(result.correlations, CORRELATION_COLUMNS),
            held_out=_complete(result.held_out, ("checkpoint", "held_out_accuracy")),
            failed=failed,
            doubts={k: why for k, why in result.doubts.items() if k not in failed},
            run=result.run,
            partial=result.partial,
        )

    @functools.cached_property
    def checkpoints(self) -> list[str]:
        """Every checkpoint that was audited, best rank first."""
        names = [*self.ranking["checkpoint"], *self.measures["checkpoint"].unique()]
        return [str(name) for name in dict.fromkeys(names) if name not in self.failed]

    @functools.cached_property
    def wide(self) -> pd.DataFrame:
        """Numbers, checkpoint × measure, in reading order; NaN where there is none."""
        rows = self.measures.drop_duplicates(["checkpoint", "measure"])
        rows = rows[rows["status"].isna() | (rows["status"] == "ok")]
        frame = rows.pivot(index="checkpoint", columns="measure", values="value")
        columns = sorted(self.measures["measure"].dropna().astype(str).unique(), key=natural_key)
        return frame.reindex(index=self.checkpoints, columns=columns)

    @functools.cached_property
    def problems(self) -> pd.DataFrame:
        """Tidy rows without a number."""
        status = self.measures["status"]
        return self.measures[status.notna() & (status != "ok")]

    @functools.cached_property
    def accuracy(self) -> pd.Series[float]:
        """Held-out accuracy by checkpoint, in [0, 1]; only those that are known."""
        known = self.held_out.dropna(subset=["held_out_accuracy"]).drop_duplicates("checkpoint")
        return known.set_index("checkpoint")["held_out_accuracy"]

    @functools.cached_property
    def families(self) -> dict[str, str]:
        """Checkpoint → model family: as the held-out table says, else its architecture."""
        found = {
            str(row.get("checkpoint")): str(row["model"])
            for row in self.entries("checkpoints")
            if row.get("model")
        }
        if "family" in self.held_out:
            known = self.held_out.dropna(subset=["family"])
            found |= dict(zip(known["checkpoint"], known["family"].astype(str), strict=True))
        return found

    def section(self, key: str) -> Mapping[str, Any]:
        """A part of the run record that is an object; empty if missing."""
        value = self.run.get(key)
        return value if isinstance(value, Mapping) else {}

    def entries(self, key: str) -> Sequence[Mapping[str, Any]]:
        """A part of the run record that is a list of objects; empty if missing."""
        value = self.run.get(key)
        if not isinstance(value, list | tuple):
            return []
        return [entry for entry in value if isinstance(entry, Mapping)]

    def owner(self, column: str) -> str:
        """The measure a column belongs to (see `audit.plugin.parts`), else the column itself."""
        known = {k for k, v in self.section("measures").items() if isinstance(v, Mapping)}
        return owner_of(column, known) or column

    def measure(self, column: str) -> Mapping[str, Any]:
        """What the run says of the measure a column belongs to; empty if nothing."""
        entry = self.section("measures").get(self.owner(column))
        return entry if isinstance(entry, Mapping) else {}

    def part(self, column: str) -> Mapping[str, Any]:
        """What the run says of a column that is a part of a measure; empty if nothing.

        As with plugins, an exact name goes before a pattern.
        """
        suffix = column[len(self.owner(column)) + 1 :]
        declared = self.measure(column).get("parts") if suffix else None
        parts = [part for part in declared or [] if isinstance(part, Mapping)]
        exact = (part for part in parts if part.get("name") == suffix)
        fits = (p for p in parts if fnmatch.fnmatchcase(suffix, str(p.get("name") or "")))
        return next(exact, None) or next(fits, {})

    def direction(self, column: str) -> str:
        """Which values of a column are better: "higher", "lower", "none", or "" if not recorded.

        Parts have directions of their own, save in old records, which declare none.
        """
        entry = self.measure(column)
        if column != self.owner(column) and "parts" in entry:
            return str(self.part(column).get("direction") or "none")
        return str(entry.get("direction") or "")

    def summary(self, column: str) -> str:
        """What quantity a column is, in one line; empty if not recorded."""
        whole = str(self.measure(column).get("summary") or "")
        part = str(self.part(column).get("summary") or "")
        return "; ".join(filter(None, (whole, part)))

    @functools.cached_property
    def controls(self) -> list[str]:
        """Measures that every other is held against, those that cost least to know first."""
        known = {
            str(name): str(entry.get("cost") or "")
            for name, entry in self.section("measures").items()
            if isinstance(entry, Mapping) and entry.get("control")
        }
        place = {cost: index for index, cost in enumerate(COSTS)}
        return sorted(known, key=lambda name: (place.get(known[name], len(COSTS)), name))

    def called(self, measure: str) -> str:
        """What a sentence calls a measure."""
        return str(self.measure(measure).get("called") or "") or humanize(measure)


def failed_checkpoints(measures: pd.DataFrame) -> dict[str, str]:
    """Checkpoint → reason, for every checkpoint that could not be audited at all."""
    frame = _complete(measures, MEASURE_COLUMNS)
    rows = frame[(frame["measure"] == ALL_MEASURES) & (frame["status"] == "failed")]
    reasons = rows["reason"].fillna("no reason was recorded")
    return {str(k): str(v) for k, v in zip(rows["checkpoint"], reasons, strict=True)}


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sorts `layer_2` before `layer_10`."""
    parts = re.split(r"(\d+)", text)
    # a part of more digits than Python reads as an integer is a word like any other
    return [
        (0, int(part), "") if part.isdecimal() and len(part) < 4000 else (1, 0, part)
        for part in parts
        if part
    ]


def split_names(text: Any, known: frozenset[str]) -> list[str]:
    """The checkpoints that a `tied_with` cell names, however it joins them.

    Args:
        text: A list; names as `audit.plugin.names.join_names` joins them; a JSON list; or names
            joined by `|`, `,` or spaces.
        known: Names that may occur. The first form that yields only known names is taken.
    """
    if isinstance(text, list | tuple):
        return [str(item) for item in text]
    if not isinstance(text, str) or not text.strip():
        return []
    joined = names_in(text)
    if all(name in known for name in joined):
        return joined
    if text.strip() in known:
        return [text.strip()]
    if text.lstrip().startswith("["):
        try:
            return [str(item) for item in json_of(text)]
        except ValueError:
            pass
    for separator in (";", "|", ",", " "):
        parts = [part.strip() for part in text.split(separator) if part.strip()]
        if all(part in known for part in parts):
            return parts
    return [part.strip() for part in text.split(";") if part.strip()]


def _complete(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """A copy that has these columns, numbers as numbers."""
    missing = [name for name in columns if name not in frame.columns]
    frame = frame.reindex(columns=[*frame.columns, *missing])
    numeric = [name for name in frame.columns if name in _NUMERIC]
    return frame.assign(**{name: pd.to_numeric(frame[name], errors="coerce") for name in numeric})
