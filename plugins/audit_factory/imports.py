"""Which code a module is made of: its own source and that of all it imports.

Import statements are read from the source, at any depth of a file, and resolved as Python would
resolve them; nothing is run. The standard library is left out, and of installed distributions the
version stands for the source; everything else is the user's own, and is digested file by file and
searched in turn.

Not seen are modules imported by a name that is computed, what a compiled module imports, folders
that code adds to `sys.path` or to the `__path__` of a package while it runs, and data files that
code reads.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import pkgutil
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Final

#: Folders of these names hold installed distributions.
_SITE_FOLDERS: Final = ("site-packages", "dist-packages")


@dataclasses.dataclass(frozen=True)
class Code:
    """What a module is made of.

    Attributes:
        files: Module → SHA-256 of its source: the module's own, and those that are the user's.
        versions: "name version" of each installed distribution that is imported, sorted.
    """

    files: dict[str, str]
    versions: tuple[str, ...]


class UnreadableError(Exception):
    """A source file that is not Python, or that the system refuses to read."""


def code_of(module_name: str) -> Code | None:
    """What a module is made of, or None where there is no such module with a file.

    Raises:
        UnreadableError: A source file on the way cannot be read as Python.
    """
    found = _Modules()
    first = found.find(module_name)
    if first is None or first.origin is None:
        return None
    files = {module_name: hashlib.sha256(_content(first)).hexdigest()}
    versions: set[str] = set()
    seen: set[str] = set()
    waiting = [module_name]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        waiting += _above(name)
        spec = found.find(name)
        if spec is None or spec.origin is None:  # not there, no module, or a namespace package
            continue
        installed = _distributions_of(name, spec.origin)
        versions.update(installed)
        if not installed and not _is_standard(spec.origin):
            content = _content(spec)
            files[name] = hashlib.sha256(content).hexdigest()
            waiting += found.imports(name, content)
    return Code(files, tuple(sorted(versions)))


def _above(name: str) -> list[str]:
    """The package that a module lies in: it runs before the module does."""
    return [name.rpartition(".")[0]] if "." in name else []


class _Modules:
    """Where modules lie, looked up once each, without importing the packages above them."""

    def __init__(self) -> None:
        self._specs: dict[str, ModuleSpec | None] = {}

    def find(self, name: str) -> ModuleSpec | None:
        """Where a module lies, or None."""
        if name not in self._specs:
            self._specs[name] = self._find(name)
        return self._specs[name]

    def _find(self, name: str) -> ModuleSpec | None:
        package, _, last = name.rpartition(".")
        if not package:
            return PathFinder.find_spec(name) or _find_editable(name)
        # by its last name: a nested namespace package that is looked up by its whole name asks
        # `sys.modules` for the package above it, which nobody may have imported
        folders = self.folders(package)
        return PathFinder.find_spec(last, folders) if folders else None

    def folders(self, name: str) -> list[str]:
        """The folders of a package; none for a module that is no package."""
        spec = self.find(name)
        return list(spec.submodule_search_locations or ()) if spec else []

    def imports(self, name: str, content: bytes) -> list[str]:
        """Absolute names of all that a module of the user's may import."""
        spec = self.find(name)
        assert spec is not None
        if not str(spec.origin).endswith(".py"):
            return []
        is_package = spec.submodule_search_locations is not None
        package = name if is_package else name.rpartition(".")[0]
        names: list[str] = []
        for imported in _imported_names(content, str(spec.origin), package):
            if imported.endswith(".*"):  # `__all__` may name any module of the package
                base = imported.removesuffix(".*")
                inside = pkgutil.iter_modules(self.folders(base))
                names += [f"{base}.{module.name}" for module in inside]
            else:
                names.append(imported)
        return names


def _find_editable(name: str) -> ModuleSpec | None:
    """A package that setuptools installed for editing, which has a finder of its own."""
    for finder in sys.meta_path:
        if str(getattr(finder, "__module__", "")).startswith("__editable__"):
            spec = finder.find_spec(name, None)
            if spec is not None:
                return spec
    return None


def _content(spec: ModuleSpec) -> bytes:
    """The bytes of a module's file, which may lie in a zip archive."""
    read = getattr(spec.loader, "get_data", None)
    try:
        content: bytes = read(spec.origin) if read else Path(str(spec.origin)).read_bytes()
    except OSError as error:
        raise UnreadableError(f"{spec.origin} cannot be read: {error}") from error
    return content


def _is_standard(origin: str) -> bool:
    """Whether a file belongs to Python itself."""
    path = Path(origin)
    return not _is_installed(path) and any(map(path.resolve().is_relative_to, _standard_folders()))


@functools.cache
def _standard_folders() -> tuple[Path, ...]:
    """Where Python's own modules lie."""
    paths = sysconfig.get_paths()
    return tuple(Path(paths[name]).resolve() for name in ("stdlib", "platstdlib"))


def _is_installed(path: Path) -> bool:
    """Whether a file lies where distributions are installed."""
    return any(part in _SITE_FOLDERS for part in path.parts)


def _distributions_of(name: str, origin: str) -> list[str]:
    """Name and version of the distributions that install a module; none for a loose file."""
    if not _is_installed(Path(origin)):
        return []
    known = _distributions(tuple(sys.path)).get(name.partition(".")[0], ())
    return [f"{found} {metadata.version(found)}" for found in set(known)]


@functools.lru_cache(maxsize=1)
def _distributions(path: tuple[str, ...]) -> dict[str, list[str]]:
    """Name of a module → the distributions that install it, for this `sys.path`."""
    return dict(metadata.packages_distributions())


@functools.lru_cache(maxsize=1024)
def _imported_names(source: bytes, origin: str, package: str) -> tuple[str, ...]:
    """Names that a source file imports, made absolute; `package.*` is all that lies in one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python shows them when it imports the file
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableError(f"{origin} is not valid Python: {error}") from error
    return tuple(dict.fromkeys(_names(tree, package)))


def _names(tree: ast.AST, package: str) -> Iterator[str]:
    """Names in import statements, and those written out in calls that import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            if base:
                yield base
                # each may be a module of the package or one of its attributes
                yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            base = _absolute(_called_name(node), package)
            if base:
                yield base


def _absolute(name: str, package: str) -> str:
    """A relative name made absolute; "" where it leads out of the topmost package."""
    rest = name.lstrip(".")
    level = len(name) - len(rest)
    if not level:
        return name
    parts = package.split(".") if package else []
    if level > len(parts):
        return ""
    return ".".join([*parts[: len(parts) - level + 1], *filter(None, [rest])])


def _called_name(call: ast.Call) -> str:
    """The name in `import_module("name")` or `__import__("name")`, or ""."""
    function = call.func
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if called in ("import_module", "__import__") and call.args:
        name = call.args[0]
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            return name.value
    return ""
