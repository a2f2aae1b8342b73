"""How much do numbers change with the batch size?

Sums of floating numbers depend on their order, and libraries choose it by the size of what they are
given. Every measure is computed on the same networks and images in batches of 1, 7 and 64; of each
its largest change against batches of 64 is told, relative to the larger of the two values. In one
process all else is equal: a run in the same batches gives the same bits.

Run: python -m benchmarks.batch_size [--models test_resnet,...] [--include all] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from audit.runs import pipeline
from audit.runs.config import RunOptions

MODELS = ("test_resnet", "test_vit", "test_efficientnet", "test_mambaout")
SIZES = (64, 7, 1)
KEYS = ["checkpoint", "measure"]


def measured(folder: Path, models: list[str], include: list[str], size: int) -> pd.DataFrame:
    """The measures table of an audit in batches of a size, by checkpoint and measure."""
    config: dict[str, Any] = {
        "dataset": {
            "name": "digits",
            "transform": {"input_size": [1, 32, 32], "mean": [0.5], "std": [0.5]},
        },
        "checkpoints": [
            {
                "model": model,
                "name": model,
                "weights": str(folder / f"{model}.pth"),
                "model_args": {"num_classes": 10, "in_chans": 1},
            }
            for model in models
        ],
        "measures": {"include": include, "batch_size": size, "images_per_class": 7},
        "reports": {"include": ["json"]},
    }
    options = RunOptions(
        output=folder / f"out-{size}",
        cache=folder / "cache",
        workers=0,
        device="cpu",
        progress=False,
    )
    pipeline.run(config, options=options)
    return pd.read_csv(folder / f"out-{size}/measures.csv").set_index(KEYS)


def relative(one: float, other: float) -> float:
    """|one − other| over the larger of them; 0 where they are equal, or both are no number."""
    if one == other or (math.isnan(one) and math.isnan(other)):
        return 0.0
    change = abs(one - other) / max(abs(one), abs(other))
    return math.inf if math.isnan(change) else change


def changes(models: list[str], include: list[str]) -> pd.DataFrame:
    """Measure → its largest relative change over networks, for each size; the largest first."""
    import timm

    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name)
        for number, model in enumerate(models):
            torch.manual_seed(number)
            network = timm.create_model(model, num_classes=10, in_chans=1)
            torch.save(network.state_dict(), folder / f"{model}.pth")
        expected = measured(folder, models, include, SIZES[0])
        for size in SIZES[1:]:
            table = measured(folder, models, include, size)
            pairs = zip(expected["value"], table["value"].reindex(expected.index), strict=True)
            for name, (one, other) in zip(expected.index.get_level_values(1), pairs, strict=True):
                change = relative(float(one), float(other))
                of = found.setdefault(str(name), dict.fromkeys(map(str, SIZES[1:]), 0.0))
                of[str(size)] = max(of[str(size)], change)
    frame = pd.DataFrame.from_dict(found, orient="index")
    return frame.loc[frame.max(axis=1).sort_values(ascending=False).index]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--include", default="all")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = changes(given.models.split(","), given.include.split(","))
    if given.json:
        print(json.dumps(found.to_dict(orient="index"), indent=2))
        return
    changed = found[found.max(axis=1) > 0]
    print(f"{len(found)} columns, {len(changed)} of which change in batches of {SIZES[1:]}:\n")
    print(changed.to_string(float_format=lambda x: f"{x:.1e}"))


if __name__ == "__main__":
    main()
