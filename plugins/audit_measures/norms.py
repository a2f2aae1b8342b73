"""Norms of the weights as they are stored."""

from __future__ import annotations

import math

from audit.plugin import MeasureEntry, TrainView


def parameter_norm(view: TrainView) -> float:
    """Euclidean norm of all parameters, √Σ w², in float64.

    Biases and BatchNorm's scales and shifts count as the parameters they are; running statistics
    are buffers and do not. Not finite, hence undefined, only if a weight is not.

    Source:
        Jiang et al., Fantastic Generalization Measures and Where to Find Them, ICLR 2020,
        "parameter norm". Deviation: the root of the sum of squares, not the sum.
    """
    return math.sqrt(sum(float(p.double().square().sum()) for p in view.module.parameters()))


MEASURES = (
    MeasureEntry(
        name="parameter_norm",
        summary="Euclidean norm of all parameters",
        compute=parameter_norm,
        version="1",
        direction="lower",
        invariance="none",
        cost="weights",
        source="Jiang et al. 2020; the root of the sum; BatchNorm is not folded",
    ),
)
