"""The findings on the zoos as wholes: what was measured, what holds, what suffices."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pandas as pd

from audit.statistics.result import HELD_OUT
from audit.zoo.table import ZooTable
from benchmarks.familywise import taus
from benchmarks.findings.columns import MAIN
from benchmarks.findings.words import (
    NONE,
    Findings,
    Frame,
    cell,
    code,
    estimate,
    listed,
    markdown,
    number,
    p_text,
    plural,
)
from benchmarks.zoo_statistics import baselines, images_of

N_REDRAWN: Final = 400
_SEED: Final = 0
ALPHA: Final = 0.05


def ceiling(table: pd.DataFrame) -> tuple[float, float, float]:
    """τ of the held-out accuracies with ones drawn again from as many images: mean, 95% range.

    Each accuracy a is replaced by Binomial(n, a) / n. A measure that knew the true accuracies
    would have this τ with those that were found.
    """
    rng = np.random.default_rng(_SEED)
    accuracy = table[HELD_OUT].to_numpy(float)
    n = table["n_held_out"].to_numpy(int)
    drawn = rng.binomial(n[:, None], accuracy[:, None], (len(n), N_REDRAWN)) / n[:, None]
    found = taus(accuracy[:, None], drawn)[0]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(np.nanmean(found)), float(low), float(high)


def zoos_section(findings: Findings) -> str:
    """What was trained and measured."""
    rows = [_zoo_row(name, zoo, findings.tables[name]) for name, zoo in findings.zoos.main.items()]
    n_models = sum(len(table) for table in findings.tables.values())
    architectures = {a for table in findings.tables.values() for a in table["family"]}
    gaps = _missing(findings)
    return f"""## What was measured

{plural(len(rows), "zoo")} over {plural(len(set(findings.sources)), "data source")}, \
{n_models} checkpoints of {plural(len(architectures), "architecture")} in all. In each zoo every \
architecture is trained with every combination of the axes. Every measure sees the training images \
alone (per class, at most as many as the table says); the accuracy is that on held-out images, of \
other fonts, places or objects where the task has such.

{
        markdown(
            (
                "zoo",
                "source",
                "checkpoints",
                "axes beside architecture",
                "held-out accuracy",
                "train accuracy",
                "images of a class",
                "held-out images",
                "τ of accuracy with itself drawn again",
            ),
            rows,
        )
    }

The last column is the ceiling: τ between the held-out accuracies and accuracies drawn again from \
as many images (mean of {N_REDRAWN} draws, 95% range). No measure can be expected above it. It \
counts the noise of the held-out images, not that of the training: another seed would move the \
accuracies further, and was not tried.

{gaps}"""


def _zoo_row(name: str, zoo: ZooTable, table: Frame) -> list[str]:
    accuracy = table[HELD_OUT]
    axes = [c for c in table if c.startswith("hp.") and table[c].nunique() > 1]
    axes = [c.removeprefix("hp.") for c in axes if c not in ("hp.architecture", "hp.model")]
    train = table.get("train_accuracy_as_trained", table.get("train_accuracy"))
    told = NONE if train is None else f"{number(train.min())} … {number(train.max())}"
    images = images_of(zoo)
    return [
        code(name),
        zoo.source,
        f"{len(table)}, {plural(table['family'].nunique(), 'architecture')}",
        ", ".join(axis.replace("_", " ") for axis in axes),
        f"{number(accuracy.min())} … {number(accuracy.max())}",
        told,
        NONE if math.isnan(images) else "all" if images == 0 else f"{images:.0f}",
        f"{table['n_held_out'].median():.0f}",
        estimate(*ceiling(table)),
    ]


def _missing(findings: Findings) -> str:
    """Which judged columns lack values somewhere."""
    lacking: dict[str, int] = {}
    for name, zoo in findings.zoos.main.items():
        table = findings.tables[name]
        for column in zoo.measures:
            if zoo.about["measures"][column]["judged"]:
                lacking[column] = lacking.get(column, 0) + int(table[column].isna().sum())
    some = {c: n for c, n in sorted(lacking.items(), key=lambda item: -item[1]) if n}
    if not some:
        return "Every judged measure has a value for every checkpoint."
    shown = [f"{code(c)} ({n})" for c, n in list(some.items())[:6]]
    return (
        f"{plural(len(some), 'judged column')} of {len(lacking)} lack a value for some "
        f"checkpoints, undefined or not available; most often {listed(shown)}. Such checkpoints "
        "are left out of that measure's statistics alone, and the zoo's table says why."
    )


def answer_section(findings: Findings) -> str:
    """The main table."""
    judged = findings.judged
    order = judged.loc[findings.known(MAIN), "kendall"].abs().sort_values(ascending=False)
    rows = [_main_row(judged, column) for column in order.index]
    n_sources = len(set(findings.sources))
    return f"""## Every question, pooled

