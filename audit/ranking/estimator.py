"""The scikit-learn estimator that learns to rank from checkpoints of known accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils import Tags, check_array, check_consistent_length
from sklearn.utils.validation import check_is_fitted, validate_data

from audit.errors import ConfigError, DataError
from audit.ranking._conformal import conformal
from audit.ranking._from_card import CardPrior, FromCardRegressor
from audit.ranking._inputs import group_codes, sampling_variance
from audit.ranking._regressors import (
    CANDIDATES,
    LINEAR,
    CardRegressor,
    ChosenRegressor,
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

    With a card the ranker starts from the card's scores, and three known accuracies are enough:
    `fit` is given the whole zoo, with NaN for accuracies that are not known, and averages what
    the card, measures and accuracies say (see `audit.ranking._posterior`) with the fit that
    knows no card, which counts more the more are known. Intervals are then those of the posterior
    while conformal ones would bound nothing.

    Args:
        models: Names of candidates, simplest first: mean, ridge, elastic_net, kernel_ridge.
        cv: Folds, of the choice and of the intervals.
        confidence: Coverage the intervals aim at.
        conformal: Whether to fit what intervals need, five times the work of predictions.
        random_state: Of the folds.
        card: A card to start from: itself, a shipped one's name, or a file. X must then be a
            table whose columns are named as the card names its measures.

    Attributes:
        chosen_: Name of the model chosen on all rows.
        n_features_in_: Measures seen in `fit`.
        feature_names_in_: Their names, where X was a table.
        card_correlation_: With a card, what its scores' correlation with accuracy is believed to
            be here, in [0, 1); without one NaN.

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
        card: Card | str | Path | None = None,
    ) -> None:
        self.models = models
        self.cv = cv
        self.confidence = confidence
        self.conformal = conformal
        self.random_state = random_state
        self.card = card

    def __sklearn_tags__(self) -> Tags:
        """Missing measures are allowed."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def fit(
        self, X: Any, y: Any, groups: Any = None, *, families: Any = None, n_held_out: Any = None
    ) -> GeneralizationRanker:
        """Choose a model, fit it, and measure its errors on rows it has not seen.

        Args:
            X: Measures, shape (checkpoints, measures); NaN where unavailable.
            y: Held-out accuracy, shape (checkpoints,); with a card, NaN where it is not known.
            groups: Family of each checkpoint; folds then leave whole families out.
            families: Family of each checkpoint, for a card that ranks within families; by
                default `groups`.
            n_held_out: Images behind the accuracies, one number or one per checkpoint: with a
                card, how far known accuracies may be off by chance.

        Raises:
            ValueError: Fewer than 2 known accuracies, infinite measures, shapes that do not match.
            ConfigError: An unknown model name, or a confidence outside (0, 1).
            DataError: The card is none, or tells no checkpoint of X from another.
        """
        X, y = self._checked(X, y)
        codes = group_codes(groups, len(y))
        families = codes if families is None else group_codes(families, len(y))
        self.prior_ = self._prior(X, families if np.any(families >= 0) else None)
        known = ~np.isnan(y)
        rows, y, codes = self._coded(X, codes)[known], y[known], codes[known]
        if len(y) < 2:
            raise ValueError(f"fit needs 2 known accuracies or more; found {len(y)}")
        splits = folds(len(y), codes if np.any(codes >= 0) else None, self.cv, self.random_state)
        regressor = self._regressor(sampling_variance(y, n_held_out, known))
        self.model_: ChosenRegressor | CardRegressor | FromCardRegressor = regressor.fit(rows, y)
        self.chosen_ = self.model_.chosen_
        self.card_correlation_ = getattr(self.model_, "card_correlation_", math.nan)
        # CV+ needs at least 1/(1 − confidence) errors to bound anything.
        self.conformal_ = None
        self.half_width_ = math.inf
        self.n_fitted_ = len(y)
        self.held_out_by_ = "families" if np.any(codes >= 0) else "checkpoints"
        if self.conformal and len(y) >= math.ceil(1 / (1 - self.confidence)) and len(splits) > 1:
            self.conformal_ = conformal(clone(regressor), rows, y, splits, self.confidence)
        return self

    def _checked(self, X: Any, y: Any) -> tuple[Matrix, Vector]:
        """Options, and measures and accuracies as numbers; with a card some may be unknown."""
        unknown = [name for name in self.models if name not in CANDIDATES]
        if unknown or not self.models:
            raise ConfigError(f"models must be among {', '.join(CANDIDATES)}; found {unknown}")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence must lie between 0 and 1; found {self.confidence}")
        checks = {"ensure_all_finite": "allow-nan", "dtype": np.float64}
        if self.card is None:
            X, y = validate_data(self, X, y, y_numeric=True, ensure_min_samples=2, **checks)
            return X, np.asarray(y, dtype=np.float64)
        X = validate_data(self, X, ensure_min_samples=2, **checks)
        y = check_array(y, ensure_2d=False, **checks)
        check_consistent_length(X, y)
        return X, np.asarray(y)

    def _prior(self, X: Matrix, families: Vector | None) -> CardPrior | None:
        """The card within the zoo, where there is one."""
        card = load_card(self.card) if isinstance(self.card, str | Path) else self.card
        return None if card is None else CardPrior(card, X, self._names(), families)

    def _regressor(self, noise: float) -> ChosenRegressor | FromCardRegressor:
        """What is fitted, not yet fitted."""
        options = (tuple(self.models), self.cv, self.random_state)
        if self.prior_ is None:
            return ChosenRegressor(*options)
        return FromCardRegressor(self.prior_, noise, *options)

    def _rows(self, X: Any) -> Matrix:
        """Checked measures with the group column the regressors expect."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, ensure_all_finite="allow-nan", dtype=np.float64)
        return self._coded(X, np.full(len(X), -1.0))

    def _coded(self, X: Matrix, codes: Vector) -> Matrix:
        """Measures, where there is a card its scores, and groups, as regressors expect them."""
        return np.column_stack([X, codes] if self.prior_ is None else [X, self.prior_(X), codes])

    def predict(self, X: Any) -> Vector:
        """Predicted held-out accuracy, shape (checkpoints,)."""
        rows = self._rows(X)
        return np.asarray(self.model_.predict(rows), dtype=np.float64)

    def predict_interval(self, X: Any) -> Matrix:
        """Conformal intervals of the held-out accuracy.

        Returns:
            Lower and upper ends, shape (checkpoints, 2). Where fewer than 1/(1 − confidence)
            checkpoints were fitted, conformal intervals bound nothing: −∞ and ∞, or with a card
            credible intervals of the posterior.
        """
        rows = self._rows(X)
        if self.conformal_ is None and isinstance(self.model_, FromCardRegressor):
            return self.model_.predict_interval(rows, self.confidence)
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
            ConfigError: The model chosen is not linear, starts from a card, or was fitted on too
                few checkpoints for an interval.
        """
        check_is_fitted(self)
        if self.card is not None:
            raise ConfigError("a card holds no fit that starts from a card: fit without one")
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
        ranker.prior_ = ranker.conformal_ = None
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
            Shape (checkpoints, measures), in units of the target; with a card, first a column
            for its score.
        """
        rows, index = self._rows(X), getattr(X, "index", None)
        if isinstance(self.model_, FromCardRegressor):
            return pd.DataFrame(self.model_.attributions(rows, self._names()), index=index)
        prepare = self.model_.prepare_
        Z = prepare(rows[:, :-1])
        predicted = self.model_.predict_prepared(Z)
        added = {}
        for i, name in enumerate(self._names()):
            without = np.where(prepare.owner == i, 0.0, Z)
            added[name] = predicted - self.model_.predict_prepared(without)
        return pd.DataFrame(added, index=index)
