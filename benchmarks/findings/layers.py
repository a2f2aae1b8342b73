"""The findings on layers, filtration, estimator, resolution and number of images."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pandas as pd

from audit import statistics
from audit.statistics.result import HELD_OUT
from benchmarks.findings.columns import (
    ENTROPIES,
    OVER_DEPTH,
    TOPOLOGY,
    WITH_FILTRATION,
    variants,
)
from benchmarks.findings.entropy import Value, over_zoos, tau_of
from benchmarks.findings.words import (
    NONE,
    Findings,
    cell,
    code,
    learned,
    listed,
    markdown,
    number,
    pooled_text,
)
from benchmarks.pooling import Pooled, pooled
from benchmarks.zoo_statistics import images_of, table_of

#: Where on the way from the first layer (0) to the deepest (1) measures are read.
DEPTHS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)


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
                table[["family", HELD_OUT]].assign(at=at_depth(table, name, depth)), "at"
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
        return f"""**Number of images: cannot be told from these tables**, which hold one audit \
each ({said} images of a class). From counts alone, plug-in entropies of so few births are biased \
by up to two nats ([the measures](measures.md)). To find out: give a copy of a task's file another \
`images_per_class`, measure the same trained zoo with it, and lay the two files beside the others \
as `TASK-imagesN.csv` and `.json`; they are then compared here.

```console
$ genaudit zoo measure ./TASK.toml --table FEWER     # a copy of audit/zoo/shipped/TASK.toml
```"""
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
                        tau_of(many, column),
                        images_of(zoo),
                        tau_of(few, column),
                        same,
                    )
                )
    text = [
        [code(c), z, f"{a:.0f}", number(t), f"{b:.0f}", number(u), number(s)]
        for c, z, a, t, b, u, s in sorted(rows)
    ]
    sizes = ("images of a class", "τ")
    header = ("measure", "zoo", *sizes, *sizes, "τ between the two audits")
    return f"### Number of images\n\n{markdown(header, text)}"
