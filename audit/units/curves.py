"""Ablation curves, the areas under them, and what they say of the order by feature entropy.

All is linear in what each image contributes, so a bootstrap sample of images gives the whole of a
curve, an area and a difference of areas at once, and all orders are compared on the same samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from jaxtyping import Int64

from audit.statistics.resampling import bootstrap_weights, interval
from audit.units.ablation_orders import Ranked

if TYPE_CHECKING:
    from audit.units.masked import Outcomes

#: Bootstrap samples whose weights are held at a time.
_BLOCK: Final = 100
QUANTITIES: Final = ("accuracy", "loss")


def ablated_counts(n_units: int, steps: int) -> Int64[np.ndarray, " s"]:
    """How many units are gone at each point of a curve: from none to all, about evenly spaced.

    Args:
        n_units: Of the layer.
        steps: Points beside the first; no more than there are units.

    Example:
        >>> ablated_counts(10, 4).tolist(), ablated_counts(2, 20).tolist()
        ([0, 2, 5, 8, 10], [0, 1, 2])
    """
    return np.unique(np.round(np.linspace(0, n_units, steps + 1)).astype(np.int64))


class Plan:
    """Every set of units that some order ablates at some step, each once.

    Args:
        ranked: The orders.
        counts: Units that are gone at each step, shape (s,).
        n_units: Of the layer.

    Attributes:
        masks: Shape (m, u), true for ablated units.
        positions: Name of the order → shape (draws, s): which mask stands at each step.
    """

    def __init__(self, ranked: Sequence[Ranked], counts: np.ndarray, n_units: int) -> None:
        known: dict[bytes, int] = {}
        masks: list[np.ndarray] = []
        self.positions: dict[str, np.ndarray] = {}
        for one in ranked:
            places = np.argsort(one.units, axis=1)  # place of each unit in the order
            found = np.empty((len(places), len(counts)), np.int64)
            for draw, place in enumerate(places):
                for step, count in enumerate(counts):
                    mask = place < count
                    key = mask.tobytes()
                    if key not in known:
                        known[key] = len(masks)
                        masks.append(mask)
                    found[draw, step] = known[key]
            self.positions[one.order.name] = found
        self.masks = np.array(masks, bool).reshape(len(masks), n_units)


def area(curve: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Area under a curve by the trapezoidal rule, over the share of units that are gone.

    The share runs from 0 to 1, so that the area of accuracies lies in [0, 1] and that of any
    quantity between its least and its greatest value.

    Args:
        curve: Shape (…, s).
        counts: Units that are gone at each point, ascending, shape (s,); the last is all.

    Example:
        >>> float(area(np.array([1.0, 0.5, 0.0]), np.array([0, 5, 10])))
        0.5
    """
    return np.asarray(np.trapezoid(curve, counts / counts[-1], axis=-1))


class Resampled:
    """Means over images, and over bootstrap samples of images, of curves and areas.

    Args:
        outcomes: Of every mask on every image.
        plan: Which mask stands at which step of which order.
        counts: Units that are gone at each step.
        n_bootstrap: Samples. Where an order is drawn several times, its draws are resampled with
            the images, as they are a sample of all orders there are.
        seed: Of the samples.
    """

    def __init__(
        self, outcomes: Outcomes, plan: Plan, counts: np.ndarray, n_bootstrap: int, seed: int
    ) -> None:
        n = outcomes.correct.shape[1]
        values = {"accuracy": outcomes.correct, "loss": outcomes.losses}
        self._means = {name: v.mean(1, dtype=np.float64) for name, v in values.items()}
        self._samples: dict[str, np.ndarray] = {
            name: np.empty((len(v), n_bootstrap)) for name, v in values.items()
        }
        for start in range(0, n_bootstrap, _BLOCK):
            size = min(_BLOCK, n_bootstrap - start)
            weights = bootstrap_weights(n, size, seed + start) / n
            for name, v in values.items():
                self._samples[name][:, start : start + size] = v @ weights
        self._plan, self._counts = plan, counts
        self._n_bootstrap, self._seed = n_bootstrap, seed

    def curve(self, order: str, quantity: str) -> tuple[np.ndarray, np.ndarray]:
        """The mean curve of an order, shape (s,), and its bootstrap samples, shape (s, draws)."""
        positions = self._plan.positions[order]
        means = self._means[quantity][positions].mean(0)
        weights = bootstrap_weights(len(positions), self._n_bootstrap, self._seed) / len(positions)
        samples = self._samples[quantity][positions]
        return means, np.einsum("dsb,db->sb", samples, weights)

    def area(self, order: str, quantity: str) -> tuple[float, np.ndarray]:
        """The area under an order's curve, and its bootstrap samples, shape (draws,)."""
        means, samples = self.curve(order, quantity)
        return float(area(means, self._counts)), area(samples.T, self._counts)


