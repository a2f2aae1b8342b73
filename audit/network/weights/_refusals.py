"""Files that hold no weights, or that are not read: named as what they are, with what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from audit.errors import CheckpointError
from audit.network.weights._limits import MAX_PICKLE_BYTES, REMEDY, unsafe
from audit.network.weights._torch_archive import forbidden_globals

_SHARD: Final = re.compile(r"-(\d{5})-of-(\d{5})\.[\w.]+")
_SIGNATURES: Final = (
    (0, b"\x93NUMPY", "a NumPy array"),
    (257, b"ustar", "a tar archive (torch before 0.4)"),
    (0, b"\x89HDF", "an HDF5 file (Keras)"),
    (0, b"\x1f\x8b", "a compressed file (gzip, joblib)"),
    (0, b"BZh", "a compressed file (bzip2, joblib)"),
    (0, b"\xfd7zXZ", "a compressed file (xz, joblib)"),
    (0, b"\x28\xb5\x2f\xfd", "a compressed file (zstd)"),
    (0, b"\x78\x9c", "a compressed file (zlib, joblib)"),
    (0, b"GGUF", "a GGUF file (llama.cpp)"),
    (0, b"lmgg", "a GGML file (llama.cpp)"),
    (4, b"TFL3", "a TensorFlow Lite model"),
)
#: Endings of files whose bytes have no signature.
_ENDINGS: Final = (
    (".onnx", "an ONNX graph"),
    (".msgpack", "a Flax checkpoint"),
    (".data-00000-of-00001", "a TensorFlow checkpoint"),
    (".pb", "a TensorFlow graph"),
    (".tflite", "a TensorFlow Lite model"),
)
_ONNX: Final = re.compile(rb"\x08[\x01-\x20]\x12[\x00-\x40]")
_MARKUP: Final = (b"<!doctype html", b"<html", b"<head", b"<?xml")
#: The names of a mapping → what it is.
_STATES: Final = (
    ({"state", "param_groups"}, "the state of an optimizer"),
    ({"last_epoch", "_step_count"}, "the state of a learning rate scheduler"),
    ({"scale", "growth_factor", "growth_interval"}, "the state of a gradient scaler"),
)
_ADAPTER: Final = re.compile(r"(^|[._])lora_(A|B|down|up|embedding_[AB])([._]|$)")
_FILES_OF_TRAINERS: Final = (
    (re.compile(r"optimizer.*\.(pt|pth|bin)"), "the state of an optimizer"),
    (re.compile(r"scheduler.*\.(pt|pth|bin)"), "the state of a learning rate scheduler"),
    (re.compile(r"scaler.*\.(pt|pth)"), "the state of a gradient scaler"),
    (re.compile(r"(rng_state|random_states).*\.(pth|pkl)"), "the state of random generators"),
    (re.compile(r"training_args\.bin"), "the arguments of a training run"),
)
WEIGHTS_INSTEAD: Final = "give the file that holds the network's weights"


def named_trainer_file(name: str) -> str:
    """What a file that trainers write beside weights is, by its name; "" for others."""
    return next((what for pattern, what in _FILES_OF_TRAINERS if pattern.fullmatch(name)), "")


def is_shard(name: str) -> tuple[int, int] | None:
    """(number, of how many), where a file's name says that it is one of several."""
    match = _SHARD.search(name)
    return (int(match[1]), int(match[2])) if match and int(match[2]) > 1 else None


def lone_shard(path: Path) -> CheckpointError | None:
    """Why one of several shards is not read alone."""
    if path.name.endswith(".distcp"):
        return _distributed(path.parent)
    place = is_shard(path.name)
    if place is None:
        return None
    family = path.name[: path.name.index(f"-{place[0]:05d}-of-")]
    found = sorted(path.parent.glob(f"{_escaped(family)}*.index.json"))
    index = found[0].name if found else f"{family}….index.json"
    return CheckpointError(
        f"checkpoint {path} is shard {place[0]} of {place[1]}, which holds a part of the weights; "
        f"give the index {index} or its folder instead"
    )


