"""What a file is and what it holds, without loading it into a network.

Weights are read through the same door as for an audit, so what is said to be refused is what a run
would refuse. Text from files is escaped and cut: it may be made to deceive whoever reads it.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from audit.errors import AuditError, StoreError
from audit.files import MOST_IN_TABLE, open_plain, plain_bytes
from audit.network.weights import (
    Which,
    content_digest,
    read_torch_content,
    read_weights,
    safetensors_metadata,
)
from audit.network.weights.folders import weights_in
from audit.ranking import load_card
from audit.store import described_entry, is_entry

if TYPE_CHECKING:
    from torch import Tensor

#: Files of a folder, tensors of a file and entries beside them that are listed.
MOST: Final = 1000
_CHARACTERS: Final = 200


def inspect_file(path: Path, which: Which = "auto") -> dict[str, Any]:
    """What a file, an index of shards, or a folder of weights is.

    Args:
        path: Weights, a calibrator card, an entry of the store, or a folder.
        which: Which weights of a file that holds averaged ones beside others.

    Returns:
        `path`, `kind`, and `refused`: why it would not be read, or "". Weights have `sha256`,
        `format`, `tensors` (name, dtype, shape, bytes), `n_tensors`, `total_bytes`, `dtypes`,
        `prefix`, `notes` and `beside`: what the file holds beside tensors. A folder has `files`.
    """
    about: dict[str, Any] = {"path": escaped(str(path)), "kind": "nothing", "refused": ""}
    try:
        if path.is_dir():
            found = weights_in(path)
            about["kind"] = "folder"
            about["files"] = [_attempted(each, which) for each in found[:MOST]]
            refused = [each["path"] for each in about["files"] if each["refused"]]
            if refused:
                about["refused"] = f"{len(refused)} of its {len(found)} checkpoints are refused"
        else:
            about |= _attempted(path, which)
    except (AuditError, OSError) as error:
        about["refused"] = escaped(str(error), 2000)
    return about


def _attempted(path: Path, which: Which) -> dict[str, Any]:
    """What one file is, or why it is refused."""
    about: dict[str, Any] = {"path": escaped(str(path)), "kind": "weights", "refused": ""}
    try:
        about["bytes"] = path.stat().st_size
        about["kind"], read = _kind(path, which)
        if about["kind"] == "weights":
            about["sha256"] = content_digest(path)  # of what is refused too: `--trust-pickle`
        about |= read()
    except (AuditError, OSError) as error:
        about["refused"] = escaped(str(error), 2000)
    return about


def _kind(path: Path, which: Which) -> tuple[str, Callable[[], dict[str, Any]]]:
    """What a file is taken for by its first bytes, and what reads it."""
    start = b""
    if path.is_file():
        with open_plain(path) as file:
            start = file.read(4096) or b""
    if is_entry(start):
        return "store entry", lambda: _entry(path)
    if start.lstrip()[:1] == b"{" and start[8:9] != b"{" and b"genaudit-calibrator-card" in start:
        return "calibrator card", lambda: _card(path)
    return "weights", lambda: _weights(path, which)


def _entry(path: Path) -> dict[str, Any]:
    """What an entry of the store holds."""
    try:
        return described_entry(plain_bytes(path, MOST_IN_TABLE), path.stem)
    except ValueError as error:
        raise StoreError(f"store entry {path} is damaged: {error}; remove it") from error


def _card(path: Path) -> dict[str, Any]:
    """What a calibrator card says of itself."""
    card = load_card(path)
    return {
        "name": escaped(card.name),
        "card": card.kind,
        "measures": [escaped(measure.name) for measure in card.measures[:MOST]],
        "zoos": [escaped(zoo.name) for zoo in card.zoos[:MOST]],
        "description": escaped(card.description),
    }


def _weights(path: Path, which: Which) -> dict[str, Any]:
    """What a weights file holds."""
    weights = read_weights(path, None, which)
    tensors = weights.state_dict
    about = {
        "format": weights.format,
        "n_tensors": len(tensors),
        "total_bytes": sum(map(_bytes, tensors.values())),
        "dtypes": dict(sorted(collections.Counter(map(_type, tensors.values())).items())),
        "prefix": escaped(weights.prefix),
        "architecture": escaped(weights.architecture),
        "notes": [escaped(note, 2000) for note in weights.notes],
        "tensors": [
            {
                "name": escaped(name),
                "dtype": _type(tensor),
                "shape": list(tensor.shape),
                "bytes": _bytes(tensor),
            }
            for name, tensor in list(tensors.items())[:MOST]
        ],
    }
    beside: Any = {}
    if weights.format == "safetensors" and path.is_file():
        beside = safetensors_metadata(path)
    elif weights.format == "torch" and path.is_file():
        beside = read_torch_content(path)
    own = {*tensors, *(weights.prefix + name for name in tensors)}  # a file of tensors alone
    if isinstance(beside, Mapping):
        beside = {name: value for name, value in beside.items() if name not in own}
    return {**about, "beside": _outline(beside)}


def _outline(content: Any) -> dict[str, str]:
    """The keys of a mapping, each with a short value or the kind of what it holds."""
    if not isinstance(content, Mapping):
        return {}
    shown = list(content.items())[:MOST]
    return {escaped(str(key)): _brief(value) for key, value in shown}


def _brief(value: Any) -> str:
    """A short value, or the kind of a longer one."""
    if value is None:
        return "tensor or object"
    if isinstance(value, (str, int, float)):
        return escaped(str(value))
    return f"{type(value).__name__} of {len(value)}"


def _bytes(tensor: Tensor) -> int:
    """Bytes of a tensor's numbers."""
    return tensor.numel() * tensor.element_size()


def _type(tensor: Tensor) -> str:
    """The type of a tensor's numbers."""
    return str(tensor.dtype).removeprefix("torch.")


def escaped(text: str, most: int = _CHARACTERS) -> str:
    r"""Text that shows as what it is: marks of direction and control as escapes, the rest cut.

    Example:
        >>> escaped("a\u202eb\n" + "c" * 300, 12)
        'a\\u202eb\\ncccccccc…'
    """
    cut = text[:most]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
    return shown + ("…" if len(text) > most else "")
