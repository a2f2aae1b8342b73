"""What decides an audit's numbers (`AuditConfig`) and what does not (`RunOptions`)."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from audit.errors import ConfigError, unknown_name


class _Strict(BaseModel):
    """Frozen; a key nobody reads is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class DatasetConfig(BaseModel):
    """`[dataset]`: which plugin reads the training set, with that plugin's own options.

    Attributes:
        name: Of the dataset plugin.
        transform: Overrides of the model's data configuration (see `audit.contracts.DataConfig`).
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    transform: dict[str, Any] = Field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """Every other key: the plugin's options."""
        return dict(self.model_extra or {})


class CheckpointConfig(_Strict):
    """`[[checkpoints]]`: an architecture and its weights.

    Attributes:
        model: A timm name, a hub id, or "package.module:factory".
        weights: A path or glob, one checkpoint per file, named by its stem.
        model_args: Passed on to the model.
        pretrained: Let the model source fetch its published weights instead of a file.
        name: Of the checkpoint; for a glob that matches several files leave it out.
    """

    model: str
    weights: str | None = None
    model_args: dict[str, Any] = Field(default_factory=dict)
    pretrained: bool = False
    name: str | None = None


class MeasuresConfig(_Strict):
    """`[measures]`: what is computed, and on how much.

    Attributes:
        include: Names, or the groups "default" and "all".
        exclude: Names to leave out.
        images_per_class: Training images of each class that are looked at; 0 means all.
        batch_size: Images per forward pass; part of every cache key, as it may change bits.
        layers: Paths of the modules whose feature maps are taken; chosen by rule where None.
    """

    include: tuple[str, ...] = ("default",)
    exclude: tuple[str, ...] = ()
    images_per_class: int = Field(default=100, ge=0)
    batch_size: int = Field(default=64, ge=1)
    layers: tuple[str, ...] | None = None


class HeldOutConfig(_Strict):
    """`[held_out]`: known accuracies, read by the correlation stage alone.

    Attributes:
        table: CSV with columns checkpoint, held_out_accuracy, optional train_accuracy and hp.*.
    """

    table: str


class AuditConfig(_Strict):
    """Everything that decides an audit's numbers: an `audit.toml`, read and checked.

    Attributes:
        dataset: The training set.
        checkpoints: The networks.
        measures: What is computed.
        held_out: Known accuracies, or None.
        seed: Of every random choice.
        base: The folder that relative paths start from.
    """

    dataset: DatasetConfig
    checkpoints: tuple[CheckpointConfig, ...] = Field(min_length=1)
    measures: MeasuresConfig = MeasuresConfig()
    held_out: HeldOutConfig | None = None
    seed: int = Field(default=0, ge=0)
    base: Path = Field(default_factory=Path.cwd, exclude=True)

    def path(self, text: str) -> Path:
        """A path of this configuration, made absolute."""
        return (self.base / Path(text).expanduser()).absolute()

    @property
    def dataset_options(self) -> dict[str, Any]:
        """The dataset plugin's options; `root` made absolute."""
        options = self.dataset.options
        if isinstance(options.get("root"), str):
            options["root"] = str(self.path(options["root"]))
        return options

    @classmethod
    def parse(cls, content: Mapping[str, Any], base: Path, source: str) -> AuditConfig:
        """Check a configuration.

        Args:
            content: As TOML gives it.
            base: The folder that relative paths start from.
            source: What to call it in messages.

        Raises:
            ConfigError: A key that is unknown, missing or of the wrong type; all are listed.
        """
        try:
            return cls.model_validate({**content, "base": base})
        except pydantic.ValidationError as error:
            lines = [_explain(problem) for problem in error.errors()]
            raise ConfigError(f"{source} cannot be used:\n  " + "\n  ".join(lines)) from error

    @classmethod
    def read(cls, path: Path) -> AuditConfig:
        """Read and check an `audit.toml`.

        Raises:
            ConfigError: It cannot be read, is not TOML, or does not fit; the message says where.
        """
        try:
            content = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(
                f"configuration {path} cannot be read: {error.strerror or error}; "
                "`genaudit demo` writes an example"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"configuration {path} is not valid TOML: {error}") from error
        return cls.parse(content, path.absolute().parent, str(path))


_SECTIONS: dict[str, type[BaseModel]] = {
    "": AuditConfig,
    "checkpoints": CheckpointConfig,
    "measures": MeasuresConfig,
    "held_out": HeldOutConfig,
}


def _explain(problem: Any) -> str:
    """One line of what pydantic found, in the words of the file."""
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        section = next((str(part) for part in problem["loc"][:-1]), "")
        known = [name for name in _SECTIONS[section].model_fields if name != "base"]
        return f"{where}: {unknown_name('key', str(problem['loc'][-1]), known)}"
    found = "" if problem["type"] == "missing" else f" (found {problem['input']!r})"
    return f"{where}: {problem['msg'].lower()}{found}"


def default_cache() -> Path:
    """Where the store lies unless told otherwise: `$GENAUDIT_CACHE`, or the user's cache folder."""
    chosen = os.environ.get("GENAUDIT_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genaudit"


class RunOptions(_Strict):
    """What does not decide numbers: where to write, and what to run on.

    Attributes:
        output: The output folder.
        cache: The store's folder.
        engine: Name of the engine plugin.
        workers: Processes; 0 runs in this one.
        device: "auto", "cpu" or "cuda" (numbers of different device classes are never mixed:
            the device class is part of every cache key).
        progress: Whether to draw progress bars on standard error.
    """

    output: Path = Path("genaudit-output")
    cache: Path = Field(default_factory=default_cache)
    engine: str = "local"
    workers: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=0)
    device: str = "auto"
    progress: bool = True
