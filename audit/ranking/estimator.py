"""The scikit-learn estimator that learns to rank from checkpoints of known accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import PredefinedSplit
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from audit.errors import ConfigError, DataError
from audit.ranking._regressors import (
    CANDIDATES,
    LINEAR,
    CardRegressor,
    ChosenRegressor,
    Folds,
    Matrix,
    Vector,
    card_measures,
    folds,
)
from audit.ranking.cards import Card, CardZoo, load_card
from audit.ranking.order import ranking_frame

DEFAULT_MODELS: Final = ("mean", "ridge", "elastic_net", "kernel_ridge")


class GeneralizationRanker(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Predicts held-out accuracy from measures, with intervals, and ranks by it.

    Missing measures become the median of the training rows plus an indicator. The model is
    chosen among a mean baseline and regularised models by cross-validation inside every training
    fold. Intervals are conformal (CV+): the whole procedure, choice included, is repeated with
    each fold left out. Where groups (families) are given to `fit`, folds leave whole groups out.

    Args:
        models: Names of candidates, simplest first: mean, ridge, elastic_net, kernel_ridge.
        cv: Folds, of the choice and of the intervals.
        confidence: Coverage the intervals aim at.
        conformal: Whether to fit what intervals need, five times the work of predictions.
        random_state: Of the folds.

    Attributes:
        chosen_: Name of the model chosen on all rows.
        n_features_in_: Measures seen in `fit`.
        feature_names_in_: Their names, where X was a table.

    Source: Barber et al. (2021), "Predictive inference with the jackknife+", through MAPIE.

    Example:
        >>> X = np.linspace(0, 1, 20)[:, None]
        >>> ranker = GeneralizationRanker().fit(X, X[:, 0])
        >>> ranker.rank(X[[0, 19]])["checkpoint"].tolist()
        ['1', '0']
    """

    def __init__(
        self,
        models: Sequence[str] = DEFAULT_MODELS,
        cv: int = 5,
        confidence: float = 0.9,
        conformal: bool = True,
        random_state: int | None = 0,
    ) -> None:
        self.models = models
        self.cv = cv
        self.confidence = confidence
        self.conformal = conformal
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        """Missing measures are allowed."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def fit(self, X: Any, y: Any, groups: Any = None) -> GeneralizationRanker:
        """Choose a model, fit it, and measure its errors on rows it has not seen.

        Args:
            X: Measures, shape (checkpoints, measures); NaN where unavailable.
            y: Held-out accuracy, shape (checkpoints,).
            groups: Family of each checkpoint; folds then leave whole families out.

        Raises:
            ValueError: Fewer than 2 checkpoints, infinite measures, shapes that do not match.
            ConfigError: An unknown model name, or a confidence outside (0, 1).
        """
        unknown = [name for name in self.models if name not in CANDIDATES]
        if unknown or not self.models:
            raise ConfigError(f"models must be among {', '.join(CANDIDATES)}; found {unknown}")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence must lie between 0 and 1; found {self.confidence}")
        X, y = validate_data(
            self,
            X,
            y,
            ensure_all_finite="allow-nan",
            y_numeric=True,
            dtype=np.float64,
            ensure_min_samples=2,
        )
        y = np.asarray(y, dtype=np.float64)
        codes = _group_codes(groups, len(y))
        chooser = ChosenRegressor(tuple(self.models), self.cv, self.random_state)
        rows = np.column_stack([X, codes])
        splits = folds(len(y), codes if np.any(codes >= 0) else None, self.cv, self.random_state)
        self.model_: ChosenRegressor | CardRegressor = chooser.fit(rows, y)
        self.chosen_ = chooser.chosen_
        # CV+ needs at least 1/(1 − confidence) errors to bound anything.
        self.conformal_ = None
        self.half_width_ = math.inf
        self.n_fitted_ = len(y)
        self.held_out_by_ = "families" if np.any(codes >= 0) else "checkpoints"
        if self.conformal and len(y) >= math.ceil(1 / (1 - self.confidence)) and len(splits) > 1:
            self.conformal_ = self._conformal(rows, y, splits)
        return self

    def _conformal(self, rows: Matrix, y: Vector, splits: Folds) -> Any:
        """MAPIE's CV+ around the whole choice."""
        # Imported here: it takes a second, and ranking by directions does without.
        from mapie.regression import (  # type: ignore[import-untyped,import-not-found,unused-ignore]
            CrossConformalRegressor,
        )

        fold_of = np.empty(len(y), dtype=np.int64)
        for fold, (_, test) in enumerate(splits):
            fold_of[test] = fold
        chooser = ChosenRegressor(tuple(self.models), self.cv, self.random_state)
        conformal = CrossConformalRegressor(
            chooser, confidence_level=self.confidence, method="plus", cv=PredefinedSplit(fold_of)
        )
        return conformal.fit_conformalize(rows, y)

    def _rows(self, X: Any) -> Matrix:
        """Checked measures with the group column the regressors expect."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, ensure_all_finite="allow-nan", dtype=np.float64)
        return np.column_stack([X, np.full(len(X), -1.0)])

    def predict(self, X: Any) -> Vector:
        """Predicted held-out accuracy, shape (checkpoints,)."""
        rows = self._rows(X)
        return np.asarray(self.model_.predict(rows), dtype=np.float64)

    def predict_interval(self, X: Any) -> Matrix:
        """Conformal intervals of the held-out accuracy.

        Returns:
            Lower and upper ends, shape (checkpoints, 2); −∞ and ∞ where fewer than
            1/(1 − confidence) checkpoints were fitted, which bounds nothing.
        """
        rows = self._rows(X)
        if self.conformal_ is None:
            half = np.array([-self.half_width_, self.half_width_])
            return np.asarray(self.model_.predict(rows)[:, None] + half)
        _, bounds = self.conformal_.predict_interval(rows)
        predicted = self.model_.predict(rows)
        ends = np.asarray(bounds[:, :, 0], dtype=np.float64)
        return np.column_stack(
            [np.minimum(ends[:, 0], predicted), np.maximum(ends[:, 1], predicted)]
        )

    def rank(self, X: Any, checkpoints: Sequence[str] | None = None) -> pd.DataFrame:
        """Rank checkpoints, best first; those whose intervals overlap are tied.

        Args:
            X: Measures; a table's index names the checkpoints.
            checkpoints: Their names; by default the index, else 0, 1, ….

        Returns:
            Columns predicted_rank, checkpoint, score, lower, upper, tied_with.
        """
        if checkpoints is None:
            checkpoints = list(map(str, X.index if hasattr(X, "index") else range(len(X))))
        bounds = self.predict_interval(X)
        return ranking_frame(checkpoints, self.predict(X), bounds[:, 0], bounds[:, 1])

    def to_card(self, name: str, zoo: str = "", versions: Mapping[str, str] | None = None) -> Card:
        """The fitted model as a card of kind "accuracy": plain numbers, no code.

        Args:
            name: Of the card.
            zoo: What it was fitted on.
            versions: The version of each measure.

        Raises:
            ConfigError: The model chosen is not linear, or there are too few checkpoints for an
                interval.
        """
        check_is_fitted(self)
        if self.chosen_ not in LINEAR:
            raise ConfigError(
                f"a card carries coefficients, and {self.chosen_} has none: fit with "
                f"models={LINEAR!r}"
            )
        if self.conformal_ is None:
            raise ConfigError("a card needs an interval: fit on more checkpoints")
        assert isinstance(self.model_, ChosenRegressor)  # a card's ranker has no conformal_
        usual = np.append(self.model_.prepare_.usual, -1.0)[None]
        _, bounds = self.conformal_.predict_interval(usual)
        half_width = max(float(bounds[0, 1, 0] - bounds[0, 0, 0]) / 2, 1e-9)
        return Card(
            name=name,
            kind="accuracy",
            intercept=self.model_.intercept,
            half_width={str(self.confidence): half_width},
            measures=card_measures(self.model_, self._names(), versions or {}),
            zoos=[CardZoo(name=zoo or name, n_models=self.n_fitted_)],
            held_out_by=self.held_out_by_,
        )

    @classmethod
    def from_card(cls, source: Card | str | Path | Mapping[str, Any]) -> GeneralizationRanker:
        """A fitted ranker from a card of kind "accuracy"; runs no code of the card's author.

        Args:
            source: A card, a JSON file, or a mapping already read.

        Raises:
            DataError: Not a card, or one of kind "order" (see `rank_by_card`).
        """
        card = source if isinstance(source, Card) else load_card(source)
        if card.kind != "accuracy":
            raise DataError(
                f"card {card.name!r} ranks within a zoo and predicts no accuracies: use "
                f"audit.ranking.rank_by_card"
            )
        confidence = max(float(c) for c in card.half_width)
        ranker = cls(models=LINEAR, confidence=confidence)
        ranker.model_ = CardRegressor(card)
        ranker.chosen_ = f"card {card.name}"
        ranker.conformal_ = None
        ranker.half_width_ = card.width_at(confidence)
        ranker.n_features_in_ = len(card.measures)
        ranker.feature_names_in_ = np.array([m.name for m in card.measures], dtype=object)
        return ranker

    def _names(self) -> list[str]:
        names = getattr(self, "feature_names_in_", None)
        return [f"x{i}" for i in range(self.n_features_in_)] if names is None else list(names)

    def attributions(self, X: Any) -> pd.DataFrame:
        """What each measure adds to each prediction: prediction minus that at its usual value.

        For a linear model this is coefficient × standardised value (its indicator included).

        Returns:
            Shape (checkpoints, measures), in units of the target.
        """
        rows = self._rows(X)
        prepare = self.model_.prepare_
        Z = prepare(rows[:, :-1])
        predicted = self.model_.predict_prepared(Z)
        added = {}
        for i, name in enumerate(self._names()):
            without = np.where(prepare.owner == i, 0.0, Z)
            added[name] = predicted - self.model_.predict_prepared(without)
        return pd.DataFrame(added, index=getattr(X, "index", None))


def _group_codes(groups: Any, n_models: int) -> Vector:
    """Groups as numbers from 0, or −1 everywhere."""
    if groups is None:
        return np.full(n_models, -1.0)
    codes = pd.factorize(np.asarray(groups, dtype=object), use_na_sentinel=False)[0]
    if len(codes) != n_models:
        raise ValueError(f"groups needs one entry per checkpoint: {n_models}; found {len(codes)}")
    return codes.astype(np.float64)
