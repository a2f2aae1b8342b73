"""Further readings of the output margin f_y − max_{k≠y} f_k on the training sample."""

from __future__ import annotations

import numpy as np

from audit.arrays import Labels, Logits
from audit.plugin import MeasureEntry, Part, Value
from audit_measures._from_outputs import margins, of_outputs

_ONE_OUTPUT = "a margin needs at least two classes; the network has one output"


@of_outputs
def margin_quantiles(logits: Logits, labels: Labels) -> Value | dict[str, Value | float]:
    """Quartiles and mean of the margin, in units of the outputs; negative where wrong.

    Returns:
        "" and "p50": the median; "p25", "p75", "mean". Undefined with a single class.

    Source:
        Jiang et al., Predicting the Generalization Gap in Deep Networks with Margin Distributions,
        ICLR 2019: quantiles of the distribution; at the output only, not normalised.

    Example:
        Margins 1, 2, 4, −1 and 8: median 2, quartiles 1 and 4, mean 2.8.
    """
    if logits.shape[1] < 2:
        return Value.undefined(_ONE_OUTPUT)
    found = margins(logits, labels)
    low, middle, high = np.percentile(found, [25, 50, 75]).tolist()
    return {"": middle, "p25": low, "p50": middle, "p75": high, "mean": float(found.mean())}


@of_outputs
def inverse_margin(logits: Logits, labels: Labels) -> Value | float:
    """1 / γ², γ the 10th percentile of the margin; above 0.

    Undefined where γ ≤ 0: more than a tenth of the training images are classified wrongly, and
    squaring would turn the worst networks into the best.

    Source:
        Jiang et al., Fantastic Generalization Measures and Where to Find Them, ICLR 2020.
        Deviation: a negative γ is refused, not squared.

    Example:
        A margin of 2 on every image: 1 / 4.
    """
    if logits.shape[1] < 2:
        return Value.undefined(_ONE_OUTPUT)
    margin = float(np.percentile(margins(logits, labels), 10))
    if margin <= 0:
        return Value.undefined(f"the margin's 10th percentile is {margin:.4g}; it must be above 0")
    return margin**-2


MEASURES = (
    MeasureEntry(
        name="margin_quantiles",
        summary="median, quartiles and mean of the output margin on the training sample",
        compute=margin_quantiles,
        version="1",
        direction="higher",
        invariance="node-wise",
        cost="forward",
        varies_with=("duplicates",),
        formula="quartiles and mean of f_y − max_{k≠y} f_k",
        claim="Jiang et al. 2019: the margin distribution, normalised and at hidden layers too, "
        "predicts the gap; this is its simplest form, at the output alone",
        weakness="not normalised: scaling the head's weights scales it",
        needs="two classes",
        source="Jiang et al. 2019; at the output only, not normalised",
        unit="units of the outputs",
        parts=(
            Part(name="p25", summary="lower quartile of the margin"),
            Part(name="p50", summary="median of the margin: the measure itself"),
            Part(name="p75", summary="upper quartile of the margin"),
            Part(name="mean", summary="mean of the margin"),
        ),
        default=False,
    ),
    MeasureEntry(
        name="inverse_margin",
        summary="1 / (10th percentile of the output margin) squared",
        compute=inverse_margin,
        version="1",
        direction="lower",
        invariance="node-wise",
        cost="forward",
        varies_with=("duplicates",),
        formula="1 / γ², γ the 10th percentile of f_y − max_{k≠y} f_k",
        claim="Jiang et al. 2020: a large margin bounds the gap; as margin_p10 it had "
        "tau 0.47 to 0.54 on three zoos (docs/evidence.md)",
        weakness="undefined where over a tenth of the training images are wrong, as with noisy "
        "labels, and so missing where it is needed",
        needs="two classes, and nine of ten training images right",
        source="Jiang et al. 2020; undefined for margins that are not positive",
        default=False,
    ),
)
