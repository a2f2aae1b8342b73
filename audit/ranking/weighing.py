"""How a card weighs its measures: learned on zoos of known accuracy, sources left out in turn.

With a handful of data sources and a hundred measures that resemble each other, free regression
weights are mostly noise. Weights are therefore held to one sign per measure, that of its mean τ
on the zoos fitted on, and few: a lasso of scores within the zoo. How few, and how much a
checkpoint's place within its own family counts, is what ranks best on sources left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import optimize

from audit.ranking.scores import KnownZoo, Scores, ZooScores, by_source, worth
from audit.statistics.result import Values

Square = Float[np.ndarray, "p p"]

#: Penalties on the sum of the absolute weights: a measure whose covariance with what is left to
#: explain is below it has none. Scores have a variance of about 1.
PENALTIES: Final = (0.03, 0.1, 0.2, 0.3)
#: Added to the variance of every measure, so that near copies share what they explain.
RIDGE: Final = 0.01
#: Weights of a checkpoint's place within its family.
WITHIN: Final = (0.0, 0.25)


#: Measures with less than this share of the weight are left out: a card should need few.
LEAST_SHARE: Final = 0.03


class Settings(NamedTuple):
    """What is tuned on sources left out.

    Attributes:
        penalty: On the sum of the absolute weights.
        within: Weight of the place within the family, in [0, 1).
    """

    penalty: float
    within: float


GRID: Final = tuple(Settings(penalty, within) for penalty in PENALTIES for within in WITHIN)


class Weights(NamedTuple):
    """Weights of the measures, and of the family.

    Attributes:
        coefficients: Shape (measures,).
        within: Weight of the place within the family.
    """

    coefficients: Values
    within: float

    def score(self, zoo: ZooScores) -> Values:
        """Weighted sum of the mixed scores, shape (checkpoints,)."""
        return np.asarray(zoo.mixed(self.within) @ self.coefficients)


def mean_worth(zoos: Sequence[KnownZoo]) -> Values:
    """Mean over sources of what each measure is worth alone."""
    of_source = [np.mean([zoo.alone for zoo in own], axis=0) for _, own in by_source(zoos)]
    return np.asarray(np.mean(of_source, axis=0))


def moments(zoos: Sequence[KnownZoo], within: float) -> tuple[Square, Values]:
    """V'V / n and V'y / n of the mixed scores; sources weigh the same, and zoos within them."""
    n_measures = zoos[0].scores.pooled.shape[1]
    gram, moment = np.zeros((n_measures, n_measures)), np.zeros(n_measures)
    groups = by_source(zoos)
    for _, own in groups:
        for zoo in own:
            scores = zoo.scores.mixed(within)
            share = 1 / (len(scores) * len(own) * len(groups))
            target = (1 - within) * zoo.target + within * zoo.inside_target
            gram += share * scores.T @ scores
            moment += share * scores.T @ target
    return gram, moment


def nonnegative(gram: Square, moment: Values) -> Values:
    """The minimum of w'Gw / 2 − c'w over w ≥ 0, by the active-set method of Lawson and Hanson."""
    floor = 1e-9 * np.trace(gram) / len(gram)
    root = np.linalg.cholesky(gram + floor * np.eye(len(gram)))
    return np.asarray(optimize.nnls(root.T, np.linalg.solve(root, moment))[0])


def weigh(zoos: Sequence[KnownZoo], settings: Settings) -> Weights:
    """The minimum of |y − V w|² / 2n + penalty · |w|₁ over w of the measures' signs.

    V are mixed scores and y those of the accuracies; the sign of a measure is that of its mean
    worth on these zoos. Measures with next to no weight are left out. Where the penalty leaves no
    measure, the one worth most ranks alone.
    """
    mean = mean_worth(zoos)
    voting = np.flatnonzero(mean)
    coefficients = np.zeros(len(mean))
    if not len(voting):
        return Weights(coefficients, settings.within)
    sign = np.sign(mean[voting])
    gram, moment = moments(zoos, settings.within)
    gram = gram[np.ix_(voting, voting)] * np.outer(sign, sign) + RIDGE * np.eye(len(voting))
    # Over w ≥ 0 the penalty is linear.
    coefficients[voting] = sign * nonnegative(gram, moment[voting] * sign - settings.penalty)
    size = np.abs(coefficients)
    coefficients[size < LEAST_SHARE * size.sum()] = 0.0
    if not coefficients.any():
        best = int(np.argmax(np.abs(mean)))
        coefficients[best] = np.sign(mean[best])
    return Weights(coefficients, settings.within)


def choose(zoos: Sequence[KnownZoo], grid: Sequence[Settings] = GRID) -> Settings:
    """The settings that rank best on sources left out; the first of the grid with one source."""
    folds = by_source(zoos)
    if len(folds) < 2:
        return grid[len(grid) // 2]
    found = [
        np.mean([_mean_worth(weigh(rest, settings), own) for rest, own in folds])
        for settings in grid
    ]
    return grid[int(np.argmax(found))]


def _mean_worth(weights: Weights, zoos: Sequence[KnownZoo]) -> float:
    return float(np.mean([worth(weights.score(z.scores)[:, None], z)[0] for z in zoos]))


def left_out(zoos: Sequence[KnownZoo]) -> Iterator[tuple[KnownZoo, Values]]:
    """Each zoo with its scores by weights, settings included, that never saw its source."""
    for rest, own in by_source(zoos):
        weights = weigh(rest, choose(rest))
        for zoo in own:
            yield zoo, weights.score(zoo.scores)


def combined(scores: Scores, known: np.ndarray, weights: Values, groups: np.ndarray) -> Values:
    """Weighted sums of scores in which what is missing is stood in for.

    The weight of a score that a checkpoint does not have goes to the other measures of its group,
    in proportion to their weights, and where it has none of the group to all the others.

    Args:
        scores: Shape (checkpoints, measures).
        known: Which of them are there.
        weights: Of the measures.
        groups: Group of each measure: measures that stand in for each other.

    Returns:
        Shape (checkpoints,); 0 where a checkpoint has no score at all.
    """
    size = np.abs(weights)
    total, share = np.zeros(len(scores)), np.zeros(len(scores))
    for group in np.unique(groups):
        of_group = groups == group
        there = known[:, of_group] @ size[of_group]
        value = (scores * known)[:, of_group] @ weights[of_group]
        whole = size[of_group].sum()
        total += np.where(there > 0, whole * value / np.maximum(there, 1e-300), 0.0)
        share += whole * (there > 0)
    return np.asarray(np.where(share > 0, total * size.sum() / np.maximum(share, 1e-300), 0.0))
