"""Regression that starts from a card: what it believes first, and what accuracies make of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin

from audit.errors import DataError
from audit.ranking._posterior import Posterior, Similarity, credibility
from audit.ranking._regressors import (
    LINEAR,
    CardRegressor,
    ChosenRegressor,
    Matrix,
    Vector,
)
from audit.ranking.cards import Card, order_scores

#: Known accuracies at which a plain fit counts as much as what starts from the card.
_EVEN: Final = 8


class CardPrior:
    """A card within a zoo: its scores there, and how credible they are.

    Args:
        card: The card.
        X: Measures of all checkpoints of the zoo, shape (n, p).
        names: Of the measures.
        families: Of the checkpoints, for cards that rank within families.

    Raises:
        DataError: The card tells none of the checkpoints apart.
    """

    def __init__(
        self, card: Card, X: Matrix, names: Sequence[str], families: np.ndarray | None = None
    ) -> None:
        self.card, self._zoo, self._names, self._families = card, X, list(names), families
        scores = self._scores(X, families)
        self._center, self._spread = float(scores.mean()), float(scores.std())
        if not self._spread > 0:
            found = [m.name for m in card.measures if m.name in self._names]
            raise DataError(
                f"card {card.name!r} scores all {len(X)} checkpoints the same; of its measures "
                f"{len(found)} of {len(card.measures)} are there: measure more, or rank without it"
            )
        self._known = {row.tobytes(): score for row, score in zip(X, scores, strict=True)}
        self.similarity = Similarity(X)
        self.record = credibility([z.kendall for z in card.zoos if z.kendall is not None])

    def _scores(self, X: Matrix, families: Sequence[Any] | np.ndarray | None) -> Vector:
        """The card's scores of a whole table."""
        table = pd.DataFrame(X, columns=self._names)
        if self.card.kind == "accuracy":
            measures = table.reindex(columns=[m.name for m in self.card.measures])
            return CardRegressor(self.card).predict(measures.assign(group=-1.0).to_numpy())
        if families is not None:
            table["family"] = families
        return order_scores(self.card, table)

    def __call__(self, X: Matrix) -> Vector:
        """Scores standardised within the zoo, shape (n,).

        A checkpoint of the zoo has its score there; any other is scored as if it alone joined.
        """
        scores = [self._known.get(row.tobytes()) for row in X]
        for i, score in enumerate(scores):
            if score is None:
                joined = np.vstack([self._zoo, X[i]])
                families = None if self._families is None else [*self._families, None]
                scores[i] = self._scores(joined, families)[-1]
        return (np.array(scores, dtype=np.float64) - self._center) / self._spread


class FromCardRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Expected accuracies by the posterior that starts from a card, and by a plain fit.

    Of k known accuracies the plain fit's share is k³ / (k³ + 8³): a twentieth at 3, a fifth at 5,
    half at 8, nine tenths at 16. Two fits that err in different ways are better on average than
    either. This, and the odds of `Posterior`, are what lost least beside the better of card and
    plain fit over zoos of several data sources, any one of which could be left out.

    Rows hold the measures, then the card's score, then the group (−1 everywhere: no groups).

    Args:
        prior: The card within the zoo.
        noise: Variance of an accuracy about what ever more held-out images would give.
        regressors: Of the plain fit (see `ChosenRegressor`).
        cv: Its folds.
        seed: Of its folds.
    """

    def __init__(
        self,
        prior: CardPrior,
        noise: float = 0.0,
        regressors: Sequence[str] = LINEAR,
        cv: int = 5,
        seed: int | None = 0,
    ) -> None:
        self.prior = prior
        self.noise = noise
        self.regressors = regressors
        self.cv = cv
        self.seed = seed

    def fit(self, X: Matrix, y: Vector) -> FromCardRegressor:
        """Fit both."""
        measures, score = X[:, :-2], X[:, -2]
        prior = self.prior
        self.posterior_ = Posterior(
            prior.similarity, measures, score, y, prior.record, noise=self.noise
        )
        plain = ChosenRegressor(self.regressors, self.cv, self.seed)
        self.plain_ = plain.fit(np.delete(X, -2, axis=1), y)
        self.card_correlation_ = self.posterior_.correlation
        self.share_ = len(y) ** 3 / (len(y) ** 3 + _EVEN**3)
        self.chosen_ = f"{plain.chosen_} from card {prior.card.name!r}"
        return self

    def predict(self, X: Matrix) -> Vector:
        """Predictions, shape (n,)."""
        plain = self.plain_.predict(np.delete(X, -2, axis=1))
        posterior = self.posterior_.mean(X[:, :-2], X[:, -2])
        return np.asarray(self.share_ * plain + (1 - self.share_) * posterior)

    def predict_interval(self, X: Matrix, confidence: float) -> Matrix:
        """Credible intervals of the posterior, about the predictions; shape (n, 2)."""
        measures, score = X[:, :-2], X[:, -2]
        moved = self.predict(X) - self.posterior_.mean(measures, score)
        return np.asarray(self.posterior_.interval(measures, score, confidence) + moved[:, None])

    def attributions(self, X: Matrix, names: Sequence[str]) -> dict[str, Vector]:
        """What the card, then each measure beside it, adds to each prediction."""
        predicted = self.predict(X)
        usual = self.plain_.prepare_.usual
        added: dict[str, Any] = {}
        for i, name in enumerate(names):
            without = X.copy()
            without[:, i] = usual[i]
            added[name] = predicted - self.predict(without)
        without = X.copy()
        without[:, -2] = 0.0
        return {f"card {self.prior.card.name}": predicted - self.predict(without), **added}
