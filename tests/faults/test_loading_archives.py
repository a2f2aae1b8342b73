"""Zip archives that two readers would read differently are refused; what is scanned is loaded."""

import io
import pickle
import struct
import zipfile

import pytest
import torch

from audit.errors import CheckpointError
from audit.network.weights import _torch_archive, read_weights
from audit.network.weights._torch_archive import read_torch_archive

REMEDY = "save it again with safetensors.torch.save_file(model.state_dict(), path)"


def saved(**tensors):
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def sound():
    return saved(a=torch.arange(6.0), b=torch.ones(3, dtype=torch.int64), none=torch.zeros(0))


def end_of(data):
    """Place of the end record."""
    return data.rindex(b"PK\5\6")


def directory_of(data):
    return struct.unpack("<I", data[end_of(data) + 16 : end_of(data) + 20])[0]


def patched(data, place, new):
    return data[:place] + new + data[place + len(new) :]


def without_wide_end(data):
    """The same with the small end record alone."""
    place = end_of(data)
    return data[: place - 76] + data[place:]


def shifted(data, by):
    """Bytes before the first entry, which Python's reader passes over and torch's does not."""
    return b"PK" + b"x" * by + data


def two_directories(first, second):
    """Python's reader finds one archive by the end record's place; torch another by its offset.

    The first archive lies at the start, whole; the second directly before the end record, which
    gives the size of the second's directory and the offset of the first's.
    """
    first, second = without_wide_end(first), without_wide_end(second)
    body = first[: end_of(first)]
    rest = second[: end_of(second)]
    end = bytearray(second[end_of(second) :])
    end[16:20] = struct.pack("<I", directory_of(first))
    return body + rest + bytes(end)


def comment_with_a_second_end(data):
    """An archive's comment that holds an archive."""
    data = without_wide_end(data)
    inner = saved(evil=torch.ones(1))
    place = end_of(data)
    return patched(data, place + 20, struct.pack("<H", len(inner))) + inner


def central(data, name):
    """The place of an entry's record in the directory."""
    place = directory_of(data)
    while True:
        n_name, n_extra, n_comment = struct.unpack("<3H", data[place + 28 : place + 34])
        if data[place + 46 : place + 46 + n_name] == name:
            return place
        place += 46 + n_name + n_extra + n_comment


def local(data, name):
    """The place of an entry's own header."""
    place = central(data, name) + 42
    return struct.unpack("<I", data[place : place + 4])[0]


def larger_than_stored(data):
    """An entry whose directory says that it is compressed from far more bytes."""
    return patched(data, central(data, b"archive/data/0") + 24, struct.pack("<I", 3 << 30))


def overlapping(data):
    """Two entries of one place."""
    place = local(data, b"archive/data/0")
    return patched(data, central(data, b"archive/data/1") + 42, struct.pack("<I", place))


def gap_before_the_directory(data):
    data = without_wide_end(data)
    place = directory_of(data)
    moved = data[:place] + b"gap!" + data[place:]
    return patched(moved, end_of(moved) + 16, struct.pack("<I", place + 4))


ODD = {
    "bytes before": lambda data: shifted(data, 7),
    "two directories": lambda data: two_directories(saved(evil=torch.ones(9)), data),
    "comment": comment_with_a_second_end,
    "bytes after": lambda data: data + b"more",
    "compressed bomb": larger_than_stored,
    "overlap": overlapping,
    "gap": gap_before_the_directory,
    "local name": lambda data: patched(
        data, local(data, b"archive/data/0") + 30, b"archive/data/9"
    ),
    "local size": lambda data: patched(data, local(data, b"archive/data/0") + 22, b"\7\0\0\0"),
    "local method": lambda data: patched(data, local(data, b"archive/data/0") + 8, b"\x08"),
    "encrypted": lambda data: patched(data, central(data, b"archive/data/0") + 8, b"\x09"),
    "descriptor": lambda data: data.replace(b"PK\7\x08", b"PK\7\x09", 1),
    "name with zero": lambda data: data.replace(b"archive/data/1", b"archive/dat\0/1"),
    "other case": lambda data: data.replace(b"archive/data/1", b"archive/DATA/0"),
    "wide end elsewhere": lambda data: patched(data, end_of(data) - 12, b"\0" * 8),
    "two wide ends": lambda data: patched(data, end_of(data) - 76 + 48, b"\0" * 8),
    "several disks": lambda data: patched(data, end_of(data) + 4, b"\1"),
    "fewer entries": lambda data: patched(
        without_wide_end(data), end_of(without_wide_end(data)) + 8, b"\2\0\2\0"
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_archives_that_readers_see_differently_are_refused(tmp_path, sound, name, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("torch was given the bytes")

    monkeypatch.setattr(torch, "load", never)
    path = tmp_path / "w.pth"
    with pytest.raises(CheckpointError, match=r"readers may see different things|truncated") as e:
        read_torch_archive(ODD[name](sound), path)
    assert str(e.value).startswith(f"checkpoint {path} is ")
    assert len(str(e.value)) < 400 + len(str(path))


def test_archives_of_every_writer_are_read(tmp_path, sound):
    with zipfile.ZipFile(io.BytesIO(sound)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for kind in ("torch", "small end", "zipfile", "streamed"):
        path = tmp_path / f"my network, {kind}.v1.pth"
        if kind == "torch":
            torch.save({"a": torch.arange(6.0), "b": torch.ones(3, dtype=torch.int64)}, path)
        elif kind == "small end":
            path.write_bytes(without_wide_end(sound))
        else:
            buffer = io.BytesIO()
            stream = Unseekable(buffer) if kind == "streamed" else buffer
            with zipfile.ZipFile(stream, "w") as archive:
                for name, content in parts.items():
                    archive.writestr(name, content)
            path.write_bytes(buffer.getvalue())
        found = read_weights(path).state_dict
        assert found["a"].tolist() == [0, 1, 2, 3, 4, 5]
        assert found["b"].tolist() == [1, 1, 1]


class Unseekable(io.RawIOBase):
    """A stream, to which `zipfile` writes sizes after the content."""

    def __init__(self, target):
        self.target = target

    def writable(self):
        return True

    def write(self, data):
        return self.target.write(data)


def test_advice_to_switch_the_filter_off_never_reaches_the_user(tmp_path, monkeypatch):
    path = tmp_path / "w.pth"
    torch.save({"a": Odd()}, path)
    monkeypatch.setattr(_torch_archive, "forbidden_globals", lambda pickled, path: [])
    with pytest.raises(CheckpointError) as caught:
        read_torch_archive(path.read_bytes(), path)
    message = str(caught.value)
    assert "weights_only" not in message
    assert "safe_globals" not in message
    assert "torch's own filter" in message
    assert message.endswith(REMEDY)


class Odd:
    """A class that torch does not know."""


def test_unknown_opcodes_are_told_without_advice(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({1: frozenset([2])}, protocol=4))
    path = tmp_path / "w.pth"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert "weights_only" not in str(caught.value)
    assert "torch.load" not in str(caught.value)
