"""WebDataset shards: tar files in which the members of one sample share a name up to the first dot.

`000017.jpg` and `000017.cls` (a whole number or a name as text) are one sample; in place of `.cls`
a `.json` may hold the label. Shards are indexed once by their headers and images read where they
lie, so that any image can be had without reading those before it. Names are "shard/key".
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import glob
import itertools
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from audit.data.split_guard import refuse_held_out, refuse_held_out_folder
from audit.errors import ConfigError, DataError
from audit.notations import json_of
from audit.plugin import DatasetEntry, Split
from audit_datasets._in_memory import BytesSplit
from audit_datasets._labels import class_names_option, numbered_labels
from audit_datasets._options import refuse_unknown, text_option

OPTIONS = ("shards", "label", "class_names")
IMAGES: Final = ("jpg", "jpeg", "png", "webp", "ppm", "bmp", "tif", "tiff", "gif")
#: A label is a few bytes; a file of more is none.
_MOST_LABEL_BYTES: Final = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class _Item:
    """One sample: where its image lies, and its label."""

    shard: Path
    key: str
    offset: int
    size: int
    label: Any


def open_split(split: Split, options: Mapping[str, Any]) -> BytesSplit:
    """The images of training shards.

    Args:
        split: "train".
        options: `shards`, a path, a glob, a range such as "train-{000..146}.tar", or a list of
            these; `label`, the key inside `.json` members, default "label"; `class_names` by label.

    Raises:
        ConfigError: An unknown option, a value that cannot be used, or "held_out".
        DataError: No shard is there, one cannot be read or is named as validation or test data
            are, or no sample has an image and a label.
    """
    refuse_unknown("webdataset", options, OPTIONS)
    if split != "train":
        raise ConfigError(
            "webdataset is a training set and has no held-out split; give held-out images in "
            '[held_out].images, such as { name = "webdataset", shards = "val-{00..04}.tar" }'
        )
    for shard in _shards(options.get("shards")):
        refuse_held_out(f"shard {shard}", shard.stem, "give training shards")
        refuse_held_out_folder("the folder of webdataset shards", shard.parent)
    return open_held_out(options)


def open_held_out(options: Mapping[str, Any]) -> BytesSplit:
    """The images of shards, whatever their names; see `open_split`."""
    refuse_unknown("webdataset", options, OPTIONS)
    names = class_names_option("webdataset", options.get("class_names"))
    key = text_option("webdataset", options, "label", "label")
    shards = _shards(options.get("shards"))
    skipped: collections.Counter[str] = collections.Counter()
    items: list[_Item] = []
    for shard in shards:
        found, others = _index(shard, shard.stat().st_mtime_ns, key)
        items += found
        skipped.update(others)
    if not items:
        raise DataError(
            f"no sample in {len(shards)} shards, the first {shards[0]}, has an image "
            f"({', '.join(IMAGES)}) and a label (cls, or {key!r} in json)"
        )
    labels, names = numbered_labels([item.label for item in items], names, "webdataset")
    stamps = {shard: _stamp(shard) for shard in shards}
    return BytesSplit(
        labels,
        names,
        _names(items),
        lambda index: _read(items[index]),
        skipped=skipped,
        stamp=lambda index: f"{stamps[items[index].shard]}-{items[index].offset}",
    )


def _names(items: Sequence[_Item]) -> list[str]:
    """Shard and key; where shards share a name, with their folders; where keys repeat, numbered."""
    homes = collections.defaultdict(set)
    for item in items:
        homes[item.shard.name].add(item.shard)
    seen: collections.Counter[str] = collections.Counter()
    names = []
    for item in items:
        shared = len(homes[item.shard.name]) > 1
        name = f"{item.shard if shared else item.shard.name}/{item.key}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names


def _shards(value: Any) -> list[Path]:
    """The tar files that the option names, sorted, each once."""
    patterns = [value] if isinstance(value, str) else value
    if (
        not isinstance(patterns, list | tuple)
        or not patterns
        or not all(isinstance(pattern, str) and pattern for pattern in patterns)
    ):
        raise ConfigError(
            "webdataset needs the option shards: a path, a glob, a range such as "
            f'"train-{{000..146}}.tar", or a list of these; found {value!r}'
        )
    found: set[Path] = set()
    for pattern in itertools.chain.from_iterable(map(_expanded, patterns)):
        path = Path(pattern).expanduser()
        matches = [path] if path.is_file() else map(Path, glob.glob(str(path), recursive=True))
        files = {match for match in matches if match.is_file()}
        if not files:
            raise DataError(f"webdataset: shards = {pattern!r} matches no file")
        found |= files
    return sorted(found)


def _expanded(pattern: str) -> Iterator[str]:
    """A pattern for every number of a range {000..146}; others as they are."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if match is None:
        yield pattern
        return
    first, last = match[1], match[2]
    for number in range(int(first), int(last) + 1):
        text = str(number).zfill(len(first))
        yield from _expanded(pattern[: match.start()] + text + pattern[match.end() :])


