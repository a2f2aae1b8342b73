"""The one trusted door for weights files.

What a file is, is decided by its bytes, never by its name: safetensors, or the zip archive of
`torch.save`, read with `weights_only=True` after a static look at every global its pickle names.
Everything else is refused, and nothing falls back to unpickling. Sizes a file declares are
compared with its real size before anything is allocated.

One file on purpose: whoever reviews the way from bytes to weights reads it here.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import json
import pickle
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from audit.errors import CheckpointError

if TYPE_CHECKING:
    import torch

MAX_TENSORS: Final = 50_000
MAX_HEADER_BYTES: Final = 16 << 20
MAX_PICKLE_BYTES: Final = 8 << 20
#: timm's order: weights averaged over training (EMA) come first.
CHOICES: Final = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model",
    "model_state_dict",
)
WRAPPERS: Final = ("module.", "_orig_mod.")
REMEDY: Final = "save it again with safetensors.torch.save_file(model.state_dict(), path)"
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
_SIGNATURES: Final = (
    (0, b"\x93NUMPY", "a NumPy array"),
    (257, b"ustar", "a tar archive (torch before 0.4)"),
    (0, b"\x89HDF", "an HDF5 file (Keras)"),
    (0, b"\x1f\x8b", "a compressed file (gzip, joblib)"),
    (0, b"BZh", "a compressed file (bzip2, joblib)"),
    (0, b"\xfd7zXZ", "a compressed file (xz, joblib)"),
    (0, b"\x28\xb5\x2f\xfd", "a compressed file (zstd)"),
    (0, b"\x78\x9c", "a compressed file (zlib, joblib)"),
)
_LOAD_ERRORS: Final = (
    pickle.UnpicklingError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    AssertionError,
    ArithmeticError,
    EOFError,
    MemoryError,
    ImportError,
    OSError,
    struct.error,
)


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights of a file.

    Attributes:
        state_dict: Name → dense tensor on the CPU.
        notes: What was chosen or changed on the way, in words.
        format: "safetensors" or "torch".
        prefix: What was stripped from every name, such as "module.".
    """

    state_dict: dict[str, torch.Tensor]
    notes: tuple[str, ...]
    format: str
    prefix: str = ""


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits.

    Raises:
        CheckpointError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error


def read_weights(path: Path, digest: str | None = None) -> Weights:
    """The weights in a file, unwrapped and with the prefixes of wrappers stripped.

    Args:
        path: safetensors, or what `torch.save` writes (state dict, or a dictionary that holds
            one; of several, averaged weights are preferred, as timm does).
        digest: SHA-256 the content must have.

    Raises:
        CheckpointError: The file is missing, damaged, over a limit, of a refused format, or holds
            something else than dense tensors; or its digest differs.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise CheckpointError(
            f"checkpoint {path} changed while it was used: its SHA-256 is no longer {digest}; "
            "start again when nothing writes to it"
        )
    if not data:
        raise CheckpointError(f"checkpoint {path} is empty (0 bytes)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what odd bytes provoke is decided by errors alone
        if data[8:9] == b"{":
            found, kind = _read_safetensors(data, path), "safetensors"
        elif data.startswith(b"PK"):
            found, kind = _read_torch(data, path), "torch"
        else:
            raise _refused(data, path)
    chosen, notes = _choose(found, path)
    state_dict = _tensors(chosen, path, len(data), notes)
    state_dict, prefix = _strip(state_dict, notes)
    return Weights(state_dict, tuple(notes), kind, prefix)


def read_torch_content(path: Path) -> Any:
    """All that a file of `torch.save` holds, by the same door as its weights.

    Raises:
        CheckpointError: It cannot be read, is damaged, or is refused.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what odd bytes provoke is decided by errors alone
        return _read_torch(data, path)


def _read_safetensors(data: bytes, path: Path) -> dict[str, torch.Tensor]:
    """Parse safetensors after checking every declared size."""
    import safetensors
    import safetensors.torch

    (n_header,) = struct.unpack("<Q", data[:8])
    if n_header > MAX_HEADER_BYTES:
        raise _limit(path, f"a safetensors header of {n_header} bytes", MAX_HEADER_BYTES)
    if 8 + n_header > len(data):
        raise _truncated(path, f"at least {8 + n_header}", len(data))
    try:
        header = json.loads(data[8 : 8 + n_header])
        entries = [header[name] for name in header if name != "__metadata__"]
        ends = [int(entry["data_offsets"][1]) for entry in entries]
    except _LOAD_ERRORS as error:
        raise CheckpointError(
            f"checkpoint {path} has a damaged safetensors header: {error}"
        ) from error
    if len(entries) > MAX_TENSORS:
        raise _limit(path, f"{len(entries)} tensors", MAX_TENSORS)
    expected = 8 + n_header + max(ends, default=0)
    if expected != len(data):
        raise _truncated(path, str(expected), len(data))
    try:
        found: dict[str, torch.Tensor] = safetensors.torch.load(data)
    except (safetensors.SafetensorError, *_LOAD_ERRORS) as error:
        raise CheckpointError(f"checkpoint {path} is damaged: {error}") from error
    return found