Means over the {n_sources} sources of the mean over each source's zoos, with 95% intervals \
(Student over sources, never narrower than the sampling of checkpoints alone allows, cut at ±1). \
Signs are \
those of the association as it stands: a measure that is lower in better networks has a negative \
τ, \
and is no worse for it. ↑ and ↓ are the directions that measures declare. The \
{len(rows)} measures were chosen before; their order is by |τ|.

{
        markdown(
            (
                "measure",
                "declared",
                "τ",
                "τ within architecture",
                "Ψ",
                "partial τ, 4 controls",
                f"partial τ, {len(baselines())} baselines",
                "zoos of that sign",
                "worst zoo",
                "a new source",
            ),
            rows,
        )
    }

- **τ within architecture**: Kendall over pairs of the same architecture only. **Ψ**: granulated, \
over checkpoints that differ in one setting only. **Partial τ**: beyond parameters, MACs, train \
accuracy and train loss; then beyond all of {listed([code(b) for b in baselines()])}.
- **A new source**: 95% prediction interval for τ on a zoo of another source.
- A dash: not defined, as parameters do not vary within an architecture.

{_information_table(findings)}

{_multiplicity(findings)}"""


def _main_row(judged: Frame, column: str) -> list[str]:
    row = judged.loc[column]
    arrow = {"higher": "↑", "lower": "↓"}.get(str(row["direction"]), "")
    low, high = row["predicted_lower"], row["predicted_upper"]
    names = ("kendall", "within_family_kendall", "granulated_kendall", "partial_kendall")
    return [
        code(column),
        arrow,
        *(cell(judged, column, name) for name in (*names, "partial_all")),
        f"{row['n_agree']:.0f} of {row['n_signs']:.0f}",
        f"{number(row['worst_kendall'])} ({row['worst_zoo']})",
        NONE if math.isnan(low) else f"{number(low)} … {number(high)}",
    ]


def _information_table(findings: Findings) -> str:
    """cmi, PGDL score and sign-errors of the main measures."""
    judged = findings.judged
    columns = findings.known(MAIN)
    order = judged.loc[columns, "pgdl_score"].sort_values(ascending=False).index
    rows = []
    for column in order:
        row = judged.loc[column]
        sign = "+" if row["kendall"] > 0 else "−"
        score = [100 * row[f"pgdl_score{end}"] for end in ("", "_lower", "_upper")]
        bounds = ""
        if not math.isnan(score[1]):
            bounds = f" [{max(0.0, score[1]):.0f}, {min(100.0, score[2]):.0f}]"
        rows.append(
            [
                code(column),
                cell(judged, column, "cmi", least=0.0),
                f"{score[0]:.1f}{bounds} ({sign})",
                cell(judged, column, "sign_error_mean", least=0.0),
                f"{number(row['sign_error_max'])}",
                f"{number(_least_worst(findings, column))}",
            ]
        )
    floor = judged.loc["random"] if "random" in judged.index else None
    said = (
        f" The random number's own score is {100 * floor['pgdl_score']:.1f}: both informations "
        "are 0 or more by construction, and with so few checkpoints above 0 by chance."
        if floor is not None
        else ""
    )
    worst = findings.of_zoos("sign_error_max").loc[columns].max(axis=1)
    everywhere = list(worst[worst < 1 - 1e-9].index)
    return f"""### Information and errors

