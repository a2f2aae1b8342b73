"""The entries of a zip archive, where every reader of zip archives finds the same ones.

Python's reader finds the directory by the size and the place of the end record, torch's (miniz) by
the offset that the end record gives; one knows names as text, the other without regard to case.
Both are led to the same bytes only by an archive in which nothing is left over: entries stored one
after the other from the first byte on, then the directory, then its end, each field that is there
twice with the same value. That is how `torch.save` and Python's `zipfile` write; every other
archive is refused, and so nothing can be shown to the check that is not what is loaded.

Source of the fields: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.6 to 4.5.3.
"""

from __future__ import annotations

import dataclasses
import mmap
import struct
import zlib
from typing import Final, TypeAlias

#: What is read: a file's bytes, or a mapping of them.
Content: TypeAlias = "bytes | mmap.mmap"

_END: Final = struct.Struct("<4s4H2IH")
_LOCATOR: Final = struct.Struct("<4sIQI")
_END_64: Final = struct.Struct("<4sQ2H2I4Q")
_DIRECTORY: Final = struct.Struct("<4s6H3I5H2I")
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_DESCRIPTOR: Final = struct.Struct("<4s3I")
_DESCRIPTOR_64: Final = struct.Struct("<4sI2Q")
_EXTRA: Final = struct.Struct("<2H")
_IN_64: Final = 0xFFFFFFFF
_ZIP64: Final = 0x0001
#: Of miniz: "FB" and filling, so that tensors are aligned.
_PADDING: Final = 0x4246
_STREAMED: Final = 0x8
_UTF8: Final = 0x800
_CHUNK: Final = 1 << 24


class DamagedError(Exception):
    """An archive that was cut off, or whose bytes are not those that were written."""


class OddError(Exception):
    """An archive that readers may take for different things; the message says why."""


class TooManyError(Exception):
    """An archive of more entries than are read; the message says how many."""


@dataclasses.dataclass(frozen=True)
class Record:
    """What the directory of an archive says of an entry.

    Attributes:
        name: With "/" between its parts.
        header: Where the entry's own header begins.
        size: Bytes of its content.
        checksum: CRC-32 of its content.
        flags: Of the format.
        packed: Whether its content is compressed or encrypted.
        end: Where the record ends.
    """

    name: str
    header: int
    size: int
    checksum: int
    flags: int
    packed: bool
    end: int


@dataclasses.dataclass(frozen=True)
class Entry:
    """One file in an archive.

    Attributes:
        name: With "/" between its parts.
        start: Where its content begins in the archive.
        size: Bytes of its content, which is stored as it is.
        checksum: CRC-32 of its content.
    """

    name: str
    start: int
    size: int
    checksum: int


class Archive:
    """An archive whose directory lies where its end says.

    Args:
        data: The archive.
        most: Entries that are read at most.

    Attributes:
        records: What its directory says, in its order.

    Raises:
        DamagedError: It is no archive, or not a whole one.
        OddError: Its directory is broken, or lies elsewhere.
        TooManyError: It has more entries.
    """

    def __init__(self, data: Content, most: int) -> None:
        self._data = data
        count, self._directory, end = _directory(data)
        if count > most:
            raise TooManyError(str(count))
        self.records = _listed(data, self._directory, end, count)
        if (self.records[-1].end if self.records else self._directory) != end:
            raise OddError("its directory has bytes left over")

    def entries(self) -> list[Entry]:
        """Every entry, in the order of their places.

        Raises:
            OddError: Something is left over, compressed, or said twice in different ways.
        """
        if any(record.packed for record in self.records):
            raise OddError("it has compressed or encrypted entries")
        if len({record.name.lower() for record in self.records}) != len(self.records):
            raise OddError("it has duplicate entries")
        place, found = 0, []
        for record in sorted(self.records, key=lambda record: record.header):
            if record.header != place:
                raise OddError("it has overlapping entries, or bytes between or before them")
            start = _content_start(self._data, record)
            place = start + record.size
            if place > self._directory:
                raise OddError("it has entries that reach into its directory")
            if record.flags & _STREAMED:
                place += _descriptor_size(self._data, record, place)
            found.append(Entry(record.name, start, record.size, record.checksum))
        if place != self._directory:
            raise OddError("it has bytes between its entries and its directory")
        return found


def check_sums(data: Content, entries: list[Entry]) -> None:
    """Compare the content of every entry with its checksum.

    Raises:
        DamagedError: One differs.
    """
    view = memoryview(data)
    try:
        for entry in entries:
            found = 0
            for start in range(entry.start, entry.start + entry.size, _CHUNK):
                found = zlib.crc32(
                    view[start : min(start + _CHUNK, entry.start + entry.size)], found
                )
            if found != entry.checksum:
                raise DamagedError(f"the checksum of {entry.name} does not match")
    finally:
        view.release()


def content_of(data: Content, entry: Entry) -> bytes:
    """What an entry holds."""
    return data[entry.start : entry.start + entry.size]


def _directory(data: Content) -> tuple[int, int, int]:
    """(entries, where the directory begins, where it ends), from the records at the end."""
    place = len(data) - _END.size
    if place < 0 or data[place : place + 4] != b"PK\5\6":
        raise DamagedError("its last bytes are not the end of a zip archive")
    _, disk, first_disk, here, count, size, offset, comment = _END.unpack(data[place:])
    if comment or disk or first_disk or here != count:
        raise OddError("its end record is not the last of its bytes, or speaks of several disks")
    end = place
    if data[max(place - _LOCATOR.size, 0) : place][:4] == b"PK\6\7":
        end, wide = _directory_64(data, place - _LOCATOR.size)
        narrow = zip((count, size, offset), wide, (0xFFFF, _IN_64, _IN_64), strict=True)
        if any(short not in (long, left_out) for short, long, left_out in narrow):
            raise OddError("its two end records differ")
        count, size, offset = wide
    if offset + size != end:
        raise OddError("its directory does not lie where its end record says")
    return count, offset, end


