"""The findings on feature entropy and its relatives: sign, noise, layers, filtration, estimator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pandas as pd

from audit import statistics
from benchmarks.findings_columns import (
    ENTROPIES,
    OF_DIAGRAMS,
    OVER_DEPTH,
    TOPOLOGY,
    WITH_FILTRATION,
    variants,
)
from benchmarks.findings_words import (
    NONE,
    Findings,
    cell,
    code,
    direction_said,
    has_noise,
    learned,
    listed,
    markdown,
    number,
    plural,
    pooled_text,
)
from benchmarks.pooling import Pooled, pooled
from benchmarks.zoo_statistics import images_of, table_of

NOISE: Final = "hp.label_noise"
#: Train accuracy from which a network counts as having learned its labels by heart.
BY_HEART: Final = 0.95
#: Where on the way from the first layer (0) to the deepest (1) measures are read.
DEPTHS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)

Value = Callable[[pd.DataFrame, str], float]


def _tau(table: pd.DataFrame, column: str) -> float:
    return statistics.kendall(table, column).value


def _within_noise(table: pd.DataFrame, column: str) -> float:
    return statistics.within_family_kendall(table, column, family=NOISE).value


def _within_both(table: pd.DataFrame, column: str) -> float:
    both = table[NOISE].astype(str) + " " + table["family"].astype(str)
    return statistics.within_family_kendall(table.assign(both=both), column, family="both").value


def _with_noise(table: pd.DataFrame, column: str) -> float:
    return statistics.kendall(table, column, target=NOISE).value


def _noisiest(table: pd.DataFrame, column: str) -> float:
    return _tau(table[table[NOISE] == table[NOISE].max()], column)


def _noise_free(table: pd.DataFrame, column: str) -> float:
    return _tau(table[table[NOISE] == table[NOISE].min()], column)


_VIEWS: Final[dict[str, Value]] = {
    "τ, all": _tau,
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

{_noise(findings)}"""


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
nothing within one; only the latter is of use where all networks were trained on the same labels.

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
    values = findings.judged.loc[_columns(findings), name].abs()
    return list(values.dropna().sort_values(ascending=False).index[:n])


def at_depth(table: pd.DataFrame, column: str, depth: float) -> pd.Series:
    """A measure's parts at one relative depth, each architecture's nearest layer.

    Args:
        table: One row per checkpoint.
        column: A measure with parts `layer_1`, `layer_2`, ….
        depth: 0 for the first layer of an architecture, 1 for its deepest.
    """
    parts = [c for c in table.columns if c.startswith(f"{column}.layer_")]
    parts.sort(key=lambda c: int(c.rsplit("_", 1)[1]))
    values = pd.Series(np.nan, index=table.index)
    for _, members in table.groupby("family"):
        there = [c for c in parts if members[c].notna().any()]
        if there:
            layer = there[math.floor(depth * (len(there) - 1) + 0.5)]
            values[members.index] = members[layer]
    return values


def depth_profile(findings: Findings, column: str) -> list[Pooled]:
    """τ within architectures of a measure at each of `DEPTHS`."""

    def at(depth: float) -> Value:
        return lambda table, name: (
            statistics.within_family_kendall(
                table.assign(at=at_depth(table, name, depth)), "at"
            ).value
        )

    return [over_zoos(findings, list(findings.zoos.main), column, at(depth)) for depth in DEPTHS]


def layers_section(findings: Findings) -> str:
    """In which layers the information lies."""
    rows = []
    for stem in OVER_DEPTH:
        for column in findings.known(variants(stem)):
            profile = [pooled_text(one) for one in depth_profile(findings, column)]
            slope = cell(findings.by_column, f"{column}.depth_slope", "within_family_kendall")
            mean = cell(findings.judged, column, "within_family_kendall")
            rows.append([code(column), *profile, mean, slope])
    differences = [
        (c, _depth_difference(findings, c))
        for stem in OVER_DEPTH
        for c in findings.known(variants(stem))
    ]
    deeper = [code(c) for c, d in differences if d.lower > 0]
    less = [code(c) for c, d in differences if d.upper < 0]
    return f"""## In which layers

τ *within architectures*, as layers of different architectures are different things; each \
architecture's layer nearest to the relative depth is read.

{
        markdown(
            ("measure", "first layer", "¼", "½", "¾", "deepest", "mean over layers", "depth slope"),
            rows,
        )
    }

![τ within architectures over relative depth](figures/findings-depth.svg)

Deepest against mean over layers, each with the sign that the other sources give it: by \
uncorrected intervals the deepest is better for {listed(deeper)} and worse for {listed(less)}; for \
the other {len(differences) - len(deeper) - len(less)} of {len(differences)} nothing can be told."""


def _depth_difference(findings: Findings, column: str) -> Pooled:
    """|τ| within architectures of the deepest layer less that of the mean, signs learned."""
    tau = findings.of_zoos("within_family_kendall")
    last = f"{column}.last"
    if last not in tau.index:
        return pooled([], [])
    return pooled(_learned(tau, last, findings) - _learned(tau, column, findings), findings.sources)


