"""Durations in words that a person can plan with."""

from __future__ import annotations


def about(seconds: float) -> str:
    """A duration that is not known to the second; above 0."""
    if seconds < 90:
        n_seconds = max(1, round(seconds))
        return f"about {n_seconds} second{'' if n_seconds == 1 else 's'}"
    if seconds < 5400:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"
