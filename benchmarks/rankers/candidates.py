"""The rankers that are tried: each is fitted on zoos of known accuracy and scores one without.

All but one add up weighed scores within the zoo. They differ in what weighs the measures: nothing
(equal votes), a person (hand-picked votes), the zoos fitted on (regressions, selection), or the
agreement of the measures within the very zoo that is ranked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from sklearn.linear_model import ElasticNet, LogisticRegression

from audit.ranking.scores import KnownZoo, ZooScores, by_source, copy_groups, correlations, worth
from audit.ranking.weighing import Settings, mean_worth, moments, nonnegative, weigh
from benchmarks.rankers.agreement import AGREEMENTS, kemeny
from benchmarks.rankers.zoos import Columns

#: Pairs of each zoo that the pairwise model is fitted on.
N_PAIRS: Final = 400


class Ranker(Protocol):
    """Fitted on zoos of known accuracy; scores one without."""

    def fit(self, zoos: Sequence[KnownZoo]) -> Ranker:
        """Learn what there is to learn."""

    def score(self, zoo: ZooScores) -> np.ndarray:
        """Scores, higher is better, shape (checkpoints,)."""


class Linear:
    """Scores weighed and added up; subclasses say by what.

    Attributes:
        within: Weight of a checkpoint's place within its family.
        weights: Of the measures, once fitted.
    """

    within = 0.0
    weights: np.ndarray

    def fit(self, zoos: Sequence[KnownZoo]) -> Linear:
        """Learn the weights."""
        self.weights = self.weigh(zoos)
        return self

    def weigh(self, zoos: Sequence[KnownZoo]) -> np.ndarray:
        """Weights of the measures, from zoos of known accuracy."""
        raise NotImplementedError

    def score(self, zoo: ZooScores) -> np.ndarray:
        """The weighted sum."""
        return np.asarray(zoo.mixed(self.within) @ self.weights)


class Votes(Linear):
    """Equal votes in the declared directions, fixed beforehand.

    Args:
        columns: What is declared.
        share: Who has one vote: "column", "measure" (with its parts) or "copies" (columns that
            nearly rank this zoo alike).
        names: The voters; by default every column with a direction.
        within: Weight of the family.
    """

    def __init__(
        self,
        columns: Columns,
        share: str = "column",
        names: Sequence[str] | None = None,
        within: float = 0.0,
    ) -> None:
        voting = np.isin(columns.names, list(names)) if names is not None else 1
        self.signs = columns.signs * voting
        self.owners = np.unique(columns.owners, return_inverse=True)[1]
        self.share = share
        self.within = within

    def fit(self, zoos: Sequence[KnownZoo]) -> Votes:
        """Nothing is learned."""
        return self

    def score(self, zoo: ZooScores) -> np.ndarray:
        """The mean vote."""
        voters = np.flatnonzero(self.signs)
        votes = zoo.mixed(self.within)[:, voters]
        if self.share == "copies":
            groups = copy_groups(votes)
        else:
            groups = self.owners[voters] if self.share == "measure" else np.arange(len(voters))
        return np.asarray(votes @ (self.signs[voters] / np.bincount(groups)[groups]))


class Best(Linear):
    """The one column that is worth most on the zoos fitted on."""

    def weigh(self, zoos: Sequence[KnownZoo]) -> np.ndarray:
        """1 for the best, in the direction found."""
        mean = mean_worth(zoos)
        best = int(np.argmax(np.abs(mean)))
        return np.where(np.arange(len(mean)) == best, np.sign(mean), 0.0)


class Ridge(Linear):
    """Ridge regression of the accuracies' scores on the measures'."""

    def __init__(self, penalty: float, within: float = 0.0) -> None:
        self.penalty, self.within = penalty, within

    def weigh(self, zoos: Sequence[KnownZoo]) -> np.ndarray:
        """Coefficients."""
        gram, moment = moments(zoos, self.within)
        return np.asarray(np.linalg.solve(gram + self.penalty * np.eye(len(gram)), moment))


class Product(Linear):
    """The product's own: a lasso of the signs that the zoos fitted on show, copies sharing."""

    def __init__(self, penalty: float, within: float = 0.0) -> None:
        self.penalty, self.within = penalty, within

    def weigh(self, zoos: Sequence[KnownZoo]) -> np.ndarray:
        """Coefficients."""
        return weigh(zoos, Settings(self.penalty, self.within)).coefficients


