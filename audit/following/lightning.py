"""Follow a network that PyTorch Lightning trains."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from audit.errors import ConfigError
from audit.following.follower import Follower
from audit.following.logs import needed

if TYPE_CHECKING:
    from torch import Tensor, nn

    class Callback:
        """Lightning's base class of callbacks."""

elif "lightning.pytorch" in sys.modules:  # the same classes once more, under another name
    Callback = needed("lightning.pytorch", "follow a training of Lightning").Callback
else:
    Callback = needed(
        "pytorch_lightning", "follow a training of Lightning", "pytorch-lightning"
    ).Callback


class FollowingCallback(Callback):
    """Follows the network of a `LightningModule` at the end of every k-th training epoch.

    It works with `pytorch_lightning`, and with `lightning.pytorch` where that is imported first.
    Of several processes the first alone looks. The loss of an epoch is the mean of what
    `training_step` returned. Networks that are sharded (FSDP, DeepSpeed) cannot be followed so:
    follow their checkpoints.

    Args:
        dataset: As `audit.Follower` takes it; None: images are drawn from the trainer's training
            loader, prepared as they come from there, augmentation included, once.
        layers: Whose feature maps are taken; paths count from the network.
        every: Look after every so many epochs.
        network: What is looked at, from the module; by default the module itself, whose `forward`
            gives class scores.
        metrics: Names of logged metrics that become columns too, such as a validation accuracy.
        options: What else `audit.Follower` takes: folder, log, filtration, images_per_class, …

    Raises:
        ConfigError: Lightning is not installed (on import), or a loader that no images can be
            drawn from.

    Example:
        >>> callback = FollowingCallback(every=5, folder=None)
        >>> callback.follower is None  # until training starts
        True
    """

    def __init__(
        self,
        dataset: Any = None,
        layers: str | Sequence[str] = "stages",
        every: int = 1,
        *,
        network: Callable[[Any], nn.Module] | None = None,
        metrics: Sequence[str] = (),
        **options: Any,
    ) -> None:
        super().__init__()
        self.follower: Follower | None = None
        self._dataset, self._layers, self._every = dataset, layers, every
        self._network, self._metrics, self._options = network, metrics, options
        self._loss: Tensor | None = None
        self._n_batches = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Draw the sample, and try everything once."""
        if not trainer.is_global_zero:
            return
        dataset = trainer.train_dataloader if self._dataset is None else self._dataset
        if dataset is None or isinstance(dataset, list | dict):
            raise ConfigError(
                "to follow a training with several training loaders, `dataset` must be given to "
                "FollowingCallback"
            )
        model = self._followed(pl_module)
        self.follower = Follower(model, dataset, self._layers, self._every, **self._options)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin the mean of the loss anew."""
        self._loss, self._n_batches = None, 0

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the loss of a batch along, without waiting for the device."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if self.follower is not None and loss is not None:
            whole = loss.detach() * trainer.accumulate_grad_batches
            self._loss = whole if self._loss is None else self._loss + whole
            self._n_batches += 1

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Look at the network, if it is time to."""
        if self.follower is None:
            return
        loss = None if self._loss is None else float(self._loss) / self._n_batches
        known = trainer.callback_metrics
        metrics = {name: float(known[name]) for name in self._metrics if name in known}
        model = self._followed(pl_module)
        self.follower.after_epoch(trainer.current_epoch, loss, network=model, **metrics)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the logs."""
        if self.follower is not None:
            self.follower.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Close the logs of a training that failed."""
        self.on_train_end(trainer, pl_module)

    def _followed(self, pl_module: Any) -> nn.Module:
        """The network that is looked at."""
        found: nn.Module = pl_module if self._network is None else self._network(pl_module)
        return found
