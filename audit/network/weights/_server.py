"""A clean process that forks a confined reader for every file; see `_confined`.

It imports torch once, so that a reader costs a fork; it opens no file itself, and ends when the
process that it works for does.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import mmap
import os
import select
import signal
import socket
import struct
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from audit.errors import CheckpointError
from audit.network.weights._answer import plain_content, write_answer
from audit.network.weights._cage import (
    confine,
    enter_an_empty_folder,
    gain_no_privileges,
    leave_the_network,
)
from audit.network.weights._choice import choose_weights, dense_tensors
from audit.network.weights._limits import LOAD_ERRORS, REMEDY, bounded
from audit.network.weights._torch_archive import read_torch_archive, unblocked_globals

_LENGTH: Final = struct.Struct("<I")
#: How often it looks whether its parent is still there.
_LOOK_S: Final = 2.0


def main(handle: int) -> None:
    """Serve one process until it is gone.

    Args:
        handle: Of the socket to it.
    """
    import torch

    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent decides when it ends
    torch.set_num_threads(1)
    enter_an_empty_folder()
    gain_no_privileges()
    alone = leave_the_network()
    _warm_up()
    gc.freeze()
    control = socket.socket(fileno=handle)
    parent = os.getppid()
    send(control, {"ready": True, "network": not alone})
    while True:
        if not select.select([control], [], [], _LOOK_S)[0]:
            if os.getppid() != parent:
                return
            continue
        request, handles = receive(control, 2)
        if request is None:
            return
        ended = _served(request, handles, control, parent)
        try:
            send(control, ended)
        except ConnectionError:
            return


def _warm_up() -> None:
    """Read one archive, so that what readers import is there before they can open nothing."""
    import io

    import torch

    file = io.BytesIO()
    state = {"a": torch.zeros(2, dtype=torch.float16), "b": torch.nn.Parameter(torch.zeros(1))}
    blob = "".join(map(chr, range(256))).encode("latin-1")  # bytes are pickled by that codec
    args = argparse.Namespace(size=torch.Size([1]), kind=torch.int8, place=torch.device("cpu"))
    torch.save({"state_dict": state, "blob": blob, "args": args, "set": {1}}, file)
    path = Path("warm-up")
    found = read_torch_archive(file.getvalue(), path)
    weights = choose_weights(found, path, "auto", "torch", len(file.getvalue()))
    write_answer(io.BytesIO(), {"content": plain_content(found)}, weights.state_dict, path)
    with contextlib.suppress(CheckpointError):
        read_torch_archive(b"PK" + bytes(100), path)


def send(control: socket.socket, message: dict[str, Any], handles: tuple[int, ...] = ()) -> None:
    """Send JSON, with open files beside it."""
    data = json.dumps(message).encode()
    head = _LENGTH.pack(len(data))
    if handles:
        socket.send_fds(control, [head], list(handles))
    else:
        control.sendall(head)
    control.sendall(data)


def receive(control: socket.socket, most: int) -> tuple[dict[str, Any] | None, list[int]]:
    """Receive JSON with at most so many open files; None when the other side is gone."""
    try:
        if most:
            head, handles, _, _ = socket.recv_fds(control, _LENGTH.size, most)
        else:
            head, handles = control.recv(_LENGTH.size), []
        head += _exactly(control, _LENGTH.size - len(head)) if head else b""
        if len(head) < _LENGTH.size:
            return None, handles
        data = _exactly(control, _LENGTH.unpack(head)[0])
    except ConnectionError:
        return None, []
    return (json.loads(data) if data else None), handles


def _exactly(control: socket.socket, size: int) -> bytes:
    """So many bytes; fewer when the other side is gone."""
    parts = []
    while size:
        part = control.recv(min(size, 1 << 20))
        if not part:
            return b""
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _served(
    request: dict[str, Any], handles: list[int], control: socket.socket, parent: int
) -> dict[str, Any]:
    """Fork a reader for one file, and say how it ended."""
    reading, writing = os.pipe()
    reader = os.fork()
    if not reader:
        os.close(reading)
        control.close()
        _read_and_exit(request, *handles)
    os.close(writing)
    for handle in handles:
        os.close(handle)
    try:
        if not _ended_within(reading, control, request["wall_s"], parent):
            _kill(reader)
            os.waitpid(reader, 0)
            return {"end": "time"}
    finally:
        os.close(reading)
    _, status = os.waitpid(reader, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return {"end": "time" if number == signal.SIGXCPU else "signal", "signal": number}
    return {"end": "exit", "code": os.WEXITSTATUS(status)}


def _ended_within(reading: int, control: socket.socket, seconds: float, parent: int) -> bool:
    """Whether a reader, which alone holds the other end of a pipe, ends in so many seconds.

    It does not if the process that asked is gone.
    """
    until = time.monotonic() + seconds
    while True:
        left = until - time.monotonic()
        watched: list[int | socket.socket] = [reading, control]
        found = select.select(watched, [], [], max(min(left, _LOOK_S), 0))[0]
        if reading in found:
            return True
        if control in found or left <= 0 or os.getppid() != parent:
            return False


def _kill(reader: int) -> None:
    """End a reader, and whatever it may have started."""
    for kill in (os.killpg, os.kill):
        try:
            kill(reader, signal.SIGKILL)
        except OSError:
            continue


def _read_and_exit(request: dict[str, Any], given: int, answer: int) -> None:
    """Be the reader of one file: confined, and gone without a trace of Python's own ending."""
    code = 1
    try:
        os.setpgid(0, 0)
        data = mmap.mmap(given, os.fstat(given).st_size, access=mmap.ACCESS_READ)
        unblocked = None
        if request.get("trusted"):
            os.chdir("/")  # some libraries ask where they are when they are imported
            # while files can still be opened
            unblocked = unblocked_globals(data, Path(request["path"]))
        confine(request["cpu_s"], request["memory"], request["written"])
        reply, tensors = read_job(request, data, unblocked)
        with open(answer, "wb", closefd=False) as target:
            write_answer(target, reply, tensors, Path(request["path"]))
        code = 0
    except MemoryError:
        why = f"reading it needs more memory than {request['memory']} bytes"
        code = _refuse(answer, request, why)
    except CheckpointError as error:
        code = _refuse(answer, request, error)
    except LOAD_ERRORS as error:
        code = _refuse(answer, request, f"its reader ended with {type(error).__name__}")
    finally:
        os._exit(code)


