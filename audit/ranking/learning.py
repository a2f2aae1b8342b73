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
    fits on the first so many of the rest and takes τ on what was set aside. A ranker that starts
    from a card is given the measures of all, and the accuracies of those alone.

    Args:
        ranker: The ranker; it is cloned.
        X: Measures, shape (checkpoints, measures); a table where the ranker has a card.
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
    X = X if isinstance(X, pd.DataFrame) else pd.DataFrame(np.asarray(X, dtype=np.float64))
    y = np.asarray(y, dtype=np.float64)
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
            fitted = _fitted(ranker, X, y, None if groups is None else codes, known[:size])
            taus[size].append(kendall_scorer(fitted, X.iloc[aside], y[aside]))
    return pd.DataFrame([_summary(size, np.array(found)) for size, found in taus.items()])


def _fitted(
    ranker: GeneralizationRanker,
    X: pd.DataFrame,
    y: np.ndarray,
    codes: np.ndarray | None,
    rows: np.ndarray,
) -> GeneralizationRanker:
    """The ranker fitted on the accuracies of some rows."""
    ranker = clone(ranker).set_params(conformal=False)
    if ranker.card is not None:
        return ranker.fit(X, np.where(np.isin(np.arange(len(y)), rows), y, np.nan), codes)
    return ranker.fit(X.iloc[rows], y[rows], None if codes is None else codes[rows])


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
