"""One network under several names is one observation: it is ranked once, and its names are tied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from audit.ranking.order import ranking_frame
from audit.ranking.rank import Ranking, rank_table
from audit.ranking.zero_shot import checkpoint_names
from audit.statistics.copies import one_row_each
from audit.statistics.result import Codes


def rank_networks(table: pd.DataFrame, codes: Codes, **options: Any) -> Ranking:
    """Rank a table in which several rows may hold the same network.

    Copies would count twice in every rank of a measure, in votes and in fits. The first row of
    each network is ranked; the others are given its score and interval, and are tied with it.

    Args:
        table: One row per checkpoint.
        codes: The network of each row, as `audit.statistics.copies.network_codes` tells them,
            shape (n,).
        options: Of `rank_table`.

    Raises:
        DataError: As `rank_table` does.
    """
    names = checkpoint_names(table)
    kept = one_row_each(table.assign(checkpoint=names), codes)
    ranking = rank_table(kept, **options)
    if len(kept) == len(table):
        return ranking
    of_code = list(codes)
    firsts = [names[of_code.index(code)] for code in of_code]
    ranked = ranking.table.set_index("checkpoint")
    chosen = [
        (name, first) for name, first in zip(names, firsts, strict=True) if first in ranked.index
    ]
    rows = ranked.loc[[first for _, first in chosen]]
    score, lower, upper = (rows[column].to_numpy(float) for column in ("score", "lower", "upper"))
    shown = [name for name, _ in chosen]
    frame = ranking_frame(shown, score, lower, upper, ranking.about.get("gap"))
    copies = [f"{name} is {first}" for name, first in chosen if name != first]
    about = {**ranking.about, "notes": [*ranking.about["notes"], *_note(copies)]}
    return Ranking(frame, about)


def _note(copies: Sequence[str]) -> list[str]:
    """What the reader is told."""
    shown = ", ".join(copies[:3]) + (f" and {len(copies) - 3} more" if len(copies) > 3 else "")
    return [f"the same network under several names is ranked once, and tied: {shown}"]
