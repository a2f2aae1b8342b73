"""What to believe of a measure, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from audit.statistics import Contradiction
from audit.statistics.power import MIN_POWER, PARTIAL_TAU

#: Said of measures that pass every test.
ADDS: Final = "adds information beyond the baselines"
NOT_BEYOND: Final = "not beyond"
CONTRADICTS: Final = "contradicts itself across environments"
NO_EVIDENCE: Final = "no evidence of association"
NOT_JUDGED: Final = "not judged"
CANNOT_TELL: Final = "cannot tell it from"
_DETERMINED: Final = "they determine the target"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict rests on; p-values are corrected over measures.

    Attributes:
        undefined: Why τ is undefined; empty when it is defined.
        association_p: Of Kendall's τ.
        contradiction: Axes the measure follows, and axes it runs against.
        single_p: Per baseline, of the increment over that baseline alone.
        called: What a sentence calls a baseline; by default its name.
        joint_p: Of the increment over all baselines together; NaN when it cannot be told.
        design_p: Of the increment over the hyperparameters; NaN when it cannot be told.
        joint_power: Power of that test over all baselines; NaN when unknown.
        design_power: Likewise over the hyperparameters.
        target_determined: Whether the baselines together, and the design, leave nothing of the
            target.
        design: What varies: "hyperparameters" (with the family, where there is one), "family"
            alone, or "" for nothing.
        is_baseline: Whether the measure is itself a baseline.
        aside: Why the measure is not judged; empty when it is.
    """

    undefined: str
    association_p: float
    contradiction: Contradiction
    single_p: Mapping[str, float] = field(default_factory=dict)
    called: Mapping[str, str] = field(default_factory=dict)
    joint_p: float = float("nan")
    design_p: float = float("nan")
    design: str = ""
    is_baseline: bool = False
    joint_power: float = float("nan")
    design_power: float = float("nan")
    target_determined: tuple[bool, bool] = (False, False)
    aside: str = ""


def verdict(evidence: Evidence, alpha: float = 0.05) -> str:
    """One sentence, the first that holds.

    0. "not judged: …", the column is no measure, such as a copy of the target.
    1. "undefined: …", τ does not exist.
    2. "contradicts itself across environments (…)": it follows the target along one
       hyperparameter and runs against it along another, both significantly.
    3. "no evidence of association": Kendall's p, corrected, is α or more.
    4. "baseline: …" for the baselines themselves.
    5. "not distinguishable from parameter count" (or another baseline), "adds nothing beyond the
       baselines together": no significant increment over one of them, or over all.
    6. "not beyond hyperparameters" (or "family"): no significant increment over the design.
       Where these two tests have a power below 0.8 to see a partial τ of 0.3, or the controls
       determine the target, "cannot tell it from …" instead, with the reason.
    7. "adds information beyond the baselines", and what else it was tested against.
    """
    if evidence.aside:
        return f"{NOT_JUDGED}: {evidence.aside}"
    with_axes, against_axes = evidence.contradiction
    if evidence.undefined:
        return f"undefined: {evidence.undefined}"
    if with_axes and against_axes:
        return (
            f"{CONTRADICTS} (better along {', '.join(with_axes)}, "
            f"worse along {', '.join(against_axes)})"
        )
    if not evidence.association_p < alpha:
        return NO_EVIDENCE
    if evidence.is_baseline:
        return "baseline: associated with the target"
    return _increment_verdict(evidence, alpha)


def _weak(power: float) -> str:
    """Why a test that found nothing denies nothing."""
    return f"power {power:.2f} to see a partial τ of {PARTIAL_TAU:g}"


def _increment_verdict(evidence: Evidence, alpha: float) -> str:
    """The verdict on a measure that is associated with the target."""
    shared = {name: p for name, p in evidence.single_p.items() if p >= alpha}
    if shared:
        nearest = max(shared, key=lambda name: shared[name])
        return f"not distinguishable from {evidence.called.get(nearest, nearest)}"
    has_baselines = bool(evidence.single_p)
    over_joint, over_design = evidence.target_determined
    if has_baselines and over_joint:
        return f"{CANNOT_TELL} the baselines together: {_DETERMINED}"
    if has_baselines and np.isnan(evidence.joint_p):
        return "associated; too few models to tell it from the baselines"
    if has_baselines and evidence.joint_p >= alpha:
        if evidence.joint_power < MIN_POWER:
            return f"{CANNOT_TELL} the baselines together: {_weak(evidence.joint_power)}"
        return "adds nothing beyond the baselines together"
    if evidence.design and over_design:
        return f"{CANNOT_TELL} the {evidence.design}: {_DETERMINED}"
    if evidence.design and evidence.design_p >= alpha:
        if evidence.design_power < MIN_POWER:
            return f"{CANNOT_TELL} the {evidence.design}: {_weak(evidence.design_power)}"
        return f"{NOT_BEYOND} {evidence.design}"
    untold = bool(evidence.design) and np.isnan(evidence.design_p)
    tail = f"; too few models to tell it from the {evidence.design}" if untold else ""
    if not has_baselines:
        if evidence.design and not untold:
            return f"adds information beyond the {evidence.design}; no baseline to compare with"
        return "associated; no baseline to compare with" + tail
    if evidence.design and not untold:
        tail = f" and the {evidence.design}"
    return ADDS + tail