def _learned(tau: pd.DataFrame, column: str, findings: Findings) -> np.ndarray:
    return learned(tau.loc[column].to_numpy(float), findings.sources)


def filtration_section(findings: Findings) -> str:
    """Clique against cubical."""
    tau = findings.of_zoos()
    rows = []
    better: dict[str, list[str]] = {"clique": [], "cubical": []}
    for stem in WITH_FILTRATION:
        for part in ("", "last"):
            first, second = variants(stem, part)
            if not {first, second} <= set(findings.known([first, second])):
                continue
            difference = pooled(
                _learned(tau, second, findings) - _learned(tau, first, findings), findings.sources
            )
            for name, won in (("cubical", difference.lower > 0), ("clique", difference.upper < 0)):
                if won:
                    better[name].append(code(stem) + (" (deepest)" if part else ""))
            rows.append(
                [
                    code(stem) + (", deepest" if part else ", mean"),
                    *(
                        pooled_text(pooled(_learned(tau, c, findings), findings.sources))
                        for c in (first, second)
                    ),
                    pooled_text(difference),
                ]
            )
    return f"""## With which filtration

τ with the sign that the other sources give it, so that positive is useful (and a measure that \
means nothing comes out a little below 0), and the paired difference:

{markdown(("measure", "clique", "cubical", "cubical − clique"), rows)}

Of {len(rows)} comparisons the cubical filtration is better by an uncorrected interval in \
{len(better["cubical"])} ({listed(better["cubical"])}) and the clique filtration in \
{len(better["clique"])} ({listed(better["clique"])}); one in twenty would be by chance. The clique \
filtration needs square maps and reads rows and columns as vertices of a graph, which depends on \
how \
the image lies; the cubical one has neither fault."""


def estimator_section(findings: Findings) -> str:
    """Estimator, resolution, chance, and number of images."""
    tau, within = findings.of_zoos(), findings.of_zoos("within_family_kendall")
    rows = []
    for stem, about in ENTROPIES.items():
        for column in findings.known(variants(stem)):
            plain = column.replace(stem, "feature_entropy")
            difference = pooled(
                _learned(tau, column, findings) - _learned(tau, plain, findings), findings.sources
            )
            rows.append(
                [
                    f"{code(column)}: {about}",
                    cell(findings.judged, column, "kendall"),
                    pooled_text(pooled(_learned(tau, column, findings), findings.sources)),
                    pooled_text(pooled(_learned(within, column, findings), findings.sources)),
                    NONE if stem == "feature_entropy" else pooled_text(difference),
                ]
            )
    absent = [code(s) for s in ENTROPIES if not findings.known(variants(s))]
    lacking = f" These tables do not hold {listed(absent)}." if absent else ""
    return f"""## Which estimator, which resolution, how many images

{
        markdown(
            (
                "measure",
                "τ",
                "τ as used",
                "within architecture, as used",
                "τ as used − that of the published form",
            ),
            rows,
        )
    }

"As used" is with the sign that the other sources give.{lacking}

{_images(findings)}"""


def _images(findings: Findings) -> str:
    """What audits of the same zoos on other numbers of images say."""
    others = [zoo for zoo in findings.zoos.others if zoo.source and not math.isnan(images_of(zoo))]
    if not others:
        counts = sorted({images_of(z) for z in findings.zoos.main.values()} - {math.nan})
        said = listed([f"{n:.0f}" for n in counts if not math.isnan(n)]) or "some"
        return (
            f"**Number of images: cannot be told from these tables**, which hold one audit each "
            f"({said} images of a class). From counts alone, plug-in entropies of so few births "
            "are biased by up to two nats ([the measures](measures.md)). Tables of the same tasks "
            "measured with another `images_per_class`, laid beside the others as "
            "`TASK-images50.csv`, are picked up by the command below and compared here."
        )
    rows = []
    for column in findings.known([*TOPOLOGY, "augmentation_consistency", "train_loss"]):
        for zoo in others:
            main = findings.zoos.main[str(zoo.about["task"])]
            few, many = table_of(zoo), table_of(main)
            if column in few and column in many:
                both = few.set_index("checkpoint")[[column]].join(
                    many.set_index("checkpoint")[column].rename("many"), how="inner"
                )
                same = statistics.kendall(both, column, target="many").value
                rows.append(
                    (
                        column,
                        main.name,
                        images_of(main),
                        _tau(many, column),
                        images_of(zoo),
                        _tau(few, column),
                        same,
                    )
                )
    text = [
        [code(c), z, f"{a:.0f}", number(t), f"{b:.0f}", number(u), number(s)]
        for c, z, a, t, b, u, s in sorted(rows)
    ]
    return f"""### Number of images

{
        markdown(
            (
                "measure",
                "zoo",
                "images of a class",
                "τ",
                "images of a class",
                "τ",
                "τ between the two audits",
            ),
            text,
        )
    }"""
