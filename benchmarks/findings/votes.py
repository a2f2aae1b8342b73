"""The findings on what topology adds: one by one, and in votes chosen on other sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy import stats

from audit.plugin.registry import installed
from audit.statistics.result import HELD_OUT
from benchmarks.familywise import taus
from benchmarks.findings.words import (
    Findings,
    Frame,
    code,
    difference_said,
    listed,
    markdown,
    number,
    pooled_text,
)
from benchmarks.pooling import pooled

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
    weight = source_weights([pool.sources[z] for z in seen])
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
        found.append(float(np.mean([vote_tau(sums[z], pool.accuracies[z]) for z in unseen])))
    return found


def vote_tau(x: np.ndarray, y: np.ndarray) -> float:
    """τ of one column with accuracies, both of shape (checkpoints,)."""
    return float(taus(x[:, None], y[:, None])[0, 0])


def source_weights(sources: Sequence[str]) -> np.ndarray:
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


def _excludes_zero(row: Frame, name: str) -> bool:
    return bool(row[f"{name}_lower"] > 0 or row[f"{name}_upper"] < 0)
