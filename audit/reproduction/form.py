"""A form of the experiments: sources, architectures, and how networks are trained.

A form is one TOML file, shipped with the package or a person's own:

    about = "what it is for"
    seeds = 3                            # networks per architecture, source and training
    side = 56                            # height and width of images, in pixels

    [[sources]]
    name = "letters"
    dataset = { name = "glyphs", letters = "abcdef" }    # any dataset plugin and its options
    epochs = 15

    [[architectures]]
    name = "vgg"
    model = "audit.reproduction.networks:vgg_like"
    learning_rate = 4e-3
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from audit.errors import ConfigError, unknown_name
from audit.files import plain_text
from audit.notations import toml_of
from audit.zoo.recipes import Recipe

#: How one network of a seed is trained. "regular": augmented and decayed; "unaugmented": decayed
#: alone; "unregularised": neither; "noisy": neither, and a share of its labels is moved.
Variant: TypeAlias = Literal["regular", "unaugmented", "unregularised", "noisy"]
VARIANTS: Final[tuple[Variant, ...]] = ("regular", "unaugmented", "unregularised", "noisy")
#: How many times as long as the other trainings that on noisy labels lasts.
_LEARNED_BY_HEART: Final = 4
_AXES: Final = ("label_noise", "augmentation", "weight_decay")
_NAME: Final = r"[a-z0-9][a-z0-9_]*"

Name = Annotated[str, Field(pattern=f"^{_NAME}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FormArchitecture(_Strict):
    """One architecture of a form.

    Attributes:
        name: In tables, and in names of files.
        model: A model reference.
        model_args: Passed on to it, beside `num_classes` and `in_chans`.
        learning_rate: Peak of a one-cycle schedule.
        batch_size: Images per step.
    """

    name: Name
    model: str
    model_args: dict[str, Any] = Field(default_factory=dict)
    learning_rate: float = Field(default=4e-3, gt=0)
    batch_size: int = Field(default=16, ge=1)


class FormSource(_Strict):
    """One source of images.

    Attributes:
        name: In tables and names of files.
        dataset: `name` of a dataset plugin and its options: the training images.
        held_out: Likewise, of the held-out images; None: the same dataset's held-out split.
        classes: How many of its classes are used, evenly spaced.
        images_per_class: Training images of each of them.
        epochs: Passes over the training images at most; four times as many over noisy labels, which
            are learned by heart.
    """

    name: Name
    dataset: dict[str, Any]
    held_out: dict[str, Any] | None = None
    classes: int = Field(default=6, ge=2)
    images_per_class: int = Field(default=64, ge=2)
    epochs: int = Field(default=15, ge=1)


class Form(_Strict):
    """A form of the experiments; see the module.

    Attributes:
        name: Of the file.
        about: One sentence for readers.
        seeds: Networks of each architecture, source and training; seeds count from 0.
        side: Height and width to which images are brought, in pixels.
        channels: 1 (gray) or 3 (colour).
        label_noise: Share of labels that are moved where they are, in (0, 1).
        weight_decay: Of regularised networks.
        stop_at_loss: Training ends after the epoch whose mean loss is at most this, in nats.
        steps: Points of an ablation curve.
        sources: Where images come from.
        architectures: What is trained on each.
    """

    name: str
    about: str
    seeds: int = Field(default=3, ge=1)
    side: int = Field(default=56, ge=16)
    channels: Literal[1, 3] = 1
    label_noise: float = Field(default=0.3, gt=0, lt=1)
    weight_decay: float = Field(default=0.1, gt=0)
    stop_at_loss: float = Field(default=0.05, ge=0)
    steps: int = Field(default=16, ge=2)
    sources: list[FormSource] = Field(min_length=1)
    architectures: list[FormArchitecture] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Form:
        """Sources and architectures can be told apart."""
        sides: list[Sequence[FormSource | FormArchitecture]] = [self.sources, self.architectures]
        for named in sides:
            if len({one.name for one in named}) < len(named):
                raise ValueError("two sources or two architectures bear one name")
        return self

    @property
    def transform(self) -> dict[str, Any]:
        """How images are prepared, as training prepares them."""
        size = [self.channels, self.side, self.side]
        return {"input_size": size, "mean": [0.5], "std": [0.5], "crop_pct": 1.0}

    def recipe(
        self, architecture: FormArchitecture, source: FormSource, variant: Variant, seed: int
    ) -> Recipe:
        """How one network is trained."""
        noisy = variant == "noisy"
        return Recipe(
            task=source.name,
            architecture=architecture.name,
            model=architecture.model,
            model_args=architecture.model_args,
            axes=_AXES,
            side=self.side,
            channels=self.channels,
            epochs=source.epochs * (_LEARNED_BY_HEART if noisy else 1),
            label_noise=self.label_noise if noisy else 0.0,
            augmentation=variant == "regular",
            weight_decay=self.weight_decay if variant in ("regular", "unaugmented") else 0.0,
            batch_size=architecture.batch_size,
            learning_rate=architecture.learning_rate,
            dropout=0.0,
            train_share=1.0,
            optimizer="adamw",
            stop_at_loss=self.stop_at_loss,
            seed=seed,
        )


def shipped_forms() -> list[str]:
    """Names of the forms that come along, in alphabetical order."""
    folder = resources.files("audit.reproduction") / "shipped"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith("toml"))


def read_form(name_or_path: str | Path) -> Form:
    """Read a form: shipped, by name, or a file that ends in `.toml`.

    Relative paths in a file start from its folder.

    Raises:
        ConfigError: Neither, or the file is no form; the message says what is wrong and where.
    """
    text = str(name_or_path)
    if text.endswith(".toml"):
        path = Path(text)
        try:
            return _parse(plain_text(path), path.stem, f"form {path}", path.parent)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"form {path} cannot be read: {reason}") from error
    if text not in shipped_forms():
        hint = f"the forms are {', '.join(shipped_forms())}; or give a file that ends in .toml"
        raise unknown_name("form", text, shipped_forms(), hint)
    file = resources.files("audit.reproduction") / "shipped" / f"{text}.toml"
    return _parse(file.read_text("utf-8"), text, f"form {text}", Path())


def _parse(text: str, name: str, where: str, base: Path) -> Form:
    try:
        form = Form.model_validate({**toml_of(text), "name": name})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "the file"
        raise ConfigError(f"{where}: {place}: {first['msg']}") from error
    except ValueError as error:
        raise ConfigError(f"{where} is not TOML: {error}") from error
    sources = [
        source.model_copy(
            update={
                "dataset": _absolute(source.dataset, base),
                "held_out": source.held_out and _absolute(source.held_out, base),
            }
        )
        for source in form.sources
    ]
    return form.model_copy(update={"sources": sources})


def _absolute(options: dict[str, Any], base: Path) -> dict[str, Any]:
    """Options with existing relative paths made absolute."""
    return {
        key: str(base.absolute() / value)
        if key != "name" and isinstance(value, str) and value and (base / value).exists()
        else value
        for key, value in options.items()
    }
