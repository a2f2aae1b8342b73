"""What a followed training says: entropy beside loss over epochs, and when to have stopped."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from audit.errors import ConfigError
from audit.statistics.resampling import kendall_draws

#: Quantities of a layer that are set beside the loss.
QUANTITIES: Final = ("feature_entropy", "birth_class_information")
#: An interval, and a suggestion, of fewer epochs would mean nothing.
LEAST_EPOCHS: Final = 8
_LEAST_FOR_KENDALL: Final = 3
_DRAWS: Final = 2000
#: Of the draws, at least so many must have a τ.
_MIN_DEFINED: Final = 0.8

#: What the suggestion looks at by itself: the deepest layer's, which rises while training.
RULE: Final = "birth_class_information"
PATIENCE: Final = 5


class SeriesKendall(NamedTuple):
    """Kendall's τ of two series over epochs; NaN with a reason where there is none.

    Attributes:
        kendall: τ-b of the values.
        lower: End of its interval.
        upper: End of its interval.
        of_changes: τ-b of the changes from each epoch to the next, in which a common trend has no
            part.
        n_epochs: With both numbers.
        reason: Why something is NaN, or "".
    """

    kendall: float
    lower: float
    upper: float
    of_changes: float
    n_epochs: int
    reason: str


def kendall_over_epochs(
    x: ArrayLike,
    y: ArrayLike,
    confidence: float = 0.95,
    seed: int = 0,
) -> SeriesKendall:
    """Kendall's τ-b between two series, with an interval that knows of neighbouring epochs.

    Epochs are not independent: the interval is of the percentiles of a circular block bootstrap, in
    which blocks of ⌈n^(1/3)⌉ neighbouring epochs are drawn together. Two series with a trend have a
    τ near ±1 whatever they measure, and the interval does not doubt that; `of_changes` does.

    Args:
        x: One number per epoch, in order; NaN where there is none.
        y: Likewise.
        confidence: Of the interval, in (0, 1).
        seed: Of the draws.

    Returns:
        NaN for fewer than 3 epochs or a series without change; no interval for fewer than 8.

    Source:
        Politis & Romano, A circular block-resampling procedure for stationary data, in Exploring
        the limits of bootstrap, 1992; Künsch, The jackknife and the bootstrap for general
        stationary observations, Annals of Statistics 17, 1989, for blocks of order n^(1/3).

    Example:
        >>> found = kendall_over_epochs([5, 4, 3, 2, 1, 0], [9, 7, 8, 4, 3, 1])
        >>> round(found.kendall, 4), found.reason
        (0.8667, 'an interval needs 8 epochs; there are 6')
    """
    one, other = np.asarray(x, np.float64), np.asarray(y, np.float64)
    kept = np.isfinite(one) & np.isfinite(other)
    n = int(kept.sum())
    nan = float("nan")
    if n < _LEAST_FOR_KENDALL:
        reason = f"Kendall's τ needs {_LEAST_FOR_KENDALL} epochs; there are {n}"
        return SeriesKendall(nan, nan, nan, nan, n, reason)
    following = kept[1:] & kept[:-1]
    changes = _kendall(np.diff(one)[following], np.diff(other)[following])
    one, other = one[kept], other[kept]
    tau = _kendall(one, other)
    if np.isnan(tau):
        return SeriesKendall(nan, nan, nan, changes, n, "a series does not change")
    if n < LEAST_EPOCHS:
        reason = f"an interval needs {LEAST_EPOCHS} epochs; there are {n}"
        return SeriesKendall(tau, nan, nan, changes, n, reason)
    draws = kendall_draws(one, other, _block_weights(n, _DRAWS, seed))
    draws = draws[np.isfinite(draws)]
    if len(draws) < _MIN_DEFINED * _DRAWS:
        reason = "most resampled series do not change"
        return SeriesKendall(tau, nan, nan, changes, n, reason)
    lower, upper = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return SeriesKendall(tau, float(lower), float(upper), changes, n, "")


def _kendall(x: np.ndarray, y: np.ndarray) -> float:
    """τ-b; NaN where it is undefined."""
    if len(x) < _LEAST_FOR_KENDALL or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(stats.kendalltau(x, y).statistic)


def _block_weights(n: int, n_draws: int, seed: int) -> np.ndarray:
    """How often each of n epochs is drawn, shape (n, draws): neighbours are drawn together."""
    length = int(np.ceil(n ** (1 / 3)))
    n_blocks = -(-n // length)
    rng = np.random.default_rng(seed)
    starts = rng.integers(n, size=(n_draws, n_blocks))
    rows = (starts[:, :, None] + np.arange(length)) % n
    drawn = rows.reshape(n_draws, -1)[:, :n]  # a last block may be cut
    weights = np.zeros((n, n_draws))
    np.add.at(weights, (drawn, np.arange(n_draws)[:, None]), 1)
    return weights


class Stop(NamedTuple):
    """Where a patience rule stops.

    Attributes:
        best_epoch: Whose checkpoint it keeps; None where it never stops.
        stopped_epoch: After which it stops; None where it never does.
    """

    best_epoch: int | None
    stopped_epoch: int | None


def patience_stop(
    epochs: Sequence[int],
    values: Sequence[float],
    direction: str,
    patience: int = PATIENCE,
    least_change: float = 0.0,
) -> Stop:
    """Stop once a quantity has not bettered its best for some looks, and keep the best.

    Args:
        epochs: Of the looks, rising.
        values: One each; NaN never betters anything.
        direction: "higher" or "lower" is better.
        patience: Looks without a better value after which it stops.
        least_change: By how much a value must be better to count.

    Raises:
        ConfigError: A patience below 1, or another direction.

    Source:
        Rieck et al., Neural Persistence, ICLR 2019 (arXiv 1812.09764), section 4.2, stop a training
        without held-out data so: when a topological quantity, theirs of the weights, has not risen
        by a least change for so many looks. Deviation: other quantities, and the best checkpoint is
        kept, not the last.

    Example:
        >>> patience_stop([1, 2, 3, 4, 5], [0.1, 0.4, 0.3, 0.2, 0.9], "higher", patience=2)
        Stop(best_epoch=2, stopped_epoch=4)
    """
    if patience < 1 or direction not in ("higher", "lower"):
        raise ConfigError(
            "a patience of at least 1 and a direction, higher or lower, are needed; found "
            f"{patience} and {direction!r}"
        )
    sign = 1 if direction == "higher" else -1
    best, best_epoch, waited = -np.inf, None, 0
    for epoch, value in zip(epochs, values, strict=True):
        if sign * value > best + least_change:
            best, best_epoch, waited = sign * value, int(epoch), 0
            continue
        waited += 1
        if waited >= patience and best_epoch is not None:
            return Stop(best_epoch, int(epoch))
    return Stop(None, None)


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """A followed training.

    Attributes:
        table: Rows of a follower: one per epoch and layer.
        loss: The column that stands for the training loss: what the training reported, where it
            did so for every epoch, else the loss on the sample.
        kendall: One row per layer and quantity: layer, quantity, n_epochs, kendall, lower, upper,
            kendall_of_changes, reason.
        stop: What the rule says.
        layer: The layer that the rule looked at; "" where none has numbers.
    """

    table: pd.DataFrame
    loss: str
    kendall: pd.DataFrame
    stop: Stop
    layer: str

    @property
    def epochs(self) -> list[int]:
        """That were looked at."""
        return [int(epoch) for epoch in self.table["epoch"].unique()]

    def sentence(self) -> str:
        """What the rule suggests, and what that is worth, in words."""
        if not self.layer:
            return "No suggestion: no layer has birth–class information at every epoch."
        if len(self.epochs) < LEAST_EPOCHS:
            return (
                f"No suggestion: {len(self.epochs)} epochs were looked at; it needs {LEAST_EPOCHS}."
            )
        about = f"birth–class information of {self.layer}"
        if self.stop.best_epoch is None:
            return f"Go on: the {about} has not stayed below its best for {PATIENCE} looks."
        return (
            f"By the {about} alone, which the {PATIENCE} looks up to epoch "
            f"{self.stop.stopped_epoch} did not better, training would stop there and epoch "
            f"{self.stop.best_epoch} be kept. On trainings of ours such stops lost accuracy "
            "(docs/training.md): do not stop by this alone."
        )


def trajectory_of(table: pd.DataFrame) -> Trajectory:
    """Read a follower's table.

    Args:
        table: As `audit.following.logs.read_table` gives it.

    Returns:
        The trajectory; a suggestion only of 8 epochs or more.
    """
    table = table.sort_values("epoch", kind="stable").reset_index(drop=True)
    reported = "loss" in table and bool(table["loss"].notna().all())
    loss = "loss" if reported else "sample_loss"
    rows: list[dict[str, Any]] = []
    layers = [str(layer) for layer in table["layer"].unique()]
    for layer in layers:
        part = table[table["layer"] == layer]
        for quantity in QUANTITIES:
            found = kendall_over_epochs(part[quantity].to_numpy(), part[loss].to_numpy())
            rows.append(
                {
                    "layer": layer,
                    "quantity": quantity,
                    "n_epochs": found.n_epochs,
                    "kendall": found.kendall,
                    "lower": found.lower,
                    "upper": found.upper,
                    "kendall_of_changes": found.of_changes,
                    "reason": found.reason,
                }
            )
    stop, layer = _suggested(table, layers)
    return Trajectory(table, loss, pd.DataFrame(rows), stop, layer)


def _suggested(table: pd.DataFrame, layers: Sequence[str]) -> tuple[Stop, str]:
    """What the rule says of the deepest layer that has numbers at every epoch."""
    n_epochs = table["epoch"].nunique()
    for layer in reversed(layers):
        part = table[table["layer"] == layer]
        if len(part) == n_epochs and part[RULE].notna().all():
            if n_epochs < LEAST_EPOCHS:
                return Stop(None, None), layer
            return patience_stop(part["epoch"].tolist(), part[RULE].tolist(), "higher"), layer
    return Stop(None, None), ""
