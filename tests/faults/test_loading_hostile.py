"""Hostile and damaged weights files: refused with a typed error, and nothing runs."""

import io
import json
import os
import pickle
import struct
import sys
import tarfile
import time
import zipfile
from unittest import mock

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import CheckpointError
from audit.network.weights import MAX_PICKLE_BYTES, MAX_TENSORS, _confined, read_weights


def read_here(path):
    """The weights in a file, without a process of their own: what reads them is the same code."""
    with mock.patch.object(_confined, "CONFINES", False):
        return read_weights(path)


class Call:
    """Unpickles to the result of a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class Build(Call):
    """The same, with a state that is set afterwards."""

    def __reduce__(self):
        return (*self.call, {"key": "value"})


def gadgets(canary):
    """Calls that would create the canary file."""
    write = f"open({canary!r}, 'w').close()"
    import builtins
    import runpy
    import shutil
    import subprocess
    import webbrowser

    return {
        "os.system": (os.system, f"touch {canary}"),
        "os.popen": (os.popen, f"touch {canary}"),
        "os.mkdir": (os.mkdir, canary),
        "eval": (eval, write),
        "exec": (exec, write),
        "open": (open, canary, "w"),
        "subprocess": (subprocess.run, ["touch", canary]),
        "compile": (builtins.compile, write, "x", "exec"),
        "import": (builtins.__import__, "antigravity"),
        "getattr": (builtins.getattr, [], "append"),
        "runpy": (runpy.run_path, canary),
        "shutil": (shutil.copy, __file__, canary),
        "webbrowser": (webbrowser.open, "file://" + canary),
        "torch.load": (torch.load, canary),
        "torch.hub": (torch.hub.load, "a", "b"),
        "numpy": (np.save, canary, np.zeros(1)),
        "bytearray": (bytearray, 10**13),
        "huge tensor": (torch.FloatTensor, 10**13),
        "pickle.loads": (pickle.loads, b"cos\nsystem\n."),
    }


def as_archive(payload, protocol=2):
    buffer = io.BytesIO()
    torch.save({"state_dict": payload}, buffer, pickle_protocol=protocol)
    return buffer.getvalue()


def as_bare_pickle(payload, protocol=2):
    return pickle.dumps({"state_dict": payload}, protocol=protocol)


def as_legacy(payload, protocol=2):
    buffer = io.BytesIO()
    torch.save(
        {"a": torch.ones(2), "b": payload},
        buffer,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=False,
    )
    return buffer.getvalue()


_EVENTS = []
_DANGEROUS = ("os.system", "subprocess.Popen", "os.exec", "exec", "os.mkdir", "shutil.copyfile")


def _watch(event, arguments):
    if _EVENTS and event in _DANGEROUS:
        _EVENTS.append((event, str(arguments)[:80]))


sys.addaudithook(_watch)


@pytest.fixture(scope="module", autouse=True)
def _confined_reader(tmp_path_factory):
    """The server of readers, started before anything is timed."""
    path = tmp_path_factory.mktemp("sound") / "w.pth"
    torch.save({"a": torch.ones(2)}, path)
    read_weights(path)


def assert_refused(path, canary, match):
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=match):
        read_weights(path)
    assert not os.path.exists(canary)
    assert time.monotonic() - started < 5
    _EVENTS[:] = ["watching"]  # once more where the hook sees it, not in a process of its own
    try:
        with pytest.raises(CheckpointError, match=match) as caught:
            read_here(path)
        events = [e for e in _EVENTS[1:] if "canary" in e[1] or e[0] != "exec"]
    finally:
        _EVENTS.clear()
    assert events == []
    assert not os.path.exists(canary)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("wrapper", [Call, Build])
@pytest.mark.parametrize("form", [as_archive, as_bare_pickle, as_legacy])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_row_01_pickle_gadgets_are_refused_by_name_and_do_not_run(
    tmp_path, form, wrapper, protocol, name
):
    canary = str(tmp_path / "canary")
    for call in gadgets(canary).values():
        path = tmp_path / name
        path.write_bytes(form(wrapper(*call), protocol))
        member = getattr(call[0], "__qualname__", "").split(".")[-1]
        assert_refused(path, canary, rf"its pickle names .*{member}.*which could run code")


def test_row_01_text_pickles_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"cposix\nsystem\n(S'touch canary'\ntR.")
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert str(caught.value) == (
        f"checkpoint {path} is refused: its pickle names posix.system, which weights do not need "
        "and which could run code; save it again with "
        "safetensors.torch.save_file(model.state_dict(), path)"
    )


def legacy(path):
    path.write_bytes(as_legacy({}))


def tar(path):
    with tarfile.open(path, "w") as archive:
        archive.add(__file__)


def script(path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"):
            archive.writestr(name, pickle.dumps({}, protocol=2))
    path.write_bytes(buffer.getvalue())


def exported(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/archive_format", "pt2")
        archive.writestr("m/models/model.json", "{}")


def object_array(path):
    with path.open("wb") as file:
        np.save(file, np.array([{}], dtype=object), allow_pickle=True)


def arrays(path):
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(2))


def gzipped(path):
    import gzip

    path.write_bytes(gzip.compress(pickle.dumps({})))


REMEDY = "save it again with safetensors.torch.save_file(model.state_dict(), path)"
FOREIGN = {
    legacy: f"is a bare pickle (torch before 1.6), which is refused: {REMEDY}",
    script: f"is TorchScript, which is refused: {REMEDY}",
    tar: f"is a tar archive (torch before 0.4), which is refused: {REMEDY}",
    exported: f"is an exported program, refused: {REMEDY}",
    object_array: f"is a NumPy array, which is refused: {REMEDY}",
    arrays: f"is a zip archive that torch.save did not write; {REMEDY}",
    gzipped: f"is a compressed file (gzip, joblib), which is refused: {REMEDY}",
    lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"): (
        f"is an HDF5 file (Keras), which is refused: {REMEDY}"
    ),
    lambda path: path.write_bytes(b"hello world"): (
        "is neither safetensors nor a torch.save archive, nor of any format that is known here; "
        + REMEDY
    ),
    lambda path: path.touch(): "is empty (0 bytes)",
}


@pytest.mark.parametrize("write", FOREIGN)
def test_row_02_other_formats_are_refused_by_name(tmp_path, write):
    path = tmp_path / "w.pth"
    write(path)
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert str(caught.value) == f"checkpoint {path} {FOREIGN[write]}"


@pytest.fixture(scope="module")
def sound():
    state = {"a.weight": torch.randn(40, 40), "a.bias": torch.randn(40)}
    return {"safetensors": safetensors.torch.save(state), "torch": as_archive(state)}


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_row_05_files_cut_anywhere_are_refused(tmp_path, sound, kind):
    data = sound[kind]
    path = tmp_path / "w"
    for length in np.linspace(0, len(data) - 1, 200).astype(int):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=str(path)):
            read_weights(path)


def test_row_05_truncation_names_expected_and_actual_size(tmp_path, sound):
    path = tmp_path / "w"
    data = sound["safetensors"]
    path.write_bytes(data[:-100])
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert str(caught.value) == (
        f"checkpoint {path} is damaged or truncated: {len(data)} bytes expected, "
        f"{len(data) - 100} found; copy it again"
    )
    path.write_bytes(sound["torch"][:-100])
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert str(caught.value) == (
        f"checkpoint {path} is damaged or truncated: its last bytes are not the end of a zip "
        f"archive; a whole archive was expected in its {len(sound['torch']) - 100} bytes; copy it "
        "again"
    )


def test_row_02_damaged_checksums_are_refused(tmp_path, sound):
    data = bytearray(sound["torch"])
    position = data.index(b"archive/data/0") + 1000
    data[position] ^= 1
    path = tmp_path / "w"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"is damaged or truncated: .*archive/data/0"):
        read_weights(path)


def archive_with(*extra, compression=zipfile.ZIP_STORED, pickled=None):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled or pickle.dumps({}, protocol=2))
        for name, content in extra:
            archive.writestr(name, content)
    return buffer.getvalue()


ODD = {
    "it has compressed or encrypted entries": {"compression": zipfile.ZIP_DEFLATED},
    "it has entries in more than one folder": {"extra": [("other/data/0", b"x")]},
    "it has entries whose names are paths, or hold control characters": {
        "extra": [("archive/../../data/0", b"x")]
    },
    "it has duplicate entries": {"extra": [("archive/data/0", b"x"), ("archive/DATA/0", b"y")]},
}


@pytest.mark.parametrize("why", ODD)
def test_row_02_odd_archive_entries_are_refused(tmp_path, why):
    options = dict(ODD[why])
    path = tmp_path / "w"
    path.write_bytes(archive_with(*options.pop("extra", []), **options))
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert str(caught.value) == (
        f"checkpoint {path} is a zip archive in which readers may see different things: {why}; "
        + REMEDY
    )


def test_row_03_zip_bombs_are_refused_before_unpacking(tmp_path):
    bomb = archive_with(("archive/data/0", bytes(50 << 20)), compression=zipfile.ZIP_DEFLATED)
    path = tmp_path / "w"
    path.write_bytes(bomb)
    with pytest.raises(CheckpointError, match="it has compressed or encrypted entries"):
        read_weights(path)


def test_row_03_limits_are_named(tmp_path):
    path = tmp_path / "w"
    entries = [(f"archive/data/{number}", b"") for number in range(MAX_TENSORS)]
    path.write_bytes(archive_with(*entries))
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert str(caught.value) == (
        f"checkpoint {path} is refused: {MAX_TENSORS + 1} archive entries exceeds the limit "
        f"of {MAX_TENSORS}"
    )
    path.write_bytes(archive_with(pickled=bytes(MAX_PICKLE_BYTES + 1)))
    with pytest.raises(CheckpointError, match=rf"a data.pkl of .* the limit of {MAX_PICKLE_BYTES}"):
        read_weights(path)
    header = {
        f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(100_000)
    }
    path.write_bytes(as_safetensors(header))
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert str(caught.value) == (
        f"checkpoint {path} is refused: 100000 tensors exceeds the limit of {MAX_TENSORS}"
    )


def as_safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


HEADERS = {
    "huge header": struct.pack("<Q", 2**63) + b"{}",
    "header beyond the end": struct.pack("<Q", 1000) + b"{}",
    "not json": as_safetensors(b"{nonsense"),
    "deep json": as_safetensors(b'{"a":' * 20_000),
    "number": as_safetensors({"a": 3}),
    "no offsets": as_safetensors({"a": {"dtype": "F32", "shape": [1]}}),
    "text offsets": as_safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": "04"}}),
    "infinite offsets": as_safetensors(b'{"a":{"data_offsets":[0,1e999]}}'),
    "negative": as_safetensors({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}),
    "overlap": as_safetensors(
        {n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}, bytes(4)
    ),
    "hole": as_safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)),
    "bomb": as_safetensors(
        {"a": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4]}}, bytes(4)
    ),
    "far end": as_safetensors(
        {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}, bytes(4)
    ),
    "trailing": safetensors.torch.save({"a": torch.ones(2)}) + b"more",
    "unknown type": as_safetensors(
        {"a": {"dtype": "F31", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_row_05_damaged_safetensors_headers_are_refused(tmp_path, name):
    path = tmp_path / "w.safetensors"
    path.write_bytes(HEADERS[name])
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=str(path)):
        read_weights(path)
    assert time.monotonic() - started < 5


def test_row_03_views_larger_than_their_storage_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(1).expand(10**9)}, path)
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert str(caught.value) == (
        f"checkpoint {path} is refused: a of 4000000000 bytes exceeds the limit of 4"
    )


def test_row_03_many_views_of_one_storage_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    shared = torch.ones(10_000)
    torch.save({f"t{number}": shared for number in range(100)}, path)
    with pytest.raises(CheckpointError, match="tensors of 4000000 bytes in all exceeds the limit"):
        read_weights(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_row_22_tensors_that_are_not_dense_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.eye(3).to_sparse()}, path)
    with pytest.raises(CheckpointError, match="_rebuild_sparse_tensor"):
        read_weights(path)
    torch.save({"a": torch.empty(10, device="meta")}, path)
    with pytest.raises(CheckpointError, match="_rebuild_meta_tensor_no_storage"):
        read_weights(path)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(["safetensors", "torch"]), st.data())
def test_row_05_mutated_files_load_or_are_refused_with_a_typed_error(
    tmp_path_factory, sound, kind, data
):
    content = bytearray(sound[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(-len(content), len(content) - 1) | st.integers(0, 700))
        content[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(content)
    try:
        found = set(read_here(path).state_dict)
    except CheckpointError as error:
        found = {"named"} if str(path) in str(error) else {str(error)}
    assert found == {"named"} or len(found) in (1, 2)


def resealed(pickled, storages):
    """A whole archive around a changed pickle, checksums and all."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        for name, content in storages.items():
            archive.writestr(f"archive/data/{name}", content)
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_row_01_mutated_pickles_load_or_are_refused_with_a_typed_error(
    tmp_path_factory, sound, data
):
    with zipfile.ZipFile(io.BytesIO(sound["torch"])) as archive:
        pickled = bytearray(archive.read("archive/data.pkl"))
        storages = {name: archive.read(f"archive/data/{name}") for name in "01"}
    for _ in range(data.draw(st.integers(1, 5))):
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "pickled"
    path.write_bytes(resealed(bytes(pickled), storages))
    try:
        found = "loaded" if read_here(path).state_dict else "empty"
    except CheckpointError as error:
        found = "named" if str(path) in str(error) else str(error)
    assert found in ("loaded", "named")


def test_row_05_storages_smaller_than_declared_are_refused(tmp_path, sound):
    with zipfile.ZipFile(io.BytesIO(sound["torch"])) as archive:
        pickled = archive.read("archive/data.pkl")
        whole = {name: archive.read(f"archive/data/{name}") for name in "01"}
    path = tmp_path / "w"
    path.write_bytes(resealed(pickled, whole))
    assert set(read_weights(path).state_dict) == {"a.weight", "a.bias"}
    path.write_bytes(resealed(pickled, {name: data[:8] for name, data in whole.items()}))
    with pytest.raises(CheckpointError, match=str(path)):
        read_weights(path)
