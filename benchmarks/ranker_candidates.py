"""The rankers that are tried: each is fitted on zoos of known accuracy and scores one without.

All are linear in scores within the zoo, but for those that aggregate whole rankings. What weighs
the measures differs: nothing (equal votes), a person (hand-picked votes), the zoos fitted on
(regressions, selection), or the agreement of the measures within the very zoo that is ranked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from scipy import optimize, special
from sklearn.linear_model import ElasticNet, LogisticRegression

from audit.errors import DataError
from benchmarks.ranker_zoos import Known, View, by_source, kendall, worth


class Ranker(Protocol):
    """Fitted on zoos of known accuracy; scores one without."""

    def fit(self, zoos: Sequence[Known]) -> Ranker:
        """Learn what there is to learn."""

    def score(self, view: View) -> np.ndarray:
        """Scores, higher is better, shape (checkpoints,)."""


class Linear:
    """Votes weighed and added up."""

    def __init__(self, within: float = 0.0) -> None:
        self.within = within
        self.weights = np.empty(0)

    def fit(self, zoos: Sequence[Known]) -> Linear:
        """Learn the weights."""
        self.weights = self.weigh(zoos)
        return self

    def weigh(self, zoos: Sequence[Known]) -> np.ndarray:
        """Weights of the columns."""
        raise NotImplementedError

    def score(self, view: View) -> np.ndarray:
        """The weighted sum of the votes."""
        return np.asarray(view.votes(self.within) @ self.weights)


class Single(Linear):
    """One column in its declared direction, or, undeclared, in that of the zoos fitted on."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def weigh(self, zoos: Sequence[Known]) -> np.ndarray:
        view = zoos[0].view
        column = view.names.index(self.name)
        weights = np.zeros(len(view.names))
        weights[column] = view.signs[column] or signs_of(zoos)[column]
        return weights


class Votes(Linear):
    """Equal votes in the declared directions, fixed beforehand.

    Args:
        share: Who has one vote: "column", "owner" (a measure with its parts) or "copy" (columns
            whose ranks in the zoo agree to a Spearman correlation of `COPY` or more).
        names: The voters; by default everyone.
        within: Weight of the family.
    """

    def __init__(
        self, share: str = "column", names: Sequence[str] | None = None, within: float = 0.0
    ) -> None:
        super().__init__(within)
        self.share = share
        self.names = names

    def fit(self, zoos: Sequence[Known]) -> Votes:
        return self

    def score(self, view: View) -> np.ndarray:
        signs = view.signs.astype(float)
        if self.names is not None:
            signs = signs * np.isin(view.names, self.names)
        if not signs.any():
            raise DataError("no column to vote")
        columns = np.flatnonzero(signs)
        votes = view.votes(self.within)[:, columns]
        if self.share == "column":
            group = np.arange(len(columns))
        elif self.share == "owner":
            group = np.unique(np.array(view.owners)[columns], return_inverse=True)[1]
        else:
            group = copies(votes)
        return np.asarray(votes @ (signs[columns] / np.bincount(group)[group]))


COPY = 0.95


def copies(votes: np.ndarray, least: float = COPY) -> np.ndarray:
    """The group of each column: average-linked by the absolute correlation of the votes."""
    from scipy.cluster import hierarchy

    if votes.shape[1] < 2:
        return np.zeros(votes.shape[1], dtype=int)
    apart = np.clip(1 - np.abs(correlations(votes)), 0, 1)
    linked = hierarchy.linkage(apart[np.triu_indices(len(apart), 1)], "average")
    return hierarchy.fcluster(linked, 1 - least, "distance") - 1


def correlations(votes: np.ndarray) -> np.ndarray:
    """Correlations of columns; 0 with a constant one."""
    centred = votes - votes.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    unit = centred / np.where(length > 0, length, 1)
    return np.asarray(unit.T @ unit)


def signs_of(zoos: Sequence[Known], within: float = 0.0) -> np.ndarray:
    """Sign of the mean τ of each column, sources weighing the same."""
    return np.sign(mean_taus(zoos, within)[0])


