"""The ranking: a dot and an interval per checkpoint, and the table behind them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from audit_reports.dotplot import Dot, DotPlot, dot_plot
from audit_reports.headline import tied_with_first
from audit_reports.tables import Tables, split_names
from audit_reports.wording import count, fixed, formatter, is_number, listing, sort_key

#: A chart of more rows than `MOST_ROWS` shows the first `SHOWN_ROWS`.
MOST_ROWS: Final = 60
SHOWN_ROWS: Final = 40
#: Names listed in a cell; the rest are counted.
MOST_NAMES: Final = 3


@dataclasses.dataclass(frozen=True)
class Ranked:
    """The section as the template draws it.

    Attributes:
        plot: None if nothing could be ranked.
        n_hidden: Ranked checkpoints the chart leaves out.
        rows: Of the table; keys as in `_table_row`.
        has_truth: Whether held-out accuracy of any checkpoint is known.
        plots_truth: Whether the chart shows it: the score is a predicted accuracy.
        has_intervals: Whether scores come with intervals.
        failed: Checkpoint → reason.
        doubts: (checkpoints that look untrained for the same reasons, the reasons).
    """

    plot: DotPlot | None
    n_hidden: int
    rows: Sequence[Mapping[str, Any]]
    has_truth: bool
    plots_truth: bool
    has_intervals: bool
    failed: Mapping[str, str]
    doubts: Sequence[tuple[Sequence[str], Sequence[str]]]


def ranked(tables: Tables) -> Ranked:
    """Lay out the ranking."""
    ranking = tables.ranking
    records = ranking.to_dict("records")
    truth = tables.accuracy.to_dict()
    plots_truth = bool(truth) and _is_accuracy(tables)
    first = set(tied_with_first(tables)) | {records[0]["checkpoint"]} if records else set()
    shown = records if len(records) <= MOST_ROWS else records[:SHOWN_ROWS]
    dots = _dots(shown, first, truth if plots_truth else {})
    plot = None
    if any(is_number(dot.value) for dot in dots):
        plot = dot_plot(dots, band=(dots[0].lower, dots[0].upper))
    return Ranked(
        plot=plot,
        n_hidden=len(records) - len(shown),
        rows=_table(tables, records, truth),
        has_truth=bool(truth),
        plots_truth=plots_truth,
        has_intervals=bool(ranking["lower"].notna().any()),
        failed=tables.failed,
        doubts=grouped_doubts(tables.doubts),
    )


def grouped_doubts(
    doubts: Mapping[str, Sequence[str]],
) -> list[tuple[list[str], tuple[str, ...]]]:
    """Checkpoints that are doubtful for the same reasons, with those."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, reasons in doubts.items():
        alike.setdefault(tuple(reasons), []).append(name)
    return [(names, reasons) for reasons, names in alike.items()]


def _is_accuracy(tables: Tables) -> bool:
    """Whether the score is a predicted held-out accuracy, to be drawn beside the true one."""
    made = tables.section("ranking")
    meaning = str(made.get("score_is") or "held_out_accuracy")
    scores = tables.ranking["score"].dropna()
    plausible = bool(len(scores)) and bool(scores.between(-0.1, 1.1).all())
    return (
        plausible and "held_out_accuracy" in meaning and str(made.get("mode", "")).startswith("fit")
    )


def _dots(
    records: Sequence[Mapping[Any, Any]], first: set[str], truth: Mapping[Any, float]
) -> list[Dot]:
    """The rows of the chart; those that cannot be told from the first stand out."""
    dots = []
    previous = None
    for row in records:
        rank = row["predicted_rank"]
        dots.append(
            Dot(
                label=str(row["checkpoint"]),
                prefix=fixed(rank, 0),
                value=row["score"],
                lower=row["lower"],
                upper=row["upper"],
                css="strong" if row["checkpoint"] in first else "weak",
                truth=truth.get(row["checkpoint"], math.nan),
                separated=previous is not None and rank != previous,
            )
        )
        previous = rank
    shared = len({dot.prefix for dot in dots}) < len(dots)
    return dots if shared else [dataclasses.replace(dot, separated=False) for dot in dots]


def _table(
    tables: Tables, records: Sequence[Mapping[Any, Any]], truth: Mapping[Any, float]
) -> list[dict[str, Any]]:
    """The rows of the table."""
    known = frozenset(str(row["checkpoint"]) for row in records)
    write = formatter(tables.ranking[["score", "lower", "upper"]].to_numpy().ravel())
    rows = []
    for row in records:
        name = str(row["checkpoint"])
        ties = [other for other in split_names(row["tied_with"], known) if other != name]
        rows.append(
            {
                "rank": fixed(row["predicted_rank"], 0),
                "rank_key": sort_key(row["predicted_rank"]),
                "checkpoint": name,
                "doubt": "; ".join(tables.doubts.get(name, ())),
                "family": tables.families.get(name, ""),
                "score": write(row["score"]),
                "score_key": sort_key(row["score"]),
                "lower": write(row["lower"]),
                "lower_key": sort_key(row["lower"]),
                "upper": write(row["upper"]),
                "upper_key": sort_key(row["upper"]),
                "n_tied": len(ties),
                "tied": count(len(ties), "other") if ties else "none",
                "tied_names": listing(ties, MOST_NAMES) if ties else "",
                "truth": fixed(truth.get(name)),
                "truth_key": sort_key(truth.get(name)),
            }
        )
    return rows
