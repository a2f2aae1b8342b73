"""Many columns at once: their τ, and p-values that hold for all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from jaxtyping import Float

from audit.statistics.result import HELD_OUT, Codes, codes_of, numeric_column

SEED: Final = 0


def taus(
    X: Float[np.ndarray, "n c"], Y: Float[np.ndarray, "n d"], groups: Codes | None = None
) -> Float[np.ndarray, "c d"]:
    """τ-b of every column of X with every column of Y, which has no NaN, as `statistics.kendall`.

    All at once, for permutations and searches over many columns; NaN where either is constant.
    Pairs in which a value of X is missing are left out, and pairs of different groups where
    groups are given.
    """
    first, second = np.triu_indices(len(X), 1)
    if groups is not None:
        same = groups[first] == groups[second]
        first, second = first[same], second[same]
    difference = np.where(X[first] == X[second], 0, X[first] - X[second])  # ∞ − ∞ is a tie
    known = ~np.isnan(difference)
    signs_x = np.nan_to_num(np.sign(difference)).astype(np.float32)
    signs_y = np.sign(Y[first] - Y[second]).astype(np.float32)
    untied_x = np.abs(signs_x).sum(axis=0, dtype=np.float64)[:, None]
    untied_y = known.astype(np.float32).T @ np.abs(signs_y)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((signs_x.T @ signs_y) / np.sqrt(untied_x * untied_y))


def _permuted(
    y: Float[np.ndarray, " n"], groups: Codes, n: int, rng: np.random.Generator
) -> Float[np.ndarray, "n d"]:
    """The target, then n permutations of it within groups, as columns."""
    columns = np.tile(y[:, None], (1, n + 1))
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        columns[members, 1:] = rng.permuted(columns[members, 1:], axis=0)
    return columns


def familywise(
    tables: Sequence[pd.DataFrame],
    sources: Sequence[str],
    columns: Sequence[str],
    n_permutations: int = 1000,
    within: str | None = None,
) -> pd.DataFrame:
    """p-values of mean τ over sources that hold for all columns together.

    Accuracies are permuted within every zoo, in the same way for all columns, and each column's
    |mean τ over sources| is set against the largest of any column: the chance of naming a single
    column wrongly is at most α, however the columns depend on each other. The hypothesis tested
    is that no measure has anything to do with accuracy in any zoo.

    Args:
        tables: One per zoo, one row per checkpoint.
        sources: The data source of each.
        columns: Measures; those a table lacks are skipped there.
        n_permutations: Draws; no p-value is below 1 / (1 + draws).
        within: A column that names groups: permutations, and pairs compared, stay within them.

    Returns:
        One row per column with `p_max`; `attrs["threshold"]` is the |mean τ| that the largest of
        all columns exceeds with chance 0.05 when none means anything.

    Source: Westfall & Young (1993), single-step maxT.
    """
    rng = np.random.default_rng(SEED)
    share = {name: 1 / len(set(sources)) / list(sources).count(name) for name in sources}
    total = np.zeros((len(columns), 1 + n_permutations))
    weight = np.zeros((len(columns), 1))
    for table, source in zip(tables, sources, strict=True):
        y = table[HELD_OUT].to_numpy(float)
        groups = codes_of(table, [within] if within else [])
        targets = _permuted(y, groups, n_permutations, rng)
        X = np.column_stack(
            [
                numeric_column(table, c) if c in table.columns else np.full(len(y), np.nan)
                for c in columns
            ]
        )
        found = taus(X, targets, groups)
        total += share[source] * np.nan_to_num(found)
        weight += share[source] * ~np.isnan(found[:, :1])
    with np.errstate(invalid="ignore"):
        means = np.abs(total / np.where(weight > 0, weight, np.nan))
    largest = np.nanmax(means[:, 1:], axis=0)
    reached = (largest[None, :] >= means[:, :1] - 1e-9).sum(axis=1)
    p_max = np.where(np.isnan(means[:, 0]), np.nan, (1 + reached) / (1 + n_permutations))
    frame = pd.DataFrame({"column": list(columns), "p_max": p_max})
    frame.attrs["threshold"] = float(np.quantile(largest, 0.95))
    return frame
