"""What to do with a ranking, in a few sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

from audit.statistics.result import HELD_OUT, TRAIN, numeric_column

#: So many tied checkpoints are named; of more, the rest are counted.
NAMED: Final = 4


def advice(
    ranking: pd.DataFrame, tied: Sequence[str], known: pd.DataFrame | None = None
) -> list[str]:
    """Say which checkpoint to take, what it cannot be told apart from, and how well that did.

    Args:
        ranking: Columns checkpoint and score, and doubt where there are any, best first. A
            checkpoint in doubt is not recommended.
        tied: The checkpoints that the first cannot be told apart from, best first.
        known: Columns checkpoint and held_out_accuracy, and train_accuracy where it is known, of
            the checkpoints with a known accuracy; None or without rows where there is none, or
            where the ranking was made from them.

    Returns:
        Whole sentences; none for an empty ranking.
    """
    if ranking.empty:
        return []
    names = [str(name) for name in ranking["checkpoint"]]
    first = names[0]
    said = _taken(names, _doubts(ranking))
    if len(names) > 1:
        said.append(_ties(tied, len(names), "It" if len(said) == 1 else first))
    if known is not None and len(known) > 1:
        said += _hindsight(first, known)
    return said


def _doubts(ranking: pd.DataFrame) -> list[str]:
    """What is doubtful of each checkpoint, in words; "" where nothing is."""
    if "doubt" not in ranking:
        return [""] * len(ranking)
    return [
        ", ".join(str(doubt).replace("_", " ").split(";")) if pd.notna(doubt) else ""
        for doubt in ranking["doubt"]
    ]


def _taken(names: Sequence[str], doubts: Sequence[str]) -> list[str]:
    """Which checkpoint to take: the first, unless it is in doubt."""
    if not doubts[0]:
        return [f"Take {names[0]}."]
    said = [
        f"{names[0]} is first, but in doubt ({doubts[0]}): find out what is wrong with it before "
        "you take it."
    ]
    sound = next((name for name, doubt in zip(names, doubts, strict=True) if not doubt), None)
    if sound is not None:
        said.append(f"The first that is not in doubt is {sound}.")
    elif len(names) > 1:
        said.append("So are all the others.")
    return said


def _ties(tied: Sequence[str], n_ranked: int, it: str) -> str:
    if not tied:
        return f"{it} is told apart from every other."
    if len(tied) == n_ranked - 1:
        return (
            f"But none of the {n_ranked} can be told from any other: choose by cost, or find out "
            "the held-out accuracy of a few."
        )
    named = ", ".join(tied[:NAMED])
    more = f" and {len(tied) - NAMED} more" if len(tied) > NAMED else ""
    return (
        f"{it} cannot be told apart from {len(tied)} of the other {n_ranked - 1}: {named}{more}; "
        "among these choose by cost."
    )


def _hindsight(first: str, known: pd.DataFrame) -> list[str]:
    """How the choice did, where the accuracy of the first is known."""
    accuracy = dict(zip(known["checkpoint"].astype(str), known[HELD_OUT], strict=True))
    accuracy = {name: float(a) for name, a in accuracy.items() if np.isfinite(a)}
    if first not in accuracy or len(accuracy) < 2:
        return []
    values = np.array(list(accuracy.values()))
    sentence = (
        f"Its held-out accuracy is {accuracy[first]:.1%}; the best has {values.max():.1%}, "
        f"one taken at random {values.mean():.1%} on average"
    )
    by_training = _of_best_trained(known)
    if by_training is not None:
        sentence += f", the best on the training images {by_training:.1%}"
    return [sentence + "."]


def _of_best_trained(known: pd.DataFrame) -> float | None:
    """Mean held-out accuracy of the checkpoints of highest train accuracy."""
    if TRAIN not in known:
        return None
    table = known.dropna(subset=[HELD_OUT, TRAIN])
    if table.empty:
        return None
    trained = numeric_column(table, TRAIN)
    return float(np.mean(numeric_column(table, HELD_OUT)[trained == trained.max()]))
