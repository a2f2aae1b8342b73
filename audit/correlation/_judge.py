"""The tests behind the verdicts, corrected over measures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd

from audit import statistics
from audit.correlation._verdict import Evidence, verdict
from audit.statistics.increment import DETERMINED
from audit.statistics.power import increment_power
from audit.statistics.result import Values

#: The column that names families.
FAMILY: Final = "family"


def judge(
    result: pd.DataFrame,
    table: pd.DataFrame,
    target: str,
    controls: Sequence[str],
    designs: statistics.Designs,
    called: Mapping[str, str],
    aside: Mapping[str, str],
) -> None:
    """Fill in the tests against baselines and design, corrected over measures, and verdicts.

    Args:
        result: One row of statistics per measure; changed in place.
        table: One row per checkpoint.
        target: The column that measures should predict.
        controls: The baselines, columns of the table.
        designs: What varies by design.
        called: What a sentence calls each baseline.
        aside: Measures that are not judged → why.
    """
    measures = result["measure"].tolist()
    judged = np.array([m not in controls and m not in aside for m in measures], dtype=bool)
    over_columns = partial(statistics.increment_over_columns, table, target=target)
    over_design = partial(statistics.increment_over_design, table, target=target, designs=designs)
    result["kendall_p_holm"] = statistics.holm(result["kendall_p"].to_numpy(dtype=float))
    single = {
        control: _corrected([over_columns(m, controls=[control]) for m in measures], judged)
        for control in controls
    }
    joint = [over_columns(m, controls=controls) for m in measures]
    design = [over_design(m) for m in measures]
    for name, tests in (("beyond_baselines", joint), ("beyond_hyperparameters", design)):
        p_values = _corrected(tests, judged)
        result[name] = [i.association.value for i in tests]
        result[f"{name}_p_holm"] = p_values
        result[f"{name}_power"] = _powers(tests, judged, p_values)
    factors = statistics.design_axes(table, None, FAMILY)
    varying = "family" if factors == [FAMILY] else "hyperparameters" if factors else ""
    result["verdict"] = [
        verdict(
            Evidence(
                undefined=_why_undefined(row),
                aside=aside.get(row["measure"], ""),
                association_p=row["kendall_p_holm"],
                contradiction=statistics.contradictions(
                    table, row["measure"], target, designs=designs
                ),
                single_p={control: p[i] for control, p in single.items()},
                called=called,
                joint_p=row["beyond_baselines_p_holm"],
                design_p=row["beyond_hyperparameters_p_holm"],
                joint_power=row["beyond_baselines_power"],
                design_power=row["beyond_hyperparameters_power"],
                design=varying,
                target_determined=_determines_target(joint[i], design[i]),
                is_baseline=row["measure"] in controls,
            )
        )
        for i, (_, row) in enumerate(result.iterrows())
    ]


def _corrected(tests: Sequence[statistics.Increment], judged: np.ndarray) -> Values:
    """p-values with Holm's correction over the measures that are judged; NaN for baselines."""
    p_values = np.array([test.p_value for test in tests], dtype=float)
    return statistics.holm(np.where(judged, p_values, np.nan))


def _powers(
    tests: Sequence[statistics.Increment],
    judged: np.ndarray,
    corrected: Values,
    alpha: float = 0.05,
) -> Values:
    """The power of each test; NaN for baselines and where there is no test.

    The level is the one that Holm's correction leaves to the measures without an increment.
    """
    rest = int((judged & ~np.isnan(corrected) & ~(corrected < alpha)).sum())
    powers = [
        increment_power(test.freedom, alpha / max(rest, 1), test.reliability)
        if ok and test.freedom
        else float("nan")
        for test, ok in zip(tests, judged, strict=True)
    ]
    return np.array(powers, dtype=float)


def _determines_target(
    joint: statistics.Increment, design: statistics.Increment
) -> tuple[bool, bool]:
    """Whether the baselines, and the design, leave nothing of the target to tell measures by."""
    reason = f"undefined: {DETERMINED} target"
    return joint.association.reason == reason, design.association.reason == reason


def _why_undefined(row: pd.Series[Any]) -> str:
    """Why τ is undefined, or nothing."""
    return str(row["undefined"]).split(": ")[0] if math.isnan(row["kendall"]) else ""
