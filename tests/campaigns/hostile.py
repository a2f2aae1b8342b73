"""Weights files of attackers, in many families: none runs anything, all are refused, each in 5 s.

Each file is read as an audit reads it, in a confined process, and once more in this one, where an
audit hook notes every process, connection and write outside the folder; but for those that never
end, which only a confined reader bears. Payloads would write a canary file, and each file must be
refused with a `CheckpointError` that names it. The seconds are those of processors, of this process
and of those that it starts: other programs must not decide.
"""

from __future__ import annotations

import builtins
import gzip
import io
import json
import os
import pickle
import random
import runpy
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import webbrowser
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import safetensors.torch
import torch

from audit.errors import CheckpointError
from audit.network.weights import MAX_PICKLE_BYTES, MAX_TENSORS, _confined, read_weights
from tests.campaigns.report import Report, command

SECONDS = 5.0
#: Writes a file at a path, given that of a canary.
Writer = Callable[[Path, str], None]


class Call:
    """Unpickles to the result of a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class Build(Call):
    """The same, with a state that is set afterwards."""

    def __reduce__(self) -> Any:
        return (*self.call, {"key": "value"})


def gadgets(canary: str) -> dict[str, tuple[Any, ...]]:
    """Calls that would create the canary file, or take all memory."""
    write = f"open({canary!r}, 'w').close()"
    return {
        "system": (os.system, f"touch {canary}"),
        "popen": (os.popen, f"touch {canary}"),
        "mkdir": (os.mkdir, canary),
        "eval": (eval, write),
        "exec": (exec, write),
        "open": (open, canary, "w"),
        "subprocess": (subprocess.run, ["touch", canary]),
        "compile": (builtins.compile, write, "x", "exec"),
        "import": (builtins.__import__, "antigravity"),
        "getattr": (builtins.getattr, [], "append"),
        "runpy": (runpy.run_path, canary),
        "copy": (shutil.copy, __file__, canary),
        "browser": (webbrowser.open, "file://" + canary),
        "torch.load": (torch.load, canary),
        "hub": (torch.hub.load, "a", "b"),
        "numpy": (np.save, canary, np.zeros(1)),
        "bytearray": (bytearray, 10**13),
        "huge tensor": (torch.FloatTensor, 10**13),
        "loads": (pickle.loads, b"cos\nsystem\n."),
    }


def as_archive(payload: Any, protocol: int = 2) -> bytes:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save({"state_dict": payload}, buffer, pickle_protocol=protocol)
    return buffer.getvalue()


def as_bare_pickle(payload: Any, protocol: int = 2) -> bytes:
    """A pickle and nothing else."""
    return pickle.dumps({"state_dict": payload}, protocol=protocol)


def as_legacy(payload: Any, protocol: int = 2) -> bytes:
    """What `torch.save` wrote before torch 1.6."""
    buffer = io.BytesIO()
    content = {"a": torch.ones(2), "b": payload}
    torch.save(content, buffer, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def archive_of(
    entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED, tail: bytes = b""
) -> bytes:
    """A zip archive of these entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue() + tail


