"""Which plugins are installed, and which of them are loaded: those that somebody named.

A plugin is code, and an installed package may bring one that nobody asked for. What comes along
with genaudit is always loaded. Another is imported only where it is named: in `plugins` of a
configuration, with the option `--plugins`, or in the variable `GENAUDIT_PLUGINS`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from audit.errors import PluginError, foreign_code, unknown_name

#: The group of entry points, and the distribution whose own plugins are always loaded.
GROUP: Final = "genaudit"
#: Names of further plugins, separated by commas.
VARIABLE: Final = "GENAUDIT_PLUGINS"
#: What a message says of how a plugin is named.
HOW_TO_NAME: Final = f"`plugins` of the configuration, --plugins or {VARIABLE}"

#: Files of a folder of code that are made from others.
_MADE: Final = (".pyc", ".pyo")


@dataclasses.dataclass(frozen=True)
class InstalledPlugin:
    """A plugin that an entry point announces; it is not imported.

    Attributes:
        name: Of the plugin.
        point: The entry point, which says where its code lies.
        distribution: Name of the distribution that brings it, or "unknown".
        version: Of the distribution, or "".
    """

    name: str
    point: importlib.metadata.EntryPoint
    distribution: str
    version: str

    @property
    def brought_by(self) -> str:
        """The distribution and its version, as they are told."""
        return f"{self.distribution} {self.version}".strip()

    @property
    def comes_along(self) -> bool:
        """Whether it is one of genaudit's own."""
        return self.distribution == GROUP


def installed_plugins() -> list[InstalledPlugin]:
    """Every plugin that is installed, by name; one that is listed twice is found once."""
    found = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        name, version = (point.dist.name, point.dist.version) if point.dist else ("unknown", "")
        plugin = InstalledPlugin(point.name, point, name, version)
        found[plugin.name, plugin.brought_by] = plugin
    return [found[key] for key in sorted(found)]


#: Plugins that this process was told to load, beside those of the variable: by an option, and by
#: the configurations it has read.
_named: set[str] = set()
_configured: set[str] = set()


def name_plugins(names: Iterable[str]) -> None:
    """Have these plugins loaded from now on in this process, as the option `--plugins` does."""
    _named.update(names)


def name_configured(names: Iterable[str]) -> None:
    """Note the plugins of a configuration: other look-ups in this process find them as well."""
    _configured.update(names)


def named_plugins(configured: Iterable[str] | None = None) -> tuple[str, ...]:
    """Names of the plugins to load beside those that come along, sorted.

    Args:
        configured: Those of one configuration; None: of all that this process has read.
    """
    said = os.environ.get(VARIABLE, "").split(",")
    chosen = _configured if configured is None else configured
    return tuple(sorted({name.strip() for name in (*said, *_named, *chosen)} - {""}))


_REPAIR: Final = "; repair or uninstall it"


def load_plugins(
    named: Collection[str],
) -> tuple[dict[str, Any], tuple[InstalledPlugin, ...], tuple[InstalledPlugin, ...]]:
    """Import the plugins that come along and those that are named.

    Args:
        named: Names of others.

    Returns:
        Name → module of those that are loaded, what they are, and those that were left alone.

    Raises:
        ConfigError: One of them is not installed.
        PluginError: One fails to import, or two have one name; the message has what brought them.
    """
    found = installed_plugins()
    known = {plugin.name for plugin in found}
    for name in named:
        if name not in known:
            others = [plugin.name for plugin in found if not plugin.comes_along]
            raise unknown_name("plugin", name, others, "`genaudit plugins` lists what is installed")
    modules: dict[str, Any] = {}
    loaded: dict[str, InstalledPlugin] = {}
    for plugin in found:
        if not plugin.comes_along and plugin.name not in named:
            continue
        if plugin.name in loaded:
            raise PluginError(
                f"two plugins are named {plugin.name!r}: one from "
                f"{loaded[plugin.name].brought_by}, one from {plugin.brought_by}; uninstall one"
            )
        what = f"plugin {plugin.name!r} ({plugin.point.value}, from {plugin.brought_by}) "
        with foreign_code(f"{what}cannot be imported", PluginError, _REPAIR):
            modules[plugin.name] = plugin.point.load()
        loaded[plugin.name] = plugin
    rest = tuple(plugin for plugin in found if loaded.get(plugin.name) is not plugin)
    return modules, tuple(loaded.values()), rest


def plugin_digest(plugin: InstalledPlugin) -> str:
    """SHA-256 of a plugin's code, as hexadecimal digits.

    Over names and contents of all files of its module or package, and of those that its
    distribution says it installed, unless that is genaudit itself; compiled copies and what an
    installer noted are left out. Where the files lie does not matter.
    """
    files = dict(_module_files(plugin.point.module))
    if not plugin.comes_along and plugin.point.dist is not None:
        files |= _recorded_files(plugin.point.dist)
    digest = hashlib.sha256()
    for name in sorted(files):
        content = hashlib.sha256(_content(files[name])).hexdigest()
        digest.update(f"{content} {name}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    """What a file holds; nothing where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@functools.cache
def _module_files(module: str) -> tuple[tuple[str, Path], ...]:
    """Name and place of each file of the topmost package or module of a dotted name."""
    top = module.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)  # imports nothing, as the name has no package above it
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return ()
    if spec.submodule_search_locations is None:
        return ((Path(str(spec.origin)).name, Path(str(spec.origin))),)
    folders = [Path(folder) for folder in spec.submodule_search_locations]
    return tuple(
        (f"{top}/{path.relative_to(folder).as_posix()}", path)
        for folder in folders
        for path in _files_below(folder)
    )


def _files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder that is no compiled copy."""
    for path in folder.rglob("*"):
        if path.suffix not in _MADE and path.is_file():
            yield path


def _recorded_files(distribution: importlib.metadata.Distribution) -> dict[str, Path]:
    """The files that a distribution says it installed, but for notes on its installation."""
    return {
        file.as_posix(): Path(str(distribution.locate_file(file)))
        for file in distribution.files or ()
        if file.suffix not in _MADE and not file.parts[0].endswith((".dist-info", ".egg-info"))
    }
