"""A configuration resolved: which checkpoints, which images, which measures, which store."""

from __future__ import annotations

import dataclasses
import glob
import json
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import audit
from audit.data.sample import Sample, draw_sample
from audit.data.split_guard import open_training
from audit.errors import CheckpointError, ConfigError
from audit.folder.columns import describe_measure
from audit.measuring.subject import Provided, Subject, installed_libraries
from audit.network.digests import files_digest, state_digest
from audit.network.weights import file_digest
from audit.plugin import MeasureEntry, ModelEntry
from audit.plugin.registry import Registry
from audit.runs.config import AuditConfig, CheckpointConfig, EngineConfig, RunOptions
from audit.runs.reports import ChosenReporter, check_options, choose_reporters
from audit.store import Store


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """All that is settled before the first network is loaded.

    Attributes:
        config: What is audited.
        options: How this call runs it.
        registry: Where plugins are looked up.
        measures: What is computed.
        sample: The training images that are looked at.
        subjects: The checkpoints whose weights could be read.
        refused: Checkpoint → why its weights file could not be read.
        store: Where numbers go.
        device: "cpu" or "cuda".
        engine: Where tasks run; its options are all known to it.
        reporters: What is written at the end.
    """

    config: AuditConfig
    options: RunOptions
    registry: Registry
    measures: tuple[MeasureEntry, ...]
    sample: Sample
    subjects: tuple[Subject, ...]
    refused: dict[str, str]
    store: Store
    device: str
    engine: EngineConfig
    reporters: tuple[ChosenReporter, ...]

    @property
    def names(self) -> list[str]:
        """Every checkpoint, readable or not, sorted."""
        return sorted([*(subject.name for subject in self.subjects), *self.refused])


def resolve(config: AuditConfig, options: RunOptions, registry: Registry) -> Study:
    """Settle everything a run depends on, so that mistakes show before anything is computed.

    Raises:
        ConfigError: A name nobody registered, a glob without a file, two checkpoints of one name.
        DataError: The training set cannot be used.
    """
    engine = options.engine_of(config.engine)
    check_options(f"engine {engine.name!r}", engine.options, registry.engine(engine.name).options)
    reporters = choose_reporters(config.reports, registry)
    measures = registry.select_measures(config.measures.include, config.measures.exclude)
    named = expand_checkpoints(config)
    sources = {entry.model: registry.model_source(entry.model) for _, entry, _ in named}
    store = Store(options.cache)
    sample = _draw(config, registry, store)
    device = resolve_device(options.device)
    planned = _Planned(config, registry, sample, device)
    subjects, refused = [], {}
    for name, entry, path in named:
        try:
            subjects.append(planned.subject(name, entry, path, sources[entry.model]))
        except CheckpointError as error:
            refused[name] = str(error)
    return Study(
        config=config,
        options=options,
        registry=registry,
        measures=tuple(measures),
        sample=sample,
        subjects=tuple(sorted(subjects, key=lambda subject: subject.name)),
        refused=refused,
        store=store,
        device=device,
        engine=engine,
        reporters=reporters,
    )


class _Planned:
    """What all checkpoints of a configuration have in common."""

    def __init__(
        self, config: AuditConfig, registry: Registry, sample: Sample, device: str
    ) -> None:
        self._config, self._registry = config, registry
        self._sample, self._device = sample, device
        self._libraries = installed_libraries()
        self._digests: dict[str, str] = {}

    def subject(
        self, name: str, entry: CheckpointConfig, path: Path | None, source: ModelEntry
    ) -> Subject:
        """One checkpoint with the digests of all that is read for it.

        Raises:
            CheckpointError: A file with weights cannot be read.
        """
        config, registry = self._config, self._registry
        dataset = registry.dataset(config.dataset.name)
        digest, built = weights_digest(source, entry, path)
        init = config.path(entry.init.replace("{name}", name)) if entry.init else None
        if entry.model not in self._digests:
            self._digests[entry.model] = source.digest(entry.model)
        return Subject(
            name=name,
            model_source=Provided(
                source.name, source.version, registry.origin("genaudit_models", source.name)
            ),
            source_digest=self._digests[entry.model],
            model=entry.model,
            model_args=entry.model_args,
            weights=path,
            weights_digest=digest,
            built=built,
            init=init,
            init_digest=file_digest(init) if init else "",
            data_source=Provided(
                dataset.name, dataset.version, registry.origin("genaudit_datasets", dataset.name)
            ),
            dataset_options=config.dataset_options,
            dataset_locations=dataset.locations,
            sample=self._sample,
            transform=config.dataset.transform,
            layers=config.measures.layers,
            batch_size=config.measures.batch_size,
            precision=config.measures.precision,
            device=self._device,
            seed=config.seed,
            libraries=self._libraries,
        )


def weights_digest(
    source: ModelEntry, entry: CheckpointConfig, path: Path | None
) -> tuple[str, bool]:
    """What stands for a checkpoint's weights, and whether it is that of the built network.

    The digest of the file; without one, of the files that the source says it reads; where it
    cannot say, the network is built and its tensors are digested.

    Raises:
        CheckpointError: A file cannot be read, or the source cannot build the network.
    """
    if path is not None:
        return file_digest(path), False
    files = source.reads(entry.model, entry.model_args)
    if files is not None:
        return files_digest(files), False
    return state_digest(source.create(entry.model, entry.model_args, True)), True


