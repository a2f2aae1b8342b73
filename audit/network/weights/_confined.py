"""Read torch archives in a process that can do nothing else.

A file that is unpickled, even by a filter, is opened in a child of a child: this process starts one
clean server (`_server`), which inherits no open file and no setting of Python's, and which forks a
reader for every file. The reader is held by limits of the system (`_cage`) and hands back
safetensors (`_answer`). A reader that crashes or does not end is one file that is not read.

On systems without `fork` and such limits, as Windows, files are read in this process.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal

from audit.errors import CheckpointError
from audit.network.weights._answer import from_plain, read_answer
from audit.network.weights._choice import Weights, Which
from audit.network.weights._limits import REMEDY, ReadingLimits, listed, reading_limits
from audit.network.weights._snapshot import Snapshot, shared_file

if TYPE_CHECKING:
    import torch

_log = logging.getLogger("genaudit.network")

#: How long the server may take to import torch on a busy machine.
_START_S: Final = 300.0
#: Imports this very package, and libraries from where they are, after all that is Python's own.
_BOOT: Final = """
import importlib.util, json, sys
handle, package, places = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
sys.path += places
spec = importlib.util.spec_from_file_location(
    "audit", package + "/__init__.py", submodule_search_locations=[package]
)
sys.modules["audit"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["audit"])
from audit.network.weights._server import main
main(handle)
"""
#: What the server needs of the environment; nothing of Python's or of a user's secrets.
_KEPT: Final = (*("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "LANG", "LC_ALL"),)
_PACKAGE: Final = str(Path(__file__).resolve().parents[2])
CONFINES: Final = hasattr(os, "fork") and importlib.util.find_spec("resource") is not None


def confined_weights(file: Snapshot, path: Path, which: Which, trusted: bool = False) -> Weights:
    """The weights in an archive, as `choose_weights` gives them.

    Args:
        file: The archive.
        path: Where it lies.
        which: Which weights of several.
        trusted: Whether its pickle may name what could run code; it does so in the confined
            process, and the weights say what it named.

    Raises:
        CheckpointError: It is refused, damaged, or ends its reader.
    """
    reply, tensors = _read(file, path, "weights", which, trusted)
    notes = tuple(map(str, reply["notes"]))
    if trusted:
        named = listed([str(name) for name in reply["unblocked"]]) or "nothing beside tensors"
        notes += (f"--trust-pickle unblocked {named}",)
        _log.warning("checkpoint %s: --trust-pickle unblocked %s", path, named)
    prefix, architecture = str(reply["prefix"]), str(reply["architecture"])
    return Weights(tensors, notes, "torch", prefix, architecture, which)


def confined_tensors(file: Snapshot, path: Path) -> dict[str, torch.Tensor]:
    """The tensors of one shard, by name.

    Raises:
        CheckpointError: It is refused, damaged, or ends its reader.
    """
    return _read(file, path, "tensors", "auto")[1]


def confined_content(file: Snapshot, path: Path) -> Any:
    """The texts, numbers, lists and mappings in an archive.

    Raises:
        CheckpointError: It is refused, damaged, or ends its reader.
    """
    return from_plain(_read(file, path, "content", "auto")[0]["content"])


def _read(
    file: Snapshot,
    path: Path,
    job: Literal["weights", "tensors", "content"],
    which: Which,
    trusted: bool = False,
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """(what is said, the tensors) of an archive."""
    assert file.file is not None
    request: dict[str, Any] = {
        "path": str(path),
        "job": job,
        "which": which,
        "trusted": trusted,
    }
    if not CONFINES:
        from audit.network.weights._server import read_job
        from audit.network.weights._torch_archive import unblocked_globals

        data = file.file.read()
        return read_job(request, data, unblocked_globals(data, path) if trusted else None)
    limits = reading_limits(file.size, trusted)
    request |= {"cpu_s": limits.cpu_s, "wall_s": limits.wall_s}
    request |= {"memory": limits.memory, "written": limits.written}
    with shared_file() as answer:
        ended = _server.serve(request, (file.file.fileno(), answer.fileno()), limits)
        _check_end(ended, path, limits)
        reply, tensors = read_answer(answer, path)
    if "refused" in reply:
        raise CheckpointError(str(reply["refused"]))
    return reply, tensors


def _check_end(ended: dict[str, Any], path: Path, limits: ReadingLimits) -> None:
    """Refuse a file whose reader did not come to its end."""
    if ended["end"] == "time":
        raise CheckpointError(
            f"checkpoint {path} is refused: reading it exceeds the limit of {limits.cpu_s} seconds "
            f"of processor time or {limits.wall_s:.0f} seconds by the clock, more than its size "
            f"accounts for; {REMEDY}"
        )
    if ended["end"] == "signal":
        number = int(ended["signal"])
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        raise CheckpointError(
            f"checkpoint {path} is refused: it crashed its reader ({name}); {REMEDY}"
        )
    if ended["code"]:
        raise CheckpointError(
            f"checkpoint {path} is refused: its reader failed (exit {ended['code']}); {REMEDY}"
        )


class _Server:
    """The server of this process, started when the first file is read.

    A process that is forked from this one starts its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def serve(
        self, request: dict[str, Any], handles: tuple[int, int], limits: ReadingLimits
    ) -> dict[str, Any]:
        """Have one file read.

        Raises:
            CheckpointError: The server cannot be started.
        """
        from audit.network.weights._server import receive, send

        with self._lock:
            control = self._started()
            try:
                send(control, request, handles)
                control.settimeout(limits.wall_s + 60)
                ended, _ = receive(control, 0)
            except (OSError, ValueError):
                ended = None
            except BaseException:  # interrupted: the reader must not go on
                self.stop()
                raise
            if ended is None:
                self.stop()
                return {"end": "exit", "code": "of its server"}
            return ended

    def _started(self) -> socket.socket:
        """The socket to a server that is ready."""
        from audit.network.weights._server import receive

        if self._control is not None and self._process is not None:
            if self._process.poll() is None:
                return self._control
            self.stop()
        ours, theirs = socket.socketpair()
        with tempfile.TemporaryFile() as errors, theirs:
            command = [sys.executable, "-I", "-W", "ignore", "-c", _BOOT]
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), _PACKAGE, json.dumps(_places())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=[theirs.fileno()],
                env=_environment(),
                start_new_session=True,
            )
            theirs.close()
            self._control = ours
            try:
                ours.settimeout(_START_S)
                ready, _ = receive(ours, 0)
            except (OSError, ValueError):
                ready = None
            except BaseException:
                self.stop()
                raise
            if ready is None:
                self.stop()
                raise _not_started(errors)
        if ready.get("network"):
            _log.debug("confined readers have no network of their own, but can open no socket")
        return ours

    def stop(self) -> None:
        """End the server; the next file starts another."""
        process, control = self._process, self._control
        self._process = self._control = None
        if control is not None:
            control.close()
        if process is not None:
            process.kill()
            process.wait()

    def forget(self) -> None:
        """Leave the server to the process that this one was forked from."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.returncode = 0  # or it would be waited for
        self._lock, self._process, self._control = threading.Lock(), None, None


def _not_started(errors: IO[bytes]) -> CheckpointError:
    """Why there is no server."""
    errors.seek(0, os.SEEK_END)
    errors.seek(max(errors.tell() - 2000, 0))
    lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    return CheckpointError(
        "torch archives are read in a confined process, which could not be started "
        f"({lines[-1][:300] if lines else 'it said nothing'}); {REMEDY}"
    )


def _places() -> list[str]:
    """The folders in which the libraries of a reader lie."""
    folders: dict[str, None] = {}
    for library in ("torch", "safetensors", "numpy"):
        spec = importlib.util.find_spec(library)
        if spec is not None and spec.origin:
            folders[str(Path(spec.origin).resolve().parents[1])] = None
    return list(folders)


def _environment() -> dict[str, str]:
    """Settings of the server: one thread, no accelerator."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {
        **kept,
        **threads,
        "CUDA_VISIBLE_DEVICES": "",
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
    }


_server: Final = _Server()
atexit.register(_server.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_server.forget)