def _directory_64(data: Content, place: int) -> tuple[int, tuple[int, int, int]]:
    """(where the larger end record begins, its (entries, bytes, offset))."""
    _, disk, start, disks = _LOCATOR.unpack(data[place : place + _LOCATOR.size])
    if start + _END_64.size != place or disk or disks > 1:
        raise OddError("its larger end record does not lie before its locator")
    fields = _END_64.unpack(data[start:place])
    signature, size, _, _, here, first, count_here, count, n_bytes, offset = fields
    if (signature, size, here, first) != (b"PK\6\6", 44, 0, 0) or count_here != count:
        raise OddError("its larger end record is not a plain one")
    return start, (count, n_bytes, offset)


def _listed(data: Content, place: int, end: int, count: int) -> list[Record]:
    """The records of a directory."""
    found = []
    for _ in range(count):
        if place + _DIRECTORY.size > end:
            raise OddError("its directory is shorter than its end record says")
        fields = _DIRECTORY.unpack(data[place : place + _DIRECTORY.size])
        signature, _, _, flags, method, _, _, checksum, packed, size = fields[:10]
        n_name, n_extra, n_comment, disk, _, _, header = fields[10:]
        place += _DIRECTORY.size
        name = data[place : place + n_name]
        extra = data[place + n_name : place + n_name + n_extra]
        place += n_name + n_extra
        if signature != b"PK\1\2" or n_comment or disk or place > end:
            raise OddError("its directory has comments, several disks or broken records")
        size, packed, header = _widened(extra, (size, packed, header))
        odd = bool(method or flags & ~(_STREAMED | _UTF8) or size != packed)
        found.append(Record(_text(name), header, size, checksum, flags, odd, place))
    return found


def _widened(extra: bytes, values: tuple[int, int, int]) -> tuple[int, int, int]:
    """Sizes and offset of an entry, where a field of 64 bits stands for those of 32."""
    wide = [value for value in values if value == _IN_64]
    fields = _extra_fields(extra)
    if not wide and not fields:
        return values
    if [kind for kind, _ in fields] != [_ZIP64] or len(fields[0][1]) != 8 * len(wide):
        raise OddError("its directory has extra fields")
    given = iter(struct.unpack(f"<{len(wide)}Q", fields[0][1]))
    size, packed, offset = (next(given) if value == _IN_64 else value for value in values)
    return size, packed, offset


def _extra_fields(extra: bytes) -> list[tuple[int, bytes]]:
    """The extra fields of a header: (kind, content)."""
    found = []
    while extra:
        if len(extra) < _EXTRA.size:
            raise OddError("it has broken extra fields")
        kind, size = _EXTRA.unpack(extra[: _EXTRA.size])
        content = extra[_EXTRA.size : _EXTRA.size + size]
        if len(content) != size:
            raise OddError("it has broken extra fields")
        found.append((kind, content))
        extra = extra[_EXTRA.size + size :]
    return found


def _text(name: bytes) -> str:
    """The name of an entry."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise OddError("it has entries whose names are not UTF-8") from error
    if "\\" in text or not text.isprintable() or {"", ".", ".."} & set(text.split("/")):
        raise OddError("it has entries whose names are paths, or hold control characters")
    return text


def _content_start(data: Content, entry: Record) -> int:
    """Where the content of an entry begins, whose own header must say what the directory says."""
    after = entry.header + _LOCAL.size
    header = data[entry.header : after]
    if len(header) < _LOCAL.size:
        raise OddError("it has entries beyond its end")
    signature, _, its_flags, method, _, _, crc, packed, size, n_name, n_extra = _LOCAL.unpack(
        header
    )
    name = data[after : after + n_name]
    allowed = (entry.size, _IN_64) + ((0,) if entry.flags & _STREAMED else ())
    same = name == entry.name.encode() and its_flags == entry.flags and not method
    same &= size in allowed and packed in allowed
    same &= crc == entry.checksum or (crc == 0 and bool(entry.flags & _STREAMED))
    if signature != b"PK\3\4" or not same:
        raise OddError(f"{entry.name} is something else in its directory than in its own header")
    extra = data[after + n_name : after + n_name + n_extra]
    for kind, content in _extra_fields(extra):
        if kind == _ZIP64:
            values = struct.unpack(f"<{len(content) // 8}Q", content[: len(content) // 8 * 8])
            if any(value not in (entry.size, entry.header, 0) for value in values):
                raise OddError(f"{entry.name} has two sizes")
        elif kind != _PADDING:
            raise OddError("it has unknown extra fields")
    return int(after + n_name + n_extra)


def _descriptor_size(data: Content, entry: Record, place: int) -> int:
    """Bytes of what follows a streamed entry: checksum and sizes; miniz leaves empty ones out."""
    expected = (b"PK\7\x08", entry.checksum, entry.size, entry.size)
    for form in (_DESCRIPTOR, _DESCRIPTOR_64):
        size: int = form.size
        found = data[place : place + size]
        if len(found) == size and form.unpack(found) == expected:
            return size
    if entry.size:
        raise OddError(f"{entry.name} is not followed by its sizes")
    return 0
