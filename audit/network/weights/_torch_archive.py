"""The zip archive of `torch.save`: checked entry by entry, its pickle looked at, then read.

Only `weights_only=True` ever unpickles, after every global that the pickle names was found to
build plain tensors or containers, or was unblocked for this very file.
"""

from __future__ import annotations

import argparse
import importlib
import io
import pickletools
import re
from collections.abc import Sequence
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
from audit.network.weights._zip import (
    Archive,
    Content,
    DamagedError,
    OddError,
    Record,
    TooManyError,
    check_sums,
    content_of,
)

#: What torch's filter says of a pickle stands after this, among advice.
_UNPICKLER: Final = re.compile(r"WeightsUnpickler error: (.+)")
#: Advice to switch the filter off.
_ADVICE: Final = re.compile(r"weights_only|safe_globals|torch\.load|arbitrary code")
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


def read_torch_archive(
    data: Content, path: Path, unblocked: Sequence[tuple[Any, str]] | None = None
) -> Any:
    """Read a zip archive of `torch.save`: checked, scanned, then `weights_only`.

    Args:
        data: The archive; torch reads these bytes and no others.
        path: Where it lies, for messages.
        unblocked: What `unblocked_globals` gives of a trusted archive; None: it is not trusted.

    Raises:
        CheckpointError: It is damaged or refused.
    """
    import torch

    if not _is_safe_torch(torch.__version__):
        raise CheckpointError(
            f"reading {path} safely needs torch 2.10 or later (CVE-2026-24747); "
            f"torch {torch.__version__} is installed"
        )
    if unblocked is None:
        forbidden = forbidden_globals(checked_pickle(data, path), path)
        if forbidden:
            raise unsafe(path, forbidden)
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    file.seek(0)
    try:
        with torch.serialization.safe_globals([argparse.Namespace, *_with_dtypes(unblocked or ())]):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=False)  # type: ignore[arg-type]
    except LOAD_ERRORS as error:
        raise CheckpointError(
            f"checkpoint {path} is refused or damaged, by torch's own filter: {_reason(error)}; "
            f"{REMEDY}"
        ) from error


def unblocked_globals(data: Content, path: Path) -> list[tuple[Any, str]]:
    """(object, "module.name") of what a trusted archive's pickle names beside plain tensors.

    Modules are imported, which runs their code: nothing here is for files that nobody trusts.

    Raises:
        CheckpointError: The archive is damaged, or an object is not installed.
    """
    found = []
    for name in forbidden_globals(checked_pickle(data, path), path):
        module, _, member = name.rpartition(".")
        try:
            found.append((getattr(importlib.import_module(module), member), name))
        except (ImportError, AttributeError, ValueError) as error:
            raise CheckpointError(
                f"checkpoint {path} is trusted, but its pickle names {name}, which is not among "
                f"the installed libraries; install its library, or {REMEDY}"
            ) from error
    return found


def _with_dtypes(unblocked: Sequence[tuple[Any, str]]) -> list[tuple[Any, str]]:
    """The same, with every class of dtype where NumPy's are named: the pickle names their base."""
    found = list(unblocked)
    if any(name.startswith("numpy.") for _, name in found):
        import numpy as np

        found += [(getattr(np.dtypes, kind), f"numpy.dtypes.{kind}") for kind in np.dtypes.__all__]
    return found


def _reason(error: BaseException) -> str:
    """What torch says of a file, without its advice on how to load it all the same."""
    text = str(error)
    said = _UNPICKLER.search(text)
    first = said[1] if said else text.strip().partition("\n")[0]
    if not first or _ADVICE.search(first):
        return type(error).__name__
    return f"{type(error).__name__}: {first}"


def _is_safe_torch(version: str) -> bool:
    """Whether `weights_only=True` is free of known holes in this version of torch."""
    major, minor = version.split(".")[:2]
    return (int(major), int(minor)) >= (2, 10)


def checked_pickle(data: Content, path: Path) -> bytes:
    """`data.pkl` of an archive that torch wrote, whose entries are stored and whole.

    Raises:
        CheckpointError: It is damaged, over a limit, or something else than such an archive.
    """
    try:
        archive = Archive(data, MAX_TENSORS)
        name = _pickle_among(archive.records, path)
        entries = archive.entries()
        check_sums(data, entries)
    except TooManyError as error:
        raise over_limit(path, f"{error} archive entries", MAX_TENSORS) from error
    except DamagedError as error:
        raise CheckpointError(
            f"checkpoint {path} is damaged or truncated: {error}; a whole archive was expected in "
            f"its {len(data)} bytes; copy it again"
        ) from error
    except OddError as error:
        raise CheckpointError(
            f"checkpoint {path} is a zip archive in which readers may see different things: "
            f"{error}; {REMEDY}"
        ) from error
    return content_of(data, next(entry for entry in entries if entry.name == name))


def unchecked_pickle(data: Content) -> bytes:
    """`data.pkl` of an archive, for a look at its bytes; none where `checked_pickle` would refuse.

    No sum is checked, for those of the tensors are most of the work.
    """
    try:
        archive = Archive(data, MAX_TENSORS)
        name = _pickle_among(archive.records, Path("an archive"))
        entries = archive.entries()
    except (TooManyError, DamagedError, OddError, CheckpointError):
        return b""
    return content_of(data, next(entry for entry in entries if entry.name == name))


def _pickle_among(records: Sequence[Record], path: Path) -> str:
    """The name of `data.pkl` in an archive that holds a state dict, and is within the limits."""
    names = [record.name.lower() for record in records]
    if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
        raise CheckpointError(f"checkpoint {path} is TorchScript, which is refused: {REMEDY}")
    if any(name.endswith(("archive_format", "archive_version")) for name in names):
        raise CheckpointError(f"checkpoint {path} is an exported program, refused: {REMEDY}")
    pickles = [record for record in records if record.name.split("/")[1:] == ["data.pkl"]]
    if not pickles:
        raise CheckpointError(
            f"checkpoint {path} is a zip archive that torch.save did not write; {REMEDY}"
        )
    root = pickles[0].name.split("/")[0]
    if any(name.split("/")[0] != root.lower() for name in names):
        raise OddError("it has entries in more than one folder")
    if pickles[0].size > MAX_PICKLE_BYTES:
        raise over_limit(path, f"a data.pkl of {pickles[0].size} bytes", MAX_PICKLE_BYTES)
    return pickles[0].name


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
