"""The checkpoints that a configuration names: their files, their names, their digests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from audit.errors import CheckpointError, ConfigError, foreign_code
from audit.network.digests import files_digest, state_digest
from audit.network.plain import plain
from audit.network.weights.folders import WHOLE, stem, weights_in
from audit.network.weights.remote import place_digest, urls_matching
from audit.plugin import ModelEntry
from audit.remote import Location
from audit.runs.config import AuditConfig, CheckpointConfig
from audit.runs.globs import matching_paths, readable


class Expanded(NamedTuple):
    """One checkpoint.

    Attributes:
        name: Of the checkpoint.
        entry: Its section.
        path: Its file or the index of its shards, as a path or URL; None: it has published weights.
    """

    name: str
    entry: CheckpointConfig
    path: Location | None


class Settled(NamedTuple):
    """What stands for a checkpoint's weights.

    Attributes:
        file: What is read, a path or URL; or None: the source reads it.
        digest: Of all that is read; or of the tensors of the built network.
        built: Whether it is the latter.
    """

    file: Location | None
    digest: str
    built: bool


def settle_weights(
    source: ModelEntry, entry: CheckpointConfig, path: Location | None, base: Path
) -> Settled:
    """What is read for a checkpoint's weights, and what stands for them.

    The digest of the file, which may be one that the source names; without one, of the files that
    the source says it reads; where it cannot say, the network is built and its tensors are
    digested.

    Raises:
        CheckpointError: A file cannot be read.
        Exception: Whatever the source's code raises; see `failing_alone`.
    """
    model, args = source.located(entry.model, entry.model_args, base)
    path = path or source.weights_file(model, args)
    if path is not None:
        return Settled(path, place_digest(path), False)
    files = source.reads(model, args)
    if files is not None:
        return Settled(None, files_digest(files), False)
    return Settled(None, state_digest(plain(source.create(model, args, True))), True)


@contextlib.contextmanager
def failing_alone(model: str) -> Iterator[None]:
    """Within it, whatever the code of a network or of its source raises costs one checkpoint.

    Raises:
        AuditError: As it was raised; a mistake in the configuration still ends the run.
        CheckpointError: In place of any other exception.
    """
    with foreign_code(f"model {model!r} cannot be prepared", CheckpointError):
        yield


def expand_checkpoints(config: AuditConfig) -> list[Expanded]:
    """Every checkpoint of a configuration, by name; a glob or folder gives one per file.

    Files of one name are told apart by the folders they lie in, by their endings, or by which of
    their weights are taken.

    Raises:
        ConfigError: No file matches, two checkpoints share a name, or a section names no weights.
    """
    every = [found for entry in config.checkpoints for found in _files_of(config, entry)]
    named: dict[str, Expanded] = {}
    for found in _told_apart(every):
        other = named.setdefault(found.name, found)
        if other is not found:
            raise ConfigError(
                f"two checkpoints are named {found.name!r}: {other.path or other.entry.model} and "
                f"{found.path or found.entry.model}; rename one, or set `name` in its section"
            )
    return [named[name] for name in sorted(named)]


def _files_of(config: AuditConfig, entry: CheckpointConfig) -> list[Expanded]:
    """Each checkpoint of one section."""
    if entry.weights is None:
        if not entry.pretrained:
            raise ConfigError(
                f"[[checkpoints]] model = {entry.model!r}: set `weights` to a file, folder or "
                "glob, or `pretrained = true`"
            )
        return [Expanded(entry.name or entry.model.replace("/", "_"), entry, None)]
    named = _matches(config, entry.weights)
    if entry.name and len(named) > 1:
        raise ConfigError(
            f"[[checkpoints]] weights = {entry.weights!r} matches {len(named)} files, which "
            f"cannot all be named {entry.name!r}; leave `name` out"
        )
    return [Expanded(entry.name or name, entry, path) for path, name in named.items()]


def _matches(config: AuditConfig, weights: str) -> dict[Path, str] | dict[str, str]:
    """The files that a path, URL or glob means, with their names; for folders, those in them."""
    place = config.place(weights)
    if isinstance(place, str):
        try:
            return urls_matching(weights)
        except ConfigError as error:
            raise ConfigError(f"[[checkpoints]] weights = {weights!r}: {error}") from error
    paths = matching_paths(place)
    if paths == [place] and place.is_dir():
        return _in_folder(place, weights)
    found = {path: readable(stem(path)) for path in paths if path.is_file()}
    folders = [path for path in paths if path.is_dir() and "**" not in weights]
    for folder in folders:
        try:
            found |= _in_folder(folder, weights)
        except ConfigError:
            if len(folders) == len(paths):
                raise  # beside files, a folder of something else may well match
    if not found:
        raise ConfigError(
            f"[[checkpoints]] weights = {weights!r} matches no file (looked for {place})"
        )
    return {path: found[path] for path in sorted(found)}


def _in_folder(folder: Path, weights: str) -> dict[Path, str]:
    """The checkpoints in a folder; one that has everybody's name is named by its folder."""
    try:
        paths = weights_in(folder)
    except CheckpointError as error:
        raise ConfigError(f"[[checkpoints]] weights = {weights!r}: {error}") from error
    names = {p: p.parent.name if p.name in WHOLE and p.parent.name else stem(p) for p in paths}
    return {path: readable(name) for path, name in names.items()}


def _told_apart(every: Sequence[Expanded]) -> Iterator[Expanded]:
    """The checkpoints under names that tell files of one name apart."""
    groups: dict[str, list[Expanded]] = {}
    for found in every:
        groups.setdefault(found.name, []).append(found)
    for name, group in groups.items():
        free = [found for found in group if found.path is not None and found.entry.name is None]
        if len(group) == 1 or len(free) < len(group):
            yield from group
            continue
        whole = {found.path: Path(found.path) for found in group if found.path is not None}
        places = {path: place.parent / name for path, place in whole.items()}
        folders = _distinguished(set(places.values()), name)
        which = len({found.entry.which for found in group}) > 1
        for found in group:
            assert found.path is not None
            place = places[found.path]
            alone = list(places.values()).count(place) == 1
            named = name if alone else readable(whole[found.path].name)
            parts = [folders[place], named, found.entry.which if which else ""]
            yield found._replace(name="-".join(part for part in parts if part))


def _distinguished(paths: set[Path], name: str) -> dict[Path, str]:
    """The shortest part of each path's folders that no other path has.

    One folder's name where one is enough, the nearest first; else the nearest few.
    """
    if len(paths) == 1:
        return dict.fromkeys(paths, "")
    above = {path: [part.name for part in path.parents if part.name] for path in paths}
    if all(names[:1] == [name] for names in above.values()):  # it is the nearest folder's already
        above = {path: names[1:] for path, names in above.items()}
    deepest = max(map(len, above.values()), default=0)
    chosen: list[Callable[[list[str]], str]] = [
        *(_one(level) for level in range(deepest)),
        *(_nearest(n) for n in range(2, deepest + 1)),
    ]
    for choose in chosen:
        found = {path: choose(names) for path, names in above.items()}
        if len(set(found.values())) == len(paths) and all(found.values()):
            return found
    return {path: "-".join(reversed(names)) for path, names in above.items()}


def _one(level: int) -> Callable[[list[str]], str]:
    return lambda names: names[level] if level < len(names) else ""


def _nearest(n: int) -> Callable[[list[str]], str]:
    return lambda names: "-".join(reversed(names[:n]))
