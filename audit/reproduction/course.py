"""The course of a training: loss and feature entropy of the last convolution after every epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from audit.topology.entropy import feature_entropy_by_class


@dataclasses.dataclass(frozen=True)
class Epoch:
    """What a network is after an epoch; epoch 0 is before the first.

    Attributes:
        epoch: Its number.
        loss: Mean cross-entropy on the sample, against the labels trained on, in nats.
        accuracy: Likewise, in [0, 1].
        effective_rate: Share of (image, unit) pairs with a birth, in [0, 1].
        entropy: Feature entropy, mean over (unit, class) pairs with a birth, of the classes trained
            on, in nats.
        entropy_clean: Of the classes that images came with.
        entropy_noisy: Of the classes of moved labels.
        entropy_by_class: Of each class trained on, mean over units.
    """

    epoch: int
    loss: float
    accuracy: float
    effective_rate: float
    entropy: float
    entropy_clean: float
    entropy_noisy: float
    entropy_by_class: list[float]


@dataclasses.dataclass(frozen=True)
class Course:
    """How a training went.

    Attributes:
        epochs: In order.
        settled_start: Feature entropy before training with statistics of normalisation taken on
            the images, in nats; that of epoch 0 where the network has none.
        held_out_accuracy: At the end, in [0, 1]; NaN where it is not known.
        n_held_out: Images that it was taken on.
    """

    epochs: list[Epoch]
    settled_start: float
    held_out_accuracy: float
    n_held_out: int

    def column(self, name: str) -> np.ndarray:
        """One quantity of every epoch."""
        return np.array([getattr(one, name) for one in self.epochs], float)

    @property
    def least_loss(self) -> float:
        """The lowest loss that was reached."""
        return float(self.column("loss").min())

    def at_loss(self, loss: float, name: str) -> float:
        """A quantity when training first reached a loss, interpolated between epochs.

        Args:
            loss: In nats.
            name: Of the quantity.

        Returns:
            NaN where the loss was not reached.
        """
        losses, values = self.column("loss"), self.column(name)
        reached = np.flatnonzero(losses <= loss)
        if not len(reached):
            return float("nan")
        at = int(reached[0])
        if at == 0:
            return float(values[0])
        share = (losses[at - 1] - loss) / (losses[at - 1] - losses[at])
        return float(values[at - 1] + share * (values[at] - values[at - 1]))

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Course:
        """From `as_json`."""
        epochs = [Epoch(**one) for one in content["epochs"]]
        return cls(**{**content, "epochs": epochs})


def mean_entropy(births: np.ndarray, labels: np.ndarray) -> float:
    """Feature entropy, mean over the (unit, class) pairs with a birth; NaN where there is none.

    Args:
        births: Shape (n, u).
        labels: Shape (n,).
    """
    found = _by_class(births, labels)
    known = found[np.isfinite(found)]
    return float(known.mean()) if len(known) else float("nan")


def entropy_of_classes(births: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Feature entropy of each class with an image, mean over the units that are born for it.

    Args:
        births: Shape (n, u).
        labels: Shape (n,).

    Returns:
        Shape (classes with an image,), in nats; NaN where no unit is born.
    """
    return known_mean(_by_class(births, labels), 1)


def entropy_of_units(births: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Feature entropy of each unit, mean over the classes that it is born for.

    Returns:
        Shape (u,), in nats; NaN where it is born for none.
    """
    return known_mean(_by_class(births, labels), 0)


def _by_class(births: np.ndarray, labels: np.ndarray) -> np.ndarray:
    present, own = np.unique(labels, return_inverse=True)
    return feature_entropy_by_class(births, own, len(present)).feature_entropy


def known_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of what is not NaN along an axis; NaN where nothing is."""
    known = np.isfinite(values)
    total, n = np.where(known, values, 0).sum(axis), known.sum(axis)
    return np.asarray(np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0))


def observed(
    epoch: int,
    births: np.ndarray,
    logits: np.ndarray,
    labels: np.ndarray,
    clean: np.ndarray | None = None,
    noisy: np.ndarray | None = None,
) -> Epoch:
    """What a look at a network gives.

    Args:
        epoch: Its number.
        births: Shape (n, u), of the last convolution.
        logits: Shape (n, c).
        labels: Shape (n,), those trained on.
        clean: Labels that the images came with; None: those trained on.
        noisy: Moved labels; None: those trained on.
    """
    return Epoch(
        epoch=epoch,
        loss=cross_entropy(logits, labels),
        accuracy=float((logits.argmax(1) == labels).mean()),
        effective_rate=float((births > 0).mean()),
        entropy=mean_entropy(births, labels),
        entropy_clean=mean_entropy(births, labels if clean is None else clean),
        entropy_noisy=mean_entropy(births, labels if noisy is None else noisy),
        entropy_by_class=entropy_of_classes(births, labels).tolist(),
    )


def cross_entropy(logits: np.ndarray, labels: Sequence[int] | np.ndarray) -> float:
    """Mean cross-entropy of class scores, shape (n, c), with labels, in nats.

    Example:
        >>> round(cross_entropy(np.zeros((3, 4)), np.array([0, 1, 2])), 4)
        1.3863
    """
    from scipy.special import log_softmax

    rows = np.arange(len(logits))
    return float(-log_softmax(np.asarray(logits, float), axis=1)[rows, labels].mean())
