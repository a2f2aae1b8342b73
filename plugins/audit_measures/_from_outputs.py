"""Measures that are a formula on the network's outputs and the labels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from audit.arrays import Labels, Logits
from audit.plugin import Measured, TrainView, Value

Formula: TypeAlias = Callable[[Logits, Labels], Measured]


def of_outputs(formula: Formula) -> Callable[[TrainView], Measured]:
    """A measure from a formula on outputs (float64) and labels; undefined unless all are finite."""

    @functools.wraps(formula)
    def compute(view: TrainView) -> Measured:
        logits = np.asarray(view.logits(), np.float64)
        if not len(logits):
            return Value.undefined("the training sample holds no image")
        broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if broken.size:
            return Value.undefined(
                f"the outputs are not finite for {broken.size} of {len(logits)} training images, "
                f"first for image {broken[0]}"
            )
        return formula(logits, view.labels)

    return compute


def margins(logits: Logits, labels: Labels) -> np.ndarray:
    """Output for the true class minus the largest other output, shape (n,); negative if wrong."""
    rows = np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    difference: np.ndarray = logits[rows, labels] - others.max(axis=1)
    return difference
