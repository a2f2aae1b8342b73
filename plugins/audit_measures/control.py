"""The control: a number that knows nothing of the network, to show what chance alone does."""

from __future__ import annotations

from audit.plugin import MeasureEntry, TrainView


def random(view: TrainView) -> float:
    """A uniform number in [0, 1), by seed and weights; never NaN.

    A measure that is not told apart from this one over a zoo has shown nothing.
    """
    return float(view.generator(f"{view.weights_digest}/random").random())


MEASURES = (
    MeasureEntry(
        name="random",
        summary="a random number: the control",
        compute=random,
        version="1",
        direction="none",
        invariance="none",
        cost="weights",
        source="evaluation.md, baselines",
        baseline=True,
    ),
)
