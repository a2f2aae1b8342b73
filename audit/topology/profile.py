"""Where in depth a quantity arises: two numbers of its profile over the layers."""

from __future__ import annotations

import numpy as np

from audit.errors import DataError


def half_depth(profile: np.ndarray) -> float:
    """Relative depth at which a profile first reaches half of its last value, in [0, 1].

    The first layer lies at 0, the last at 1; between two layers the profile is a straight line.

    Args:
        profile: (k,) numbers from the shallowest layer to the deepest.

    Returns:
        The depth; NaN for fewer than two layers, or where the last value is not above 0.

    Raises:
        DataError: A number that is not finite.

    Example:
        >>> round(half_depth(np.array([0.0, 0.25, 0.25, 1.0])), 4)
        0.7778
        >>> half_depth(np.array([0.6, 0.2, 1.0]))
        0.0
    """
    profile = _checked(profile)
    if len(profile) < 2 or profile[-1] <= 0:
        return np.nan
    half = profile[-1] / 2
    first = int(np.argmax(profile >= half))
    if first == 0:
        return 0.0
    low, high = profile[first - 1], profile[first]
    return float((first - 1 + (half - low) / (high - low)) / (len(profile) - 1))


def centre_of_depth(profile: np.ndarray) -> float:
    """Relative depth of a profile's centre of mass, in [0, 1]; what lies below 0 weighs nothing.

    Args:
        profile: (k,) numbers from the shallowest layer to the deepest.

    Returns:
        Σ d_l max(p_l, 0) / Σ max(p_l, 0) with d_l from 0 to 1; NaN for fewer than two layers, or
        where no number is above 0.

    Raises:
        DataError: A number that is not finite.

    Example:
        >>> centre_of_depth(np.array([1.0, -0.2, 3.0]))
        0.75
    """
    weights = np.maximum(_checked(profile), 0)
    if len(weights) < 2 or not weights.any():
        return np.nan
    return float(np.linspace(0, 1, len(weights)) @ weights / weights.sum())


def _checked(profile: np.ndarray) -> np.ndarray:
    """The profile, in float64."""
    numbers = np.asarray(profile, np.float64)
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise DataError(f"a profile must be a row of finite numbers; found {numbers.tolist()}")
    return numbers
