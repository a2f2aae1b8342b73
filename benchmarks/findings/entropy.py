"""The findings on feature entropy and its relatives: sign, noise, layers, filtration, estimator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import pandas as pd

from audit import statistics
from benchmarks.findings.columns import (
    OF_DIAGRAMS,
    TOPOLOGY,
    WITH_FILTRATION,
    variants,
)
from benchmarks.findings.words import (
    NONE,
    Findings,
    cell,
    code,
    direction_said,
    has_noise,
    listed,
    markdown,
    number,
    plural,
    pooled_text,
)
from benchmarks.pooling import Pooled, pooled

NOISE: Final = "hp.label_noise"
#: Train accuracy from which a network counts as having learned its labels by heart.
BY_HEART: Final = 0.95
PARTLY: Final = (
    " Most of these networks learned their wrong labels in part only: what feature entropy does on "
    "networks that have memorised all of them is not told here."
)

Value = Callable[[pd.DataFrame, str], float]


def tau_of(table: pd.DataFrame, column: str) -> float:
    """Kendall's τ of a column with held-out accuracy."""
    return statistics.kendall(table, column).value


def _within_noise(table: pd.DataFrame, column: str) -> float:
    return statistics.within_family_kendall(table, column, family=NOISE).value


def _within_both(table: pd.DataFrame, column: str) -> float:
    both = table[NOISE].astype(str) + " " + table["family"].astype(str)
    return statistics.within_family_kendall(table.assign(both=both), column, family="both").value


def _with_noise(table: pd.DataFrame, column: str) -> float:
    return statistics.kendall(table, column, target=NOISE).value


def _noisiest(table: pd.DataFrame, column: str) -> float:
    return tau_of(table[table[NOISE] == table[NOISE].max()], column)


def _noise_free(table: pd.DataFrame, column: str) -> float:
    return tau_of(table[table[NOISE] == table[NOISE].min()], column)


_VIEWS: Final[dict[str, Value]] = {
    "τ, all": tau_of,
    "within noise levels": _within_noise,
    "within level and architecture": _within_both,
    "least noise only": _noise_free,
    "most noise only": _noisiest,
    "τ with the noise level": _with_noise,
}


def over_zoos(findings: Findings, zoos: Sequence[str], column: str, value: Value) -> Pooled:
    """A number of each zoo, pooled over sources; zoos without the column are left out."""
    tables = findings.tables
    values = [value(tables[z], column) if column in tables[z] else math.nan for z in zoos]
    return pooled(values, [findings.zoos.main[z].source for z in zoos])


def entropy_section(findings: Findings) -> str:
    """What feature entropy as published does."""
    rows, said = [], []
    for column in findings.known(
        [c for part in ("", "last") for c in variants("feature_entropy", part)]
    ):
        row = findings.judged.loc[column]
        low, high = row["kendall_lower"], row["kendall_upper"]
        said.append(f"{code(column)} {direction_said(low, high)}")
        rows.append(
            [
                code(column),
                cell(findings.judged, column, "kendall"),
                cell(findings.judged, column, "within_family_kendall"),
                cell(findings.judged, column, "granulated_kendall"),
                f"{_negative(findings, column)} of {row['n_signs']:.0f}",
                f"{number(row['predicted_lower'])} … {number(row['predicted_upper'])}",
            ]
        )
    claimed = [
        c
        for c in findings.known(variants("feature_entropy"))
        if findings.judged.loc[c, "kendall_upper"] < 0
    ]
    verdict = (
        "The published direction, lower is better, is found for "
        f"{listed([code(c) for c in claimed])}"
        if claimed
        else "The published direction, lower is better, is not found: no mean over layers falls "
        "with accuracy by an interval that excludes 0"
    )
    return f"""## Feature entropy as published

Zhao and Zhang (2022) give the entropy of a unit's birth levels within a class over its effective \
rate, lower for better networks. {verdict}. Pooled over sources, {"; ".join(said)}.

{
        markdown(
            (
                "measure",
                "τ",
                "within architecture",
                "Ψ",
                "zoos with the published sign (τ < 0)",
                "a new source",
            ),
            rows,
        )
    }

{_absent(findings)}{_noise(findings)}"""


def _absent(findings: Findings) -> str:
    """Which forms of feature entropy have no value at all."""
    forms = [c for part in ("", "last") for c in variants("feature_entropy", part)]
    absent = [code(c) for c in forms if c in findings.by_column.index and not findings.known([c])]
    if not absent:
        return ""
    return (
        f"{listed(absent)} {'has' if len(absent) == 1 else 'have'} no value for enough "
        "checkpoints of any zoo: the deepest maps of so small images are too small for holes, "
        "which is undefined and not 0.\n\n"
    )


