"""Find plugins, verify what they hand over, and look entries up by name."""

from __future__ import annotations

import fnmatch
import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from audit.errors import ConfigError, PluginError, foreign_code, quoted, unknown_name
from audit.plugin import hooks
from audit.plugin.discovery import (
    HOW_TO_NAME,
    InstalledPlugin,
    load_plugins,
    name_configured,
    named_plugins,
)
from audit.plugin.entries import (
    DatasetEntry,
    EngineEntry,
    HeldOutEntry,
    MeasureEntry,
    ModelEntry,
    ReporterEntry,
)
from audit.plugin.parts import owner_of, suffix_of

if TYPE_CHECKING:
    import torch

Entry = TypeVar(
    "Entry", ModelEntry, DatasetEntry, MeasureEntry, HeldOutEntry, EngineEntry, ReporterEntry
)
#: Hook → the type of the entries it returns.
HOOKS: dict[str, type] = {
    "genaudit_models": ModelEntry,
    "genaudit_datasets": DatasetEntry,
    "genaudit_measures": MeasureEntry,
    "genaudit_held_out": HeldOutEntry,
    "genaudit_engines": EngineEntry,
    "genaudit_reporters": ReporterEntry,
}


class Registry:
    """Every entry of every plugin, by kind and name.

    Args:
        plugins: Plugin name → imported module or object that implements hooks.
        distributions: Plugin name → "distribution version" that brought it.
        loaded: Those of the plugins that are installed.
        not_loaded: Plugins that are installed, but that nobody named; they are not imported.

    Raises:
        PluginError: A hook nobody specified, an entry of the wrong type, or two entries of one
            kind that share a name.
    """

    def __init__(
        self,
        plugins: Mapping[str, Any],
        distributions: Mapping[str, str] | None = None,
        loaded: tuple[InstalledPlugin, ...] = (),
        not_loaded: tuple[InstalledPlugin, ...] = (),
    ) -> None:
        self.distributions = dict(distributions or {})
        self.loaded, self.not_loaded = loaded, not_loaded
        self.owners: dict[tuple[str, str], str] = {}
        self._manager = pluggy.PluginManager(hooks.PROJECT)
        self._manager.add_hookspecs(hooks)
        for name in sorted(plugins):
            self._register(name, plugins[name])
        self._entries = {hook: self._collect(hook, kind) for hook, kind in HOOKS.items()}

    def _register(self, name: str, plugin: Any) -> None:
        """Register one plugin and refuse hooks that do not exist."""
        try:
            self._manager.register(plugin, name)
        except pluggy.PluginValidationError as error:
            raise PluginError(f"plugin {name!r}: {error}") from error
        for attribute in dir(plugin):
            marked = self._manager.parse_hookimpl_opts(plugin, attribute) is not None
            named = attribute.startswith(f"{hooks.PROJECT}_")
            if attribute in HOOKS and not marked:
                raise PluginError(
                    f"plugin {name!r}: {attribute} is not decorated with "
                    "@audit.plugin.hookimpl and would be passed over; decorate it"
                )
            # a module of that name is no hook: genaudit_xyz is what third parties call packages
            meant = marked or (named and inspect.isroutine(getattr(plugin, attribute, None)))
            if meant and attribute not in HOOKS:
                raise PluginError(
                    f"plugin {name!r} implements {attribute!r}, which is not a hook; "
                    f"the hooks are {', '.join(HOOKS)}"
                )

    def _collect(self, hook: str, kind: type) -> dict[str, Any]:
        """All entries of one kind, sorted by name."""
        found: dict[str, Any] = {}
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            owner = implementation.plugin_name
            repair = "; repair or uninstall it"
            with foreign_code(f"plugin {owner!r}: {hook} failed", PluginError, repair):
                entries = list(implementation.function())
            for entry in entries:
                if not isinstance(entry, kind):
                    raise PluginError(
                        f"plugin {owner!r}: {hook} must return {kind.__name__} objects, "
                        f"but one is a {type(entry).__name__}"
                    )
                name: str = entry.name  # type: ignore[attr-defined]
                if name in found:
                    raise PluginError(
                        f"plugins {self.owners[hook, name]!r} and {owner!r} both provide "
                        f"{name!r} through {hook}; uninstall or rename one"
                    )
                found[name] = entry
                self.owners[hook, name] = owner
        return dict(sorted(found.items()))

    @property
    def models(self) -> dict[str, ModelEntry]:
        """Sources of networks, by name."""
        return self._entries["genaudit_models"]

    @property
    def datasets(self) -> dict[str, DatasetEntry]:
        """Datasets, by name."""
        return self._entries["genaudit_datasets"]

    @property
    def measures(self) -> dict[str, MeasureEntry]:
        """Measures, by name."""
        return self._entries["genaudit_measures"]

    @property
    def held_out(self) -> dict[str, HeldOutEntry]:
        """Forms of published accuracies, by name."""
        return self._entries["genaudit_held_out"]

    @property
    def engines(self) -> dict[str, EngineEntry]:
        """Engines, by name."""
        return self._entries["genaudit_engines"]

    @property
    def reporters(self) -> dict[str, ReporterEntry]:
        """Reporters, by name."""
        return self._entries["genaudit_reporters"]

    def plugin(self, name: str) -> Any:
        """The plugin of that name, as it was handed over."""
        return self._manager.get_plugin(name)

    def origin(self, hook: str, name: str) -> str:
        """The "distribution version" that brought an entry, or ""."""
        return self.distributions.get(self.owners.get((hook, name), ""), "")

    def dataset(self, name: str) -> DatasetEntry:
        """The dataset of that name, or a `ConfigError` with the nearest names."""
        return self._look_up("dataset", name, self.datasets)

    def adopted(self, given: Any) -> dict[str, Any]:
        """The name and options of the dataset that reads an object in memory.

        Raises:
            ConfigError: None does.
        """
        for name, entry in self.datasets.items():
            options = entry.adopt(given)
            if options is not None:
                return {"name": name, **options}
        raise ConfigError(
            f"no dataset reads an object of type {type(given).__name__}; give a table with the key "
            "'name', or an object that one reads (`genaudit plugins` lists every dataset)"
        )

    def engine(self, name: str) -> EngineEntry:
        """The engine of that name, or a `ConfigError` with the nearest names."""
        return self._look_up("engine", name, self.engines)

    def reporter(self, name: str) -> ReporterEntry:
        """The reporter of that name, or a `ConfigError` with the nearest names."""
        return self._look_up("reporter", name, self.reporters)

    def held_out_format(self, name: str) -> HeldOutEntry:
        """The form of published accuracies, or a `ConfigError` with the nearest names."""
        return self._look_up("held-out format", name, self.held_out)

    def model_source(self, reference: str) -> ModelEntry:
        """The source that understands a reference such as "resnet18" or "package.module:build".

        Raises:
            ConfigError: No source does; the message has the nearest names.
        """
        for entry in self.models.values():
            if entry.matches(reference):
                return entry
        known = [name for entry in self.models.values() for name in entry.names()]
        hint = f"`genaudit models` lists them{self._elsewhere()}"
        raise unknown_name("model", reference, known, hint)

    def recognised_source(self, module: torch.nn.Module) -> ModelEntry | None:
        """The first source, in the order of names, that knows such a network; None if none does."""
        return next((entry for entry in self.models.values() if entry.recognises(module)), None)

    def select_measures(
        self, include: Sequence[str] = ("default",), exclude: Sequence[str] = ()
    ) -> list[MeasureEntry]:
        """Measures as `named_measures` finds them; baselines always come along.

        Raises:
            ConfigError: A name nobody registered, or nothing left to compute.
        """
        chosen = {name for name, entry in self.measures.items() if entry.baseline}
        chosen |= {entry.name for entry in self.named_measures(include)}
        chosen -= {entry.name for entry in self.named_measures(exclude)}
        if not chosen:
            raise ConfigError("no measure is left: [measures] excludes every one it includes")
        return [self.measures[name] for name in sorted(chosen)]

    def named_measures(self, names: Sequence[str]) -> list[MeasureEntry]:
        """Measures by name or pattern ("birth_*"); "default" and "all" stand for groups.

        Raises:
            ConfigError: A name nobody registered, or a pattern that fits none.
        """
        chosen: set[str] = set()
        for name in names:
            if name == "all":
                chosen |= set(self.measures)
            elif name == "default":
                chosen |= {key for key, entry in self.measures.items() if entry.default}
            elif found := fnmatch.filter(self.measures, name):
                chosen |= set(found)
            else:
                chosen.add(self._look_up("measure", name, self.measures).name)
        return [self.measures[name] for name in sorted(chosen)]

    def direction(self, column: str) -> str:
        """The declared direction of a measure, or of one of its parts (`name.part`) its own."""
        entry = self.measure_of(column)
        part = entry.part(suffix_of(column, entry.name)) if entry else None
        return part.direction if part else "none"

    def measure_of(self, column: str) -> MeasureEntry | None:
        """The measure a column of the table belongs to (see `audit.plugin.parts`)."""
        return self.measures.get(owner_of(column, self.measures))

    def _look_up(self, kind: str, name: str, entries: Mapping[str, Entry]) -> Entry:
        """One entry, or a `ConfigError` with the nearest names."""
        if name not in entries:
            command = "measures" if kind == "measure" else "plugins"
            hint = f"`genaudit {command}` lists every {kind}{self._elsewhere()}"
            raise unknown_name(kind, name, entries, hint)
        return entries[name]

    def _elsewhere(self) -> str:
        """Which plugins might know a name that those that are loaded do not; or ""."""
        if not self.not_loaded:
            return ""
        listed = quoted(dict.fromkeys(plugin.name for plugin in self.not_loaded))
        return f"; or name the plugin that has it in {HOW_TO_NAME}: {listed} is not loaded"


def installed() -> Registry:
    """The registry of the plugins that come along and of all others named so far in this process.

    Raises:
        ConfigError: A plugin is named that is not installed.
        PluginError: A plugin fails to import; the message names it and what brought it.
    """
    return _loaded(named_plugins())


def installed_with(configured: Sequence[str]) -> Registry:
    """The registry for one configuration: with the plugins that it names, and no other's.

    Args:
        configured: What it says under `plugins`.

    Raises:
        ConfigError: A plugin is named that is not installed.
        PluginError: A plugin fails to import; the message names it and what brought it.
    """
    registry = _loaded(named_plugins(configured))
    name_configured(configured)
    return registry


@functools.cache
def _loaded(named: tuple[str, ...]) -> Registry:
    """The registry of the plugins that come along and of these."""
    modules, loaded, rest = load_plugins(named)
    brought_by = {plugin.name: plugin.brought_by for plugin in loaded}
    return Registry(modules, brought_by, loaded=loaded, not_loaded=rest)