def as_safetensors(header: Any, data: bytes = b"") -> bytes:
    """A header and data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def sound() -> dict[str, torch.Tensor]:
    """A state dict."""
    torch.manual_seed(0)
    return {"a.weight": torch.randn(40, 40), "a.bias": torch.randn(40)}


def puts(content: bytes) -> Writer:
    """A writer of these bytes."""
    return lambda path, canary: path.write_bytes(content) and None


def pickled(form: Callable[..., bytes], wrap: type[Call], name: str, protocol: int) -> Writer:
    """A writer of a gadget."""
    return lambda path, canary: (
        path.write_bytes(form(wrap(*gadgets(canary)[name]), protocol)) and None
    )


def payloads(form: Callable[..., bytes]) -> dict[str, Writer]:
    """Every gadget in a form, as a call and as a call with a state."""
    return {
        f"{name} {wrap.__name__} {protocol}": pickled(form, wrap, name, protocol)
        for name in gadgets("")
        for wrap, protocol in ((Call, 2), (Build, 4))
    }


def renamed() -> dict[str, Writer]:
    """Gadgets whose names promise something else."""
    endings = (".safetensors", ".bin", ".ckpt", ".pt2", ".json", ".npz", ".tar", ".h5")
    return {
        f"system{ending}": pickled(form, Call, "system", 2)
        for ending in endings
        for form in (as_archive, as_bare_pickle)
    } | {f"legacy{ending}": pickled(as_legacy, Call, "exec", 2) for ending in endings}


def text_pickles() -> dict[str, Writer]:
    """Pickles of protocol 0 and hand-made ones, some with what weights need as a disguise."""
    lines = {
        "posix": b"cposix\nsystem\n(S'touch canary'\ntR.",
        "nt": b"cnt\nsystem\n(S'x'\ntR.",
        "inst": b"(S'touch canary'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nS'x'\no.",
        "stacked": b"N.cos\nsystem\n(S'x'\ntR.",
        "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93(\x8c\x01xtR.",
        "memoised names": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93(\x8c\x01xtR.",
        "extension": b"\x80\x02\x82\x01.",
        "dotted": b"\x80\x04\x8c\x05torch\x8c\x0ehub.load_state\x93(tR.",
        "builtins": b"c__builtin__\neval\n(S'1'\ntR.",
        "functools": b"cfunctools\npartial\n(cos\nsystem\ntR.",
        "operator": b"coperator\nattrgetter\n(S'system'\ntR.",
    }
    bare = {f"bare {name}": puts(line) for name, line in lines.items()}
    inside = {
        f"archive {name}": puts(archive_of({"archive/data.pkl": line, "archive/version": b"3\n"}))
        for name, line in lines.items()
    }
    return bare | inside


def other_formats() -> dict[str, Writer]:
    """What other programs write."""

    def tar(path: Path, canary: str) -> None:
        with tarfile.open(path, "w") as archive:
            archive.add(__file__, "data.pkl")

    def exported(path: Path, canary: str) -> None:
        network = torch.nn.Linear(2, 2)
        torch.jit.save(torch.jit.script(network), path)

    def objects(path: Path, canary: str) -> None:
        with path.open("wb") as file:
            np.save(file, np.array([Call(os.system, f"touch {canary}")]), allow_pickle=True)

    def arrays(path: Path, canary: str) -> None:
        with path.open("wb") as file:
            np.savez(file, a=np.zeros(2))

    empty = {
        name: puts(content)
        for name, content in {
            "empty": b"",
            "text": b"hello world",
            "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
            "gguf": b"GGUF\x03\0\0\0" + bytes(100),
            "onnx": b"\x08\x07\x12\x07pytorch" + bytes(100),
            "gzip": gzip.compress(pickle.dumps({})),
            "zeros": bytes(1000),
            "elf": b"\x7fELF" + bytes(100),
            "script": b"#!/bin/sh\ntouch canary\n",
            "flatbuffer": b"\x1c\0\0\0TFL3" + bytes(100),
            "msgpack": b"\x81\xa6params\x90",
            "html": b"<!doctype html><title>404</title>",
            "lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
        }.items()
    }
    return empty | {"tar": tar, "torchscript": exported, "objects": objects, "npz": arrays}


def odd_archives() -> dict[str, Writer]:
    """Zip archives whose entries lie elsewhere, twice, packed or encrypted, or lead out."""
    plain = pickle.dumps({}, protocol=2)
    names = [
        *("archive/../../data/0", "/archive/data/0", "../x", "other/data/0", "archive/..", "C:/x"),
        *("archive\\..\\x", "archive/data/../../../etc/passwd", "data.pkl", "archive/code/x.py"),
        *("archive/constants.pkl", "archive/.data/../x", "archive//../x"),
    ]
    found = {name: puts(archive_of({"archive/data.pkl": plain, name: b"x"})) for name in names}
    found["two pickles"] = puts(archive_of({"a/data.pkl": plain, "b/data.pkl": plain}))
    found["no pickle"] = puts(archive_of({"archive/data/0": b"x"}))
    found["packed"] = puts(archive_of({"archive/data.pkl": plain}, zipfile.ZIP_DEFLATED))
    found["bzip2"] = puts(archive_of({"archive/data.pkl": plain}, zipfile.ZIP_BZIP2))
    found["lzma"] = puts(archive_of({"archive/data.pkl": plain}, zipfile.ZIP_LZMA))
    whole = as_archive(sound())
    for bit in (0x01, 0x20, 0x40, 0x2000):
        data = bytearray(whole)
        at = data.index(b"PK\x01\x02")
        data[at + 8 : at + 10] = struct.pack("<H", bit)
        found[f"flags {bit:#x}"] = puts(bytes(data))
    return found


def damaged() -> dict[str, Writer]:
    """Files that are cut short or whose checksums do not match."""
    found = {}
    for kind, content in (
        ("torch", as_archive(sound())),
        ("safetensors", safetensors.torch.save(sound())),
    ):
        for length in np.linspace(1, len(content) - 1, 25).astype(int):
            found[f"{kind} cut at {length}"] = puts(content[:length])
    content = as_archive(sound())
    start = content.index(b"archive/data/0") + 100
    for offset in range(0, 6000, 600):
        data = bytearray(content)
        data[start + offset] ^= 1
        found[f"checksum at {offset}"] = puts(bytes(data))
    return found


def bombs() -> dict[str, Writer]:
    """Small files that would become large, and headers without end."""
    many = {f"archive/data/{n}": b"" for n in range(MAX_TENSORS)}
    wide = {
        f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        for n in range(MAX_TENSORS + 1)
    }

    def view(path: Path, canary: str) -> None:
        torch.save({"a": torch.ones(1).expand(10**9)}, path)

    def views(path: Path, canary: str) -> None:
        shared = torch.ones(10_000)
        torch.save({f"t{number}": shared for number in range(100)}, path)

    plain = pickle.dumps({}, protocol=2)
    return {
        "packed zeros": puts(
            archive_of(
                {"archive/data.pkl": plain, "archive/data/0": bytes(50 << 20)},
                zipfile.ZIP_DEFLATED,
            )
        ),
        "entries": puts(archive_of({"archive/data.pkl": plain, **many})),
        "a large pickle": puts(archive_of({"archive/data.pkl": bytes(MAX_PICKLE_BYTES + 1)})),
        "a header of many": puts(as_safetensors(wide)),
        "a view": view,
        "views": views,
        "long integer": puts(archive_of({"archive/data.pkl": b"I" + b"9" * 100_000 + b"\n."})),
        "deep lists": puts(archive_of({"archive/data.pkl": b"]" * 100_000 + b"."})),
        "deep tuples": puts(
            archive_of({"archive/data.pkl": b"\x80\x02)" + b"\x85" * 100_000 + b"."})
        ),
        "a declared length": puts(
            archive_of({"archive/data.pkl": b"\x80\x04\x8d" + b"\xff" * 7 + b"\x00."})
        ),
    }


def headers() -> dict[str, Writer]:
    """Headers of safetensors that do not fit their data."""
    one = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    cases: dict[str, bytes] = {
        "huge": struct.pack("<Q", 2**63) + b"{}",
        "beyond the end": struct.pack("<Q", 1000) + b"{}",
        "not json": as_safetensors(b"{nonsense"),
        "deep": as_safetensors(b'{"a":' * 20_000),
        "number": as_safetensors({"a": 3}),
        "list": as_safetensors([1]),
        "no offsets": as_safetensors({"a": {"dtype": "F32", "shape": [1]}}),
        "text offsets": as_safetensors({"a": {**one, "data_offsets": "04"}}),
        "infinite": as_safetensors(b'{"a":{"data_offsets":[0,1e999]}}'),
        "negative": as_safetensors({"a": {**one, "shape": [-1], "data_offsets": [4, 0]}}),
        "overlap": as_safetensors(dict.fromkeys("ab", one), bytes(4)),
        "hole": as_safetensors({"a": {**one, "data_offsets": [4, 8]}}, bytes(8)),
        "bomb": as_safetensors({"a": {**one, "shape": [10**6, 10**6]}}, bytes(4)),
        "far end": as_safetensors(
            {"a": {**one, "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}, bytes(4)
        ),
        "trailing": safetensors.torch.save({"a": torch.ones(2)}) + b"more",
        "unknown type": as_safetensors({"a": {**one, "dtype": "F31"}}, bytes(4)),
        "overflow": as_safetensors({"a": {**one, "shape": [2**62, 4]}}, bytes(4)),
        "5,000 digits": as_safetensors(
            b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}'
        ),
    }
    return {name: puts(content) for name, content in cases.items()}


def not_dense() -> dict[str, Writer]:
    """Tensors that are none, or of a kind whose making runs code."""
    import collections

    makers: dict[str, Callable[[], Any]] = {
        "sparse": lambda: {"a": torch.eye(3).to_sparse()},
        "meta": lambda: {"a": torch.empty(10, device="meta")},
        "quantized": lambda: {"a": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)},
        "module": lambda: torch.nn.Linear(2, 2),
        "nothing": dict,
        "numbers": lambda: {"a": 1, "b": "two"},
        "list": lambda: [torch.ones(2)],
        "tensor": lambda: torch.ones(2),
        "counter": lambda: collections.Counter({"a": 1}),
        "array": lambda: {"a": np.ones(2)},
        "function": lambda: {"a": os.getcwd},
        "optimizer alone": lambda: torch.optim.SGD([torch.ones(1)], 0.1).state_dict(),
    }

    def saved(make: Callable[[], Any]) -> Writer:
        return lambda path, canary: torch.save(make(), path)

    return {name: saved(make) for name, make in makers.items()}


def shards() -> dict[str, Writer]:
    """Indexes that lead out of their folder, or name what is none."""
    names = [
        *("../x", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "x\0", "missing", "index.json"),
        *("~/x", "file:///etc/passwd", "\u202e", "n" * 5000),
    ]

    def index(shard: Any) -> Writer:
        return lambda path, canary: (
            path.write_text(json.dumps({"weight_map": {"a": shard}})) and None
        )

    def linked(link: Callable[..., None]) -> Writer:
        def write(path: Path, canary: str) -> None:
            outside = path.parent.parent / f"outside-{path.name}"
            safetensors.torch.save_file({"a": torch.ones(1)}, outside)
            link(outside, path.parent / "linked")
            path.write_text(json.dumps({"weight_map": {"a": "linked"}}))

        return write

    def evil(path: Path, canary: str) -> None:
        shard = path.parent / "evil.bin"
        shard.write_bytes(as_archive(Call(os.system, f"touch {canary}")))
        path.write_text(json.dumps({"weight_map": {"a": "evil.bin"}}))

    found = {f"shard {name[:20]!r}": index(name) for name in names}
    found |= {f"no name {value!r}": index(value) for value in (1, None, [], {})}
    contents = (b"{}", b"[]", b"{", b'{"weight_map":[]}', b'{"weight_map":{}}', b"[" * 100_000)
    found |= {f"index {n}": puts(content) for n, content in enumerate(contents)}
    return found | {"symlink": linked(os.symlink), "hard link": linked(os.link), "evil": evil}


def appended() -> dict[str, Writer]:
    """Sound files with more before or behind them, or with another's pickle inside."""
    whole, tensors = as_archive(sound()), safetensors.torch.save(sound())
    evil = as_bare_pickle(Call(os.system, "touch canary"))
    hostile = as_archive(Call(os.system, "touch canary"))
    return {
        "pickle before an archive": puts(evil + whole),
        "archive behind safetensors": puts(tensors + whole),
        "pickle behind safetensors": puts(tensors + evil),
        "hostile behind sound": puts(whole + hostile),
        "sound behind hostile": puts(hostile + whole),
        "a comment": puts(archive_of({"archive/data.pkl": evil}, tail=b"PK\x05\x06" + bytes(18))),
    }


