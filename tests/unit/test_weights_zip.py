"""Every field of an archive that readers could take for something else, changed by itself."""

import struct
import zlib

import pytest

from audit.network.weights._zip import (
    Archive,
    DamagedError,
    Entry,
    OddError,
    Record,
    TooManyError,
    _content_start,
    check_sums,
    content_of,
)

WIDE = 0xFFFFFFFF
LOCAL = (
    "signature:4s version:H flags:H method:H time:H date:H crc:I packed:I size:I n_name:H n_extra:H"
)
CENTRAL = (
    "signature:4s made:H version:H flags:H method:H time:H date:H crc:I packed:I size:I n_name:H "
    "n_extra:H n_comment:H disk:H internal:H external:I header:I"
)
END = "signature:4s disk:H first:H here:H count:H size:I offset:I comment:H"
LOCATOR = "signature:4s disk:I start:Q disks:I"
END_64 = (
    "signature:4s size:Q made:H version:H here:I first:I count_here:Q count:Q n_bytes:Q offset:Q"
)


def packed(form, values, changes):
    """A record of little-endian fields, some of them changed."""
    pairs = [field.split(":") for field in form.split()]
    values = {**values, **changes}
    return struct.pack(
        "<" + "".join(kind for _, kind in pairs), *(values.get(name, 0) for name, _ in pairs)
    )


def extra(kind, *numbers):
    return struct.pack(f"<2H{len(numbers)}Q", kind, 8 * len(numbers), *numbers)


def built(
    files,
    *,
    local=None,
    central=None,
    end=None,
    locator=None,
    end_64=None,
    wide=False,
    streamed="",
    local_extra=b"",
    central_extra=b"",
    local_name=None,
    descriptor=None,
    before_directory=b"",
    after_directory=b"",
):
    """An archive; what is changed is changed in the record of its last file.

    Args:
        files: Name → content.
        local, central, end, locator, end_64: Fields of the records, in the place of the sound ones.
        wide: Whether it has the larger end record.
        streamed: "narrow" or "wide": the sizes follow the content, in that form.
        local_extra, central_extra: Extra fields.
        local_name: The name in the file's own header.
        descriptor: Fields of what follows a streamed file.
        before_directory, after_directory: Bytes that belong to nothing.
    """
    body, directory = b"", b""
    flags = 8 if streamed else 0
    for number, (name, content) in enumerate(files.items()):
        last = number == len(files) - 1
        place, crc, text = len(body), zlib.crc32(content), name.encode()
        sizes = {"crc": crc, "packed": len(content), "size": len(content)}
        own = {} if streamed else sizes
        head = {"signature": b"PK\3\4", "flags": flags, "n_name": len(text), **own}
        given = local_extra if last else b""
        head |= {"n_extra": len(given)}
        body += packed(LOCAL, head, (local or {}) if last else {})
        body += ((local_name if last else None) or text) + given + content
        if streamed:
            kind = "Q" if streamed == "wide" else "I"
            form = f"signature:4s crc:I packed:{kind} size:{kind}"
            sound = {"signature": b"PK\7\x08", **sizes}
            body += packed(form, sound, (descriptor or {}) if last else {})
        record = {"signature": b"PK\1\2", "flags": flags, **sizes, "n_name": len(text)}
        given = central_extra if last else b""
        record |= {"header": place, "n_extra": len(given)}
        directory += packed(CENTRAL, record, (central or {}) if last else {}) + text + given
    body += before_directory
    offset, whole = len(body), body + directory + after_directory
    if wide:
        sound = {"signature": b"PK\6\6", "size": 44, "count_here": len(files)}
        sound |= {"count": len(files), "n_bytes": len(directory), "offset": offset}
        start = len(whole)
        whole += packed(END_64, sound, end_64 or {})
        sound = {"signature": b"PK\6\7", "start": start, "disks": 1}
        whole += packed(LOCATOR, sound, locator or {})
    sound = {"signature": b"PK\5\6", "here": len(files), "count": len(files)}
    sound |= {"size": len(directory), "offset": offset}
    return whole + packed(END, sound, end or {})


FILES = {"a/one": b"first", "a/two": b"the second"}


def contents(data, most=10):
    """Name → content, as the reader finds them."""
    entries = Archive(data, most).entries()
    check_sums(data, entries)
    return {entry.name: content_of(data, entry) for entry in entries}


