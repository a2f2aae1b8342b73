"""Hosts of a network on this machine, as a Ray cluster of several machines sees them.

Each host is a process in namespaces of its own: of the network, of mounts, of process ids and of
the host name. What is mounted in one is seen by no other; when its first process ends, so does
every process in it, and its network goes with it. Nothing is added to the machine's own network.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from programs import lasting_program, run_program, start_program
from ray_nodes import ENVIRONMENT

GCS_PORT, CLIENT_PORT, S3_PORT = 6379, 10001, 5000

#: The first program of a host: it ends when the pipe to it closes, as it does with the tests. The
#: shell stays, as somebody must take note of processes that end: Ray looks whether its own do.
_FIRST = "set -e; hostname {name}; ip link set lo up; {mounts}; echo ready; cat; exit"
_NAMESPACES = ["--net", "--mount", "--uts", "--pid"]


def missing() -> str:
    """Why hosts cannot be made here, or ""."""
    if os.geteuid() != 0:
        return "only root may make namespaces"
    for program in ("ip", "unshare", "nsenter", "mount"):
        if shutil.which(program) is None:
            return f"there is no program {program}"
    try:
        run_program(["unshare", *_NAMESPACES, "--fork", "--mount-proc", "true"], timeout=10)
    except AssertionError:
        return "this machine allows no namespaces"
    return ""


class Host:
    """One host.

    Args:
        name: Its host name.
        address: Its address in the network of hosts.
        first: The program that `unshare` is.
        scratch: A folder that is its own.
    """

    def __init__(self, name: str, address: str, first: subprocess.Popen[str], scratch: Path):
        self.name, self.address, self.scratch = name, address, scratch
        assert first.stdout is not None
        assert first.stdout.readline() == "ready\n"
        self.pid = psutil.Process(first.pid).children()[0].pid
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            **ENVIRONMENT,
            "RAY_TMPDIR": str(scratch),
            "RAY_health_check_timeout_ms": "2000",
            "GENAUDIT_LOCAL": str(scratch / "local"),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }

    def words(self, *command: Any) -> list[str]:
        """A command that runs on this host."""
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-u", "-p", *map(str, command)]

    def do(self, *command: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program here to its end."""
        return run_program(self.words(*command), **{"env": self.environment, **options})

    def start(self, *command: Any, **options: Any) -> subprocess.Popen[str]:
        """Start a program here."""
        return start_program(self.words(*command), **{"env": self.environment, **options})

    def join(self, *options: Any) -> None:
        """Start Ray here."""
        words = ["start", *options, "--node-ip-address", self.address, "--disable-usage-stats"]
        words += ["--object-store-memory", 100 << 20]
        # In a session of its own, as the group of this program ends with it.
        self.do("setsid", "--wait", sys.executable, "-m", "ray.scripts.scripts", *words)

    def finds(self, name: str) -> bool:
        """Whether a process of that name runs here."""
        found = self.do("ps", "-eo", "args").stdout
        return any(line.startswith(name) for line in found.splitlines())

    def ip(self, *words: Any) -> None:
        """Change the network as this host has it; process ids are those of the machine."""
        run_program(["nsenter", "-t", str(self.pid), "-n", "ip", *map(str, words)])

    @contextlib.contextmanager
    def without(self, folder: Path) -> Iterator[None]:
        """Let another folder, with nothing in it, lie there on this host."""
        self.do("mount", "-t", "tmpfs", "none", folder)
        try:
            yield
        finally:
            self.do("umount", "--lazy", folder)


class Network:
    """Hosts that reach each other: the first holds the switch."""

    def __init__(self, scratch: Path) -> None:
        self._scratch, self._stack = scratch, contextlib.ExitStack()
        self.hosts: list[Host] = []

    def __enter__(self) -> Network:
        self._stack.callback(shutil.rmtree, self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, name: str) -> Host:
        """One more host."""
        number = len(self.hosts) + 1
        mounts = f"mount -t tmpfs none {self._scratch}"
        words = ["unshare", *_NAMESPACES, "--fork", "--kill-child", "--mount-proc"]
        words += ["sh", "-c", _FIRST.format(name=name, mounts=mounts)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        first = self._stack.enter_context(lasting_program(words, **pipes))
        host = Host(name, f"10.77.0.{number}", first, self._scratch)
        self.hosts.append(host)
        switch = self.hosts[0]
        if host is switch:
            host.ip("link", "add", "switch", "type", "bridge")
        else:
            ends = ["link", "add", f"to{number}", "type", "veth", "peer", "name", "eth0"]
            switch.ip(*ends, "netns", host.pid)
            switch.ip("link", "set", f"to{number}", "master", "switch", "up")
        card = "switch" if host is switch else "eth0"
        host.ip("addr", "add", f"{host.address}/24", "dev", card)
        host.ip("link", "set", card, "up")
        return host

    def cut_off(self, host: Host, is_off: bool = True) -> None:
        """Take a host off the network, or put it back."""
        number = self.hosts.index(host) + 1
        self.hosts[0].ip("link", "set", f"to{number}", "down" if is_off else "up")