def endless() -> dict[str, Writer]:
    """Pickles of a few bytes that take years, by hashing nested tuples and by doubling a list."""

    def hashed(depth: int) -> bytes:
        parts = [b"\x80\x02)q\x00"]
        parts += [b"h%ch%c\x86q%c" % (level, level, level + 1) for level in range(depth)]
        return b"".join([*parts, b"}h%cK\x01s." % depth])

    return {
        f"a key of {depth} nested tuples": puts(archive_of({"archive/data.pkl": hashed(depth)}))
        for depth in (40, 60, 100, 200)
    }


FAMILIES: dict[str, Callable[[], dict[str, Writer]]] = {
    "gadgets in an archive": lambda: payloads(as_archive),
    "gadgets in a bare pickle": lambda: payloads(as_bare_pickle),
    "gadgets in a legacy file": lambda: payloads(as_legacy),
    "renamed": renamed,
    "hand-made pickles": text_pickles,
    "other formats": other_formats,
    "odd archives": odd_archives,
    "damaged": damaged,
    "bombs": bombs,
    "safetensors headers": headers,
    "not dense": not_dense,
    "shards": shards,
    "appended": appended,
    "endless": endless,
}

_events: list[str] = []
_watched: list[str] = []
_RUNS = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "exec")


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what a weights file must not do."""
    if not _watched:
        return
    text = str(arguments)
    if event in _RUNS and "canary" in text:
        _events.append(f"{event} {text[:100]}")
    named = event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike))
    writes = named and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes and not str(arguments[0]).startswith(_watched[0]):
        _events.append(f"{event} {text[:100]}")


sys.addaudithook(_watch)


def _seconds() -> float:
    """Of processors, so far."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def corpus() -> Iterator[tuple[str, str, Writer]]:
    """Family, name and writer of every file."""
    for family, make in FAMILIES.items():
        for name, write in make().items():
            yield family, name, write