def mean_taus(zoos: Sequence[Known], within: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Mean over sources of each column's worth, and its standard deviation over sources."""
    taus = np.array(
        [
            np.mean([worth(zoo.view.votes(within), zoo) for zoo in own], axis=0)
            for _, own in by_source(zoos)
        ]
    )
    spread = taus.std(axis=0, ddof=1) if len(taus) > 1 else np.full(taus.shape[1], 0.2)
    return taus.mean(axis=0), spread


def moments(zoos: Sequence[Known], within: float) -> tuple[np.ndarray, np.ndarray]:
    """V'V / n and V'y / n, sources weighing the same and zoos within them."""
    gram, moment = 0.0, 0.0
    groups = by_source(zoos)
    for _, own in groups:
        for zoo in own:
            votes = zoo.view.votes(within)
            share = 1 / (len(votes) * len(own) * len(groups))
            target = (1 - within) * zoo.target + within * inside_target(zoo)
            gram = gram + share * votes.T @ votes
            moment = moment + share * votes.T @ target
    return np.asarray(gram), np.asarray(moment)


def inside_target(zoo: Known) -> np.ndarray:
    """Normal scores of the accuracies within families."""
    from audit.ranking.scores import family_scores

    return family_scores(zoo.accuracy, zoo.view.families)


class Ridge(Linear):
    """Ridge regression of the accuracies' scores on the votes."""

    def __init__(self, penalty: float, within: float = 0.0) -> None:
        super().__init__(within)
        self.penalty = penalty

    def weigh(self, zoos: Sequence[Known]) -> np.ndarray:
        gram, moment = moments(zoos, self.within)
        return np.linalg.solve(gram + self.penalty * np.eye(len(gram)), moment)


class NonNegative(Linear):
    """Non-negative least squares in given directions, weights drawn together.

    The minimum of |y − V w|² + penalty · |w − m|² over w ≥ 0, m the equal weights whose votes fit
    best ("equal"), or 0 ("none"). Directions are those that the zoos fitted on show ("seen"), or
    those declared, undeclared columns left out ("declared").
    """

    def __init__(
        self,
        penalty: float,
        within: float = 0.0,
        toward: str = "equal",
        signs: str = "seen",
        least: float = -1.0,
    ) -> None:
        super().__init__(within)
        self.penalty = penalty
        self.toward = toward
        self.signs = signs
        self.least = least

    def weigh(self, zoos: Sequence[Known]) -> np.ndarray:
        gram, moment = moments(zoos, self.within)
        signs = signs_of(zoos) if self.signs == "seen" else zoos[0].view.signs.astype(float)
        if self.least > -1:
            mean, _ = mean_taus(zoos)
            signs = signs * (signs * mean >= self.least)
        kept = np.flatnonzero(signs)
        sign = signs[kept]
        gram = gram[np.ix_(kept, kept)] * np.outer(sign, sign)
        moment = moment[kept] * sign
        center = np.zeros(len(kept))
        if self.toward == "equal":
            center += max(moment.sum() / gram.sum(), 0.0)
        weights = np.zeros(len(signs))
        found = nonnegative(gram + self.penalty * np.eye(len(kept)), moment + self.penalty * center)
        weights[kept] = sign * found
        return weights


def nonnegative(gram: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """The minimum of w'Gw/2 − c'w over w ≥ 0."""
    root = np.linalg.cholesky(gram + 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram)))
    return np.asarray(optimize.nnls(root.T, np.linalg.solve(root, moment))[0])


class Sparse(Linear):
    """Elastic net of the accuracies' scores on the votes, free or non-negative in sign."""

    def __init__(
        self, penalty: float, share: float = 1.0, positive: bool = False, within: float = 0.0
    ) -> None:
        super().__init__(within)
        self.penalty = penalty
        self.share = share
        self.positive = positive

    def weigh(self, zoos: Sequence[Known]) -> np.ndarray:
        signs = signs_of(zoos) if self.positive else np.ones(len(zoos[0].view.names))
        V = np.vstack([zoo.view.votes(self.within) for zoo in zoos]) * signs
        y = np.concatenate(
            [(1 - self.within) * z.target + self.within * inside_target(z) for z in zoos]
        )
        model = ElasticNet(
            alpha=self.penalty,
            l1_ratio=self.share,
            fit_intercept=False,
            positive=self.positive,
            max_iter=3000,
            tol=1e-3,
        )
        return np.asarray(model.fit(V, y).coef_ * signs)


