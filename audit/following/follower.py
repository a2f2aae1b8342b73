"""Follow feature entropy and birth–class information of a network while it trains."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from audit.errors import ConfigError, unknown_name
from audit.following._apart import copied, device_of_network, same_randomness
from audit.following.budget import Budget
from audit.following.logs import Row, RowLog, frame_of, logs_for
from audit.following.observing import FollowedView, Observation, observe
from audit.following.sample import FixedSample, fixed_sample
from audit.network.layers import ChosenLayers
from audit.network.threads import all_of_float32
from audit.runs.config import one_or_several
from audit.topology import Filtration

if TYPE_CHECKING:
    from torch import nn

_log = logging.getLogger("genaudit.following")


class Follower:
    """Follows a network in a training loop of one's own.

    A small sample of the training images is drawn once and kept where the network runs. After an
    epoch a copy of the network is run on it once, and a row for each layer goes to the logs. The
    network itself is neither run nor changed: modes, gradients, statistics of normalisation, hooks
    and random generators are as they were.

    Args:
        model: The network, compiled or wrapped as it may be; not sharded.
        dataset: The training images: name of a dataset plugin, mapping of `name` and options, open
            split, dataset of torch or pair of arrays (before normalisation), as
            `audit.unit_table` takes them; or a `DataLoader`, or a
            `audit.following.sample.FixedSample`, whose images are as the network is given them.
        layers: Whose feature maps are taken: "stages", "last", paths, patterns (see
            `genaudit layers`).
        every: Look after every so many epochs, from the first one on.
        folder: Where `following.csv` and TensorBoard's files go; None: rows are kept in memory.
        log: "tensorboard", "mlflow", or objects with `write(rows)` and `close()`, beside the table.
        filtration: "clique" (square maps of 5 × 5 pixels at least) or "cubical".
        images_per_class: Of the sample, at most; 0 means all.
        max_classes: Of the sample, at most; 0 means all.
        transform: Overrides of the network's data configuration, or all of it where no model
            source recognises the network: `input_size`, `mean`, `std`, …
        batch_size: Images per forward pass.
        seed: Of the choice of images.
        budget: Share of the time that looking may take; an epoch whose look would exceed it is
            passed over. None: every look is made.

    Raises:
        ConfigError: An option that cannot be used, or a package that is not installed.
        DataError: The dataset cannot be used.
        UnavailableError: The network has no feature maps for this filtration.
        CheckpointError: The network cannot be copied, or its outputs are no class scores.

    Example:
        >>> import timm
        >>> network = timm.create_model("test_resnet", num_classes=10, in_chans=1)
        >>> size = {"input_size": [1, 32, 32]}
        >>> follower = Follower(network, "digits", folder=None, images_per_class=2, transform=size)
        >>> rows = follower.after_epoch(1, loss=2.3)
        >>> sorted(rows[0])[:4]
        ['birth_class_information', 'birth_entropy', 'effective_rate', 'epoch']
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: Any,
        layers: str | Sequence[str] = "stages",
        every: int = 1,
        *,
        folder: str | Path | None = "following",
        log: Sequence[str | RowLog] = (),
        filtration: Filtration = "clique",
        images_per_class: int = 20,
        max_classes: int = 10,
        transform: Mapping[str, Any] | None = None,
        batch_size: int = 64,
        seed: int = 0,
        budget: float | None = 0.03,
    ) -> None:
        if filtration not in ("clique", "cubical"):
            raise unknown_name("filtration", filtration, ["clique", "cubical"])
        for name, least, value in (
            *(("every", 1, every), ("batch_size", 1, batch_size)),
            *(("images_per_class", 0, images_per_class), ("max_classes", 0, max_classes)),
        ):
            if value < least:
                raise ConfigError(f"{name} must be at least {least}; found {value}")
        started = time.perf_counter()
        self.model = model
        self._layers, self._every = one_or_several(layers), every
        self._filtration: Filtration = filtration
        self._batch_size, self._seed = batch_size, seed
        self._chosen: ChosenLayers | None = None
        self._first_epoch: int | None = None
        self._rows: list[Row] = []
        self._logs = logs_for(log, None if folder is None else Path(folder))
        with _untraced(device_of_network(model), seed):
            network = copied(model)
            self._sample = fixed_sample(
                dataset, network, images_per_class, max_classes, seed, transform
            )
            self._look(network, self._few())  # compiles kernels, and finds the layers
        self._budget = Budget(budget)
        self.setup_seconds = time.perf_counter() - started

    @property
    def sample(self) -> FixedSample:
        """The images that the network is followed on."""
        return self._sample

    @property
    def layers(self) -> tuple[str, ...]:
        """Paths of the layers, from shallow to deep."""
        return tuple(spec.name for spec in self._chosen.specs) if self._chosen else ()

    @property
    def table(self) -> pd.DataFrame:
        """All rows of this training so far: one per epoch and layer."""
        return frame_of(self._rows)

    @property
    def spent_share(self) -> float:
        """Share of the time since the follower was made that looking took, in [0, 1]."""
        return self._budget.spent_share

    def after_epoch(
        self,
        epoch: int,
        loss: float | None = None,
        *,
        network: nn.Module | None = None,
        **metrics: float,
    ) -> list[Row]:
        """Look at the network, if it is time to, and log what is found.

        Args:
            epoch: Its number, rising.
            loss: The training loss of the epoch; the loss on the sample is taken anyway.
            network: Looked at in place of the model, such as an average of its weights; it must
                have the same layers.
            metrics: Other numbers of the epoch, each a column of its own; nothing here reads them.

        Returns:
            A row for each layer; none where it was not time, or the budget was spent.

        Raises:
            MeasureError: Activations are not finite.
            StoreError: The table cannot be written.
        """
        observation = self.observe(epoch, network)
        return [] if observation is None else self.record(epoch, observation, loss, **metrics)

    def observe(self, epoch: int, network: nn.Module | None = None) -> Observation | None:
        """Look at the network, if it is time to; `record` logs what is found.

        Args:
            epoch: Its number.
            network: Looked at in place of the model.

        Returns:
            None where it is not time, or the budget is spent.
        """
        if self._first_epoch is None:
            self._first_epoch = epoch
        if (epoch - self._first_epoch) % self._every:
            return None
        if not self._budget.begin():
            _log.info("epoch %s is passed over: looking takes too much of the time", epoch)
            return None
        model = self.model if network is None else network
        device = device_of_network(model)
        with _untraced(device, self._seed):
            self._sample = self._sample.to(device)
            found = self._look(copied(model), self._sample)
        self._budget.end()
        return found

    def record(
        self, epoch: int, observation: Observation, loss: float | None = None, **metrics: float
    ) -> list[Row]:
        """Log what was found after an epoch.

        Args:
            epoch: Its number.
            observation: What `observe` gave.
            loss: The training loss of the epoch.
            metrics: Other numbers of the epoch.

        Returns:
            The rows.
        """
        rows = [
            {
                "epoch": epoch,
                "filtration": self._filtration,
                **dataclasses.asdict(layer),
                "sample_loss": observation.sample_loss,
                "sample_accuracy": observation.sample_accuracy,
                "loss": float("nan") if loss is None else float(loss),
                "seconds": self._budget.last_seconds,
                **metrics,
            }
            for layer in observation.layers
        ]
        self._rows += rows
        for log in self._logs:
            log.write(rows)
        return list(rows)

    def close(self) -> None:
        """Close the logs."""
        for log in self._logs:
            log.close()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _few(self) -> FixedSample:
        """An image of the first and one of the last class, with which all is tried."""
        labels = self._sample.labels
        rows = [int(labels.argmin()), int(labels.argmax())]
        images = self._sample.images[rows].to(device_of_network(self.model))
        return dataclasses.replace(self._sample, images=images, labels=labels[rows])

    def _look(self, network: nn.Module, sample: FixedSample) -> Observation:
        """One pass of a copy of the network over the sample."""
        view = FollowedView(
            network,
            sample,
            self._layers,
            self._filtration,
            self._batch_size,
            self._seed,
            self._chosen,
        )
        found = observe(view, self._filtration)
        self._chosen = view.chosen
        return found


@contextlib.contextmanager
def _untraced(device: torch.device, seed: int) -> Iterator[None]:
    """Compute in float32, whatever the training computes in, and leave random generators alone."""
    with (
        same_randomness(seed),
        torch.autocast(device.type, enabled=False),
        all_of_float32(),
    ):
        yield