def _escaped(text: str) -> str:
    """Text that a glob takes literally."""
    return re.sub(r"([*?[])", r"[\1]", text)


def special_folder(path: Path) -> CheckpointError | None:
    """Why a folder of another format is not read."""
    if (path / ".metadata").is_file() or any(path.glob("*.distcp")):
        return _distributed(path)
    if (path / "adapter_config.json").is_file():
        return _adapter(path)
    if (path / "saved_model.pb").is_file():
        return _other_framework(path, "a TensorFlow SavedModel")
    if (path / "_METADATA").is_file() or (path / "manifest.ocdbt").is_file():
        return _other_framework(path, "a Flax checkpoint (Orbax)")
    if (path / "data.pkl").is_file() or (path / "archive" / "data.pkl").is_file():
        return CheckpointError(
            f"checkpoint {path} is an unpacked torch.save archive; give the file it came from"
        )
    return None


def not_weights(chosen: Mapping[Any, Any], path: Path) -> CheckpointError | None:
    """Why a dictionary is not a network's weights, where its names tell."""
    for names, what in _STATES:
        if names <= chosen.keys():
            return CheckpointError(f"checkpoint {path} is {what}; {WEIGHTS_INSTEAD}")
    if any(_ADAPTER.search(str(name)) for name in chosen):
        return _adapter(path)
    return None


def _distributed(folder: Path) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {folder} is a distributed checkpoint (DCP), which is pickled and refused; "
        "make a file of it with torch.distributed.checkpoint.format_utils.dcp_to_torch_save"
        f"({str(folder)!r}, 'weights.pth')"
    )


def _adapter(path: Path) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path} is a LoRA adapter (PEFT), which changes a network and is none; merge "
        "it into its network (merge_and_unload) and save that network's weights"
    )


def _other_framework(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path} is {what}, which is not read; convert it to PyTorch and save it with "
        "safetensors.torch.save_file(model.state_dict(), path)"
    )


def refused(data: bytes, path: Path) -> CheckpointError:
    """Why a file of a format that is not read is refused."""
    for offset, signature, name in _SIGNATURES:
        if data[offset : offset + len(signature)] == signature:
            return CheckpointError(f"checkpoint {path} is {name}, which is refused: {REMEDY}")
    text = _text(data, path)
    if text:
        return text
    if data[:1] == b"\x80" or data.rstrip().endswith(b"."):
        try:
            forbidden = forbidden_globals(data[:MAX_PICKLE_BYTES], path)
        except CheckpointError:
            forbidden = []
        if forbidden:
            return unsafe(path, forbidden)
        if data[:1] == b"\x80":
            return CheckpointError(
                f"checkpoint {path} is a bare pickle (torch before 1.6), which is refused: {REMEDY}"
            )
    for ending, name in _ENDINGS:
        if path.name.endswith(ending):
            return _other_framework(path, name)
    if _ONNX.match(data):
        return _other_framework(path, "an ONNX graph")
    return CheckpointError(
        f"checkpoint {path} is neither safetensors nor a torch.save archive, nor of any format "
        f"that is known here; {REMEDY}"
    )


def _text(data: bytes, path: Path) -> CheckpointError | None:
    """What a file of text is that lies where weights were expected."""
    start = data[:512].lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return CheckpointError(
            f"checkpoint {path} is a Git-LFS pointer of {len(data)} bytes, not the file it points "
            "to; run `git lfs pull` in its repository"
        )
    if b"/annex/objects/" in start:
        return CheckpointError(
            f"checkpoint {path} is a git-annex pointer of {len(data)} bytes, not the file it "
            "points to; run `git annex get` in its repository"
        )
    if start.startswith(_MARKUP):
        return CheckpointError(
            f"checkpoint {path} is a web page, such as a server sends where a download fails; "
            "download the file again, and sign in where that is needed"
        )
    if start.startswith((b"{", b"[")):
        return CheckpointError(
            f"checkpoint {path} is JSON, such as a configuration; {WEIGHTS_INSTEAD}"
        )
    return None
