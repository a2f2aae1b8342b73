"""timm's published results files as held-out accuracies, joined by model name and image size."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from audit.errors import DataError, column_names, quoted
from audit.plugin import KnownCheckpoint

_REQUIRED = ("model", "img_size", "top1")
_ACCURACY = "held_out_accuracy"


def read_timm_results(path: str | Path) -> pd.DataFrame:
    """A results file of timm (`results/results-*.csv`) as a table.

    Args:
        path: The CSV file; numbers may have thousands separators ("1,013.01").

    Returns:
        One row per model and image size: `model`, `img_size` (pixels), `held_out_accuracy`
        (top-1, a share in [0, 1]), `parameters` (a count; NaN where the file has none).

    Raises:
        DataError: Not such a file, or a number that is none, or a row given twice.
    """
    where = f"results file {path}"
    try:
        raw = pd.read_csv(path)
    except (OSError, ValueError) as error:
        reason = error if isinstance(error, OSError) else "it is not a table in UTF-8"
        raise DataError(f"{where} cannot be read: {reason}") from error
    missing = [column for column in _REQUIRED if column not in raw.columns]
    if missing:
        raise DataError(
            f"{where} needs columns {quoted(_REQUIRED)}; missing {quoted(missing)}, "
            f"found {column_names(raw.columns)}"
        )
    numbers = {
        column: _numbers(raw, column, where)
        for column in ("img_size", "top1", "param_count")
        if column in raw.columns
    }
    if (numbers["top1"] > 100).any() or (numbers["top1"] < 0).any():
        raise DataError(f"{where} needs top1 in percent, 0 to 100")
    table = pd.DataFrame(
        {
            "model": raw["model"].astype(str),
            "img_size": numbers["img_size"].astype(int),
            _ACCURACY: numbers["top1"] / 100,
            "parameters": numbers.get("param_count", np.nan) * 1e6,
        }
    )
    twice = table[table.duplicated(["model", "img_size"])]
    if len(twice):
        raise DataError(f"{where} gives {quoted(twice['model'])} twice at one image size")
    return table


def _numbers(raw: pd.DataFrame, column: str, where: str) -> pd.Series[float]:
    """A column of numbers, thousands separators removed."""
    text = raw[column].astype(str).str.replace(",", "", regex=False)
    numbers = pd.to_numeric(text, errors="coerce").astype(float)
    if numbers.isna().any():
        bad = raw.loc[numbers.isna()].iloc[0]
        raise DataError(
            f"{where} needs numbers in {column}; found {bad[column]!r} for {bad['model']!r}"
        )
    return numbers


def join(path: Path, checkpoints: Sequence[KnownCheckpoint]) -> tuple[pd.DataFrame, Sequence[str]]:
    """Held-out accuracies of checkpoints from a results file of timm.

    A model named with its tag ("resnet50.a1_in1k") joins that row; one named without ("resnet50")
    joins only where a single tag has results. A result counts only at the checkpoint's own image
    size, where that is known.

    Args:
        path: The results file.
        checkpoints: Name, model and image size of each.

    Returns:
        Columns checkpoint, held_out_accuracy, img_size; and notes naming the checkpoints without
        a result.

    Raises:
        DataError: No checkpoint has a result, or one has several and nothing chooses.
    """
    results = read_timm_results(path)
    rows, notes = [], []
    for checkpoint, model, size in checkpoints:
        found = _results_of(results, model)
        at_size = found if size is None else found[found["img_size"] == size]
        if len(at_size) > 1:
            raise DataError(_ambiguous(checkpoint, model, at_size))
        if len(at_size):
            row = at_size.iloc[0]
            accuracy, at = float(row[_ACCURACY]), int(row["img_size"])
            rows.append({"checkpoint": checkpoint, _ACCURACY: accuracy, "img_size": at})
        else:
            notes.append(_absent(checkpoint, model, size, found, results))
    if not rows:
        raise DataError(f"results file {path} has none of these models: {'; '.join(notes)}")
    return pd.DataFrame(rows), notes


def _results_of(results: pd.DataFrame, model: str) -> pd.DataFrame:
    """Rows of a model: of exactly this name, else of this architecture with any tag."""
    model = model.removeprefix("hf_hub:timm/").removeprefix("hf-hub:timm/")
    exact = results[results["model"] == model]
    if len(exact) or "." in model:
        return exact
    return results[results["model"].str.split(".").str[0] == model]


def _ambiguous(checkpoint: str, model: str, found: pd.DataFrame) -> str:
    names = found["model"].unique()
    if len(names) > 1:
        return (
            f"checkpoint {checkpoint!r} is {model!r}, which has results with several tags: "
            f"{quoted(names)}; name one"
        )
    sizes = ", ".join(map(str, sorted(found["img_size"])))
    return (
        f"checkpoint {checkpoint!r} is {names[0]!r}, which has results at several image sizes: "
        f"{sizes}; say which"
    )


def _absent(
    checkpoint: str, model: str, size: int | None, found: pd.DataFrame, results: pd.DataFrame
) -> str:
    if len(found):
        sizes = ", ".join(map(str, sorted(found["img_size"])))
        return f"no result for {checkpoint!r} ({model!r}) at {size}; there are results at {sizes}"
    near = difflib.get_close_matches(model, results["model"].unique().tolist(), n=3, cutoff=0.7)
    hint = f"; nearest: {quoted(near)}" if near else ""
    return f"no result for {checkpoint!r} ({model!r}){hint}"
