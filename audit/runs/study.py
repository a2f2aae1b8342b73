"""A configuration resolved: which checkpoints, which images, which measures, which store."""

from __future__ import annotations

import dataclasses
import functools
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import audit
from audit.data.duplicates import Overlap
from audit.data.look_alikes import look_alike_notes
from audit.data.sample import Sample
from audit.errors import CheckpointError, ConfigError
from audit.folder.columns import describe_measure
from audit.measuring.subject import Provided, Subject, installed_libraries
from audit.network.weights.remote import on_this_machine, place_digest
from audit.plugin import MeasureEntry, ModelEntry
from audit.plugin.discovery import plugin_digest
from audit.plugin.registry import Registry, installed_with
from audit.remote import Location, pretty
from audit.runs.checkpoints import expand_checkpoints, failing_alone, settle_weights
from audit.runs.class_orders import ClassOrders, order_notes
from audit.runs.config import AuditConfig, CheckpointConfig, EngineConfig, RunOptions
from audit.runs.engines import check_engine_options
from audit.runs.reports import ChosenReporter, choose_reporters
from audit.runs.run_limits import check_limits
from audit.runs.training_set import compare, draw, located_options, plain_words
from audit.shown import MOST_IN_CELL, bounded
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
        overlap: Those of them that are also among the held-out images; None where the
            configuration names no held-out images.
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
    overlap: Overlap | None
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


def resolve(config: AuditConfig, options: RunOptions, registry: Registry | None = None) -> Study:
    """Settle everything a run depends on, so that mistakes show before anything is computed.

    Args:
        config: What is audited.
        options: How this call runs it.
        registry: Where plugins are looked up; None: those that come along, and those named.

    Raises:
        ConfigError: A name nobody registered, a glob without a file, two checkpoints of one name.
        DataError: The training set cannot be used.
        PluginError: A plugin that is named cannot be imported.
    """
    registry = installed_with(config.plugins) if registry is None else registry
    engine = options.engine_of(config.engine)
    check_engine_options(engine, registry)
    device = resolve_device(options.device)
    check_limits(options, device)
    reporters = choose_reporters(config.reports, registry)
    measures = registry.select_measures(config.measures.include, config.measures.exclude)
    named = expand_checkpoints(config)
    sources = {entry.model: registry.model_source(entry.model) for _, entry, _ in named}
    store = Store(options.cache)
    store.check_writable()
    sample, split = draw(config, registry, store)
    overlap = compare(config, registry, store, split, sample, options.progress)
    planned = _Planned(config, registry, sample, device, options.trusted)
    subjects, refused = [], {}
    for name, entry, path in named:
        try:
            with failing_alone(entry.model):
                subjects.append(planned.subject(name, entry, path, sources[entry.model]))
        except CheckpointError as error:
            refused[name] = bounded(str(error), MOST_IN_CELL)
    _check_trusted(options.trusted, subjects)
    return Study(
        config=config,
        options=options,
        registry=registry,
        measures=tuple(measures),
        sample=sample,
        overlap=overlap,
        subjects=tuple(sorted(subjects, key=lambda subject: subject.name)),
        refused=refused,
        store=store,
        device=device,
        engine=engine,
        reporters=reporters,
    )


def _check_trusted(trusted: frozenset[str], subjects: Sequence[Subject]) -> None:
    """Refuse trust in files that nobody reads: most likely a digest is mistaken.

    Raises:
        ConfigError: There are some.
    """
    unknown = sorted(trusted.difference(*(subject.trusted for subject in subjects)))
    if unknown:
        raise ConfigError(
            f"--trust-pickle sha256:{unknown[0]} is the digest of no weights file of this run; "
            "`genaudit inspect FILE` shows that of a file"
        )