def expand_checkpoints(
    config: AuditConfig,
) -> list[tuple[str, CheckpointConfig, Path | None]]:
    """(name, its section, its file) of every checkpoint; a glob gives one per file.

    Raises:
        ConfigError: No file matches, two checkpoints share a name, or a section names no weights.
    """
    found: dict[str, tuple[str, CheckpointConfig, Path | None]] = {}
    for entry in config.checkpoints:
        for name, path in _files_of(config, entry):
            if name in found:
                raise ConfigError(
                    f"two checkpoints are named {name!r}: {found[name][2] or found[name][1].model} "
                    f"and {path or entry.model}; rename one, or set `name` in its section"
                )
            found[name] = (name, entry, path)
    return [found[name] for name in sorted(found)]


def _files_of(config: AuditConfig, entry: CheckpointConfig) -> Sequence[tuple[str, Path | None]]:
    """(checkpoint name, file) for each checkpoint of one section."""
    if entry.weights is None:
        if not entry.pretrained:
            raise ConfigError(
                f"[[checkpoints]] model = {entry.model!r}: set `weights` to a file or glob, or "
                "`pretrained = true`"
            )
        return [(entry.name or entry.model.replace("/", "_"), None)]
    pattern = config.path(entry.weights)
    if pattern.is_file():
        return [(entry.name or pattern.stem, pattern)]
    base = glob.escape(str(config.base))  # a folder's own name may hold glob characters
    found = glob.glob(str(Path(base) / Path(entry.weights).expanduser()), recursive=True)
    paths = sorted(Path(text).absolute() for text in found)
    files = [path for path in paths if path.is_file()]
    if not files:
        raise ConfigError(
            f"[[checkpoints]] weights = {entry.weights!r} matches no file (looked for {pattern})"
        )
    if entry.name and len(files) > 1:
        raise ConfigError(
            f"[[checkpoints]] weights = {entry.weights!r} matches {len(files)} files, which "
            f"cannot all be named {entry.name!r}; leave `name` out"
        )
    return [(entry.name or path.stem, path) for path in files]


def _draw(config: AuditConfig, registry: Registry, store: Store) -> Sample:
    """The training sample; what is known of unchanged image files is remembered in the store."""
    dataset = registry.dataset(config.dataset.name)
    split = open_training(dataset, config.dataset_options)
    key = {"memo": dataset.name, "version": dataset.version, "options": config.dataset_options}
    known = store.get(key)
    memo: dict[str, str] = json.loads(known.arrays["json"].tobytes()) if known else {}
    before = len(memo)
    sample = draw_sample(split, config.measures.images_per_class or None, config.seed, memo)
    if len(memo) > before:
        store.put(key, {"json": np.frombuffer(json.dumps(memo).encode(), dtype=np.uint8)})
    return sample


def resolve_device(device: str) -> str:
    """The device class: "cpu" or "cuda".

    Raises:
        ConfigError: An unknown device, or CUDA where there is none.
    """
    if device == "cpu":
        return "cpu"
    if device not in ("auto", "cuda"):
        raise ConfigError(f"unknown device {device!r}; use auto, cpu or cuda")
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise ConfigError("device 'cuda' was asked for, but torch finds no CUDA device here")
    return "cpu"


def describe(study: Study, facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What `run.json` says of a run before its results: enough to make every number again.

    Args:
        study: The run.
        facts: Checkpoint → its data configuration, notes and layers, where it could be audited.
    """
    config, sample = study.config, study.sample
    return {
        "schema": 1,
        "genaudit": audit.__version__,
        "commit": _commit(),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in _required()},
        },
        "config": config.model_dump(mode="json"),
        "base": str(config.base),
        "seed": config.seed,
        "device": study.device,
        "dtype": config.measures.precision,
        "dataset": {
            "name": config.dataset.name,
            "options": config.dataset_options,
            "class_names": list(sample.class_names),
            "n_images": sample.n_available,
            "n_sampled": len(sample.labels),
            "images_per_class": config.measures.images_per_class,
            "fingerprint": sample.fingerprint,
            "excluded": dict(sample.excluded),
        },
        "measures": {
            entry.name: describe_measure(entry)
            | {"plugin": study.registry.owners["genaudit_measures", entry.name]}
            for entry in study.measures
        },
        "checkpoints": [_describe_subject(s, facts.get(s.name)) for s in study.subjects],
    }


def _describe_subject(subject: Subject, facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """What `run.json` says of one checkpoint."""
    return {
        "checkpoint": subject.name,
        "model": subject.model,
        "model_args": dict(subject.model_args),
        "source": f"{subject.source} {subject.model_source.version}",
        "weights": str(subject.weights) if subject.weights else None,
        "weights_digest": subject.weights_digest,
        **(facts or {"data_config": None, "notes": [], "layers": []}),
    }


def _required() -> list[str]:
    """Names of the distributions that genaudit requires, in the order in which it states them."""
    stated = metadata.requires("genaudit") or []
    return [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in stated if "extra ==" not in line]


def _version(distribution: str) -> str | None:
    """The installed version, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout this package runs from, or None where it is installed."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
