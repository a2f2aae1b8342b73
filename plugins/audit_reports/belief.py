"""Which measures deserve belief: correlation with held-out accuracy, beside the baselines."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from audit_reports.dotplot import Dot, DotPlot, dot_plot
from audit_reports.tables import CORRELATION_COLUMNS, Tables
from audit_reports.wording import fixed, formatter, humanize, interval, is_number, loose, sort_key

#: A chart of more rows than this keeps the strongest, the baselines and the aggregates.
MOST_ROWS: Final = 44
#: Further columns of the correlations that get a column of their own.
MOST_EXTRA: Final = 12

_KNOWN: Final = {*CORRELATION_COLUMNS, "verdict", "undefined", "controls", "direction", "reason"}
_SKIPPED_SUFFIXES: Final = ("_lower", "_upper", "_reason", "_p", "_mean", "_p90", "_spearman")


@dataclasses.dataclass(frozen=True)
class Belief:
    """The section as the template draws it.

    Attributes:
        plot: None without held-out accuracies.
        n_hidden: Measures the chart leaves out.
        rows: Of the table, strongest first; keys as in `_row`.
        extra: Further columns: (identifier, heading).
        undefined: (measure, reason) where no correlation exists.
        target: What the measures are correlated with.
        n_models: Smallest and largest number of checkpoints behind a row.
        confidence: Of the intervals, such as "95 %".
        n_bootstrap: Resamples behind an interval; 0 if not recorded.
        mark: What the mark to beat is called, the cheapest of the declared controls; empty if
            the run record declares none.
        mark_tau: Its τ and interval; empty if it has none.
        alike: Measures that cannot be told apart from the mark by strength.
        stronger: Measures whose interval lies wholly beyond it.
        weaker: Measures whose interval lies wholly below it.
        unsure: Measures whose interval holds zero.
        against: Measures that point against their declared direction, zero outside the interval.
        verdicts: (verdict, measures), in the order of strength; empty if none came.
        resampled: What the intervals resample, in words; empty if not recorded.
        missing: (statistics that are undefined and why, measures).
    """

    plot: DotPlot | None
    n_hidden: int
    rows: Sequence[Mapping[str, Any]]
    extra: Sequence[tuple[str, str]]
    undefined: Sequence[tuple[str, str]]
    target: str
    n_models: tuple[int, int]
    confidence: str
    n_bootstrap: int
    mark: str
    mark_tau: str
    alike: Sequence[str]
    stronger: Sequence[str]
    weaker: Sequence[str]
    unsure: Sequence[str]
    against: Sequence[str]
    verdicts: Sequence[tuple[str, Sequence[str]]]
    resampled: str
    missing: Sequence[tuple[str, Sequence[str]]]


def belief(tables: Tables) -> Belief:
    """Lay out the correlations."""
    frame = main_rows(tables)
    defined = frame[frame["kendall"].notna()]
    strength = defined["kendall"].abs()
    defined = defined.assign(_strength=strength).sort_values(
        ["_strength", "measure"], ascending=[False, True], kind="stable"
    )
    records = defined.to_dict("records")
    mark = next((r for n in tables.controls for r in records if r["measure"] == n), None)
    marks = [str(mark["measure"])] if mark else tables.controls
    extra = _extra(defined)
    rows = [_row(tables, record, mark, extra) for record in records]
    about = tables.section("correlation")
    models = defined["n_models"].dropna()
    shown = _most_telling(rows)
    return Belief(
        plot=_plot(
            [record for record, show in zip(records, shown, strict=True) if show], rows, mark
        ),
        n_hidden=shown.count(False),
        rows=rows,
        extra=[(column, humanize(column)) for column, _ in extra],
        undefined=_undefined(frame),
        target=_target(frame, about),
        n_models=(int(models.min()), int(models.max())) if len(models) else (0, 0),
        confidence=f"{100 * float(about['confidence']):g} %"
        if is_number(about.get("confidence"))
        else "",
        n_bootstrap=int(about.get("n_bootstrap") or 0),
        mark=tables.called(marks[0]) if marks else "",
        mark_tau=_tau_words(mark) if mark else "",
        alike=_named(rows, "beside", "alike"),
        stronger=_named(rows, "beside", "stronger"),
        weaker=_named(rows, "beside", "weaker"),
        unsure=_named(rows, "unsure", True),
        against=_named(rows, "against", True),
        verdicts=_grouped(rows, "verdict"),
        resampled=str(about.get("resampled") or ""),
        missing=_grouped(rows, "undefined"),
    )


def main_rows(tables: Tables) -> pd.DataFrame:
    """One row per measure: those about held-out accuracy where there are several targets."""
    frame = tables.correlations.dropna(subset=["measure"])
    targets = frame["target"].dropna().unique()
    if len(targets) > 1:
        chosen = "held_out_accuracy" if "held_out_accuracy" in targets else targets[0]
        frame = frame[frame["target"] == chosen]
    return frame.drop_duplicates("measure")


def beside(row: Mapping[Any, Any], mark: Mapping[Any, Any]) -> str:
    """How strong a correlation is beside another, whatever their signs.

    Both intervals are turned so that their τ is positive.

    Returns:
        "alike" if the intervals overlap, "stronger", "weaker", or "" if an interval is missing.
    """
    low, high = _turned(row)
    mark_low, mark_high = _turned(mark)
    if not all(map(is_number, (low, high, mark_low, mark_high))):
        return ""
    if low > mark_high:
        return "stronger"
    return "weaker" if high < mark_low else "alike"


def _turned(row: Mapping[Any, Any]) -> tuple[float, float]:
    """The interval of τ, mirrored if τ is negative."""
    low, high = row["kendall_lower"], row["kendall_upper"]
    return (low, high) if row["kendall"] >= 0 else (-high, -low)


def _row(
    tables: Tables,
    record: Mapping[Any, Any],
    mark: Mapping[Any, Any] | None,
    extra: Sequence[tuple[str, Any]],
) -> dict[str, Any]:
    """One row of the table."""
    measure = str(record["measure"])
    entry = tables.measure(measure)
    direction = _word(record.get("direction")) or tables.direction(measure) or "none"
    low, high = record["kendall_lower"], record["kendall_upper"]
    has_interval = is_number(low) and is_number(high)
    unsure = has_interval and low <= 0 <= high
    wanted = {"higher": 1.0, "lower": -1.0}.get(direction, 0.0)
    return {
        "measure": measure,
        "baseline": bool(entry.get("baseline")),
        "direction": direction,
        "tau": fixed(record["kendall"]),
        "tau_key": sort_key(record["kendall"]),
        "interval": interval(low, high),
        "interval_key": sort_key(low) if has_interval else "",
        "spearman": fixed(record["spearman"]),
        "spearman_key": sort_key(record["spearman"]),
        "pearson": fixed(record["pearson"]),
        "pearson_key": sort_key(record["pearson"]),
        "n": fixed(record["n_models"], 0),
        "n_key": sort_key(record["n_models"]),
        "unsure": unsure,
        "against": has_interval and not unsure and wanted * record["kendall"] < 0,
        "beside": beside(record, mark) if mark and measure != mark["measure"] else "",
        "verdict": _word(record.get("verdict")),
        "undefined": _word(record.get("undefined")),
        "extra": [
            (write(record[column]) if is_number(record[column]) else _text(record[column]),
             sort_key(record[column]))
            for column, write in extra
        ],
    }  # fmt: skip


def _word(value: Any) -> str:
    """A value that is text; else nothing."""
    return value if isinstance(value, str) else ""


def _text(value: Any) -> str:
    """A value that is no number; missing ones as a dash."""
    return loose(None if value is None or value != value else value)


def _extra(frame: pd.DataFrame) -> list[tuple[str, Any]]:
    """Columns beyond the expected ones that hold something: (identifier, how to write it)."""
    columns = [
        str(column)
        for column in frame.columns
        if column not in _KNOWN
        and not str(column).startswith("_")
        and not str(column).endswith(_SKIPPED_SUFFIXES)
        and bool(frame[column].notna().any())
    ]
    return [(column, formatter(frame[column])) for column in columns[:MOST_EXTRA]]


def _most_telling(rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Which rows the chart shows: all, or the strongest and every baseline."""
    if len(rows) <= MOST_ROWS:
        return [True] * len(rows)
    room = MOST_ROWS - sum(row["baseline"] for row in rows)
    shown = []
    for row in rows:
        room -= not row["baseline"]
        shown.append(row["baseline"] or room >= 0)
    return shown