{
        markdown(
            (
                "measure",
                "cmi",
                "PGDL score × 100 (sign of τ)",
                "sign-error, mean",
                "worst environment, mean over sources",
                "worst environment in its best zoo",
            ),
            rows,
        )
    }

- **cmi** and the **PGDL score** are conditional mutual informations with the generalization gap \
and blind to sign, which stands beside the score.{said} For comparison only: the winner of the \
2020 competition scored 22.92 on other tasks.
- **Sign-error**: share of pairs ordered wrongly by the declared direction, over environments that \
differ in one setting; 0.5 is guessing. Where no direction is declared the one that fits the zoo \
is taken, which flatters. Of {len(columns)} measures {len(everywhere)} order no environment of any \
zoo wholly wrongly{": " + listed([code(c) for c in everywhere[:8]]) if everywhere else ""}. The \
largest of many environments, each of few pairs, is noisy and has no interval."""


def _least_worst(findings: Findings, column: str) -> float:
    return float(findings.of_zoos("sign_error_max").loc[column].min())


def _multiplicity(findings: Findings) -> str:
    """What is left when all columns are looked at together."""
    judged = findings.judged
    strong = judged[judged["p_max"] < ALPHA]
    inside = judged[judged["p_max_within"] < ALPHA]
    holm = judged[judged["source_p_holm"] < ALPHA]
    least = 2.0 ** (1 - len(findings.sources))
    top = strong["kendall"].abs().sort_values(ascending=False).index[:12]
    rows = [
        [
            code(column),
            cell(judged, column, "kendall"),
            p_text(judged.loc[column, "p_max"]),
            p_text(judged.loc[column, "p_max_within"]),
            p_text(judged.loc[column, "source_p_holm"]),
            p_text(judged.loc[column, "sign_p"]),
            f"{100 * judged.loc[column, 'i2']:.0f}%",
            number(judged.loc[column, "spread"]),
        ]
        for column in top
    ]
    heterogeneous = judged[judged["q_p"] < ALPHA]
    return f"""### Many columns, few sources

{len(judged)} columns were judged. Three corrections say three things:

- *Is it anything at all?* Accuracies permuted within every zoo, and each column's |mean τ| set \
against the largest of all {len(findings.covering)} that have values for three quarters or more of \
every zoo (Westfall and Young's maxT): by chance alone the largest \
reaches {number(findings.threshold)} in one of twenty cases. **{plural(len(strong), "column")}** \
pass. The same within architectures, where accuracies are permuted among checkpoints of one \
architecture: **{plural(len(inside), "column")}**.
- *Does it hold for sources like these?* Student's test over sources, Holm-corrected over columns: \
**{plural(len(holm), "column")}** {"passes" if len(holm) == 1 else "pass"}\
{": " + listed([code(c) for c in holm.index[:8]]) if len(holm) else ""}. With \
{len(set(findings.sources))} sources this test has little power: not passing is no evidence against.
- *Is the sign the same in every zoo?* Two-sided binomial. The least p that \
{len(findings.sources)} \
zoos allow is {p_text(least)}, or {p_text(min(1.0, least * len(judged)))} after Holm's \
correction, so \
the sign alone {"could" if least * len(judged) < ALPHA else "cannot"} single out one column of so \
many; and zoos of one source are not independent.

The strongest of all columns, picked by looking (their τ is therefore a little too high):

{
        markdown(
            (
                "column",
                "τ",
                "p, maxT",
                "p, maxT within",
                "p, sources, Holm",
                "p, signs",
                "I²",
                "spread",
            ),
            rows,
        )
    }

I² is the share of the variance between zoos that is not sampling noise, and the spread the \
standard deviation of τ between zoos that it leaves. Of {len(judged)} columns {len(heterogeneous)} \
differ between zoos by more than chance (Cochran's Q, p < 0.05, uncorrected): "does it work?" has \
no one answer for those."""
