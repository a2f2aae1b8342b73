"""A task: images, architectures and a factorial grid of how they are trained.

A task is one TOML file, shipped with the package or a person's own:

    about = "twelve letters, held out by font"
    source = "glyphs"                    # tasks of one data source are left out together

    [dataset]                            # any dataset plugin and its options
    name = "glyphs"
    [held_out]                           # by default the same dataset's held-out split

    [training]                           # what all checkpoints share
    side = 32
    epochs = 12

    [axes]                               # every combination is trained
    label_noise = [0.0, 0.3]
    batch_size = [16, 64]

    [[architectures]]
    model = "test_resnet"                # any model reference; model_args where it needs some
"""

from __future__ import annotations

import itertools
import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from audit.errors import ConfigError, unknown_name
from audit.files import plain_text
from audit.notations import toml_of
from audit.shown import unquoted
from audit.zoo.recipes import Axis, Recipe

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")

Optimizer = Literal["adamw", "sgd"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Training(_Strict):
    """What all checkpoints of a task share, and the value of each axis that is not varied.

    Attributes:
        side: Height and width to which images are brought, in pixels.
        channels: 1 (gray) or 3 (colour).
        epochs: Passes over the training images; fewer where `stop_at_loss` is reached.
        label_noise: Share of training labels replaced by another class, in [0, 1).
        augmentation: Whether images are shifted, turned, scaled and noised at random.
        weight_decay: Of the optimizer.
        batch_size: Images per step.
        learning_rate: Peak of a one-cycle schedule.
        dropout: Before the classifier, in [0, 1).
        train_share: Share of the training images that is trained on, in (0, 1].
        optimizer: "adamw", or "sgd" with Nesterov momentum 0.9.
        stop_at_loss: Training ends after the epoch whose mean loss is at most this, in nats; 0
            never stops early.
        seed: Of weights, order, noise and augmentation.
    """

    side: int = Field(default=32, ge=8)
    channels: Literal[1, 3] = 1
    epochs: int = Field(default=12, ge=1)
    label_noise: float = Field(default=0.0, ge=0, lt=1)
    augmentation: bool = False
    weight_decay: float = Field(default=0.05, ge=0)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    train_share: float = Field(default=1.0, gt=0, le=1)
    optimizer: Optimizer = "adamw"
    stop_at_loss: float = Field(default=0.0, ge=0)
    seed: int = Field(default=0, ge=0)


class Architecture(_Strict):
    """One architecture of a task.

    Attributes:
        model: A model reference.
        name: In names of checkpoints; by default the reference.
        model_args: Passed on to it, beside `num_classes` and `in_chans`.
    """

    model: str
    name: Annotated[str, Field(pattern=_NAME.pattern + "$")] | None = None
    model_args: dict[str, Any] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """In names of checkpoints."""
        return self.name or self.model


class Task(_Strict):
    """A task; see the module.

    Attributes:
        name: Of the file.
        about: One sentence for readers.
        source: The data source; tasks of one source are left out together.
        dataset: Name and options of the dataset plugin.
        held_out: Likewise, of the held-out images; None: the same dataset's held-out split.
        training: What all checkpoints share.
        axes: Axis → its values.
        architectures: Each trained with every combination of the axes.
        images_per_class: Training images of each class that measures look at; 0 means all.
    """

    name: str
    about: str
    source: str
    dataset: dict[str, Any]
    held_out: dict[str, Any] | None = None
    training: Training = Training()
    axes: dict[Axis, list[Any]] = Field(min_length=1)
    architectures: list[Architecture] = Field(min_length=1)
    images_per_class: int = Field(default=20, ge=0)

    @model_validator(mode="after")
    def _whole(self) -> Task:
        """Each axis has different values that training takes; names are different."""
        for axis, values in self.axes.items():
            if len(values) < 2 or len({repr(value) for value in values}) < len(values):
                raise ValueError(f"axis {axis} needs two or more different values")
            for value in values:
                Training.model_validate({**self.training.model_dump(), axis: value})
        labels = [architecture.label for architecture in self.architectures]
        if len(set(labels)) < len(labels):
            raise ValueError("two architectures bear one name: give them `name`")
        for which in (self.dataset, self.held_out or self.dataset):
            if not isinstance(which.get("name"), str):
                raise ValueError(  # noqa: TRY004  # pydantic turns it into a ValidationError
                    "[dataset] and [held_out] need the `name` of a dataset plugin"
                )
        return self

    def recipes(self) -> list[Recipe]:
        """Every combination of architecture and axes, in the order of the file."""
        return [
            Recipe(
                task=self.name,
                architecture=architecture.label,
                model=architecture.model,
                model_args=architecture.model_args,
                axes=tuple(self.axes),
                **{
                    **self.training.model_dump(),
                    **dict(zip(self.axes, values, strict=True)),
                },
            )
            for architecture in self.architectures
            for values in itertools.product(*self.axes.values())
        ]


def shipped_tasks() -> list[str]:
    """Names of the tasks that come along, in alphabetical order."""
    folder = resources.files("audit.zoo") / "shipped"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith("toml"))


def read_task(name_or_path: str | Path) -> Task:
    """Read a task: shipped, by name, or a file that ends in `.toml`.

    Relative paths in a file's `[dataset]` and `[held_out]` start from its folder.

    Raises:
        ConfigError: Neither, or the file is no task; the message says what is wrong and where.
    """
    text = str(name_or_path)
    if not text.endswith(".toml"):
        if text not in shipped_tasks():
            names = shipped_tasks()
            hint = f"the tasks are {', '.join(names)}; or give a file that ends in .toml"
            raise unknown_name("task", text, names, hint)
        file = resources.files("audit.zoo") / "shipped" / f"{text}.toml"
        return _parse(file.read_text("utf-8"), text, f"task {text}", Path())
    path = Path(text)
    try:
        content = plain_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"task {path} cannot be read: {reason}") from error
    if not _NAME.fullmatch(path.stem):
        raise ConfigError(
            f"task {path}: a task is named by its file: use lower-case letters, digits, - and _"
        )
    return _parse(content, path.stem, f"task {path}", path.absolute().parent)


def _parse(text: str, name: str, where: str, base: Path) -> Task:
    try:
        content = toml_of(text)
    except ValueError as error:
        raise ConfigError(f"{where} is not TOML: {unquoted(error)}") from error
    for section in ("dataset", "held_out"):
        if isinstance(content.get(section), dict):
            content[section] = _absolute(content[section], base)
    try:
        return Task.model_validate({**content, "name": name})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "the file"
        raise ConfigError(f"{where}: {place}: {first['msg']}") from error


def _absolute(options: dict[str, Any], base: Path) -> dict[str, Any]:
    """The options with existing relative paths made absolute."""
    return {
        key: str(base / value)
        if key != "name" and isinstance(value, str) and (base / value).exists() and value
        else value
        for key, value in options.items()
    }
