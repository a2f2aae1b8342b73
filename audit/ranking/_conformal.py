"""Conformal intervals around any regressor."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import PredefinedSplit

from audit.ranking._regressors import Folds, Matrix, Vector


def conformal(regressor: Any, rows: Matrix, y: Vector, splits: Folds, confidence: float) -> Any:
    """MAPIE's CV+ around the whole choice."""
    # Imported here: it takes a second, and ranking by directions does without.
    from mapie.regression import (  # type: ignore[import-untyped,import-not-found,unused-ignore]
        CrossConformalRegressor,
    )

    fold_of = np.empty(len(y), dtype=np.int64)
    for fold, (_, test) in enumerate(splits):
        fold_of[test] = fold
    conformal = CrossConformalRegressor(
        regressor, confidence_level=confidence, method="plus", cv=PredefinedSplit(fold_of)
    )
    return conformal.fit_conformalize(rows, y)
