"""Outcomes as tables and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from audit.files import write_atomically
from audit.folder.csv_files import write_csv
from audit.reproduction.claim import Outcome, Verdict

#: Stands for every claim, and for all networks.
ALL: Final = "all"


def number_table(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Every quantity in every cell and over all networks.

    Returns:
        Columns claim, architecture, source ("all" and "" over all networks), verdict, quantity,
        role, value, lower, upper, n_networks, p_value, meaning.
    """
    rows = []
    for outcome in outcomes:
        for verdict in (*outcome.cells, outcome.overall):
            for quantity in outcome.claim.quantities:
                estimate = verdict.estimates[quantity.name]
                rows.append(
                    {
                        "claim": outcome.claim.name,
                        "architecture": verdict.where.architecture if verdict.where else ALL,
                        "source": verdict.where.source if verdict.where else "",
                        "verdict": verdict.word,
                        "quantity": quantity.name,
                        "role": quantity.role,
                        "value": estimate.value,
                        "lower": estimate.lower,
                        "upper": estimate.upper,
                        "n_networks": estimate.n,
                        "p_value": estimate.p_value,
                        "meaning": quantity.meaning,
                    }
                )
    return pd.DataFrame(rows)


def as_plain(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Outcomes as JSON holds them: NaN is null."""
    return [
        {
            "claim": outcome.claim.name,
            "statement": outcome.claim.statement,
            **_plain_verdict(outcome.overall),
            "cells": [
                {
                    "architecture": verdict.where.architecture,
                    "source": verdict.where.source,
                    **_plain_verdict(verdict),
                }
                for verdict in outcome.cells
                if verdict.where
            ],
            "notes": list(outcome.notes),
        }
        for outcome in outcomes
    ]


def _plain_verdict(verdict: Verdict) -> dict[str, Any]:
    numbers = {
        name: {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in estimate._asdict().items()
        }
        for name, estimate in verdict.estimates.items()
    }
    return {"verdict": verdict.word, "because": verdict.sentence, "numbers": numbers}


def write_results(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Write `numbers.csv` and `results.json`."""
    write_csv(number_table(outcomes), folder / "numbers.csv")
    text = json.dumps(as_plain(outcomes), indent=1, ensure_ascii=False)
    write_atomically(folder / "results.json", (text + "\n").encode())