SOUND = {
    "plain": {},
    "wide": {"wide": True},
    "streamed": {"streamed": "narrow"},
    "streamed with wide sizes": {"streamed": "wide"},
    "left out of the small end": {
        "wide": True,
        "end": {"here": 0xFFFF, "count": 0xFFFF, "size": WIDE, "offset": WIDE},
    },
    "no disk in the locator": {"wide": True, "locator": {"disks": 0}},
    "times, versions and rights": {
        "local": {"version": 20, "time": 1, "date": 33},
        "central": {"made": 3, "version": 45, "time": 1, "date": 33, "internal": 1, "external": 9},
    },
    "padding": {"local_extra": struct.pack("<2H3s", 0x4246, 3, b"ZZZ")},
    "sizes of 64 bits in the directory": {
        "central": {"packed": WIDE, "size": WIDE},
        "central_extra": extra(1, 10, 10),
    },
    "sizes of 64 bits in its own header": {
        "local": {"packed": WIDE, "size": WIDE},
        "local_extra": extra(1, 10, 10),
    },
    "an offset of 64 bits": {"central": {"header": WIDE}, "central_extra": extra(1, 40)},
    "names in UTF-8": {"local": {"flags": 0x800}, "central": {"flags": 0x800}},
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_archive_gives_its_files(name):
    assert contents(built(FILES, **SOUND[name])) == FILES


def test_entries_say_where_their_content_lies():
    data = built(FILES)
    first, second = Archive(data, 2).entries()
    assert first == Entry("a/one", 35, 5, zlib.crc32(b"first"))
    assert second == Entry("a/two", 75, 10, zlib.crc32(b"the second"))


def test_an_archive_of_nothing_has_no_entries():
    assert contents(built({})) == {}
    assert contents(built({}, wide=True)) == {}


def test_more_entries_than_are_read_are_counted_before_they_are_listed():
    assert len(contents(built(FILES), most=2)) == 2
    with pytest.raises(TooManyError, match=r"^2$"):
        Archive(built(FILES), 1)


NOT_LAST = "its end record is not the last of its bytes, or speaks of several disks"
ELSEWHERE = "its directory does not lie where its end record says"
DIFFER = "its two end records differ"
NOT_PLAIN = "its larger end record is not a plain one"
BEFORE_LOCATOR = "its larger end record does not lie before its locator"
BROKEN = "its directory has comments, several disks or broken records"
PACKED = "it has compressed or encrypted entries"
SOMETHING_ELSE = "a/two is something else in its directory than in its own header"
EXTRA = "its directory has extra fields"
BROKEN_EXTRA = "it has broken extra fields"
BETWEEN = "it has overlapping entries, or bytes between or before them"
NO_SIZES = "a/two is not followed by its sizes"
STREAMED = {"streamed": "narrow"}
ODD = {
    "a comment at the end": ({"end": {"comment": 1}}, NOT_LAST),
    "another disk": ({"end": {"disk": 1}}, NOT_LAST),
    "another first disk": ({"end": {"first": 1}}, NOT_LAST),
    "fewer entries here": ({"end": {"here": 1}}, NOT_LAST),
    "more entries": ({"end": {"here": 3, "count": 3}}, "shorter than its end record says"),
    "fewer entries": ({"end": {"here": 1, "count": 1}}, "its directory has bytes left over"),
    "a directory that is larger": ({"end": {"size": 200}}, ELSEWHERE),
    "a directory elsewhere": ({"end": {"offset": 1}}, ELSEWHERE),
    "bytes after the directory": ({"after_directory": b"!"}, ELSEWHERE),
    "bytes before the directory": (
        {"before_directory": b"!"},
        "it has bytes between its entries and its directory",
    ),
    "a locator of another disk": ({"wide": True, "locator": {"disk": 1}}, BEFORE_LOCATOR),
    "a locator of two disks": ({"wide": True, "locator": {"disks": 2}}, BEFORE_LOCATOR),
    "a locator that leads elsewhere": ({"wide": True, "locator": {"start": 7}}, BEFORE_LOCATOR),
    "no larger end record": ({"wide": True, "end_64": {"signature": b"PK\6\x08"}}, NOT_PLAIN),
    "a larger end record of another size": ({"wide": True, "end_64": {"size": 45}}, NOT_PLAIN),
    "a larger end record of disk 1": ({"wide": True, "end_64": {"here": 1}}, NOT_PLAIN),
    "a larger end record from disk 1": ({"wide": True, "end_64": {"first": 1}}, NOT_PLAIN),
    "two counts in one record": ({"wide": True, "end_64": {"count_here": 1}}, NOT_PLAIN),
    "two counts": ({"wide": True, "end": {"here": 1, "count": 1}}, DIFFER),
    "two sizes of the directory": ({"wide": True, "end": {"size": 1}}, DIFFER),
    "two offsets": ({"wide": True, "end": {"offset": 1}}, DIFFER),
    "no record": ({"central": {"signature": b"PK\1\3"}}, BROKEN),
    "a record with a comment": ({"central": {"n_comment": 1}}, BROKEN),
    "a record of another disk": ({"central": {"disk": 1}}, BROKEN),
    "a name that reaches too far": ({"central": {"n_name": 6}}, BROKEN),
    "compressed": ({"central": {"method": 8}}, PACKED),
    "encrypted": ({"central": {"flags": 1}}, PACKED),
    "two sizes in the directory": ({"central": {"packed": 9}}, PACKED),
    "no header of its own": ({"local": {"signature": b"PK\3\5"}}, SOMETHING_ELSE),
    "compressed in its own header": ({"local": {"method": 8}}, SOMETHING_ELSE),
    "encrypted in its own header": ({"local": {"flags": 1}}, SOMETHING_ELSE),
    "another size in its own header": ({"local": {"size": 9}}, SOMETHING_ELSE),
    "another packed size": ({"local": {"packed": 9}}, SOMETHING_ELSE),
    "no size in its own header": ({"local": {"size": 0}}, SOMETHING_ELSE),
    "another checksum": ({"local": {"crc": 1}}, SOMETHING_ELSE),
    "no checksum": ({"local": {"crc": 0}}, SOMETHING_ELSE),
    "another name": ({"local_name": b"a/Two"}, SOMETHING_ELSE),
    "another checksum, streamed": ({**STREAMED, "local": {"crc": 1}}, SOMETHING_ELSE),
    "another size, streamed": ({**STREAMED, "local": {"size": 9}}, SOMETHING_ELSE),
    "another checksum after it": ({**STREAMED, "descriptor": {"crc": 1}}, NO_SIZES),
    "another size after it": ({**STREAMED, "descriptor": {"size": 9}}, NO_SIZES),
    "another packed size after it": ({**STREAMED, "descriptor": {"packed": 9}}, NO_SIZES),
    "no sizes after it": ({**STREAMED, "descriptor": {"signature": b"PK\7\7"}}, NO_SIZES),
    "padding in the directory": (
        {"central_extra": struct.pack("<2H", 0x4246, 0)},
        EXTRA,
    ),
    "a field of 64 bits for nothing": ({"central_extra": extra(1, 10)}, EXTRA),
    "too few fields of 64 bits": (
        {"central": {"packed": WIDE, "size": WIDE}, "central_extra": extra(1, 10)},
        EXTRA,
    ),
    "no field of 64 bits": ({"central": {"packed": WIDE, "size": WIDE}}, EXTRA),
    "two fields of 64 bits": (
        {"central": {"header": WIDE}, "central_extra": extra(1, 40) + extra(1, 40)},
        EXTRA,
    ),
    "half an extra field": ({"central_extra": b"\1\0\x08"}, BROKEN_EXTRA),
    "an extra field cut off": ({"central_extra": extra(1, 10)[:-1]}, BROKEN_EXTRA),
    "an unknown extra field": ({"local_extra": extra(2, 10)}, "it has unknown extra fields"),
    "two sizes of 64 bits": ({"local_extra": extra(1, 10, 11)}, "a/two has two sizes"),
    "another header": ({"central": {"header": 41}}, BETWEEN),
    "the header of another": ({"central": {"header": 0}}, BETWEEN),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_archive_is_refused(name):
    changes, words = ODD[name]
    with pytest.raises(OddError, match=words):
        Archive(built(FILES, **changes), 10).entries()


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", ".", "a/../b", "../a", "a\\b", "a\nb", "a\0b", "a/\u202eb"]
)
def test_names_that_are_paths_or_cannot_be_shown_are_refused(name):
    with pytest.raises(OddError, match="names are paths, or hold control characters"):
        Archive(built({name: b"1"}), 10)


def test_names_in_no_text_and_names_twice_are_refused():
    data = built({"a/xx": b"1"}).replace(b"a/xx", b"a/\xff\xfe")
    with pytest.raises(OddError, match="names are not UTF-8"):
        Archive(data, 10)
    with pytest.raises(OddError, match="it has duplicate entries"):
        Archive(built({"a/x": b"1", "A/X": b"2"}), 10).entries()


def test_an_entry_that_reaches_into_the_directory_is_refused():
    larger = {"packed": 11, "size": 11}
    with pytest.raises(OddError, match="it has entries that reach into its directory"):
        Archive(built(FILES, local=larger, central=larger), 10).entries()


def test_an_own_header_that_is_cut_off_is_refused():
    with pytest.raises(OddError, match="it has entries beyond its end"):
        _content_start(b"PK\3\4" + bytes(25), Record("a", 0, 0, 0, 0, False, 0))


@pytest.mark.parametrize("n", [0, 3, 21])
def test_what_ends_without_an_end_is_damaged(n):
    for data in (bytes(n), built(FILES)[:-1] if n else b"", built(FILES)[-n:] if n else b""):
        with pytest.raises(DamagedError, match="not the end of a zip archive"):
            Archive(data, 10)


def test_contents_are_held_against_their_checksums():
    data = built(FILES).replace(b"first", b"fibst")
    entries = Archive(data, 10).entries()
    with pytest.raises(DamagedError, match="the checksum of a/one does not match"):
        check_sums(data, entries)


def test_checksums_of_contents_that_are_read_in_parts(monkeypatch):
    monkeypatch.setattr("audit.network.weights._zip._CHUNK", 3)
    data = built(FILES)
    check_sums(data, Archive(data, 10).entries())
    damaged = data.replace(b"second", b"secone")
    with pytest.raises(DamagedError, match="the checksum of a/two does not match"):
        check_sums(damaged, Archive(damaged, 10).entries())


def test_an_empty_streamed_file_may_go_without_its_sizes():
    """As miniz writes it, which torch uses."""
    data = built({"a": b""}, streamed="narrow")
    without = data.replace(b"PK\7\x08" + bytes(12), b"")
    place = struct.pack("<I", len(without) - 22 - 47)
    assert contents(without[:-6] + place + without[-2:]) == {"a": b""}