class Pairwise(Linear):
    """Bradley–Terry: a logistic regression of which of two wins on the difference of votes."""

    PAIRS = 400

    def __init__(self, penalty: float, within: float = 0.0) -> None:
        super().__init__(within)
        self.penalty = penalty

    def weigh(self, zoos: Sequence[Known]) -> np.ndarray:
        rng = np.random.default_rng(0)
        X, y = [], []
        for zoo in zoos:
            votes = zoo.view.votes(self.within)
            i, j = np.triu_indices(len(votes), 1)
            wanted = np.flatnonzero(zoo.sign != 0)
            wanted = rng.permutation(wanted)[: self.PAIRS]
            flip = rng.choice([-1.0, 1.0], len(wanted))
            X.append((votes[i[wanted]] - votes[j[wanted]]) * flip[:, None])
            y.append(zoo.sign[wanted] * flip)
        model = LogisticRegression(C=1 / self.penalty, fit_intercept=False, tol=1e-3)
        return np.asarray(model.fit(np.vstack(X), np.concatenate(y)).coef_[0])


class Evidence(Linear):
    """Votes weighed by how surely each ranked the zoos fitted on, near copies sharing.

    The weight of a column is max(0, |mean τ| − doubt · standard error over sources) ^ power,
    divided by the sum of its squared correlations with all that vote.
    """

    def __init__(
        self, doubt: float = 1.0, power: float = 1.0, share: bool = True, within: float = 0.0
    ) -> None:
        super().__init__(within)
        self.doubt = doubt
        self.power = power
        self.share = share

    def weigh(self, zoos: Sequence[Known]) -> np.ndarray:
        mean, spread = mean_taus(zoos, self.within)
        n_sources = len(by_source(zoos))
        error = np.sqrt(spread**2 / n_sources + 0.1**2 / len(zoos))
        sure = np.maximum(np.abs(mean) - self.doubt * error, 0) ** self.power
        if self.share:
            alike = np.mean([correlations(z.view.votes(self.within)) ** 2 for z in zoos], axis=0)
            sure = sure / (alike @ (sure > 0) + 1e-12)
        return np.asarray(np.sign(mean) * sure)


class Greedy(Linear):
    """Equal votes chosen one by one, each the one that raises the mean worth most.

    A vote may be chosen twice, which doubles it (Caruana et al. 2004, ensemble selection). Signs
    are those that the zoos fitted on show.
    """

    def __init__(self, size: int, within: float = 0.0, cautious: float = 0.0) -> None:
        super().__init__(within)
        self.size = size
        self.cautious = cautious

    def weigh(self, zoos: Sequence[Known]) -> np.ndarray:
        signs = signs_of(zoos)
        groups = by_source(zoos)
        signed = {zoo.view.name: zoo.view.votes(self.within) * signs for zoo in zoos}
        total = {zoo.view.name: np.zeros(len(zoo.accuracy)) for zoo in zoos}
        weights = np.zeros(len(signs))
        for _ in range(self.size):
            gains = np.array(
                [
                    np.mean(
                        [
                            worth(total[z.view.name][:, None] + signed[z.view.name], z)
                            for z in own
                        ],
                        axis=0,
                    )
                    for _, own in groups
                ]
            )
            value = gains.mean(axis=0) - self.cautious * gains.std(axis=0)
            best = int(np.argmax(value))
            weights[best] += signs[best]
            for zoo in zoos:
                total[zoo.view.name] = total[zoo.view.name] + signed[zoo.view.name][:, best]
        return weights


class Tuned:
    """A ranker whose settings are those that rank best on sources left out of its own fit."""

    def __init__(
        self, make: Callable[..., Any], grid: Sequence[Mapping[str, Any]], cautious: float = 0.0
    ) -> None:
        self.make = make
        self.grid = list(grid)
        self.cautious = cautious

    def fit(self, zoos: Sequence[Known]) -> Tuned:
        found = np.zeros(len(self.grid))
        folds = by_source(zoos)
        if len(folds) > 1:
            for number, settings in enumerate(self.grid):
                found[number] = np.mean(
                    [_mean_worth(self.make(**settings).fit(rest), own) for rest, own in folds]
                )
        self.settings = self.grid[int(np.argmax(found))]
        self.chosen = self.make(**self.settings).fit(zoos)
        return self

    def score(self, view: View) -> np.ndarray:
        return np.asarray(self.chosen.score(view))


