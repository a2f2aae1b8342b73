"""From scores with intervals to ranks that admit ties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

from audit.plugin.names import join_names
from audit.statistics.result import Values

#: The columns of `ranking.csv`, in order.
RANKING_COLUMNS: Final = ("predicted_rank", "checkpoint", "score", "lower", "upper", "tied_with")


def rank_intervals(lower: Values, upper: Values) -> np.ndarray:
    """Predicted rank: 1 + the number of models that are certainly better.

    A model is certainly better than another when its whole interval lies above the other's.
    Overlap is not transitive: where a overlaps b and b overlaps c but a lies above c, a and b
    rank 1 and c ranks 2, although b and c cannot be told apart; `tied_with` says that they
    cannot. Models no model is certainly better than all rank 1.

    Args:
        lower: Lower ends, shape (n,).
        upper: Upper ends, shape (n,).

    Returns:
        Ranks, shape (n,), 1 = best; equal where equally many models are certainly better.

    Example:
        >>> rank_intervals(np.array([5.0, 3.0, 0.0]), np.array([9.0, 6.0, 4.0])).tolist()
        [1, 1, 2]
    """
    return np.asarray((lower[None, :] > upper[:, None]).sum(axis=1) + 1)


def ranking_frame(
    checkpoints: Sequence[str],
    score: Values,
    lower: Values,
    upper: Values,
    gap: float | None = None,
) -> pd.DataFrame:
    """The ranking, best first, with the checkpoints that each one cannot be told apart from.

    Args:
        checkpoints: Names, length n.
        score: Higher is better, shape (n,).
        lower: Lower ends of the scores' intervals.
        upper: Upper ends.
        gap: Where it is known from pairs, the difference of scores from which on one checkpoint
            is certainly better than another. An interval says where one checkpoint lies; two
            that overlap a little may still be told apart. By default the intervals decide.

    Returns:
        Columns predicted_rank, checkpoint, score, lower, upper, tied_with (names as
        `audit.plugin.names.join_names` joins them).
    """
    low, high = (lower, upper) if gap is None else (score - gap / 2, score + gap / 2)
    overlap = (low[:, None] <= high[None, :]) & (low[None, :] <= high[:, None])
    np.fill_diagonal(overlap, False)
    names = np.asarray([str(name) for name in checkpoints], dtype=object)
    by_score = np.lexsort((names.astype(str), -score))
    tied = [join_names(names[j] for j in by_score if overlap[i, j]) for i in range(len(names))]
    columns = (rank_intervals(low, high), names, score, lower, upper, tied)
    frame = pd.DataFrame(dict(zip(RANKING_COLUMNS, columns, strict=True)))
    frame = frame.iloc[by_score].sort_values("predicted_rank", kind="stable")
    return frame.reset_index(drop=True)
