"""Who rides on which rendition of the sample, and with which of its images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch

from audit.plugin import (
    PLAIN,
    Alteration,
    Batch,
    DataConfig,
    GradientReducer,
    Reducer,
    Rendition,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass
class Rider:
    """A reducer on one rendition of the sample."""

    reducer: Reducer
    rendition: Rendition
    essential: bool


@dataclasses.dataclass
class Stream:
    """One pass: over a rendition of the sample, or a share of it, for all who ride on it.

    An image's numbers change by some 1e-8 with the other images of its batch. So batches must not
    depend on who else rides: a run that was interrupted finds part of its values in the store, has
    fewer riders, and must come to the same numbers. Two shares of one rendition are two streams,
    and whoever wants some images of the plain sample forward rides on all of them.
    """

    rendition: Rendition
    riders: list[Rider]
    alteration: Alteration | None = None

    def part_of(self, stretch: Batch) -> Batch:
        """The images of a stretch of the sample that go through the network."""
        return part_of(stretch, chosen_rows(stretch.rows, self.rendition.share))


def chosen_rows(rows: np.ndarray, share: float) -> np.ndarray:
    """Which rows an evenly spaced share of the sample uses, the first among them; shape (b,), bool.

    Example:
        >>> chosen_rows(np.arange(8), 0.25).nonzero()[0].tolist()
        [0, 4]
    """
    used: np.ndarray = np.floor(rows * share) > np.floor((rows - 1) * share)
    return used


def stream_of(reducer: type[Reducer], rendition: Rendition, config: DataConfig | None) -> Rendition:
    """The rendition that is run for a reducer that names one; equal ones are run once.

    Args:
        reducer: Who rides.
        rendition: One of those it names.
        config: How images are prepared: some renditions of grey images are no change.
    """
    other = rendition.same_as(config) if rendition.same_as and config else None
    found = other.on(rendition.share) if other else rendition
    forward = not issubclass(reducer, GradientReducer)
    return PLAIN if forward and found.on(1.0) == PLAIN else found


class Part:
    """What of a batch belongs to a rider's share of the sample."""

    def __init__(self, rider: Rider, batch: Batch) -> None:
        self.rider = rider
        used = chosen_rows(batch.rows, rider.rendition.share)
        self._used = None if used.all() else torch.from_numpy(np.flatnonzero(used))
        if self._used is not None:
            batch = part_of(batch, used)
        self.batch = dataclasses.replace(batch, rendition=rider.rendition)

    def of(self, tensor: Tensor) -> Tensor:
        """The rows of a tensor that belong to it."""
        return tensor if self._used is None else tensor[self._used.to(tensor.device)]


def parts_of(riders: Iterable[Rider], batch: Batch) -> list[Part]:
    """What of a batch belongs to each rider; those that have nothing of it are left out."""
    parts = [Part(rider, batch) for rider in riders]
    return [part for part in parts if len(part.batch.images)]


def part_of(batch: Batch, used: np.ndarray) -> Batch:
    """The rows of a batch that are used."""
    if used.all():
        return batch
    index = torch.from_numpy(np.flatnonzero(used)).to(batch.images.device)
    return dataclasses.replace(
        batch, rows=batch.rows[used], labels=batch.labels[index], images=batch.images[index]
    )


def slice_of(batch: Batch, rows: slice) -> Batch:
    """A stretch of a batch."""
    return dataclasses.replace(
        batch, rows=batch.rows[rows], labels=batch.labels[rows], images=batch.images[rows]
    )


def riders_of(
    reducer: Reducer, config: DataConfig, essential: bool
) -> list[tuple[Rendition, Rider]]:
    """What a reducer rides on: the rendition that is run, and the one that the reducer names."""
    return [
        (stream_of(type(reducer), rendition, config), Rider(reducer, rendition, essential))
        for rendition in type(reducer).renditions
    ]