def _refuse(answer: int, request: dict[str, Any], why: CheckpointError | str) -> int:
    """Hand back why a file is not read."""
    path = request["path"]
    message = f"checkpoint {path} is refused: {why}; {REMEDY}"
    message = str(why) if isinstance(why, CheckpointError) else message
    os.ftruncate(answer, 0)
    os.lseek(answer, 0, os.SEEK_SET)
    with open(answer, "wb", closefd=False) as target:
        write_answer(target, {"refused": bounded(message)}, {}, Path(path))
    return 0


def read_job(
    request: dict[str, Any],
    data: mmap.mmap | bytes,
    unblocked: Sequence[tuple[Any, str]] | None = None,
) -> tuple[dict[str, Any], Any]:
    """(what is said, the tensors) of an archive.

    Args:
        request: `path`; `job`: "weights", "tensors" (of a shard) or "content"; `which`.
        data: The archive.
        unblocked: What else than plain tensors its pickle names, if it is trusted.

    Raises:
        CheckpointError: It is refused or damaged.
    """
    path = Path(request["path"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what odd bytes provoke is decided by errors alone
        found = read_torch_archive(data, path, unblocked)
        if request["job"] == "content":
            return {"content": plain_content(found)}, {}
        if request["job"] == "tensors":
            return {}, dense_tensors(found, path, len(data), [])
        if unblocked is not None:
            found = _state_dicts(found)
        weights = choose_weights(found, path, request["which"], "torch", len(data))
    said = {
        "notes": [bounded(note) for note in weights.notes[:50]],
        "prefix": weights.prefix,
        "architecture": weights.architecture[:200],
        "unblocked": [bounded(name) for _, name in (unblocked or ())[:50]],
    }
    return said, weights.state_dict


def _state_dicts(found: Any) -> Any:
    """What a trusted file holds, with state dicts in the place of whole networks."""
    from torch import nn

    if isinstance(found, nn.Module):
        return found.state_dict()
    if isinstance(found, Mapping):
        return {
            key: part.state_dict() if isinstance(part, nn.Module) else part
            for key, part in found.items()
        }
    return found