class Few(Linear):
    """Equal votes of the measures worth most, one a measure with its parts and filtrations.

    Worth is the mean over sources less `doubt` standard deviations over them.
    """

    def __init__(self, columns: Columns, size: int, doubt: float = 0.0) -> None:
        self.families = [owner.split(".")[0] for owner in columns.owners]
        self.size, self.doubt = size, doubt

    def weigh(self, zoos: Sequence[KnownZoo]) -> np.ndarray:
        """±1 for those chosen."""
        alone = np.array([np.mean([z.alone for z in own], axis=0) for _, own in by_source(zoos)])
        mean = alone.mean(axis=0)
        sure = np.abs(mean) - self.doubt * alone.std(axis=0)
        best: dict[str, int] = {}
        for index in np.argsort(-sure):
            best.setdefault(self.families[index], int(index))
        chosen = list(best.values())[: self.size]
        weights = np.zeros(len(mean))
        weights[chosen] = np.sign(mean[chosen])
        return weights


class Shrunk(Linear):
    """Least squares non-negative in the directions found, drawn towards equal votes."""

    def __init__(self, penalty: float, within: float = 0.0) -> None:
        self.penalty, self.within = penalty, within

    def weigh(self, zoos: Sequence[KnownZoo]) -> np.ndarray:
        """Coefficients."""
        sign = np.sign(mean_worth(zoos))
        gram, moment = moments(zoos, self.within)
        gram, moment = gram * np.outer(sign, sign), moment * sign
        equal = max(moment.sum() / max(gram.sum(), 1e-12), 0.0)
        penalty = self.penalty * np.eye(len(gram))
        return np.asarray(sign * nonnegative(gram + penalty, moment + self.penalty * equal))


class NonNegative(Linear):
    """Non-negative least squares on signed scores, drawn towards nothing.

    Args:
        penalty: Of the squared weights.
        within: Weight of the family.
        columns: Signs are those declared here; by default those that the zoos fitted on show.
        least: Columns worth less than this on the zoos fitted on are left out.
    """

    def __init__(
        self,
        penalty: float,
        within: float = 0.0,
        columns: Columns | None = None,
        least: float = 0.0,
    ) -> None:
        self.penalty, self.within, self.columns, self.least = penalty, within, columns, least

    def weigh(self, zoos: Sequence[KnownZoo]) -> np.ndarray:
        """Coefficients, 0 for columns without a sign."""
        mean = mean_worth(zoos)
        sign = np.sign(mean) if self.columns is None else self.columns.signs.astype(float)
        kept = np.flatnonzero(sign * mean >= self.least if self.columns is None else sign)
        weights = np.zeros(len(sign))
        if len(kept):
            gram, moment = moments(zoos, self.within)
            gram = gram[np.ix_(kept, kept)] * np.outer(sign[kept], sign[kept])
            gram = gram + self.penalty * np.eye(len(kept))
            weights[kept] = sign[kept] * nonnegative(gram, moment[kept] * sign[kept])
        return weights


class Sparse(Linear):
    """Lasso or elastic net, free in sign or of the signs that the zoos fitted on show."""

    def __init__(
        self, penalty: float, within: float = 0.0, ratio: float = 1.0, positive: bool = False
    ) -> None:
        self.penalty, self.within = penalty, within
        self.ratio, self.positive = ratio, positive

    def weigh(self, zoos: Sequence[KnownZoo]) -> np.ndarray:
        """Coefficients."""
        signs = np.sign(mean_worth(zoos)) if self.positive else np.ones(len(zoos[0].alone))
        scores = np.vstack([zoo.scores.mixed(self.within) for zoo in zoos]) * signs
        target = np.concatenate([mixed_target(zoo, self.within) for zoo in zoos])
        model = ElasticNet(
            alpha=self.penalty,
            l1_ratio=self.ratio,
            fit_intercept=False,
            positive=self.positive,
            precompute=True,
            tol=1e-3,
        )
        return np.asarray(model.fit(scores, target).coef_ * signs)


