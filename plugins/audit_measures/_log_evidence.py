"""The evidence of a Bayesian linear map, at its maximum over the variances of weights and noise."""

from __future__ import annotations

from typing import Final

import numpy as np

from audit.arrays import Features
from audit_measures._features import RESOLUTION, directions

_MOST_STEPS: Final = 1000
_TOLERANCE: Final = 1e-10


def log_evidence(features: Features, targets: np.ndarray) -> np.ndarray:
    """Log p(y | F) / n for each target y, at the α and β that maximise it.

    Args:
        features: F, shape (n, d).
        targets: Shape (n, c), one target a column.

    Returns:
        Shape (c,), in nats per image; inf where a linear map without error exists though the
        features have fewer directions than there are images, so that no maximum does.
    """
    n = len(features)
    u, values, _ = directions(features)
    power = (values**2)[:, None]
    along = (u.T @ targets) ** 2
    beyond = np.clip((targets**2).sum(0) - along.sum(0), 0, None)
    if len(values) == n:
        beyond[:] = 0
    unbounded = (beyond <= n * RESOLUTION**2 * (targets**2).sum(0)) & (len(values) < n)
    alpha, beta = _fixed_point(power, along, beyond, n)
    ratio = alpha / beta
    error = (along * (ratio / (ratio + power)) ** 2).sum(0) + beyond
    size = (along * power / (ratio + power) ** 2).sum(0)
    evidence = 0.5 * (
        n * np.log(beta / (2 * np.pi))
        - np.log1p(power / ratio).sum(0)
        - beta * error
        - alpha * size
    )
    found: np.ndarray = np.where(unbounded, np.inf, evidence / n)
    return found


def _fixed_point(
    power: np.ndarray, along: np.ndarray, beyond: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """α and β of each target, each shape (c,), by MacKay's iteration.

    Args:
        power: Squared singular values, shape (r, 1).
        along: Squared coefficients of the targets along each direction, shape (r, c).
        beyond: Squared length of the targets outside all directions, shape (c,).
        n: Number of images.
    """
    ratio = np.full(along.shape[1], power.mean())
    smallest, largest = power.min() * 1e-12, power.max() * 1e12
    for _ in range(_MOST_STEPS):
        taken = (power / (ratio + power)).sum(0)
        size = (along * power / (ratio + power) ** 2).sum(0)
        error = (along * (ratio / (ratio + power)) ** 2).sum(0) + beyond
        tiny = np.finfo(np.float64).tiny
        alpha = taken / np.maximum(size, tiny)
        beta = (n - taken) / np.maximum(error, tiny)
        following = np.clip(alpha / beta, smallest, largest)
        moved = np.abs(following / ratio - 1)
        ratio = following
        if (moved < _TOLERANCE).all():
            break
    # the noise that is best for this ratio, in closed form
    best = n / ((along * (ratio / (ratio + power))).sum(0) + beyond)
    return ratio * best, best
