"""One network under several names is one observation: it is ranked once, and its names are tied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from audit.ranking.order import ranking_frame
from audit.ranking.rank import Ranking, rank_table
from audit.ranking.zero_shot import checkpoint_names


def rank_networks(table: pd.DataFrame, networks: Sequence[object], **options: Any) -> Ranking:
    """Rank a table in which several rows may hold the same network.

    Copies would count twice in every rank of a measure, in votes and in fits. The first row of
    each network is ranked; the others are given its score and interval, and are tied with it.

    Args:
        table: One row per checkpoint.
        networks: What network each row holds, such as a digest of its weights; rows without one
            (None, NaN or "") are networks of their own.
        options: Of `rank_table`.

    Raises:
        DataError: As `rank_table` does.
    """
    names = checkpoint_names(table)
    of_row = [
        f"row {i}" if pd.isna(network) or network == "" else f"network {network}"  # type: ignore[call-overload]
        for i, network in enumerate(networks)
    ]
    first = dict(zip(reversed(of_row), reversed(names), strict=True))
    kept = pd.DataFrame(table[~pd.Series(of_row, index=table.index).duplicated()])
    ranking = rank_table(kept, **options)
    if len(kept) == len(table):
        return ranking
    ranked = ranking.table.set_index("checkpoint")
    chosen = [
        (name, first[network])
        for name, network in zip(names, of_row, strict=True)
        if first[network] in ranked.index
    ]
    rows = ranked.loc[[of for _, of in chosen]]
    score, lower, upper = (rows[column].to_numpy(float) for column in ("score", "lower", "upper"))
    shown = [name for name, _ in chosen]
    frame = ranking_frame(shown, score, lower, upper, ranking.about.get("gap"))
    copies = [f"{name} is {of}" for name, of in chosen if name != of]
    about = {**ranking.about, "notes": [*ranking.about["notes"], *_note(copies)]}
    return Ranking(frame, about)


def _note(copies: Sequence[str]) -> list[str]:
    """What the reader is told."""
    shown = ", ".join(copies[:3]) + (f" and {len(copies) - 3} more" if len(copies) > 3 else "")
    return [f"the same network under several names is ranked once, and tied: {shown}"]