@functools.lru_cache(maxsize=4096)
def _index(shard: Path, changed: int, key: str) -> tuple[list[_Item], dict[str, int]]:
    """The samples of one shard and what was passed over; kept, as every checkpoint asks for them.

    Raises:
        DataError: It is no plain tar file, or cut short.
    """
    groups: list[dict[str, tarfile.TarInfo]] = []
    last = ""
    skipped: collections.Counter[str] = collections.Counter()
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if not member.isfile():
                    if not member.isdir():
                        skipped["no plain file in a shard"] += 1
                    continue
                name, ending = _parted(member.name)
                if name != last or ending in groups[-1]:
                    groups.append({})
                    last = name
                groups[-1][ending] = member
            end = shard.stat().st_size
            items = []
            for group in groups:
                item = _item(tar, shard, group, key, end, skipped)
                items += [item] if item else []
    except (OSError, tarfile.TarError, EOFError) as error:
        raise DataError(
            f"shard {shard} cannot be read as a tar file without compression: {error}"
        ) from error
    return items, dict(skipped)


def _parted(path: str) -> tuple[str, str]:
    """Key and ending of a member: its path up to the first dot of its name, and the rest."""
    folder, _, name = path.rpartition("/")
    stem, _, ending = name.partition(".")
    return (f"{folder}/{stem}" if folder else stem), ending.lower()


def _item(
    tar: tarfile.TarFile,
    shard: Path,
    group: Mapping[str, tarfile.TarInfo],
    key: str,
    end: int,
    skipped: collections.Counter[str],
) -> _Item | None:
    """The sample of members that share a key, or None where one of its two parts is missing."""
    image = next((group[ending] for ending in group if ending in IMAGES), None)
    label = _label(tar, group, key)
    if image is None or label is None:
        skipped["sample without image" if image is None else "sample without label"] += 1
        return None
    if image.offset_data + image.size > end:
        raise DataError(f"shard {shard} is cut short: {image.name} ends beyond it; restore it")
    name, _ = _parted(image.name)
    return _Item(shard, name, image.offset_data, image.size, label)


def _label(tar: tarfile.TarFile, group: Mapping[str, tarfile.TarInfo], key: str) -> Any:
    """The label of a sample, or None."""
    for ending in ("cls", "json"):
        member = group.get(ending)
        if member is None or member.size > _MOST_LABEL_BYTES:
            continue
        file = tar.extractfile(member)
        text = file.read().decode("utf-8", "replace").strip() if file else ""
        if ending == "cls":
            return text or None
        try:
            content = json_of(text)
        except ValueError:
            return None
        found = content.get(key) if isinstance(content, dict) else None
        return found if isinstance(found, int | str) and not isinstance(found, bool) else None
    return None


def _stamp(shard: Path) -> str:
    """Size, time of change and identity of a shard."""
    found = shard.stat()
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}"


def _read(item: _Item) -> bytes:
    """The bytes of an image."""
    with item.shard.open("rb") as file:
        file.seek(item.offset)
        return file.read(item.size)


DATASETS = (
    DatasetEntry(
        name="webdataset",
        summary="WebDataset tar shards of images with cls or json labels",
        version="1",
        open=open_split,
        open_held_out=open_held_out,
        options=OPTIONS,
        locations=("shards",),
    ),
)
