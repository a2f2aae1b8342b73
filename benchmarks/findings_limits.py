"""The findings on what topology adds, where measures fail, and what cannot be told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from audit import statistics
from audit.plugin.registry import installed
from audit.statistics.design import group_taus
from audit.statistics.result import HELD_OUT, paired
from benchmarks.findings_columns import BASELINES, MAIN, TOPOLOGY
from benchmarks.findings_overview import ceiling
from benchmarks.findings_words import (
    NONE,
    Findings,
    code,
    difference_said,
    learned,
    listed,
    markdown,
    number,
    pooled_text,
)
from benchmarks.pooling import Pooled, pooled, taus

#: Measures in a vote.
MOST_VOTERS: Final = 4


class Pool(NamedTuple):
    """Columns that a search may choose from, as ranks in every zoo.

    Attributes:
        columns: Names; each has a value for every checkpoint of every zoo.
        ranks: Per zoo, centred ranks, shape (checkpoints, columns).
        accuracies: Per zoo, shape (checkpoints,).
        sources: Per zoo.
    """

    columns: list[str]
    ranks: list[np.ndarray]
    accuracies: list[np.ndarray]
    sources: list[str]


def pool_of(findings: Findings, columns: Iterable[str]) -> Pool:
    """The columns that are complete and vary in every zoo."""
    tables = list(findings.tables.values())
    usable = [
        c
        for c in columns
        if all(c in t and t[c].notna().all() and t[c].nunique() > 1 for t in tables)
    ]
    ranks = [
        stats.zscore(stats.rankdata(t[usable].to_numpy(float), axis=0), axis=0) for t in tables
    ]
    accuracies = [t[HELD_OUT].to_numpy(float) for t in tables]
    return Pool(usable, ranks, accuracies, findings.sources)


def voted(pool: Pool, seen: Sequence[int], unseen: Sequence[int], first: str = "") -> list[float]:
    """τ on zoos not seen of votes of 1, 2, … measures chosen on the zoos seen.

    Greedily: each step adds the column, with the sign of its mean τ over the sources seen, whose
    rank makes the mean τ of the sum of ranks largest there. Nothing of the zoos not seen is used.

    Args:
        pool: What may be chosen.
        seen: Zoos to choose on.
        unseen: Zoos to judge on.
        first: Where given, the column that the first step takes.

    Returns:
        The mean τ over the zoos not seen, for each number of measures.
    """
    single = np.array([taus(pool.ranks[z], pool.accuracies[z][:, None])[:, 0] for z in seen])
    weight = _weights([pool.sources[z] for z in seen])
    sign = np.sign(weight @ single)
    sums = [np.zeros(len(y)) for y in pool.accuracies]
    taken: list[int] = []
    found = []
    for step in range(MOST_VOTERS):
        score = sum(
            w * taus(sums[z][:, None] + pool.ranks[z] * sign, pool.accuracies[z][:, None])[:, 0]
            for w, z in zip(weight, seen, strict=True)
        )
        score = np.asarray(score)
        score[taken] = -np.inf
        best = pool.columns.index(first) if first and not step else int(np.argmax(score))
        taken.append(best)
        sums = [s + r[:, best] * sign[best] for s, r in zip(sums, pool.ranks, strict=True)]
        found.append(float(np.mean([_tau_of(sums[z], pool.accuracies[z]) for z in unseen])))
    return found


def _tau_of(x: np.ndarray, y: np.ndarray) -> float:
    return float(taus(x[:, None], y[:, None])[0, 0])


def _weights(sources: Sequence[str]) -> np.ndarray:
    """Zoos weighted so that each source counts the same."""
    return np.array([1 / len(set(sources)) / list(sources).count(s) for s in sources])


def left_out_votes(pool: Pool) -> dict[str, list[float]]:
    """Per source, `voted` on its zoos of what is chosen on all other sources."""
    found = {}
    for source in sorted(set(pool.sources)):
        unseen = [z for z, s in enumerate(pool.sources) if s == source]
        seen = [z for z, s in enumerate(pool.sources) if s != source]
        found[source] = voted(pool, seen, unseen)
    return found


def is_topology(column: str, owners: dict[str, str]) -> bool:
    """Whether a column belongs to a measure of births or diagrams."""
    entry = installed().measures.get(owners.get(column, ""))
    return entry is not None and entry.cost == "topology"


def adds_section(findings: Findings) -> str:
    """What topology adds over measures that are not topology."""
    judged = findings.judged
    owners = {c: str(m) for c, m in judged["measure"].items()}
    topological = [c for c in findings.known(judged.index) if is_topology(c, owners)]
    others = [c for c in findings.known(judged.index) if c not in topological]
    both = {
        "without topology": left_out_votes(pool_of(findings, others)),
        "with topology": left_out_votes(pool_of(findings, [*others, *topological])),
        "topology alone": left_out_votes(pool_of(findings, topological)),
    }
    sources = sorted(set(findings.sources))
    rows = []
    for k in range(MOST_VOTERS):
        values = {n: np.array([v[s][k] for s in sources]) for n, v in both.items()}
        gain = pooled(values["with topology"] - values["without topology"], sources)
        rows.append(
            [
                str(k + 1),
                *(pooled_text(pooled(v, sources)) for v in values.values()),
                pooled_text(gain),
                number(float(np.min(values["with topology"] - values["without topology"]))),
            ]
        )
    last = pooled(
        [both["with topology"][s][-1] - both["without topology"][s][-1] for s in sources], sources
    )
    partial = [c for c in topological if _excludes_zero(judged.loc[c], "partial_kendall")]
    strict = [c for c in topological if _excludes_zero(judged.loc[c], "partial_all")]
    said = difference_said(
        last,
        "topology adds, by an interval that excludes 0",
        "topology makes the vote worse, by an interval that excludes 0",
    )
    return f"""## What topology adds

