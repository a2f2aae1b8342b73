"""How wide intervals and gaps must be on a zoo nobody has seen, from errors on zoos left out.

Checkpoints of one zoo share what made the ranker err there, so that pooling them overstates how
much is known: with eight zoos there are eight observations of a new zoo, not four hundred. Half
widths are therefore found zoo by zoo, and then a quantile is taken over zoos, as the double
conformal method for two-layer models does (Dunn, Wasserman & Ramdas 2023, "Distribution-Free
Prediction Sets for Two-Layer Hierarchical Models", JASA 118). Theirs holds at finite samples for
zoos drawn alike; with fewer zoos than the confidence needs the greatest is taken, which is wide
enough for a new zoo in Z of Z + 1 cases.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import optimize

from audit.ranking.scores import pair_signs, pairs_of
from audit.statistics.result import Values

#: Least width: a card's must be positive.
LEAST = 1e-9


def conformal_quantile(values: Values, confidence: float) -> float:
    """The ⌈(n + 1) confidence⌉-th least value, the greatest where there is none.

    Example:
        >>> conformal_quantile(np.arange(1.0, 10.0), 0.5)
        5.0
    """
    place = int(np.ceil((len(values) + 1) * confidence - 1e-9))
    return float(np.sort(values)[min(max(place, 1), len(values)) - 1])


def half_width(errors: Sequence[Values], confidence: float) -> float:
    """Half width of intervals, from the absolute errors in each zoo left out.

    With one zoo it is the quantile of that zoo's errors.
    """
    of_zoo = np.array([conformal_quantile(of_one, confidence) for of_one in errors])
    return max(conformal_quantile(of_zoo, confidence), LEAST)


def gap(zoos: Sequence[tuple[Values, Values]], confidence: float) -> float:
    """The difference of scores at which a pair of a new zoo is ordered rightly so often.

    The log odds that the one with the higher score is better are taken to grow in proportion to
    the difference (Bradley & Terry 1952), with one slope for all zoos, which weigh the same: the
    odds are those over zoos and pairs. Of all pairs farther apart more are right.

    Args:
        zoos: Scores and accuracies of each.
        confidence: Above ½.
    """
    odds = float(np.log(confidence / (1 - confidence)))
    return max(odds / max(pair_slope(zoos), 1e-6), LEAST)


def pair_slope(zoos: Sequence[tuple[Values, Values]]) -> float:
    """Slope of the log odds of a right order in the difference of scores; 0 where it is below.

    Example:
        >>> pair_slope([(np.array([0.0, 1, 2, 3]), np.array([0.1, 0.3, 0.2, 0.4]))]) > 0.5
        True
    """
    of_zoo = []
    for score, accuracy in zoos:
        i, j = pairs_of(len(score))
        of_zoo.append(((score[i] - score[j]) * pair_signs(accuracy))[pair_signs(accuracy) != 0])
    scale = float(np.mean([np.abs(of_one).mean() for of_one in of_zoo if len(of_one)] or [0.0]))
    if not scale:
        return 0.0

    def loss(slope: float) -> float:
        losses = (np.logaddexp(0, -slope * of_one / scale) for of_one in of_zoo if len(of_one))
        return float(np.mean([of_one.mean() for of_one in losses]))

    found = optimize.minimize_scalar(loss, bounds=(0, 100), method="bounded")
    return float(found.x) / scale