def _read_torch(data: bytes, path: Path) -> Any:
    """Read a zip archive of `torch.save`: checked, scanned, then `weights_only`."""
    import torch

    if not _is_safe_torch(torch.__version__):
        raise CheckpointError(
            f"reading {path} safely needs torch 2.10 or later (CVE-2026-24747); "
            f"torch {torch.__version__} is installed"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            forbidden = _forbidden_globals(_checked_pickle(archive, path, len(data)), path)
    except (zipfile.BadZipFile, *_LOAD_ERRORS) as error:
        raise CheckpointError(
            f"checkpoint {path} is damaged or truncated: {error}; a whole archive was expected in "
            f"its {len(data)} bytes; copy it again"
        ) from error
    if forbidden:
        raise _unsafe(path, forbidden)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True, mmap=False)
    except _LOAD_ERRORS as error:
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
        raise _limit(path, f"{len(entries)} archive entries", MAX_TENSORS)
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
        raise _limit(path, "archive entries that unpack to more than the file", size)
    if pickles[0].file_size > MAX_PICKLE_BYTES:
        raise _limit(path, f"a data.pkl of {pickles[0].file_size} bytes", MAX_PICKLE_BYTES)
    damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"checksum of {damaged} does not match")
    return archive.read(pickles[0])


def _forbidden_globals(pickled: bytes, path: Path) -> list[str]:
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


def _choose(found: Any, path: Path) -> tuple[Mapping[Any, Any], list[str]]:
    """The state dict inside nested dictionaries, and which was taken."""
    notes: list[str] = []
    for _ in range(5):
        if not isinstance(found, Mapping):
            break
        present = [key for key in CHOICES if isinstance(found.get(key), Mapping) and found[key]]
        if not present:
            return found, notes
        others = f" rather than {', '.join(map(repr, present[1:]))}" if present[1:] else ""
        averaged = " (averaged weights)" if present[0].endswith("ema") else ""
        notes.append(f"took the weights in {present[0]!r}{averaged}{others}")
        found = found[present[0]]
    raise CheckpointError(
        f"checkpoint {path} must hold a state dict, or a dictionary with one under "
        f"{', '.join(CHOICES)}; found a {type(found).__name__}"
    )


def _tensors(
    chosen: Mapping[Any, Any], path: Path, size: int, notes: list[str]
) -> dict[str, torch.Tensor]:
    """The dense tensors of a state dict; views that blow up what the file stores are refused."""
    import torch

    tensors = {str(key): value for key, value in chosen.items() if isinstance(value, torch.Tensor)}
    others = [str(key) for key, value in chosen.items() if not isinstance(value, torch.Tensor)]
    if not tensors:
        keys = ", ".join(others[:10]) or "nothing"
        raise CheckpointError(f"checkpoint {path} must hold tensors by name; found {keys}")
    if others:
        notes.append(f"left out entries that are not tensors: {', '.join(others[:10])}")
    total = 0
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise CheckpointError(
                f"checkpoint {path}: {name} must be a dense tensor; it is "
                f"{'quantized' if tensor.is_quantized else tensor.layout} on {tensor.device}"
            )
        n_bytes = tensor.numel() * tensor.element_size()
        if n_bytes > tensor.untyped_storage().nbytes():
            raise _limit(path, f"{name} of {n_bytes} bytes", tensor.untyped_storage().nbytes())
        total += n_bytes
    if total > 4 * size:
        raise _limit(path, f"tensors of {total} bytes in all", 4 * size)
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _strip(
    state_dict: dict[str, torch.Tensor], notes: list[str]
) -> tuple[dict[str, torch.Tensor], str]:
    """Strip the prefixes of DataParallel, compile and averaging wrappers from every name."""
    prefix = ""
    if "n_averaged" in state_dict and len(state_dict) > 1:
        rest = {name: tensor for name, tensor in state_dict.items() if name != "n_averaged"}
        if all(name.startswith("module.") for name in rest):
            notes.append("left out the averaging counter 'n_averaged'")
            state_dict = rest
    while wrapper := next((w for w in WRAPPERS if all(n.startswith(w) for n in state_dict)), ""):
        prefix += wrapper
        state_dict = {name.removeprefix(wrapper): t for name, t in state_dict.items()}
    if prefix:
        notes.append(f"stripped {prefix!r} from every name")
    return state_dict, prefix


def listed(items: list[str]) -> str:
    """The first ten, and how many more."""
    more = f" and {len(items) - 10} more" if len(items) > 10 else ""
    return ", ".join(items[:10]) + more


def _refused(data: bytes, path: Path) -> CheckpointError:
    """Why a file of a format that is not read is refused."""
    for offset, signature, name in _SIGNATURES:
        if data[offset : offset + len(signature)] == signature:
            return CheckpointError(f"checkpoint {path} is {name}, which is refused: {REMEDY}")
    if data[:1] == b"\x80" or data.rstrip().endswith(b"."):
        try:
            forbidden = _forbidden_globals(data[:MAX_PICKLE_BYTES], path)
        except CheckpointError:
            forbidden = []
        if forbidden:
            return _unsafe(path, forbidden)
        if data[:1] == b"\x80":
            return CheckpointError(
                f"checkpoint {path} is a bare pickle (torch before 1.6), which is refused: {REMEDY}"
            )
    return CheckpointError(
        f"checkpoint {path} is neither safetensors nor a torch.save archive "
        f"(it starts with {data[:8]!r}); {REMEDY}"
    )


def _unsafe(path: Path, names: list[str]) -> CheckpointError:
    """A pickle that would call something else than tensor constructors."""
    return CheckpointError(
        f"checkpoint {path} is refused: its pickle names {listed(names)}, which weights do "
        f"not need and which could run code; {REMEDY}"
    )


def _limit(path: Path, what: str, limit: int) -> CheckpointError:
    """A declared size over a limit."""
    return CheckpointError(f"checkpoint {path} is refused: {what} exceeds the limit of {limit}")


def _truncated(path: Path, expected: str, found: int) -> CheckpointError:
    """A file whose size is not what its header says."""
    return CheckpointError(
        f"checkpoint {path} is damaged or truncated: {expected} bytes expected, {found} found; "
        "copy it again"
    )
