"""Is a trained zoo worth ranking? What a zoo must have before a ranking on it means anything."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import stats

from audit.errors import DataError
from audit.statistics.result import HELD_OUT, TRAIN
from audit.zoo.recipes import TrainTask, is_trained, known_of
from audit.zoo.tasks import Task

MIN_CHECKPOINTS: Final = 48
MIN_AXES: Final = 4
#: Points of held-out accuracy, in [0, 1], among checkpoints of similar training accuracy.
MIN_SPREAD: Final = 0.15
#: Training accuracies on the labels as trained are similar within this.
SIMILAR: Final = 0.05
#: Kendall τ of the accuracies with ones drawn again: what a perfect ranking could reach.
MIN_CEILING: Final = 0.75
#: Train accuracy alone must not settle the ranking.
MAX_TRAIN_TAU: Final = 0.8
_DRAWS: Final = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One requirement and what was found.

    Attributes:
        what: Is required.
        found: In words.
        holds: Whether it is met.
    """

    what: str
    found: str
    holds: bool


def check_zoo(task: Task, folder: Path) -> list[Finding]:
    """Hold a trained zoo to what is required of one.

    Raises:
        DataError: No checkpoint is trained.
    """
    tasks = [TrainTask(recipe, folder) for recipe in task.recipes()]
    trained = [one for one in tasks if is_trained(one)]
    if not trained:
        raise DataError(f"{folder} holds no checkpoint of {task.name}: run `genaudit zoo train`")
    table = pd.DataFrame([_row(one) for one in trained])
    accuracy = table[HELD_OUT].to_numpy(float)
    spread, n_similar = similar_spread(table)
    ceiling = _ceiling(accuracy, table["n_held_out"].to_numpy(int))
    by_training = _tau(table[TRAIN].to_numpy(float), accuracy)
    axes = len(task.axes)
    return [
        Finding(
            f"at least {MIN_CHECKPOINTS} checkpoints, all of them trained",
            f"{len(trained)} of {len(tasks)}",
            len(trained) == len(tasks) >= MIN_CHECKPOINTS,
        ),
        Finding(f"at least {MIN_AXES} axes", f"{axes}: {', '.join(task.axes)}", axes >= MIN_AXES),
        Finding(
            f"held-out accuracies at least {100 * MIN_SPREAD:.0f} points apart among checkpoints "
            f"whose training accuracies are within {100 * SIMILAR:.0f}",
            f"{100 * spread:.1f} points among {n_similar}; {100 * np.ptp(accuracy):.1f} among all",
            spread >= MIN_SPREAD,
        ),
        Finding(
            f"enough held-out images: τ of the accuracies drawn again at least {MIN_CEILING}",
            f"{ceiling:.2f} with {int(table['n_held_out'].iloc[0])} images",
            ceiling >= MIN_CEILING,
        ),
        Finding(
            f"train accuracy does not settle the order: |τ| at most {MAX_TRAIN_TAU}",
            "undefined: all alike" if np.isnan(by_training) else f"{by_training:.2f}",
            not abs(by_training) > MAX_TRAIN_TAU,
        ),
    ]


def _row(one: TrainTask) -> dict[str, Any]:
    known = known_of(one)
    return {
        "held_out_accuracy": known["held_out_accuracy"],
        "n_held_out": known["n_held_out"],
        TRAIN: known["train_accuracy_as_trained"],
    }


def similar_spread(table: pd.DataFrame) -> tuple[float, int]:
    """The widest range of held-out accuracy among checkpoints of similar training accuracy.

    Args:
        table: Columns `held_out_accuracy` and `train_accuracy`, in [0, 1].

    Returns:
        The range over the window of training accuracies, `SIMILAR` wide, that holds most
        checkpoints, and how many it holds; of windows alike the one of the best fitted.

    Example:
        >>> similar_spread(pd.DataFrame({"held_out_accuracy": [0.5, 0.9, 0.1],
        ...                              "train_accuracy": [1.0, 0.98, 0.4]}))
        (0.4, 2)
    """
    fitted = table[TRAIN].to_numpy(float)
    accuracy = table[HELD_OUT].to_numpy(float)
    best, range_found = 0, 0.0
    for top in np.unique(fitted)[::-1]:
        inside = (fitted <= top) & (fitted >= top - SIMILAR)
        if inside.sum() > best:
            best, range_found = int(inside.sum()), float(np.ptp(accuracy[inside]))
    return range_found, best


def _ceiling(accuracy: np.ndarray, n_images: np.ndarray) -> float:
    """Mean τ of the accuracies with ones drawn again from as many images: what noise leaves."""
    rng = np.random.default_rng(0)
    draws = rng.binomial(n_images, accuracy, size=(_DRAWS, len(accuracy))) / n_images
    return float(np.mean([_tau(draw, accuracy) for draw in draws]))


def _tau(x: np.ndarray, y: np.ndarray) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(stats.kendalltau(x, y).statistic)