def attack(root: Path, family: str, name: str, write: Writer, report: Report) -> None:
    """Write one file, and read it as weights."""
    folder = root / "files"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    canary = root / "canary"
    ending = ".index.json" if family == "shards" else Path(name).suffix or ".pth"
    path = folder / f"model{ending}"
    write(path, str(canary))
    for confined in (True,) if family == "endless" else (True, False):
        with mock.patch.object(_confined, "CONFINES", confined and _confined.CONFINES):
            read(path, root, f"{family}, {name}", report)
        if canary.exists() or (Path.cwd() / "canary").exists() or _events:
            report.fail(f"{family}, {name}: it ran: {_events}")
    report.count("files")
    report.count(f"family: {family}")


def read(path: Path, root: Path, what: str, report: Report) -> None:
    """Read a file that must be refused."""
    _events.clear()
    _watched[:] = [str(root)]
    started = _seconds()
    try:
        read_weights(path)
        report.fail(f"{what}: it was read")
    except CheckpointError as error:
        if str(path.parent) not in str(error):
            report.fail(f"{what}: the file is not named: {error}")
    except BaseException as error:  # noqa: BLE001  this is what is looked for
        report.fail(f"{what}: {type(error).__name__}: {error}")
    finally:
        _watched.clear()
    seconds = _seconds() - started
    if seconds > SECONDS:
        report.fail(f"{what}: it took {seconds:.1f} s")


def run(count: int, seed: int) -> Report:
    """So many files, drawn from all families; all of them where the count is 0 or larger."""
    import warnings

    report = Report()
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what writes the files
        sound = Path(name) / "sound.pth"
        torch.save({"a": torch.ones(2)}, sound)
        read_weights(sound)  # starts the server of confined readers
        every = list(corpus())
        if 0 < count < len(every):
            every = random.Random(seed).sample(every, count)
        for family, file, write in every:
            attack(Path(name).resolve(), family, file, write, report)
    return report


if __name__ == "__main__":
    command(run, 0)
