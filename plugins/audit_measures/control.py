"""The control: a number that knows nothing of the network, to show what chance alone does."""

from __future__ import annotations

from audit.plugin import MeasureEntry, TrainView


def random(view: TrainView) -> float:
    """A uniform number in [0, 1), by seed and weights; never NaN.

    A measure that is not told apart from this one over a zoo has shown nothing. It is another
    number for the same function under other weights.

    Source:
        docs/evidence.md, marks to beat.

    Example:
        Two checkpoints with the same weights have the same number; after a step of training one of
        them has another, anywhere in [0, 1).
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
        varies_with=("permutation", "folding", "relabelling", "dtype"),
        formula="U[0, 1), seeded by the run's seed and the SHA-256 of the weights",
        claim="none: it knows nothing of the network but which one it is",
        weakness="by chance it ranks a small zoo well: of five networks one in 120 times perfectly",
        source="docs/evidence.md, marks to beat",
        baseline=True,
    ),
)
