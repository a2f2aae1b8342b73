"""Preparing measures, and choosing a regularised regressor by cross-validation.

Everything learnt from data (medians, scales, the choice of the regressor) is learnt from the rows
given to `fit`, so that whoever holds rows out holds them out of all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import ElasticNet, Ridge
from sklearn.model_selection import GroupKFold, KFold

from audit.ranking.cards import Card, CardMeasure, Scaled

Matrix = Float[np.ndarray, "n p"]
Vector = Float[np.ndarray, " n"]
Folds = list[tuple[np.ndarray, np.ndarray]]

#: A positive measure spanning more than this factor is taken in logarithms.
LOG_SPAN: Final = 100.0
#: Standardised values are held within this, so that one outlier cannot run away.
CLIP: Final = 5.0

#: The candidates by name, simplest first: where two do equally well the simpler is kept.
CANDIDATES: Final[dict[str, list[Any]]] = {
    "mean": [DummyRegressor()],
    "ridge": [Ridge(alpha=alpha, solver="cholesky") for alpha in (1000.0, 100.0, 10.0, 1.0, 0.1)],
    # Near copies among the measures make the last digits slow; they decide nothing.
    "elastic_net": [
        ElasticNet(alpha=alpha, tol=1e-3, max_iter=20_000) for alpha in (0.3, 0.1, 0.03)
    ],
    "kernel_ridge": [KernelRidge(alpha=alpha, kernel="rbf") for alpha in (1.0, 0.1)],
}
#: The candidates that a card can carry: plain coefficients.
LINEAR: Final = ("mean", "ridge", "elastic_net")


class Preparation:
    """Measures as standardised columns: logarithm, median in gaps, indicator of the gap.

    A missing value becomes the median of the fitted rows, and a 0/1 column says that it was
    missing wherever any fitted row missed it. Positive measures spanning more than a factor of
    100 are taken in logarithms. Columns are then centred and scaled, and held within ±5.

    Attributes:
        logarithmic: Which columns are taken in logarithms, shape (p,).
        fill: Value of a gap, after the logarithm, shape (p,); 0 for columns never seen.
        indicated: Which columns have an indicator, shape (p,).
        center: Mean of the fitted columns and indicators, shape (q,).
        spread: Their standard deviation, 1 where they are constant, shape (q,).
        lower: Least value of each measure, shape (p,); ∞ for columns never seen.
        upper: Greatest value, shape (p,); −∞ for columns never seen.
    """

    def __init__(self, X: Matrix) -> None:
        seen = ~np.isnan(X)
        self.lower = lowest = np.where(seen, X, np.inf).min(axis=0)
        self.upper = highest = np.where(seen, X, -np.inf).max(axis=0)
        self.logarithmic = (lowest > 0) & (highest > LOG_SPAN * np.maximum(lowest, 1e-300))
        self.logarithmic &= np.isfinite(lowest)
        X = self._scaled(X)
        self.fill = _medians(X)
        self.indicated = np.isnan(X).any(axis=0) & seen.any(axis=0)
        filled = self._filled(X)
        self.center = filled.mean(axis=0)
        spread = filled.std(axis=0)
        constant = spread <= 1e-12 * np.maximum(np.abs(self.center), 1e-300)
        self.spread = np.where(constant, 1.0, spread)

    @classmethod
    def of_card(cls, card: Card) -> Preparation:
        """The preparation a card describes."""
        prepare = cls.__new__(cls)
        columns = card_columns(card)
        prepare.logarithmic = np.array([m.logarithmic for m in card.measures])
        prepare.fill = np.array([m.fill for m in card.measures])
        prepare.indicated = np.array([m.missing is not None for m in card.measures])
        prepare.center = np.array([column.center for column in columns])
        prepare.lower = np.array([m.lower for m in card.measures])
        prepare.upper = np.array([m.upper for m in card.measures])
        prepare.spread = np.array([column.spread for column in columns])
        return prepare

    def _scaled(self, X: Matrix) -> Matrix:
        """Logarithms where they are taken; values a logarithm cannot take are missing."""
        taken = np.full_like(X, np.nan)
        np.log(X, out=taken, where=self.logarithmic & (X > 0))
        return np.where(self.logarithmic, taken, X)

    def _filled(self, X: Matrix) -> Matrix:
        missing = np.isnan(X)
        return np.hstack(
            [np.where(missing, self.fill, X), missing[:, self.indicated].astype(float)]
        )

    def __call__(self, X: Matrix) -> Matrix:
        """Standardised columns then indicators, shape (n, q)."""
        filled = self._filled(self._scaled(X))
        return np.asarray(np.clip((filled - self.center) / self.spread, -CLIP, CLIP))

    @property
    def usual(self) -> Vector:
        """The usual value of each measure as it was measured, shape (p,)."""
        center = self.center[: len(self.fill)]
        return np.where(self.logarithmic, np.exp(np.where(self.logarithmic, center, 0.0)), center)

    @property
    def owner(self) -> np.ndarray:
        """The measure each prepared column belongs to, shape (q,)."""
        n_measures = len(self.fill)
        return np.concatenate([np.arange(n_measures), np.flatnonzero(self.indicated)])


def card_measures(
    regressor: ChosenRegressor, names: Sequence[str], versions: Mapping[str, str]
) -> list[CardMeasure]:
    """A fitted linear regressor's measures, as a card holds them."""
    prepare, coefficients = regressor.prepare_, regressor.coefficients
    n = len(names)
    indicators = {
        int(owner): Scaled(coefficient=c, center=m, spread=s)
        for owner, c, m, s in zip(
            prepare.owner[n:], coefficients[n:], prepare.center[n:], prepare.spread[n:], strict=True
        )
    }
    return [
        CardMeasure(
            name=str(name),
            version=versions.get(str(name), ""),
            coefficient=coefficients[i],
            lower=prepare.lower[i] if np.isfinite(prepare.lower[i]) else 0.0,
            upper=prepare.upper[i] if np.isfinite(prepare.upper[i]) else 0.0,
            logarithmic=bool(prepare.logarithmic[i]),
            fill=prepare.fill[i],
            center=prepare.center[i],
            spread=prepare.spread[i],
            missing=indicators.get(i),
        )
        for i, name in enumerate(names)
    ]