def _negative(findings: Findings, column: str) -> int:
    return int((findings.of_zoos().loc[column] < 0).sum())


def _noise(findings: Findings) -> str:
    """Within noise levels and across them."""
    zoos = [name for name, zoo in findings.zoos.main.items() if has_noise(zoo)]
    if not zoos:
        return "No zoo has label noise as an axis."
    columns = findings.known([*TOPOLOGY, "augmentation_consistency", "train_loss"])
    views = {c: {n: over_zoos(findings, zoos, c, v) for n, v in _VIEWS.items()} for c in columns}
    rows = [[code(c), *(pooled_text(one) for one in views[c].values())] for c in columns]
    sentences = []
    for column in findings.known(variants("feature_entropy")):
        level, inside = views[column]["τ with the noise level"], views[column]["most noise only"]
        sentences.append(
            f"{code(column)} {_level_said(level)} (τ with the level {pooled_text(level)}); among "
            f"the networks trained on most noise its τ with accuracy is {pooled_text(inside)}"
        )
    return f"""### Networks that learn wrong labels by heart

{plural(len(zoos), "zoo")} {"has" if len(zoos) == 1 else "have"} label noise as an axis. \
{_by_heart(findings, zoos)} A measure can tell noise levels apart (last column) and still say \
nothing within one; only the latter is of use where all networks were trained on the same labels. \
And a measure that looks at labels sees noisy ones directly, whatever the network made of them: \
across levels it is helped by that.

{markdown(("measure", *_VIEWS), rows)}

{". ".join(sentences)}. The last column is τ with the noise level itself, so that a measure that \
is \
higher in networks trained on wrong labels is positive there."""


def _level_said(level: Pooled) -> str:
    """Which way a measure goes with label noise."""
    if math.isnan(level.lower):
        return "goes with the noise level in a way that too few sources leave open"
    if level.lower > 0:
        return "is higher in networks trained on noisier labels"
    if level.upper < 0:
        return "is lower in networks trained on noisier labels"
    return "does not tell noise levels apart"


def _by_heart(findings: Findings, zoos: Sequence[str]) -> str:
    """How many of the networks learned their wrong labels."""
    reached = total = 0
    for name in zoos:
        table = findings.tables[name]
        train = table.get("train_accuracy_as_trained", table.get("train_accuracy"))
        if train is not None:
            noisy = train[table[NOISE] > 0]
            reached, total = reached + int((noisy >= BY_HEART).sum()), total + len(noisy)
    return (
        f"Of {total} networks trained on noisy labels {reached} fit {BY_HEART:.0%} or more of "
        "them; the others were trained too shortly, too small or too strongly regularised to."
        + (PARTLY if 2 * reached < total else "")
    )


def relatives_section(findings: Findings) -> str:
    """Which relatives of feature entropy carry the information."""
    header = ("measure", "clique, mean", "clique, deepest", "cubical, mean", "cubical, deepest")
    rows = []
    for stem in WITH_FILTRATION:
        first, second = variants(stem)
        places = (first, f"{first}.last", second, f"{second}.last")
        if findings.known(places):
            rows.append([code(stem), *(cell(findings.judged, c, "kendall") for c in places)])
    for stem in findings.known(OF_DIAGRAMS):
        ends = (cell(findings.judged, c, "kendall") for c in (stem, f"{stem}.last"))
        rows.append([code(stem), NONE, NONE, *ends])
    within = [
        [
            code(c),
            *(cell(findings.judged, c, s) for s in ("within_family_kendall", "partial_kendall")),
        ]
        for c in _strongest(findings, "within_family_kendall", 8)
    ]
    firm = [c for c in _columns(findings) if findings.judged.loc[c, "p_max"] < 0.05]
    return f"""## Which relatives carry the information

τ with held-out accuracy, pooled over sources:

{markdown(header, rows)}

Of these {len(_columns(findings))} columns {len(firm)} pass the correction for all columns \
judged{": " + listed([code(c) for c in firm[:10]]) if firm else ""}. Within architectures, where \
neither size nor the number of layers helps, the strongest are (picked by looking):

{markdown(("column", "τ within architecture", "partial τ, 4 controls"), within)}

![τ of the measures of births in every zoo](figures/findings-heat.svg)"""


def _columns(findings: Findings) -> list[str]:
    stems = [c for stem in WITH_FILTRATION for c in variants(stem)] + list(OF_DIAGRAMS)
    return findings.known([c for s in stems for c in (s, f"{s}.last")])


def _strongest(findings: Findings, name: str, n: int) -> list[str]:
    columns = [c for c in _columns(findings) if c in findings.covering.index]
    values = findings.judged.loc[columns, name].abs()
    return list(values.dropna().sort_values(ascending=False).index[:n])
