"""What a confined reader hands back: safetensors with one entry of JSON, and never a pickle.

The file's tensors are numbered; the JSON says which name each has, and all else.
"""

from __future__ import annotations

import argparse
import itertools
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from audit.errors import CheckpointError
from audit.network.weights._limits import MAX_HEADER_BYTES, MAX_NAME, MAX_TENSORS, over_limit
from audit.network.weights._snapshot import place_of

if TYPE_CHECKING:
    import torch

_REPLY: Final = "reply"
#: How much plain content of a file is handed back.
_MAX_CONTENT: Final = 4 << 20
_MAX_VALUES: Final = 200_000
_MAX_DEPTH: Final = 20
#: torch's name of a type → that of safetensors.
_TYPES: Final = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "bool": "BOOL",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
}


def write_answer(
    file: IO[bytes], reply: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], path: Path
) -> None:
    """Write tensors and what is to be said of them.

    Args:
        file: Where they go.
        reply: JSON beside them.
        tensors: Name → dense tensor; one that has several names is written once.
        path: The file they are of, for messages.

    Raises:
        CheckpointError: A type that has no name in safetensors, or a name that is too long.
    """
    places: dict[tuple[Any, ...], int] = {}
    names: list[tuple[str, int]] = []
    ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())
    distinct: list[torch.Tensor] = []
    for name, tensor in ordered:
        if len(name) > MAX_NAME:
            raise over_limit(path, f"a name of {len(name)} characters", MAX_NAME)
        view = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if view not in places or not tensor.numel():
            places[view] = len(distinct)
            distinct.append(tensor)
        names.append((name, places[view]))
    order = {name: position for position, name in enumerate(tensors)}
    names.sort(key=lambda pair: order[pair[0]])
    header: dict[str, Any] = {
        "__metadata__": {_REPLY: json.dumps({**reply, "names": names})},
    }
    place = 0
    for number, tensor in enumerate(distinct):
        size = tensor.numel() * tensor.element_size()
        entry = {"dtype": _type_of(tensor, path), "shape": list(tensor.shape)}
        header[str(number)] = {**entry, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for tensor in distinct:
        file.write(_bytes(tensor))
    file.flush()


def _type_of(tensor: torch.Tensor, path: Path) -> str:
    """What safetensors calls a tensor's type."""
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in _TYPES:
        raise CheckpointError(
            f"checkpoint {path} holds tensors of type {name}, which are not read; save the "
            "weights as floating point numbers"
        )
    return _TYPES[name]


def _bytes(tensor: torch.Tensor) -> memoryview:
    """The bytes of a tensor in row-major order."""
    import torch

    plain = tensor.resolve_conj().resolve_neg().contiguous()
    return plain.reshape(-1).view(torch.uint8).numpy().data


def read_answer(file: IO[bytes], path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """(what is said, the tensors) of an answer, which is checked like any file.

    The tensors are private views of the file's memory: nothing is copied until it is changed.

    Raises:
        CheckpointError: It is no such answer.
    """
    import safetensors

    file.seek(0)
    (n_header,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
    if n_header > MAX_HEADER_BYTES + _MAX_CONTENT:
        raise over_limit(path, "what is said of its tensors", MAX_HEADER_BYTES)
    try:
        with safetensors.safe_open(place_of(file), framework="pt") as answer:
            reply = json.loads(answer.metadata()[_REPLY])
            found = [answer.get_tensor(str(number)) for number in range(len(answer.keys()))]
        tensors = {str(name): found[int(number)] for name, number in reply["names"]}
    except (safetensors.SafetensorError, OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(
            f"checkpoint {path} was not read: its reader gave an answer that cannot be used "
            f"({type(error).__name__}); save it again with safetensors"
        ) from error
    if len(tensors) > MAX_TENSORS or not isinstance(reply, dict):
        raise over_limit(path, f"{len(tensors)} tensors", MAX_TENSORS)
    return reply, tensors


class _Budget:
    """What may still be handed back of a file's plain content."""

    def __init__(self) -> None:
        self.values, self.characters = _MAX_VALUES, _MAX_CONTENT

    def take(self, characters: int) -> bool:
        """Whether there is room for one more value of so many characters."""
        self.values -= 1
        self.characters -= characters
        return self.values >= 0 and self.characters >= 0


def plain_content(found: Any) -> Any:
    """The texts, numbers, lists and mappings of a file, as JSON that `from_plain` reads.

    Tensors, other objects and what goes beyond the limits are left out.
    """
    return _plain(found, _Budget(), _MAX_DEPTH)


def _plain(value: Any, budget: _Budget, depth: int) -> Any:
    """One value; None for what is left out."""
    if isinstance(value, bool) or value is None:
        return value if budget.take(1) else None
    if isinstance(value, int) and abs(value) < 1 << 63:
        return int(value) if budget.take(1) else None
    if isinstance(value, float):
        return float(value) if budget.take(1) else None
    if isinstance(value, str):
        return str(value) if budget.take(len(value)) else None
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if depth and isinstance(value, Mapping) and budget.take(1):
        inside = itertools.takewhile(lambda _: budget.take(1), value.items())
        pairs = [(_key(key, budget), part) for key, part in inside]
        kept = [(key, _plain(part, budget, depth - 1)) for key, part in pairs if key is not None]
        return {"mapping": kept}
    if depth and isinstance(value, Sequence) and not isinstance(value, bytes) and budget.take(1):
        parts = itertools.takewhile(lambda _: budget.take(1), value)
        return {"list": [_plain(part, budget, depth - 1) for part in parts]}
    return None


def _key(key: Any, budget: _Budget) -> Any:
    """A key that is text or a small number; None for others."""
    if isinstance(key, str):
        return str(key) if budget.take(len(key)) else None
    small = isinstance(key, int) and not isinstance(key, bool) and abs(key) < 1 << 63
    return int(key) if small else None


def from_plain(value: Any) -> Any:
    """The content that `plain_content` made JSON of."""
    if isinstance(value, Mapping):
        if "mapping" in value:
            return {key: from_plain(part) for key, part in value["mapping"]}
        return [from_plain(part) for part in value["list"]]
    return value