def _medians(X: Matrix) -> Vector:
    """Median of the known values of each column; 0 where none is."""
    medians = np.zeros(X.shape[1])
    known = ~np.isnan(X).all(axis=0)
    medians[known] = np.nanmedian(X[:, known], axis=0)
    return medians


def folds(n_checkpoints: int, groups: np.ndarray | None, n_splits: int, seed: int | None) -> Folds:
    """Cross-validation folds: by group where there are two or more, else shuffled."""
    rows = np.zeros((n_checkpoints, 1))
    if groups is not None:
        n_groups = len(np.unique(groups))
        if n_groups >= 2:
            splitter = GroupKFold(n_splits=min(n_splits, n_groups))
            return list(splitter.split(rows, groups=groups))
    splitter = KFold(n_splits=min(n_splits, n_checkpoints), shuffle=True, random_state=seed)
    return list(splitter.split(rows))


def card_columns(card: Card) -> list[Scaled]:
    """A card's standardised columns: its measures, then their indicators."""
    return [*card.measures, *(m.missing for m in card.measures if m.missing is not None)]


class CardRegressor:
    """The linear regressor a card describes, with the interface of `ChosenRegressor`."""

    def __init__(self, card: Card) -> None:
        columns = card_columns(card)
        self.prepare_ = Preparation.of_card(card)
        self.coefficients = np.array([column.coefficient for column in columns])
        self.intercept = card.intercept

    def predict(self, X: Matrix) -> Vector:
        """Predictions, shape (n,); the last column of X (the group) is not used."""
        return self.predict_prepared(self.prepare_(X[:, :-1]))

    def predict_prepared(self, Z: Matrix) -> Vector:
        """Predictions from standardised columns, shape (n,)."""
        return np.asarray(self.intercept + Z @ self.coefficients)


class ChosenRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    """The candidate with the least cross-validated squared error, refitted on all rows.

    The last column of X is the group of each row (−1 everywhere: no groups), so that whoever
    splits rows, MAPIE included, splits the groups with them.
    """

    def __init__(
        self, regressors: Sequence[str] = LINEAR, cv: int = 5, seed: int | None = 0
    ) -> None:
        self.regressors = regressors
        self.cv = cv
        self.seed = seed

    def fit(self, X: Matrix, y: Vector) -> ChosenRegressor:
        """Choose and fit."""
        groups, X = X[:, -1], X[:, :-1]
        by_group = groups if np.any(groups >= 0) else None
        candidates = [(name, one) for name in self.regressors for one in CANDIDATES[name]]
        best = 0
        with config_context(assume_finite=True, skip_parameter_validation=True):
            if len(y) >= 3 and len(candidates) > 1:
                errors = [np.zeros(len(candidates))]
                for train, test in folds(len(y), by_group, self.cv, self.seed):
                    regressors = [one for _, one in candidates]
                    errors.append(_squared_errors(regressors, X, y, train, test))
                best = int(np.argmin(np.sum(errors, axis=0)))
        self.chosen_, chosen = candidates[best]
        self.prepare_ = Preparation(X)
        self.center_, self.spread_ = _scale(y)
        self.regressor_ = clone(chosen).fit(self.prepare_(X), (y - self.center_) / self.spread_)
        self.is_fitted_ = True
        return self

    def predict(self, X: Matrix) -> Vector:
        """Predictions, shape (n,)."""
        return self.predict_prepared(self.prepare_(X[:, :-1]))

    def predict_prepared(self, Z: Matrix) -> Vector:
        """Predictions from standardised columns, shape (n,)."""
        return np.asarray(self.center_ + self.spread_ * self.regressor_.predict(Z))

    @property
    def coefficients(self) -> Vector:
        """Coefficients of the standardised columns in units of the target (linear ones)."""
        n_columns = len(self.prepare_.center)
        coefficients = getattr(self.regressor_, "coef_", np.zeros(n_columns))
        return np.asarray(self.spread_ * coefficients)

    @property
    def intercept(self) -> float:
        """Prediction where every standardised column is 0."""
        return float(self.predict_prepared(np.zeros((1, len(self.prepare_.center))))[0])


def _squared_errors(
    regressors: Sequence[Any], X: Matrix, y: Vector, train: np.ndarray, test: np.ndarray
) -> Vector:
    """Summed squared error of each regressor on the rows left out."""
    prepare = Preparation(X[train])
    center, spread = _scale(y[train])
    z_train, z_test = prepare(X[train]), prepare(X[test])
    target = (y[train] - center) / spread
    errors = []
    for regressor in regressors:
        residual = y[test] - (
            center + spread * clone(regressor).fit(z_train, target).predict(z_test)
        )
        errors.append(float(residual @ residual))
    return np.array(errors)


def _scale(y: Vector) -> tuple[float, float]:
    """Mean and standard deviation, the latter 1 where y is constant."""
    return float(y.mean()), float(y.std()) or 1.0