class _Planned:
    """What all checkpoints of a configuration have in common."""

    def __init__(
        self,
        config: AuditConfig,
        registry: Registry,
        sample: Sample,
        device: str,
        trusted: frozenset[str],
    ) -> None:
        self._trusted = trusted
        self._config, self._registry = config, registry
        self._sample, self._device = sample, device
        self._libraries = installed_libraries()
        self._digests: dict[str, str] = {}
        self._orders = ClassOrders(config, sample.class_names)

    def subject(
        self, name: str, entry: CheckpointConfig, path: Location | None, source: ModelEntry
    ) -> Subject:
        """One checkpoint with the digests of all that is read for it.

        Raises:
            CheckpointError: A file with weights cannot be read.
        """
        config, registry = self._config, self._registry
        dataset = registry.dataset(config.dataset.name)
        found = settle_weights(source, entry, path, config.base)
        here = on_this_machine(path, found.digest) if path else None
        order, order_from = self._orders.of(entry, here, source)
        init = config.place(entry.init.replace("{name}", name)) if entry.init else None
        init_digest = place_digest(init) if init else ""
        if entry.model not in self._digests:
            located, _ = source.located(entry.model, entry.model_args, config.base)
            self._digests[entry.model] = source.digest(located)
        return Subject(
            name=name,
            model_source=Provided(
                source.name, source.version, registry.origin("genaudit_models", source.name)
            ),
            source_digest=self._digests[entry.model],
            model=entry.model,
            model_args=entry.model_args,
            weights=found.file,
            weights_digest=found.digest,
            built=found.built,
            published=path is None and found.file is not None,
            which=entry.which,
            base=config.base,
            init=init,
            init_digest=init_digest,
            trusted=tuple(sorted(self._trusted & {found.digest, init_digest})),
            data_source=Provided(
                dataset.name, dataset.version, registry.origin("genaudit_datasets", dataset.name)
            ),
            dataset_options=located_options(config, dataset),
            dataset_locations=dataset.locations,
            sample=self._sample,
            transform=config.dataset.transform,
            layers=config.measures.layers,
            batch_size=config.measures.batch_size,
            precision=config.measures.precision,
            device=self._device,
            seed=config.seed,
            class_order=order,
            class_order_from=order_from,
            libraries=self._libraries,
        )


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
        "config": plain_words(config.model_dump()),
        "base": str(config.base),
        "seed": config.seed,
        "device": study.device,
        "dtype": config.measures.precision,
        "dataset": {
            "name": config.dataset.name,
            "options": plain_words(config.dataset_options),
            "class_names": list(sample.class_names),
            "n_images": sample.n_available,
            "n_sampled": len(sample.labels),
            "images_per_class": config.measures.images_per_class,
            "images_of_class": sample.images_of_class,
            "max_classes": config.measures.max_classes,
            "skipped": dict(sample.skipped),
            "oddities": dict(sample.oddities),
            "fingerprint": sample.fingerprint,
            "excluded": dict(sample.excluded),
            "notes": [
                *order_notes(sample.class_names, study.subjects),
                *look_alike_notes(sample.class_names),
            ],
        },
        "plugins": _describe_plugins(study.registry),
        "overlap": study.overlap.describe() if study.overlap else None,
        "measures": {
            entry.name: describe_measure(entry)
            | {"plugin": study.registry.owners["genaudit_measures", entry.name]}
            for entry in study.measures
        },
        "checkpoints": [_describe_subject(s, facts.get(s.name)) for s in study.subjects],
    }


def _describe_plugins(registry: Registry) -> list[dict[str, str]]:
    """What `run.json` says of the plugins that were loaded: whose code made the numbers."""
    return [
        {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "digest": plugin_digest(plugin),
        }
        for plugin in registry.loaded
    ]


def _describe_subject(subject: Subject, facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """What `run.json` says of one checkpoint."""
    own = subject.sample.class_names
    return {
        "checkpoint": subject.name,
        "model": subject.model,
        "model_args": dict(subject.model_args),
        "source": f"{subject.source} {subject.model_source.version}",
        "weights": pretty(str(subject.weights)) if subject.weights else None,
        "weights_digest": subject.weights_digest,
        "which": subject.which,
        "class_order": None if subject.head_classes == own else list(subject.head_classes),
        "class_order_from": subject.class_order_from or "the training set",
        **(facts or {"data_config": None, "notes": [], "layers": [], "doubts": []}),
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


@functools.cache
@functools.cache  # asked with every table that is written while a run goes on
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
