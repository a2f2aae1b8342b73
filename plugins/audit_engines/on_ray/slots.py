"""A slot of the cluster: an actor on some node that runs one task at a time in a process there.

The process is the local engine's, so threads, limits and the words for a death are the same as on
one machine, and what kills a task does not kill the actor: that one is lost with its node alone.
"""

from __future__ import annotations

import dataclasses
import platform
import re
import sys
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from audit.errors import AuditError
from audit_engines.local import Pool, unwatched
from audit_engines.on_ray.options import RayOptions
from audit_engines.on_ray.packing import Unpacker, pack
from audit_engines.options import Limits

#: How Ray says why an actor is gone.
_CAUSE: Final = re.compile(
    r"The actor (?:is dead|died) because (?:its |the actor's )?(.+?)\.(?: |$)"
)


class Reply(NamedTuple):
    """What became of a task.

    Attributes:
        outcome: The result or exception, packed; None where its process died.
        death: How it died, or "".
    """

    outcome: bytes | None
    death: str = ""


class NodeWorker:
    """What the actor does, on its node.

    Args:
        shared: As `Packer.shared` has it.
        limits: What a task may take.
        paths: Folders to import nothing from: Ray puts those in front in which the other end
            happened to be started.
    """

    def __init__(self, shared: bytes, limits: Limits, paths: Sequence[str]) -> None:
        sys.path[:] = [path for path in sys.path if path not in paths]
        sys.modules["__main__"].__file__ = None  # or the process would import Ray's own program
        self._task: list[bytes] = [b""]
        self._pool = Pool(Unpacker(shared), self._task, limits, unwatched)

    def node(self) -> str:
        """The name of the machine."""
        return platform.node()

    def run(self, task: bytes, n_kills: int) -> Reply:
        """Run one task to its end, whatever that is.

        Args:
            task: As `Packer.pack` has it.
            n_kills: How often its process was killed before, here or on other machines: it begins
                with batches halved so often.
        """
        self._task[0] = task
        self._pool.kills[0] = n_kills  # not what this slot's earlier tasks left there
        work = self._pool.work([0], 1)
        outcome: Any = None
        try:
            while True:
                _, outcome = next(work)
        except StopIteration as end:
            if end.value:
                return Reply(None, end.value[0])
        except AuditError as error:  # its process cannot be started
            outcome = error
        return Reply(outcome if isinstance(outcome, bytes) else pack(outcome))


@dataclasses.dataclass(eq=False)
class Slot:
    """This end of an actor.

    Attributes:
        actor: Its handle.
        pending: What it will answer next: its node's name first, then replies.
        node: The name of its machine, once it has started.
        task: The position of its task, if it has one.
        since: When it was given that task, by `time.monotonic`.
    """

    actor: Any
    pending: Any
    node: str = ""
    task: int | None = None
    since: float = 0.0

    @classmethod
    def open(cls, shared: Any, options: RayOptions, paths: Sequence[str]) -> Slot:
        """Ask for an actor; it starts when some node has room.

        Args:
            shared: `Packer.shared`, in the cluster's object store.
            options: What it takes.
            paths: See `NodeWorker`.
        """
        import ray

        actor = (
            ray.remote(NodeWorker)
            .options(
                num_cpus=options.num_cpus,
                num_gpus=options.num_gpus,
                memory=options.limits.memory,
                max_restarts=0,
                max_task_retries=0,
            )
            .remote(shared, options.limits, list(paths))
        )
        return cls(actor, actor.node.remote())

    @property
    def idle(self) -> bool:
        """Whether it can be given a task."""
        return bool(self.node) and self.task is None

    @property
    def seconds(self) -> float:
        """For how long it has had its task."""
        return time.monotonic() - self.since

    def give(self, position: int, task: bytes, n_kills: int) -> None:
        """Let it run a task; see `NodeWorker.run`."""
        self.task, self.since = position, time.monotonic()
        self.pending = self.actor.run.remote(task, n_kills)

    def close(self) -> None:
        """End the actor and its process at once."""
        import ray

        ray.kill(self.actor, no_restart=True)


def lost_with_node(error: Exception) -> bool:
    """Whether an actor is gone because its node is; Ray says so in words alone."""
    return "node has died" in str(error)


def how_lost(error: Exception, node: str) -> str:
    """Why an actor is gone, in few words.

    Args:
        error: What Ray raised.
        node: The machine it was on.
    """
    words = " ".join(str(error).split())
    found = _CAUSE.search(words)
    why = found[1] if found else words[:200]
    return f"on node {node}: {why}" if node else why
