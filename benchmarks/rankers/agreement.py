"""How good is each vote, judged by the other votes alone? Three answers that need no accuracy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from scipy import special

from audit.ranking.scores import correlations


def spectral(votes: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Skill of each vote: the rank-one fit of the votes' correlations off the diagonal.

    Of votes that err independently, the correlation of two is the product of their skills.

    Args:
        votes: Shape (checkpoints, votes).
        given: Weights from elsewhere: votes that share one count as one.

    Returns:
        Shape (votes,), in [−1, 1].

    Source: Parisi et al. 2014, "Ranking and combining multiple predictors without labeled data",
        PNAS 111; there for classifiers, here for scores.
    """
    scale = np.sqrt(given / given.mean())
    matrix = correlations(votes) * np.outer(scale, scale)
    leading = np.zeros(len(matrix))
    for _ in range(50):
        np.fill_diagonal(matrix, leading**2)
        values, vectors = np.linalg.eigh(matrix)
        leading = vectors[:, -1] * np.sqrt(max(float(values[-1]), 0.0))
    turned = leading if leading.sum() >= 0 else -leading
    return np.asarray(np.clip(turned / scale, -1, 1))


def dawid_skene(votes: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Log odds of each vote to order a pair rightly, by expectation–maximisation over all pairs.

    Source: Dawid & Skene 1979, "Maximum likelihood estimation of observer error-rates using the EM
        algorithm", with one error rate a voter. Votes depend on each other here, so that what is
        believed of a pair is tempered to five votes' worth.
    """
    i, j = np.triu_indices(len(votes), 1)
    said = np.sign(votes[i] - votes[j])
    odds = np.ones(votes.shape[1])
    for _ in range(30):
        belief = special.expit(said @ (odds * given) / max(given.sum() / 5, 1.0))
        right = np.where(said > 0, belief[:, None], 1 - belief[:, None]) * (said != 0)
        share = right.sum(axis=0) / np.maximum((said != 0).sum(axis=0), 1)
        odds = special.logit(np.clip(share, 0.02, 0.98))
    return np.asarray(odds)


def kemeny(votes: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Minus the place of each checkpoint in the ranking that contradicts the fewest votes.

    Searched for from Borda's ranking by moving one checkpoint at a time, as long as that helps.

    Source: Kemeny 1959, "Mathematics without numbers", Daedalus 88.
    """
    margin = (np.sign(votes[:, None] - votes[None]) * given).sum(axis=2)
    order = list(np.argsort(-(votes @ given), kind="stable"))
    for _ in range(20):
        before = list(order)
        for item in before:
            rest = [other for other in order if other != item]
            ahead = np.concatenate([[0.0], np.cumsum(margin[item, rest])])
            # Standing at a place wins against all behind and loses against all ahead.
            gain = ahead[-1] - 2 * ahead
            best, place = int(np.argmax(gain)), order.index(item)
            if gain[best] > gain[place] + 1e-9:
                order = [*rest[:best], item, *rest[best:]]
        if order == before:
            break
    score = np.empty(len(order))
    score[order] = -np.arange(len(order))
    return score


AGREEMENTS: Final[dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "spectral": spectral,
    "dawid_skene": dawid_skene,
}