**One by one.** Of {len(topological)} topological columns judged, the partial τ beyond the four \
controls excludes 0 (uncorrected interval over sources) for {len(partial)}, and beyond all \
baselines for {len(strict)}{": " + listed([code(c) for c in strict[:8]]) if strict else ""}; by \
chance {0.05 * len(topological):.0f} would.

**In a vote.** For each source, measures were chosen greedily on the *other sources* for a sum of \
signed ranks (1 to {MOST_VOTERS} measures), once from the {len(others)} columns that are not \
topology, once from all, once from topology alone, and the vote judged on the source left out:

{markdown(("measures in the vote", *both, "with − without", "least of a source"), rows)}

With {MOST_VOTERS} measures: {said}. A search among more columns overfits more, so that "with" may \
fall below "without" though topology tells something; and the greedy vote is not the shipped \
ranker, which has its own table ([the ranker](../benchmarks/README.md))."""


def _excludes_zero(row: pd.Series, name: str) -> bool:
    return bool(row[f"{name}_lower"] > 0 or row[f"{name}_upper"] < 0)


def failures_section(findings: Findings) -> str:
    """Where all of it fails: zoos, architectures, settings."""
    return f"""## Where it fails

{_by_zoo(findings)}

![τ of the main measures in every zoo](figures/findings-zoos.svg)

{_by_architecture(findings)}

{_by_axis(findings)}"""


def _by_zoo(findings: Findings) -> str:
    tau = findings.of_zoos()
    sign_error = findings.rows[findings.rows["judged"] & (findings.rows["labels"] == "as_trained")]
    main = findings.known([c for c in MAIN if c != "random"])
    pool = pool_of(findings, findings.known(findings.judged.index))
    rows, picks = [], {}
    for place, (name, zoo) in enumerate(findings.zoos.main.items()):
        seen = [z for z, s in enumerate(findings.sources) if s != zoo.source]
        if not seen:
            continue
        weight = _weights([findings.sources[z] for z in seen])
        others = weight @ np.array(
            [taus(pool.ranks[z], pool.accuracies[z][:, None])[:, 0] for z in seen]
        )
        best = int(np.argmax(np.abs(others)))
        got = _tau_of(pool.ranks[place][:, best] * np.sign(others[best]), pool.accuracies[place])
        picks[name] = got
        here = sign_error[sign_error["zoo"] == name]
        top = here.loc[here["kendall"].abs().idxmax()]
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
