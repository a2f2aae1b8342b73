"""What a ranker is given beside measures: groups, and how sure accuracies are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from audit.ranking._regressors import Vector


def group_codes(groups: Any, n_models: int) -> Vector:
    """Groups as numbers from 0, or −1 everywhere."""
    if groups is None:
        return np.full(n_models, -1.0)
    codes = pd.factorize(np.asarray(groups, dtype=object), use_na_sentinel=False)[0]
    if len(codes) != n_models:
        raise ValueError(f"groups needs one entry per checkpoint: {n_models}; found {len(codes)}")
    return codes.astype(np.float64)


def sampling_variance(y: Vector, n_held_out: Any, known: np.ndarray) -> float:
    """Mean binomial variance of the known accuracies; 0 where the images are not known."""
    if n_held_out is None:
        return 0.0
    images = np.broadcast_to(np.asarray(n_held_out, dtype=np.float64), known.shape)[known]
    variance = np.where(images > 0, y * (1 - y) / np.maximum(images, 1), np.nan)
    told = variance[np.isfinite(variance) & (variance >= 0)]
    return float(told.mean()) if len(told) else 0.0