def curve_table(resampled: Resampled, ranked: Sequence[Ranked], counts: np.ndarray) -> pd.DataFrame:
    """One row per order and step.

    Returns:
        Columns order, n_ablated, share_ablated (in [0, 1]), accuracy (in [0, 1]), accuracy_lower,
        accuracy_upper, loss (nats), loss_lower, loss_upper; the mean over draws of an order that is
        drawn. Orders that do not exist have no rows.
    """
    rows: list[dict[str, Any]] = []
    for one in ranked:
        if one.reason:
            continue
        found = {name: resampled.curve(one.order.name, name) for name in QUANTITIES}
        for step, count in enumerate(counts):
            row = {"order": one.order.name, "n_ablated": count, "share_ablated": count / counts[-1]}
            for name, (means, samples) in found.items():
                row |= _with_interval(name, float(means[step]), samples[step])
            rows.append(row)
    columns = ["order", "n_ablated", "share_ablated", *_columns()]
    return pd.DataFrame(rows, columns=columns)


def area_table(resampled: Resampled, ranked: Sequence[Ranked]) -> pd.DataFrame:
    """One row per order.

    Returns:
        Columns order, accuracy (area under the curve, in [0, 1]), accuracy_lower, accuracy_upper,
        loss (likewise, in nats), loss_lower, loss_upper, n_undefined (units without a number) and
        reason, of an order that does not exist; its areas are NaN.
    """
    rows = []
    for one in ranked:
        row: dict[str, Any] = {"order": one.order.name}
        for name in QUANTITIES:
            known = (np.nan, np.full(1, np.nan))
            found = known if one.reason else resampled.area(one.order.name, name)
            row |= _with_interval(name, *found)
        rows.append(row | {"n_undefined": one.n_undefined, "reason": one.reason})
    return pd.DataFrame(rows, columns=["order", *_columns(), "n_undefined", "reason"])


def difference_table(resampled: Resampled, ranked: Sequence[Ranked]) -> pd.DataFrame:
    """One row per pair of orders that exist: the first's area less the second's.

    Returns:
        Columns order, other, accuracy (difference of areas), accuracy_lower, accuracy_upper, loss,
        loss_lower, loss_upper. Both orders are resampled with the same images.
    """
    known = [one.order.name for one in ranked if not one.reason]
    areas = {(one, name): resampled.area(one, name) for one in known for name in QUANTITIES}
    rows = []
    for one in known:
        for other in known:
            if one == other:
                continue
            row: dict[str, Any] = {"order": one, "other": other}
            for name in QUANTITIES:
                (a, draws_a), (b, draws_b) = areas[one, name], areas[other, name]
                row |= _with_interval(name, a - b, draws_a - draws_b)
            rows.append(row)
    return pd.DataFrame(rows, columns=["order", "other", *_columns()])


def _columns() -> list[str]:
    return [f"{name}{end}" for name in QUANTITIES for end in ("", "_lower", "_upper")]


def _with_interval(name: str, value: float, samples: np.ndarray) -> Mapping[str, float]:
    """A number and its 95% percentile interval, as three columns."""
    lower, upper = interval(samples)
    return {name: value, f"{name}_lower": lower, f"{name}_upper": upper}