def mixed_target(zoo: KnownZoo, within: float) -> np.ndarray:
    """What a ranker that weighs the family should predict."""
    return (1 - within) * zoo.target + within * zoo.inside_target


class Pairwise(Linear):
    """Bradley–Terry: a logistic regression of which of two is better on differences of scores."""

    def __init__(self, penalty: float, within: float = 0.0) -> None:
        self.penalty, self.within = penalty, within

    def weigh(self, zoos: Sequence[KnownZoo]) -> np.ndarray:
        """Coefficients, from the same number of random pairs of each zoo."""
        rng = np.random.default_rng(0)
        differences, better = [], []
        for zoo in zoos:
            scores = zoo.scores.mixed(self.within)
            i, j = np.triu_indices(len(scores), 1)
            pairs = rng.permutation(np.flatnonzero(zoo.sign))[:N_PAIRS]
            turn = rng.choice([-1.0, 1.0], len(pairs))
            differences.append((scores[i[pairs]] - scores[j[pairs]]) * turn[:, None])
            better.append(zoo.sign[pairs] * turn)
        model = LogisticRegression(C=1 / self.penalty, fit_intercept=False, tol=1e-2)
        return np.asarray(model.fit(np.vstack(differences), np.concatenate(better)).coef_[0])


class Evidence(Linear):
    """Votes weighed by how surely each ranked the zoos fitted on, near copies sharing.

    The weight of a column is max(0, |mean worth| − doubt · its standard error over sources) to a
    power, over the sum of its squared correlations with all that vote.
    """

    def __init__(self, doubt: float = 1.0, power: float = 1.0, within: float = 0.0) -> None:
        self.doubt, self.power, self.within = doubt, power, within

    def weigh(self, zoos: Sequence[KnownZoo]) -> np.ndarray:
        """Signed weights."""
        alone = np.array([np.mean([z.alone for z in own], axis=0) for _, own in by_source(zoos)])
        error = np.sqrt((alone.var(axis=0) + 0.1**2) / len(alone))
        mean = alone.mean(axis=0)
        sure = np.maximum(np.abs(mean) - self.doubt * error, 0.0) ** self.power
        alike = np.mean([correlations(z.scores.mixed(self.within)) ** 2 for z in zoos], axis=0)
        return np.asarray(np.sign(mean) * sure / (alike @ (sure > 0) + 1e-12))


class Leaning(Linear):
    """Non-negative least squares, drawn towards votes by evidence in place of equal ones."""

    def __init__(self, penalty: float, doubt: float = 1.0, within: float = 0.0) -> None:
        self.penalty, self.doubt, self.within = penalty, doubt, within

    def weigh(self, zoos: Sequence[KnownZoo]) -> np.ndarray:
        """Coefficients."""
        prior = Evidence(self.doubt, 1.0, self.within).weigh(zoos)
        kept = np.flatnonzero(prior)
        if not len(kept):
            return prior
        sign, gram, moment = np.sign(prior[kept]), *moments(zoos, self.within)
        gram = gram[np.ix_(kept, kept)] * np.outer(sign, sign)
        moment, center = moment[kept] * sign, np.abs(prior[kept])
        center *= max(center @ moment / (center @ gram @ center), 0.0)
        penalty = self.penalty * np.eye(len(kept))
        weights = np.zeros(len(prior))
        weights[kept] = sign * nonnegative(gram + penalty, moment + self.penalty * center)
        return weights


