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
) -> None:
    """Fill in the tests against baselines and design, corrected over measures, and verdicts.

    Args:
        result: One row of statistics per measure; changed in place.
        table: One row per checkpoint.
        target: The column that measures should predict.
        controls: The baselines, columns of the table.
        designs: What varies by design.
        called: What a sentence calls each baseline.
    """
    measures = result["measure"].tolist()
    judged = np.array([measure not in controls for measure in measures], dtype=bool)
    over_columns = partial(statistics.increment_over_columns, table, target=target)
    over_design = partial(statistics.increment_over_design, table, target=target, designs=designs)
    result["kendall_p_holm"] = statistics.holm(result["kendall_p"].to_numpy(dtype=float))
    single = {
        control: _corrected([over_columns(m, controls=[control]) for m in measures], judged)
        for control in controls
    }
    joint = [over_columns(m, controls=controls) for m in measures]
    design = [over_design(m) for m in measures]
    result["beyond_baselines"] = [i.association.value for i in joint]
    result["beyond_baselines_p_holm"] = _corrected(joint, judged)
    result["beyond_hyperparameters"] = [i.association.value for i in design]
    result["beyond_hyperparameters_p_holm"] = _corrected(design, judged)
    factors = statistics.design_axes(table, None, FAMILY)
    varying = "family" if factors == [FAMILY] else "hyperparameters" if factors else ""
    result["verdict"] = [
        verdict(
            Evidence(
                undefined=_why_undefined(row),
                association_p=row["kendall_p_holm"],
                contradiction=statistics.contradictions(
                    table, row["measure"], target, designs=designs
                ),
                single_p={control: p[i] for control, p in single.items()},
                called=called,
                joint_p=row["beyond_baselines_p_holm"],
                design_p=row["beyond_hyperparameters_p_holm"],
                design=varying,
                is_baseline=not judged[i],
            )
        )
        for i, (_, row) in enumerate(result.iterrows())
    ]


def _corrected(tests: Sequence[statistics.Increment], judged: np.ndarray) -> Values:
    """p-values with Holm's correction over the measures that are judged; NaN for baselines."""
    p_values = np.array([test.p_value for test in tests], dtype=float)
    return statistics.holm(np.where(judged, p_values, np.nan))


def _why_undefined(row: pd.Series[Any]) -> str:
    """Why τ is undefined, or nothing."""
    return str(row["undefined"]).split(": ")[0] if math.isnan(row["kendall"]) else ""
