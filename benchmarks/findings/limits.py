"""The findings on what topology adds, where measures fail, and what cannot be told."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from audit import statistics
from audit.statistics.design import group_taus
from audit.statistics.result import HELD_OUT, paired
from benchmarks.familywise import taus
from benchmarks.findings.columns import BASELINES, MAIN, TOPOLOGY
from benchmarks.findings.overview import ceiling
from benchmarks.findings.votes import pool_of, source_weights, vote_tau
from benchmarks.findings.words import (
    NONE,
    Findings,
    Frame,
    code,
    learned,
    listed,
    markdown,
    number,
)
from benchmarks.pooling import Pooled, pooled


def failures_section(findings: Findings) -> str:
    """Where all of it fails: zoos, architectures, settings."""
    return f"""## Where it fails

{_by_zoo(findings)}

![τ of the main measures in every zoo](figures/findings-zoos.svg)

{_by_architecture(findings)}

{_by_axis(findings)}"""


def _by_zoo(findings: Findings) -> str:
    tau = findings.of_zoos()
    sign_error: Frame = findings.rows[
        findings.rows["judged"] & (findings.rows["labels"] == "as_trained")
    ]
    main = findings.known([c for c in MAIN if c != "random"])
    pool = pool_of(findings, findings.known(findings.judged.index))
    rows, picks = [], {}
    for place, (name, zoo) in enumerate(findings.zoos.main.items()):
        seen = [z for z, s in enumerate(findings.sources) if s != zoo.source]
        if not seen:
            continue
        weight = source_weights([findings.sources[z] for z in seen])
        others = weight @ np.array(
            [taus(pool.ranks[z], pool.accuracies[z][:, None])[:, 0] for z in seen]
        )
        best = int(np.argmax(np.abs(others)))
        got = vote_tau(pool.ranks[place][:, best] * np.sign(others[best]), pool.accuracies[place])
        picks[name] = got
        here = sign_error[sign_error["zoo"] == name]
        whole = here[here["column"].isin(findings.covering.index)]
        top = whole.loc[whole["kendall"].abs().idxmax()]
        known = tau.loc[main, name].abs()
        rows.append(
            [
                code(name),
                number(ceiling(findings.tables[name])[0]),
                f"{number(got)} ({code(pool.columns[best])})",
                f"{number(abs(top['kendall']))} ({code(top['column'])})",
                number(float(known.median())),
                f"{int((here['kendall_p_holm'] < 0.05).sum())} of {len(here)}",
            ]
        )
    worst = min(picks, key=lambda z: picks[z]) if picks else NONE
    return f"""**Zoos.** The measure that is best on the other sources, against the one that is \
best \
in hindsight, which nobody could have known: the difference is the price of choosing.

{
        markdown(
            (
                "zoo",
                "ceiling",
                "τ of the best on other sources",
                "best in hindsight, either sign",
                "median strength of main measures",
                "columns with any association (Holm)",
            ),
            rows,
        )
    }

The worst zoo for the measure chosen elsewhere is {code(worst)}."""


def _by_architecture(findings: Findings) -> str:
    """The best and worst architecture of each main measure, signs from the other sources."""
    columns = findings.known([*BASELINES, *TOPOLOGY, "mixup_accuracy", "dbi_mixup"])
    sizes = [len(m) for t in findings.tables.values() for _, m in t.groupby("family")]
    size = int(np.median(sizes))
    tau = findings.of_zoos("within_family_kendall")
    rows = []
    for column in columns:
        sign = np.sign(learned(tau.loc[column].to_numpy(float), findings.sources)) * np.sign(
            tau.loc[column].to_numpy(float)
        )
        cells = {}
        for turn, (name, table) in zip(sign, findings.tables.items(), strict=True):
            for family, members in table.groupby("family"):
                if column in members:
                    cells[f"{family}, {name}"] = turn * statistics.kendall(members, column).value
        known = pd.Series(cells, dtype=float).dropna()
        if len(known):
            rows.append(
                [
                    code(column),
                    f"{int((known > 0).sum())} of {len(known)}",
                    number(float(known.median())),
                    f"{number(float(known.min()))} ({known.idxmin()})",
                    f"{number(float(known.max()))} ({known.idxmax()})",
                ]
            )
    return f"""**Architectures.** τ over the checkpoints of one architecture in one zoo, with the \
sign that the other sources give; {size} checkpoints in the median, so that one such τ has a \
standard error of about {number(null_error(size))} and the worst of many is low by chance too.

