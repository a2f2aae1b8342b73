"""How many known accuracies are needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from audit.errors import DataError
from audit.ranking.estimator import GeneralizationRanker
from audit.ranking.selection import kendall_scorer


def learning_curve(
    ranker: GeneralizationRanker,
    X: Any,
    y: Any,
    groups: Any = None,
    *,
    sizes: Sequence[int] | None = None,
    n_repeats: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """How well the ranker orders unseen checkpoints, by the number of known accuracies.

    Each repeat shuffles the checkpoints (whole groups, where given), sets the last third aside,
    fits on the first so many of the rest and takes τ on what was set aside.

    Args:
        ranker: The ranker; it is cloned.
        X: Measures, shape (checkpoints, measures).
        y: Held-out accuracy, shape (checkpoints,).
        groups: Family of each checkpoint.
        sizes: Numbers of known accuracies; by default 4, 8, 16, … and all there are.
        n_repeats: Repeats.
        seed: Of the shuffles.

    Returns:
        Columns n_known, kendall (mean), lower, upper (10th and 90th percentile of repeats),
        n_repeats (those with a τ).

    Raises:
        DataError: Fewer than 9 checkpoints.
    """
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    codes = np.arange(len(y)) if groups is None else pd.factorize(np.asarray(groups))[0]
    if len(y) < 9:
        raise DataError(f"a learning curve needs 9 checkpoints of known accuracy; found {len(y)}")
    rng = np.random.default_rng(seed)
    most = len(y) - len(y) // 3
    sizes = sorted({s for s in (sizes or [4, 8, 16, 32, 64, 128, 256, most]) if s <= most})
    taus: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(n_repeats):
        place = rng.permutation(codes.max() + 1)[codes] + rng.random(len(y)) / 2
        order = np.argsort(place)
        known, aside = order[:most], order[most:]
        for size in sizes:
            rows = known[:size]
            of_rows = None if groups is None else codes[rows]
            fitted = clone(ranker).set_params(conformal=False).fit(X[rows], y[rows], of_rows)
            taus[size].append(kendall_scorer(fitted, X[aside], y[aside]))
    return pd.DataFrame([_summary(size, np.array(found)) for size, found in taus.items()])


def _summary(size: int, taus: np.ndarray) -> dict[str, float]:
    """One row of the curve."""
    defined = taus[~np.isnan(taus)]
    lower, mean, upper = (
        (np.quantile(defined, 0.1), defined.mean(), np.quantile(defined, 0.9))
        if len(defined)
        else (np.nan, np.nan, np.nan)
    )
    return {
        "n_known": size,
        "kendall": float(mean),
        "lower": float(lower),
        "upper": float(upper),
        "n_repeats": len(defined),
    }