class Greedy(Linear):
    """Equal votes chosen one by one, each that which raises the mean worth over sources most.

    One may be chosen twice, which doubles its vote (ensemble selection, Caruana et al. 2004).
    With `cautious`, worth less so many standard deviations over sources is raised instead.
    """

    def __init__(self, size: int, within: float = 0.0, cautious: float = 0.0) -> None:
        self.size, self.within, self.cautious = size, within, cautious

    def weigh(self, zoos: Sequence[KnownZoo]) -> np.ndarray:
        """Signed numbers of votes."""
        signs = np.sign(mean_worth(zoos))
        groups = [own for _, own in by_source(zoos)]
        votes = {zoo.scores.name: zoo.scores.mixed(self.within) * signs for zoo in zoos}
        total = {name: np.zeros((len(v), 1)) for name, v in votes.items()}
        weights = np.zeros(len(signs))
        for _ in range(self.size):
            found = np.array(
                [
                    np.mean([worth(total[z.scores.name] + votes[z.scores.name], z) for z in own], 0)
                    for own in groups
                ]
            )
            best = int(np.argmax(found.mean(axis=0) - self.cautious * found.std(axis=0)))
            weights[best] += signs[best]
            for name, of_zoo in votes.items():
                total[name] = total[name] + of_zoo[:, [best]]
        return weights


class Tuned(Linear):
    """A ranker with the settings that rank best on sources left out of its own fit."""

    def __init__(self, make: Callable[..., Linear], grid: Sequence[Mapping[str, Any]]) -> None:
        self.make, self.grid = make, list(grid)

    def fit(self, zoos: Sequence[KnownZoo]) -> Tuned:
        """Choose the settings, then fit on all zoos."""
        folds = by_source(zoos)
        found = [
            np.mean([_mean_worth(self.make(**settings).fit(rest), own) for rest, own in folds])
            if len(folds) > 1
            else 0.0
            for settings in self.grid
        ]
        self.settings = self.grid[int(np.argmax(np.array(found)))]
        chosen = self.make(**self.settings).fit(zoos)
        self.weights, self.within = chosen.weights, chosen.within
        return self


def _mean_worth(ranker: Ranker, zoos: Sequence[KnownZoo]) -> float:
    return float(np.mean([worth(ranker.score(z.scores)[:, None], z)[0] for z in zoos]))


class Averaged:
    """The mean of several rankers' scores, each of unit variance."""

    def __init__(self, rankers: Sequence[Ranker]) -> None:
        self.rankers = rankers

    def fit(self, zoos: Sequence[KnownZoo]) -> Averaged:
        """Fit them all."""
        for ranker in self.rankers:
            ranker.fit(zoos)
        return self

    def score(self, zoo: ZooScores) -> np.ndarray:
        """The mean."""
        scores = [ranker.score(zoo) for ranker in self.rankers]
        return np.asarray(np.mean([score / (score.std() or 1.0) for score in scores], axis=0))


class Agreement:
    """Votes weighed by their agreement within the zoo that is ranked: no accuracy is needed.

    Args:
        how: "spectral", "dawid_skene" or "kemeny" (see `agreement`).
        columns: Directions are those declared here, and near copies share a vote.
        prior: In place of declared directions: a ranker that is fitted on other zoos, whose
            weights multiply the agreement.
        strength: Exponent of the agreement.
    """

    def __init__(
        self,
        how: str,
        columns: Columns | None = None,
        prior: Linear | None = None,
        strength: float = 1.0,
    ) -> None:
        self.how, self.columns, self.prior, self.strength = how, columns, prior, strength

    def fit(self, zoos: Sequence[KnownZoo]) -> Agreement:
        """Fit the prior."""
        if self.prior is not None:
            self.prior.fit(zoos)
        return self

    def score(self, zoo: ZooScores) -> np.ndarray:
        """Scores, or positions for "kemeny"."""
        if self.prior is not None:
            weights, within = self.prior.weights, self.prior.within
        else:
            assert self.columns is not None
            weights, within = self.columns.signs.astype(float), 0.0
        voters = np.flatnonzero(weights)
        votes = zoo.mixed(within)[:, voters] * np.sign(weights[voters])
        given = np.abs(weights[voters])
        if self.prior is None:
            groups = copy_groups(votes)
            given = 1 / np.bincount(groups)[groups]
        if self.how == "kemeny":
            return kemeny(votes, given)
        skill = AGREEMENTS[self.how](votes, given)
        return np.asarray(votes @ (given * np.maximum(skill, 0.0) ** self.strength))
