"""An audit as a file says it (`AuditConfig`), and how this one call runs it (`RunOptions`)."""

from __future__ import annotations

import datetime
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ByteSize, ConfigDict, Field
from pydantic_core import PydanticCustomError

from audit.errors import ConfigError, unknown_name
from audit.files import machine_folder, plain_text
from audit.folder.run_form import LARGEST_SEED
from audit.network.weights import Which
from audit.notations import toml_of
from audit.processors import default_threads
from audit.remote import Location, is_url, location
from audit.shown import bounded, unquoted

if TYPE_CHECKING:
    from audit.plugin import EngineEntry


class _Strict(BaseModel):
    """Frozen; a key nobody reads is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def one_or_several(value: Any) -> Any:
    """A word as a tuple of one; anything else as it is, a list as a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _some(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """The items, if there are any (pydantic's own check also fires where one item is wrong)."""
    if not items:
        raise PydanticCustomError("too_short", "at least one is needed")
    return items


def _order_of_classes(value: Any) -> Any:
    """A word, a path, or a list of names."""
    if isinstance(value, list | tuple):
        if value and all(isinstance(name, str) for name in value):
            return tuple(value)
    elif value is None or (isinstance(value, str) and value):
        return value
    raise PydanticCustomError(
        "class_order",
        "must be 'dataset', 'natural', 'plain', 'checkpoint', a list of class names, or the path "
        "of a class-map file",
    )


#: The order of the head's outputs: "dataset", "natural", "plain", "checkpoint", names, or a path.
ClassOrder = Annotated[
    str | tuple[str, ...] | None, pydantic.BeforeValidator(_order_of_classes), Field()
]


class DatasetConfig(BaseModel):
    """`[dataset]`: which plugin reads the training set, with that plugin's own options.

    Attributes:
        name: Of the dataset plugin.
        transform: Overrides of the model's data configuration (see `audit.plugin.DataConfig`).
        class_order: Which output of the networks means which class (see
            `audit.runs.class_orders`); None: the names inside each checkpoint where they are the
            training set's, else the training set's own order.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    transform: dict[str, Any] = Field(default_factory=dict)
    class_order: ClassOrder = None

    @property
    def options(self) -> dict[str, Any]:
        """Every other key: the plugin's options."""
        return dict(self.model_extra or {})


def _path_by_name(text: str | None) -> str | None:
    """A path in which the only braces are those of `{name}`."""
    if text is not None and re.search("[{}]", text.replace("{name}", "")):
        raise PydanticCustomError(
            "unknown_braces", "must have no braces but {name}, the checkpoint's name"
        )
    return text


class CheckpointConfig(_Strict):
    """`[[checkpoints]]`: an architecture and its weights.

    Attributes:
        model: A timm name, a hub id, or "package.module:factory".
        weights: A file, an index of shards, a folder of a training run, or a glob of these; one
            checkpoint per file, named by its stem.
        model_args: Passed on to the model.
        which: Which weights to take of a file that holds several: "ema" averaged over training,
            "raw" those of the last step, "auto" averaged ones where there are any.
        pretrained: Let the model source fetch its published weights instead of a file.
        name: Of the checkpoint; for a glob that matches several files leave it out.
        init: The weights before training, for measures that compare with them: a path in which
            every `{name}` stands for the checkpoint's name, so one file for each ("init/{name}.pt")
            or one for all ("init.pt"). Other braces are refused; a glob is not expanded.
        class_order: As in `[dataset]`, before which it goes.
    """

    model: str
    weights: str | None = None
    model_args: dict[str, Any] = Field(default_factory=dict)
    which: Which = "auto"
    pretrained: bool = Field(default=False, strict=True)
    name: str | None = None
    init: Annotated[str | None, pydantic.AfterValidator(_path_by_name)] = None
    class_order: ClassOrder = None


def _batch_size(value: Any) -> Any:
    """A number of images, or "auto"."""
    if value == "auto" or (type(value) is int and value >= 1):
        return value
    raise PydanticCustomError("batch_size", 'must be a whole number of at least 1, or "auto"')


class MeasuresConfig(_Strict):
    """`[measures]`: what is computed, and on how much.

    Attributes:
        include: Names, or the groups "default" and "all".
        exclude: Names to leave out.
        images_per_class: Training images of each class that are looked at; 0 means all.
        max_classes: How many classes are looked at where there are more; 0 means all.
        batch_size: Images per forward pass, or "auto": by the memory of activations; part of every
            cache key, as it may change bits.
        precision: In which networks compute in shared passes; below float32 by autocast.
        layers: Whose feature maps are taken: presets ("stages", "last", "all-conv",
            "all-activations"), paths of modules, patterns, regular expressions after "re:".
        on_doubt: What becomes of a checkpoint that looks untrained (see `audit.measuring.doubt`):
            "flag" keeps its numbers and says so, "fail" makes it a failed row. Part of no key.
    """

    include: tuple[str, ...] = ("default",)
    exclude: tuple[str, ...] = ()
    images_per_class: int = Field(default=100, ge=0, strict=True)
    max_classes: int = Field(default=20, ge=0, strict=True)
    batch_size: Annotated[int | Literal["auto"], pydantic.PlainValidator(_batch_size)] = 64
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    layers: Annotated[
        tuple[str, ...],
        pydantic.BeforeValidator(one_or_several),
        pydantic.AfterValidator(_some),
    ] = ("stages",)
    on_doubt: Literal["flag", "fail"] = "flag"


def _images(value: Any) -> Any:
    """A path, a table, true, or nothing."""
    if value is None or value is True or (isinstance(value, str | Mapping) and value):
        return value
    raise PydanticCustomError(
        "held_out_images", "must be a path, a table of a dataset's options, or true"
    )


class HeldOutConfig(_Strict):
    """`[held_out]`: known accuracies, and the images they were taken on; measures see neither.

    Attributes:
        table: CSV with columns checkpoint, held_out_accuracy, optional train_accuracy, family,
            n_held_out and hp.*; or a file of published results.
        format: "table", or the name of a held-out plugin such as "timm_results".
        images: Held-out images, with which the training images are compared for copies: a path
            that the training set's plugin reads, a table like `[dataset]`, or true for the
            plugin's own held-out split.
    """

    table: str | None = None
    format: str = "table"
    images: Annotated[Any, pydantic.AfterValidator(_images)] = None

    @pydantic.model_validator(mode="after")
    def _not_empty(self) -> HeldOutConfig:
        """Something must be given."""
        if self.table is None and self.images is None:
            raise PydanticCustomError("nothing_given", "give `table`, `images`, or both")
        return self


class ReportsConfig(BaseModel):
    """`[reports]`: which reporters write, each with options of its own. Decides no number.

    Attributes:
        include: Names of reporters; None: those that write by default.
        unit_examples: Whether images and maps of a few units of the first checkpoint are kept for
            reports to show. The output folder and its reports then hold training images.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, dict[str, Any]] = Field(init=False)

    include: tuple[str, ...] | None = None
    unit_examples: bool = Field(default=False, strict=True)

    @property
    def options(self) -> dict[str, dict[str, Any]]:
        """Reporter → its options: every `[reports.NAME]`."""
        return dict(self.model_extra or {})


class EngineConfig(BaseModel):
    """`[engine]`: where tasks run, with that engine's own options. Decides no number.

    Attributes:
        name: Of the engine plugin.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "local"

    @property
    def options(self) -> dict[str, Any]:
        """Every other key: the engine's options."""
        return dict(self.model_extra or {})


class RankingConfig(_Strict):
    """`[ranking]`: how `run` ranks.

    Attributes:
        card: A calibrator card, shipped (by name) or a file, to rank by although accuracies are
            known: they are then what the ranking is judged by. None: see `rank_folder`.
        abstain: Outside the card's domain, leave every checkpoint tied.
    """

    card: str | None = None
    abstain: bool = Field(default=False, strict=True)


class AuditConfig(_Strict):
    """An `audit.toml`, read and checked: everything that decides an audit's numbers, and reports.

    What does not decide numbers (`reports`, `engine`) is part of no cache key.

    Attributes:
        dataset: The training set.
        checkpoints: The networks.
        measures: What is computed.
        held_out: Known accuracies, or None.
        reports: What is written of it.
        engine: Where tasks run, unless `RunOptions` says otherwise.
        ranking: How checkpoints are ranked.
        plugins: Names of the installed plugins that are loaded beside those that come along.
        seed: Of every random choice; below 2³².
        base: The folder that relative paths start from.
    """

    dataset: DatasetConfig
    checkpoints: Annotated[tuple[CheckpointConfig, ...], pydantic.AfterValidator(_some)]
    measures: MeasuresConfig = MeasuresConfig()
    held_out: HeldOutConfig | None = None
    reports: ReportsConfig = ReportsConfig()
    engine: EngineConfig = EngineConfig()
    ranking: RankingConfig = RankingConfig()
    plugins: Annotated[tuple[str, ...], pydantic.BeforeValidator(one_or_several)] = ()
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED, strict=True)
    base: Path = Field(default_factory=Path.cwd, exclude=True)

    def path(self, text: str) -> Path:
        """A path of this configuration, made absolute."""
        if is_url(text):
            raise ConfigError(f"{text!r} is a URL, where only a path on this machine can stand")
        try:
            return (self.base / Path(text).expanduser()).absolute()
        except RuntimeError as error:  # "~name" of nobody
            raise ConfigError(f"path {text!r} names a home folder that does not exist") from error

    @property
    def dataset_options(self) -> dict[str, Any]:
        """The dataset plugin's options; `root` made absolute."""
        return self.located(self.dataset.options, ("root",))

    @property
    def card(self) -> str | Path | None:
        """The card to rank by: a shipped one's name, or an absolute path."""
        named = self.ranking.card
        return self.path(named) if named is not None and named.endswith(".json") else named

    def place(self, text: str) -> Location:
        """A path of this configuration made absolute, or a URL as it is."""
        found = location(text) if is_url(text) else self.path(text)
        return found if isinstance(found, str) else self.path(str(found))

    def located(self, options: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
        """Options with the paths among them, by their names, made absolute; URLs as they are."""

        def absolute(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return [absolute(part) for part in value]
            return str(self.place(value)) if isinstance(value, str) and value else value

        return {
            name: absolute(value) if name in names else value for name, value in options.items()
        }

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
            lines = list(_not_json(content))
            if "base" in content:
                lines.append(f"base: {unknown_name('key', 'base', _known(''))}")
            try:
                config = cls.model_validate({**content, "base": base})
            except pydantic.ValidationError as error:
                lines += [_explain(problem) for problem in error.errors()]
        except RecursionError as error:
            raise ConfigError(f"{source} cannot be used: its tables are nested too deep") from error
        if lines:
            raise ConfigError(f"{source} cannot be used:\n  " + "\n  ".join(lines))
        return config

    @classmethod
    def read(cls, path: Path) -> AuditConfig:
        """Read and check an `audit.toml`.

        Raises:
            ConfigError: It cannot be read, is not TOML, or does not fit; the message says where.
        """
        try:
            content = toml_of(plain_text(path))
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"configuration {path} must be text in UTF-8; byte {error.start} is none"
                f"{_encoding_of(error.object)}: save it as UTF-8"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"configuration {path} cannot be read: {error.strerror or error}; "
                "`genaudit demo` writes an example"
            ) from error
        except ValueError as error:
            raise ConfigError(
                f"configuration {path} is not valid TOML: {unquoted(error)}"
            ) from error
        return cls.parse(content, path.absolute().parent, str(path))


def _encoding_of(content: bytes) -> str:
    """What the encoding of a text seems to be that is not UTF-8, in words; or ""."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return " (it looks like UTF-16, which some editors call Unicode)"
    return ""


_SECTIONS: dict[str, type[BaseModel]] = {
    "": AuditConfig,
    "checkpoints": CheckpointConfig,
    "measures": MeasuresConfig,
    "held_out": HeldOutConfig,
    "ranking": RankingConfig,
}


#: What pydantic calls a wrong type → what TOML calls the right one.
_TYPE_NAMES = {
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "string_type": "a string",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
}


def _known(section: str) -> list[str]:
    """The keys of a section."""
    return [name for name in _SECTIONS[section].model_fields if name != "base"]


def _explain(problem: Any) -> str:
    """One line of what pydantic found, in the words of the file."""
    where = ".".join(str(part) for part in problem["loc"])
    kind, found = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        section = next((str(part) for part in problem["loc"][:-1]), "")
        return f"{where}: {unknown_name('key', str(problem['loc'][-1]), _known(section))}"
    if kind == "dict_type" and problem["loc"][0] == "reports" and len(problem["loc"]) == 2:
        hint = "a reporter's options stand in [reports.NAME]"
        return f"{where}: {unknown_name('key', str(problem['loc'][1]), ['include'], hint)}"
    if kind == "missing":
        return f"{where}: required, but not given"
    if kind == "nothing_given":
        return f"{where}: {problem['msg']}"
    if kind == "too_short":
        return f"{where}: at least one is needed"
    if where == "checkpoints" and kind == "tuple_type":
        return f"{where}: must be a list; write [[checkpoints]] before each"
    if kind in _TYPE_NAMES:
        return f"{where}: must be {_TYPE_NAMES[kind]}; found {_told(found)}"
    return (
        f"{where}: {problem['msg'].lower().replace('input should', 'must')}; found {_told(found)}"
    )


def _told(found: Any) -> str:
    """A value of the file in a message, of which little is told where it is long."""
    return bounded(repr(found), 100)


def _not_json(value: Any, where: str = "") -> Iterator[str]:
    """One line for every value that no cache key can hold: NaN, infinities and dates."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _not_json(part, f"{where}.{name}" if where else str(name))
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _not_json(part, f"{where}.{number}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{where}: must be a finite number; found {value}"
    elif isinstance(value, datetime.date | datetime.time):
        yield f"{where}: dates and times must be written as strings; found {value}"


def default_cache() -> Location:
    """Where the store lies unless told otherwise: `$GENAUDIT_CACHE`, or the user's cache folder.

    Raises:
        ConfigError: The user has none.
    """
    chosen = os.environ.get("GENAUDIT_CACHE")
    return location(chosen) if chosen else machine_folder()


def _place(value: Any) -> Any:
    """A folder, or the URL of a bucket; anything else as it is."""
    return location(value) if isinstance(value, str | os.PathLike) else value


class RunOptions(_Strict):
    """What does not decide numbers: where to write, and what to run on.

    Attributes:
        output: The output folder.
        cache: The store: a folder, or the URL of a bucket such as "s3://bucket/cache".
        engine: Name of the engine plugin; goes before the configuration's, whose options are
            then not passed to it unless it is the same.
        workers: Processes; 0 runs in this one. By default one for each processor of this machine;
            an engine that runs tasks on others is then told nothing: see `workers_of`.
        device: "auto", "cpu" or "cuda" (numbers of different device classes are never mixed:
            the device class is part of every cache key).
        progress: Whether to draw progress bars on standard error.
        engine_options: Of the engine; each goes before the configuration's.
        checkpoint_timeout: Seconds that a checkpoint may take: the engine's option `timeout`.
        checkpoint_memory: What a checkpoint may hold in memory, in bytes or as a size such as
            "4GiB": the engine's option `memory`.
        max_hours: After so many hours of measuring no checkpoint is begun, those under way are
            given up, and the later stages go on with what is finished.
        max_gpu_hours: Likewise, of all CUDA devices that workers hold together.
        trust_pickle: "sha256:" and the digest of each archive of `torch.save` whose pickle may
            name what could run code. No configuration can say so, only who calls.
    """

    output: Path = Path("genaudit-output")
    cache: Annotated[Location, pydantic.BeforeValidator(_place)] = Field(
        default_factory=default_cache
    )
    engine: str | None = None
    workers: int = Field(default_factory=default_threads, ge=0)
    device: str = "auto"
    progress: bool = True
    engine_options: dict[str, Any] = Field(default_factory=dict)
    checkpoint_timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    checkpoint_memory: Annotated[ByteSize, Field(gt=0)] | None = None
    max_hours: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_gpu_hours: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    trust_pickle: tuple[Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")], ...] = ()

    @property
    def trusted(self) -> frozenset[str]:
        """The digests of archives whose pickles may name what could run code."""
        return frozenset(given.removeprefix("sha256:") for given in self.trust_pickle)

    def workers_of(self, engine: EngineEntry, n_tasks: int) -> int | None:
        """How many workers an engine is to use for so many tasks; None: as it finds room."""
        if engine.elsewhere and "workers" not in self.model_fields_set:
            return None  # the processors of this machine say nothing of others
        return min(self.workers, n_tasks)

    def engine_of(self, configured: EngineConfig) -> EngineConfig:
        """The engine this call runs on, with the options that are meant for it."""
        name = self.engine or configured.name
        limits = {"timeout": self.checkpoint_timeout, "memory": self.checkpoint_memory}
        options = {
            **(configured.options if name == configured.name else {}),
            **self.engine_options,
            **{option: limit for option, limit in limits.items() if limit is not None},
        }
        return EngineConfig.model_validate({**options, "name": name})
