"""Join a Ray cluster, or start one on this machine and end it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from audit.errors import ConfigError
from audit_engines.interrupts import deferred_interrupts
from audit_engines.processes import environment

#: Bytes of the object store of a cluster that is started here: it holds what tasks have in common,
#: and nothing of what they come to. Ray puts what is more on disk.
OBJECT_STORE_BYTES: Final = 256 * 2**20

#: How an address begins that is of a cluster's client server.
_CLIENT: Final = "ray://"
#: gRPC's codes for a service that is another, or no service of its kind.
_NO_CLIENT_SERVER: Final = ("UNIMPLEMENTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")
_CONNECT_SECONDS: Final = 5.0
_PROBE_SECONDS: Final = 15.0
_QUIET: Final = {"logging_level": "ERROR", "log_to_driver": False}
_VERSIONS: Final = re.compile(r"Ray: (\S+)\s+Python: (\S+)")


@contextlib.contextmanager
def cluster(address: str | None, n_cpus: float) -> Iterator[None]:
    """A cluster that this process has joined, for as long as the block lasts.

    One that was there before is left running. One that is started here has so many processors,
    asks for a token that is made for it, sends no usage statistics, and ends with the block. A
    program that has joined a cluster itself goes on with that one.

    Args:
        address: Of a running cluster, or None to start one.
        n_cpus: Processors of a cluster that is started.

    Raises:
        ConfigError: Ray is not installed, or the address is of no cluster that can be joined.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("engine ray needs Ray: pip install 'genaudit[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reads it when it is imported
    import ray

    if ray.is_initialized():
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(_signals_kept())
        if address is None:
            options = stack.enter_context(_own(n_cpus))
        else:
            check_address(address)
            options = {"address": address}
        stack.enter_context(_silence())
        stack.callback(_leave)
        try:
            with deferred_interrupts():
                ray.init(**options, **_QUIET)
        except Exception as error:  # that class itself is what Ray raises where it is slow
            if address is not None:
                raise ConfigError(_refusal(address, type(error).__name__, str(error))) from error
            words = " ".join(str(error).split())
            raise ConfigError(
                f"a Ray cluster cannot be started on this machine: {words}"
            ) from error
        yield


def room_for(room: Mapping[str, float]) -> int:
    """How many tasks of that size fit at once on the nodes that are alive."""
    import ray

    return sum(
        min(math.floor(node["Resources"].get(name, 0) / room[name] + 1e-9) for name in room)
        for node in ray.nodes()
        if node["Alive"]
    )


def check_address(address: str) -> None:
    """Find out within half a minute whether a cluster can be joined.

    Raises:
        ConfigError: It cannot; the message says why, and what to do.
    """
    if address.startswith(_CLIENT) and importlib.util.find_spec("grpc") is None:
        raise ConfigError(
            f"address {address} needs Ray's client: pip install 'ray[client]', or run on a machine "
            "of the cluster and give HOST:PORT of its head node"
        )
    if address != "auto":
        _check_port(address)
    script = Path(__file__).with_name("probe.py")
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(script), address],
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = (error.stderr or b"").decode(errors="replace")
        raise ConfigError(_refusal(address, "TimeoutExpired", said)) from error
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = (done.stderr.decode(errors="replace").split("\n") or [""])[-1]
        found = {"kind": "RuntimeError", "text": f"the process that tried it ended: {said}"}
    if found["kind"]:
        raise ConfigError(_refusal(address, found["kind"], found["text"]))


def _check_port(address: str) -> None:
    """Refuse an address where nothing takes connections."""
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS):
            return
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"nothing answers at {address} ({reason}): give {_right(address)}, or leave it out to "
            "start a cluster on this machine"
        ) from error


def _right(address: str) -> str:
    """What address to give instead of one where no cluster is."""
    if address.startswith(_CLIENT):
        return "ray:// with the port of the cluster's client server, which is mostly 10001"
    return "the address that `ray start --head` printed"


def _refusal(address: str, kind: str, text: str) -> str:
    """Why a cluster could not be joined, in a sentence."""
    words = " ".join(text.split())
    versions = _VERSIONS.findall(text)
    if len(versions) >= 2:
        (ray_there, python_there), (ray_here, python_here) = versions[:2]
        return (
            f"the Ray cluster at {address} runs Ray {ray_there} and Python {python_there}, this "
            f"process Ray {ray_here} and Python {python_here}: install the same versions on both"
        )
    if kind in ("AuthenticationError", "UNAUTHENTICATED") or "InvalidAuthToken" in words:
        return (
            f"the Ray cluster at {address} takes only processes that have its token: set "
            "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to that token or its "
            "file"
        )
    if kind == "TimeoutExpired":
        return (
            f"{address} takes connections, but no Ray cluster answers there within "
            f"{_PROBE_SECONDS:g} s: give {_right(address)}, on a machine of the cluster; from one "
            "outside, and with the port of a client server, ray:// goes before it"
        )
    if kind in _NO_CLIENT_SERVER:
        return (
            f"{address} takes connections, but no client server of a Ray cluster answers there: "
            f"give {_right(address)}"
        )
    if address == "auto" and kind == "ConnectionError":
        return (
            'no Ray cluster runs on this machine, which address "auto" asks for: start one with '
            "`ray start --head`, or leave the address out"
        )
    if "Traceback" in text:  # of a process at the other end
        words = f"{text.strip().splitlines()[-1]}; see the logs of Ray there"
    return f"the Ray cluster at {address} cannot be joined: {words}"


@contextlib.contextmanager
def _own(n_cpus: float) -> Iterator[dict[str, Any]]:
    """What a cluster is started with, its token and its folder kept until the end.

    Ray 2.59 and later ask for a token by default where the variable for it is not set; the token
    is known to this process and its children alone, and is in no file.
    """
    variables = {
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_AUTH_MODE": "",
        "RAY_worker_niceness": "0",  # as the local engine's processes have it
    }
    folders = tempfile.TemporaryDirectory(
        prefix="genaudit-ray-", dir=_short_folder(), ignore_cleanup_errors=True
    )
    with folders as folder, environment(variables):
        del os.environ["RAY_AUTH_MODE"]
        _forget_token()
        try:
            yield {
                "address": "local",
                "num_cpus": math.ceil(n_cpus),
                "object_store_memory": OBJECT_STORE_BYTES,
                "include_dashboard": False,
                "_temp_dir": folder,
            }
        finally:
            _forget_token()


def _short_folder() -> str:
    """A temporary folder whose path leaves room for the names of Ray's sockets."""
    folder = tempfile.gettempdir()
    return folder if len(folder) <= 20 else "/tmp"


def _forget_token() -> None:
    """Let Ray read the token anew; it has no public name for that."""
    from ray._raylet import AuthenticationTokenLoader

    AuthenticationTokenLoader.instance().reset_cache()


def _leave() -> None:
    """Leave the cluster, and end it if it was started here."""
    import ray

    with deferred_interrupts():
        ray.shutdown()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep what Ray reports of lost nodes off standard output, where results are printed.

    Ray has no option for that; what is lost shows in the outcomes.
    """
    from ray._private import worker

    printing = worker.print_to_stdstream
    worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        worker.print_to_stdstream = printing


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Give SIGTERM back what it did before, which Ray changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
