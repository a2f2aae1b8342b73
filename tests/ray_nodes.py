"""A Ray cluster of several nodes on this machine, which asks for a token."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOKEN = "0" * 64
#: What nodes and the processes that join them are told, beside what pytest itself was told.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": TOKEN,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_period_ms": "1000",  # a lost node is missed sooner
    "RAY_health_check_failure_threshold": "3",
    "RAY_worker_niceness": "0",  # or tests starve where other work goes on
}


class Nodes:
    """A cluster whose head takes no tasks, so that all are on nodes that can be lost.

    Args:
        folder: For what Ray keeps.
        networks: A folder to make, from which nodes import.

    Attributes:
        client: The address at which its client server answers.
    """

    def __init__(self, folder: str, networks: Path) -> None:
        from ray.cluster_utils import Cluster

        # Ray notes the cluster in this folder whatever its own is, and does not make it.
        Path(os.environ.get("RAY_TMPDIR") or "/tmp", "ray").mkdir(exist_ok=True)
        self.cluster = Cluster(shutdown_at_exit=True)
        port = free_port()
        head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": folder}
        self.cluster.add_node(**head, ray_client_server_port=port)
        self.client = f"ray://127.0.0.1:{port}"
        self.nodes, self.networks = [self.add(), self.add()], networks

    def add(self) -> Any:
        """One more node, with room for one task."""
        return self.cluster.add_node(num_cpus=1, num_gpus=1)

    def lose(self) -> None:
        """Lose the node that is the longest there, and get another."""
        self.cluster.remove_node(self.nodes.pop(0), allow_graceful=False)
        self.nodes.append(self.add())


@contextlib.contextmanager
def two_nodes(networks: Path, *paths: str) -> Iterator[Nodes]:
    """A cluster of a head and two nodes, whose address and token are in the environment.

    Args:
        networks: See `Nodes`.
        paths: More folders from which nodes import.
    """
    from ray._private.authentication_test_utils import reset_auth_token_state

    before = dict(os.environ)
    os.environ.update(ENVIRONMENT)
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, str(networks), *filter(None, sys.path)])
    reset_auth_token_state()  # the variables count when Ray is imported, which it may have been
    folder = f"/tmp/ray-test-{os.getpid()}"  # the paths of sockets must be short
    try:
        here = Nodes(folder, networks)
        os.environ["RAY_ADDRESS"] = here.cluster.address
        yield here
        here.cluster.shutdown()
    finally:
        os.environ.clear()
        os.environ.update(before)
        reset_auth_token_state()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
