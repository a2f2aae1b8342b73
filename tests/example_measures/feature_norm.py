"""How long penultimate features are."""

import numpy as np

from audit.plugin import MeasureEntry, hookimpl


def feature_norm(view):
    """Mean Euclidean norm of the penultimate features; at least 0."""
    return float(np.linalg.norm(view.features(), axis=1).mean())


@hookimpl
def genaudit_measures():
    kind = {"version": "1", "direction": "none", "invariance": "none", "cost": "forward"}
    kind |= {"summary": "mean norm of the penultimate features", "features": True}
    return [MeasureEntry(name="feature_norm", compute=feature_norm, **kind)]