def _mean_worth(ranker: Any, zoos: Sequence[Known]) -> float:
    return float(np.mean([worth(ranker.score(z.view)[:, None], z)[0] for z in zoos]))


class Agreement:
    """Weights from the agreement of the votes within the zoo that is ranked; no accuracy at all.

    - "spectral": the leading eigenvector of the votes' correlations off the diagonal, which for
      votes that err independently is proportional to their skill (Parisi et al. 2014, PNAS, who
      use it for classifiers; here for scores). Copies count once.
    - "dawid_skene": expectation–maximisation on pairs: every vote says which of two checkpoints
      is better and is right with its own probability (Dawid & Skene 1979, one coin per voter).
    - "kemeny": the ranking with the fewest contradicted votes over pairs, searched by moving one
      checkpoint at a time from Borda's.

    Args:
        how: Which.
        prior: A ranker that is fitted on other zoos and whose weights multiply the agreement; by
            default declared directions alone.
        strength: Exponent of the agreement.
    """

    def __init__(
        self,
        how: str = "spectral",
        prior: Linear | Tuned | None = None,
        strength: float = 1.0,
        within: float = 0.0,
    ) -> None:
        self.how = how
        self.prior = prior
        self.strength = strength
        self.within = within

    def fit(self, zoos: Sequence[Known]) -> Agreement:
        if self.prior is not None:
            self.prior.fit(zoos)
        return self

    def score(self, view: View) -> np.ndarray:
        weights, within = view.signs.astype(float), self.within
        if self.prior is not None:
            fitted = self.prior.chosen if isinstance(self.prior, Tuned) else self.prior
            weights, within = fitted.weights, fitted.within
        voters = np.flatnonzero(weights)
        votes = view.votes(within)[:, voters] * np.sign(weights[voters])
        given = np.abs(weights[voters])
        if self.prior is None:
            group = copies(votes)
            given = 1 / np.bincount(group)[group]
        if self.how == "kemeny":
            return kemeny(votes, given)
        skill = spectral(votes, given) if self.how == "spectral" else dawid_skene(votes, given)
        return np.asarray(votes @ (given * np.maximum(skill, 0) ** self.strength))


def spectral(votes: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Skill of each vote: the rank-one fit of the correlations off the diagonal."""
    matrix = correlations(votes)
    matrix = matrix * np.sqrt(np.outer(given, given)) / given.mean()
    diagonal = np.zeros(len(matrix))
    for _ in range(50):
        np.fill_diagonal(matrix, diagonal)
        values, vectors = np.linalg.eigh(matrix)
        leading = vectors[:, -1] * np.sqrt(max(values[-1], 0.0))
        diagonal = leading**2
    leading = leading * (np.sign(leading.sum()) or 1.0)
    return np.asarray(np.clip(leading / np.sqrt(given / given.mean()), -1, 1))


def dawid_skene(votes: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Log odds of every vote to order a pair rightly, by expectation–maximisation."""
    i, j = np.triu_indices(len(votes), 1)
    said = np.sign(votes[i] - votes[j])
    odds = np.ones(votes.shape[1])
    for _ in range(30):
        belief = special.expit(said @ (odds * given) / max(given.sum() / 5, 1.0))
        right = (belief[:, None] * (said > 0) + (1 - belief)[:, None] * (said < 0)).sum(axis=0)
        share = np.clip(right / np.maximum((said != 0).sum(axis=0), 1), 0.02, 0.98)
        odds = special.logit(share)
    return np.asarray(odds)


def kemeny(votes: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Positions in the ranking that contradicts the fewest votes, by local search from Borda's."""
    n = len(votes)
    margin = (np.sign(votes[:, None] - votes[None]) * given).sum(axis=2)
    order = list(np.argsort(-(votes @ given), kind="stable"))
    for _ in range(20):
        moved = False
        for item in list(order):
            place = order.index(item)
            rest = order[:place] + order[place + 1 :]
            # Gain of standing before each of the rest, from the end backwards.
            before = margin[item, rest]
            gain = np.concatenate([np.cumsum(before[::-1])[::-1], [0.0]])
            gain = gain - np.concatenate([[0.0], np.cumsum(before)])
            best = int(np.argmax(gain))
            if gain[best] > gain[place] + 1e-9:
                order = [*rest[:best], item, *rest[best:]]
                moved = True
        if not moved:
            break
    score = np.empty(n)
    score[order] = -np.arange(n)
    return score