def _plot(
    records: Sequence[Mapping[Any, Any]],
    rows: Sequence[Mapping[str, Any]],
    mark: Mapping[Any, Any] | None,
) -> DotPlot | None:
    """The forest plot."""
    baselines = {row["measure"] for row in rows if row["baseline"]}
    dots = [
        Dot(
            label=str(record["measure"]),
            value=record["kendall"],
            lower=record["kendall_lower"],
            upper=record["kendall_upper"],
            css="baseline" if record["measure"] in baselines else "strong",
        )
        for record in records
    ]
    if not dots:
        return None
    band = (mark["kendall_lower"], mark["kendall_upper"]) if mark else None
    return dot_plot(dots, band=band, reference=0.0, limits=(-1.0, 1.0))


def _tau_words(row: Mapping[Any, Any]) -> str:
    """τ with its interval."""
    span = interval(row["kendall_lower"], row["kendall_upper"], 2)
    return f"τ = {fixed(row['kendall'], 2)}" + (f", interval {span}" if span else "")


def _undefined(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Measures without a correlation, and why."""
    rows = frame[frame["kendall"].isna()].to_dict("records")
    found = []
    for row in rows:
        texts = [_word(row.get(key)) for key in ("verdict", "undefined", "reason")]
        reason = next(filter(None, texts), "")
        reason = reason.removeprefix("undefined: ")
        found.append((str(row["measure"]), reason or "no reason was recorded"))
    return found


def _target(frame: pd.DataFrame, about: Mapping[str, Any]) -> str:
    """What the measures are correlated with, in words."""
    named = [*frame["target"].dropna().unique(), about.get("target"), "held_out_accuracy"]
    words = humanize(str(next(name for name in named if name)))
    return words.replace("held out", "held-out")


def _named(rows: Sequence[Mapping[str, Any]], key: str, value: Any) -> list[str]:
    """Measures whose row says so."""
    return [row["measure"] for row in rows if row[key] == value]


def _grouped(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[str, list[str]]]:
    """Texts and the measures that share them; details in parentheses stay in the table."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        if text := row[key].partition(" (")[0] if key == "verdict" else row[key]:
            groups.setdefault(text, []).append(row["measure"])
    return list(groups.items())


def strongest(tables: Tables) -> list[tuple[str, float, float, float]]:
    """Measures by falling |τ|: (measure, τ, lower, upper)."""
    frame = main_rows(tables).dropna(subset=["kendall"])
    rows = [
        (str(r["measure"]), float(r["kendall"]), r["kendall_lower"], r["kendall_upper"])
        for r in frame.to_dict("records")
    ]
    return sorted(rows, key=lambda row: (-abs(row[1]) if not math.isnan(row[1]) else 1, row[0]))
