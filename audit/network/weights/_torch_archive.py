"""The zip archive of `torch.save`: checked entry by entry, its pickle looked at, then read.

Only `weights_only=True` ever unpickles, after every global that the pickle names was found to
build plain tensors or containers.
"""

from __future__ import annotations

import argparse
import io
import pickletools
import zipfile
from pathlib import Path
from typing import Any, Final

from audit.errors import CheckpointError
from audit.network.weights._limits import (
    LOAD_ERRORS,
    MAX_PICKLE_BYTES,
    MAX_TENSORS,
    REMEDY,
    over_limit,
    unsafe,
)

_SAFE_GLOBALS: Final = frozenset(
    (
        "argparse Namespace",
        "collections OrderedDict",
        "collections Counter",
        "_codecs encode",
        "__builtin__ set",
        "builtins set",
        "torch Size",
        "torch device",
        "torch.serialization _get_layout",
        "torch.nn.parameter Parameter",
        "torch._tensor _rebuild_from_type_v2",
        "torch._utils _rebuild_tensor",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_tensor_v3",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_parameter_with_state",
    )
)


def read_torch_archive(data: bytes, path: Path) -> Any:
    """Read a zip archive of `torch.save`: checked, scanned, then `weights_only`."""
    import torch

    if not _is_safe_torch(torch.__version__):
        raise CheckpointError(
            f"reading {path} safely needs torch 2.10 or later (CVE-2026-24747); "
            f"torch {torch.__version__} is installed"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            forbidden = forbidden_globals(_checked_pickle(archive, path, len(data)), path)
    except (zipfile.BadZipFile, *LOAD_ERRORS) as error:
        raise CheckpointError(
            f"checkpoint {path} is damaged or truncated: {error}; a whole archive was expected in "
            f"its {len(data)} bytes; copy it again"
        ) from error
    if forbidden:
        raise unsafe(path, forbidden)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True, mmap=False)
    except LOAD_ERRORS as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be loaded with weights_only=True: "
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}; {REMEDY}"
        ) from error


def _is_safe_torch(version: str) -> bool:
    """Whether `weights_only=True` is free of known holes in this version of torch."""
    major, minor = version.split(".")[:2]
    return (int(major), int(minor)) >= (2, 10)


def _checked_pickle(archive: zipfile.ZipFile, path: Path, size: int) -> bytes:
    """`data.pkl` of an archive whose entries are plain, sound and no larger than the file."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
        raise CheckpointError(f"checkpoint {path} is TorchScript, which is refused: {REMEDY}")
    if any(name.endswith(("archive_format", "archive_version")) for name in names):
        raise CheckpointError(f"checkpoint {path} is an exported program, refused: {REMEDY}")
    pickles = [entry for entry in entries if entry.filename.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        raise CheckpointError(
            f"checkpoint {path} is a zip archive that torch.save did not write; {REMEDY}"
        )
    if len(entries) > MAX_TENSORS:
        raise over_limit(path, f"{len(entries)} archive entries", MAX_TENSORS)
    root = pickles[0].filename.split("/")[0]
    odd = len(set(names)) != len(names)
    for entry in entries:
        parts = entry.filename.split("/")
        odd |= parts[0] != root or ".." in parts or bool(entry.flag_bits & 0x2061)
        odd |= entry.compress_type != zipfile.ZIP_STORED
    if odd:
        raise CheckpointError(
            f"checkpoint {path} has duplicate, compressed, encrypted or misplaced archive entries; "
            f"{REMEDY}"
        )
    if sum(entry.file_size for entry in entries) > size:
        raise over_limit(path, "archive entries that unpack to more than the file", size)
    if pickles[0].file_size > MAX_PICKLE_BYTES:
        raise over_limit(path, f"a data.pkl of {pickles[0].file_size} bytes", MAX_PICKLE_BYTES)
    damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"checksum of {damaged} does not match")
    return archive.read(pickles[0])


def forbidden_globals(pickled: bytes, path: Path) -> list[str]:
    """Globals a pickle names that weights do not need, without running it."""
    stream = io.BytesIO(pickled)
    found: dict[str, None] = {}
    texts = ["?", "?"]
    try:
        while stream.tell() < len(pickled):
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST"):
                    if not _is_safe(str(argument)):
                        found[str(argument).replace(" ", ".")] = None
                elif opcode.name == "STACK_GLOBAL":
                    found[".".join(texts)] = None
                elif opcode.name.startswith("EXT"):
                    found[f"extension {argument}"] = None
                elif isinstance(argument, str):
                    texts = [texts[1], argument]
    except ValueError as error:
        if not found:
            raise CheckpointError(f"checkpoint {path} holds a damaged pickle: {error}") from error
    return list(found)


def _is_safe(name: str) -> bool:
    """Whether a global ("module name") builds plain tensors or containers."""
    import torch

    module, _, member = name.partition(" ")
    if name in _SAFE_GLOBALS:
        return True
    if module in ("torch", "torch.storage", "torch.cuda") and member.endswith("Storage"):
        return True
    return module == "torch" and isinstance(getattr(torch, member, None), torch.dtype)
