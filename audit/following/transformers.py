"""Follow a network that the Hugging Face Trainer trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from audit.following.follower import Follower
from audit.following.logs import needed
from audit.following.observing import Observation

if TYPE_CHECKING:

    class TrainerCallback:
        """The base class of callbacks of the Trainer."""

else:
    TrainerCallback = needed("transformers", "follow a training of transformers").TrainerCallback


class FollowingCallback(TrainerCallback):
    """Follows an image classifier at the end of every k-th epoch of `transformers.Trainer`.

    The network is given `pixel_values` and returns logits, as image classifiers of transformers do.
    Of several processes the first alone looks. The Trainer tells the loss and the evaluation of an
    epoch after its end, so that rows are written when the next one begins, or training ends. The
    loss is the mean of what the Trainer logged within the epoch (`logging_strategy="epoch"` logs
    just that); it is NaN where nothing was logged. Networks that are sharded (FSDP, DeepSpeed)
    cannot be followed so: follow their checkpoints.

    Args:
        dataset: As `audit.Follower` takes it; None: images are drawn from the Trainer's training
            loader, prepared as they come from there, augmentation included, once.
        layers: Whose feature maps are taken.
        every: Look after every so many epochs.
        metrics: Names of evaluation metrics that become columns too, such as "eval_accuracy".
        options: What else `audit.Follower` takes: folder, log, filtration, images_per_class, …

    Raises:
        ConfigError: transformers is not installed (on import).

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
        metrics: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self.follower: Follower | None = None
        self._dataset, self._layers, self._every = dataset, layers, every
        self._metrics, self._options = metrics, options
        self._waiting: tuple[int, Observation] | None = None
        self._losses: list[tuple[float, int]] = []
        self._logged_at = 0
        self._evaluated: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Draw the sample, and try everything once."""
        if state.is_world_process_zero:
            dataset = known["train_dataloader"] if self._dataset is None else self._dataset
            self._logged_at = state.global_step
            self.follower = Follower(
                known["model"], dataset, self._layers, self._every, **self._options
            )

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Write what was found after the epoch before."""
        self._write()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Look at the network, if it is time to."""
        if self.follower is not None:
            epoch = round(state.epoch)
            found = self.follower.observe(epoch, known["model"])
            self._waiting = None if found is None else (epoch, found)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **known: Any
    ) -> None:
        """Take a loss along, with the number of steps that it is the mean of."""
        loss = (logs or {}).get("loss")
        if loss is not None:
            self._losses.append((float(loss), state.global_step - self._logged_at))
            self._logged_at = state.global_step

    def on_evaluate(
        self,
        args: Any,
        state: Any,
        control: Any,
        metrics: dict[str, Any] | None = None,
        **known: Any,
    ) -> None:
        """Take evaluation metrics along."""
        self._evaluated = dict(metrics or {})

    def on_train_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Write what is left, and close the logs."""
        self._write()
        if self.follower is not None:
            self.follower.close()

    def _write(self) -> None:
        """Write the rows of the last epoch, once all is known of it."""
        n_steps = sum(steps for _, steps in self._losses)
        if self.follower is not None and self._waiting is not None:
            epoch, found = self._waiting
            total = sum(loss * steps for loss, steps in self._losses)
            known = self._evaluated
            metrics = {name: float(known[name]) for name in self._metrics if name in known}
            self.follower.record(epoch, found, total / n_steps if n_steps else None, **metrics)
        self._waiting, self._losses, self._evaluated = None, [], {}