{markdown(("measure", "architectures with τ > 0", "median", "worst", "best"), rows)}"""


def _by_axis(findings: Findings) -> str:
    """Ψ along one setting at a time."""
    axes = sorted(
        {
            c
            for t in findings.tables.values()
            for c in t
            if c.startswith("hp.") and t[c].nunique() > 1
        }
    )
    rows = []
    along = _along_axes(findings, findings.known(MAIN))
    against: dict[str, list[str]] = {axis: [] for axis in axes}
    for column in findings.known(MAIN):
        row = [code(column)]
        for axis in axes:
            one = along.get((column, axis), pooled([], []))
            row.append(_short(one))
            overall = findings.judged.loc[column, "kendall"]
            if one.n_zoos and overall * one.mean < 0 and (one.lower > 0 or one.upper < 0):
                against[axis].append(code(column))
        rows.append(row)
    turned = [f"along {a.removeprefix('hp.')}: {listed(c)}" for a, c in against.items() if c]
    names = [axis.removeprefix("hp.").replace("_", " ") for axis in axes]
    return f"""**Settings.** Ψ along one setting alone, all others equal, pooled over the sources \
that vary it (half-width of the interval after ±; none where fewer than three sources do):

{markdown(("measure", *names), rows)}

Against their overall sign, by an interval that excludes 0, run {"; ".join(turned) or "none"}. A \
measure that orders noise levels need not order batch sizes; a mean over all pairs hides it."""


def _short(one: Pooled) -> str:
    if not one.n_zoos:
        return NONE
    half = (one.upper - one.lower) / 2
    return number(one.mean) + ("" if math.isnan(half) else f" ± {number(half)}")


def _along_axes(findings: Findings, columns: Sequence[str]) -> dict[tuple[str, str], Pooled]:
    """Ψ of each column along each axis, pooled over the zoos that vary the axis."""
    found: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for table, source in zip(findings.tables.values(), findings.sources, strict=True):
        designs = statistics.Designs(table)
        for column in columns:
            if column not in table:
                continue
            x, y, rows, reason = paired(table, column, HELD_OUT)
            for pairs in [] if reason else designs.of(rows).matched:
                groups = group_taus(x, y, pairs)
                if len(groups):
                    value = (float(groups.mean()), source)
                    found.setdefault((column, pairs.axis), []).append(value)
    return {k: pooled([v for v, _ in one], [s for _, s in one]) for k, one in found.items()}


def untold_section(findings: Findings) -> str:
    """What these zoos cannot tell."""
    n_sources = len(set(findings.sources))
    n_zoos = len(findings.sources)
    most = max(len(t) for t in findings.tables.values())
    epochs = [z.about.get("training", {}).get("epochs") for z in findings.zoos.main.values()]
    told = sorted({int(e) for e in epochs if isinstance(e, int)})
    length = f"{told[0]} to {told[-1]} epochs" if told else "a few epochs"
    power = _power(n_sources)
    return f"""## What cannot be told

- **Scale.** Small timm networks, small images, {length}. Nothing here says \
that a sign or an order of measures holds for networks and images a hundred times larger.
- **Sources.** {n_sources} sources, {n_zoos} zoos. A mean τ whose standard deviation between \
sources is 0.2 must exceed {number(power)} for its interval to exclude 0. Sources were \
chosen because they need no download; they are no sample of anything.
- **Checkpoints.** With {most} in a zoo a τ has a standard error of about \
{number(null_error(most))} where \
there is no association. Checkpoints of one grid share seeds, initial weights and images; \
"independent" is a convenience.
- **One training each.** No recipe was trained with a second seed, so that what of an accuracy is \
luck of the training is not known; the ceiling holds the noise of the held-out images alone.
- **The grid is the population.** A τ over a grid is dominated by the axes that move accuracy \
most. \
Ψ, τ within architectures and the table by setting are there for that; other grids give other τ.
- **Label noise is uniform.** Real wrong labels are not.
- **Choice.** The main measures and all rules of this page were fixed before these zoos were \
measured. But the topological measures, their directions and the alterations of \
`altered_accuracy` were worked out on [older zoos](evidence.md) of digits, glyphs and \
photographs: for them zoos of those sources are not wholly new. Whatever is called "picked by \
looking" is biased upward.
- **Measures' own settings** (radii, neighbours, estimators) are their defaults; none was tuned, \
and a tuned one might do better."""


def _power(n_sources: int) -> float:
    """The least |mean| that a Student interval with spread 0.2 tells from 0."""
    if n_sources < 3:
        return math.nan
    return float(stats.t.ppf(0.975, n_sources - 1) * 0.2 / math.sqrt(n_sources))


def null_error(n: int) -> float:
    """The standard error of τ of n checkpoints where there is no association."""
    return math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)))
