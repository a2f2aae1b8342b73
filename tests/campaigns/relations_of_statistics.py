"""Relations of the statistics by which a measure is judged: τ, weighted τ, ρ and r."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from audit import statistics
from tests.campaigns.relation import Relation, Same

Found = Iterator[Same]
OF_RANKS = (statistics.kendall, statistics.spearman, statistics.weighted_kendall)
SYMMETRIC = (statistics.kendall, statistics.spearman, statistics.pearson)
#: Sums of other numbers, or in another order, are apart by so much.
CLOSE = 1e-9


def checkpoints(rng: np.random.Generator) -> pd.DataFrame:
    """A measure and a target of up to 30 checkpoints, with ties or without."""
    n = int(rng.integers(4, 31))
    drawn = rng.integers(0, rng.choice([3, 8, 1000]), (n, 2)) / 4
    drawn[:2] = [[0, 1], [1, 0]]  # neither is constant
    return pd.DataFrame(drawn, columns=["m", "t"])


def increasing(rng: np.random.Generator) -> Found:
    table = checkpoints(rng)
    values, rank = np.unique(table["m"], return_inverse=True)
    other = table.assign(m=np.cumsum(rng.exponential(size=len(values)) + 1e-3)[rank])
    for statistic in OF_RANKS:
        one, two = (statistic(each, "m", "t").value for each in (table, other))
        yield Same(statistic.__name__, one, two)


def negated(rng: np.random.Generator) -> Found:
    table = checkpoints(rng)
    other = table.assign(m=-table["m"])
    for statistic in SYMMETRIC:
        one, two = (statistic(each, "m", "t").value for each in (table, other))
        yield Same(statistic.__name__, one, -two, CLOSE)


def rows_in_order(rng: np.random.Generator) -> Found:
    table = checkpoints(rng)
    other = table.iloc[rng.permutation(len(table))]
    for statistic in (*OF_RANKS, statistics.pearson):
        one, two = (statistic(each, "m", "t").value for each in (table, other))
        yield Same(statistic.__name__, one, two, CLOSE)


def exchanged(rng: np.random.Generator) -> Found:
    table = checkpoints(rng)
    for statistic in SYMMETRIC:
        one, two = statistic(table, "m", "t").value, statistic(table, "t", "m").value
        yield Same(statistic.__name__, one, two, CLOSE)


def straight_line(rng: np.random.Generator) -> Found:
    table = checkpoints(rng)
    slope, offset = rng.uniform(0.1, 10), rng.uniform(-10, 10)
    other = table.assign(m=slope * table["m"] + offset)
    one, two = (statistics.pearson(each, "m", "t").value for each in (table, other))
    yield Same("pearson", one, two, CLOSE)


def doubled(rng: np.random.Generator) -> Found:
    table = checkpoints(rng)
    other = pd.concat([table] * int(rng.integers(2, 4)), ignore_index=True)
    for statistic in SYMMETRIC:
        one, two = (statistic(each, "m", "t").value for each in (table, other))
        yield Same(statistic.__name__, one, two, CLOSE)


def pairs_counted(rng: np.random.Generator) -> Found:
    table = checkpoints(rng)
    m, t = (np.sign(np.subtract.outer(*2 * [table[name].to_numpy()])) for name in ("m", "t"))
    expected = (m * t).sum() / np.sqrt((m != 0).sum() * (t != 0).sum())
    yield Same("kendall", expected, statistics.kendall(table, "m", "t").value, CLOSE)


RELATIONS = (
    Relation("τ: increasing", "τ, ρ and weighted τ of (f(m), t) are those of (m, t)", increasing),
    Relation("τ: negated", "τ, ρ and r of (−m, t) are −τ, −ρ and −r", negated),
    Relation("τ: rows", "the order of checkpoints changes no statistic", rows_in_order),
    Relation("τ: exchanged", "τ, ρ and r of (t, m) are those of (m, t)", exchanged),
    Relation("τ: straight line", "r(a m + c, t) = r(m, t) for a > 0", straight_line),
    Relation("τ: repeated", "τ-b, ρ and r of a table repeated k times are its own", doubled),
    Relation(
        "τ: pairs",
        "τ-b = Σ sign(Δm) sign(Δt) / √(pairs apart in m × pairs apart in t)",
        pairs_counted,
    ),
)
