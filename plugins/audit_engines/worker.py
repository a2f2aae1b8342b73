"""What a worker process does: wait for tasks, run them one at a time, and die with its parent."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing import connection, parent_process
from multiprocessing.reduction import ForkingPickler
from typing import Any

from audit.errors import AuditError, MeasureError

#: Sent once, when the worker can take tasks.
READY = -1

#: How often the task under way halves its batches before it begins: see `audit.network.running`.
HALVINGS = "GENAUDIT_HALVINGS"

#: The signal by which a system takes memory back, as the words for a death name it.
KILLED = "SIGKILL"

#: What pickling raises.
UNPICKLABLE = (pickle.PickleError, TypeError, AttributeError, ValueError, RecursionError)


def serve(function: Callable[[Any], Any], pipe: connection.Connection) -> None:
    """Run tasks from the pipe until it closes: (position, task, number of halvings).

    Sent back is (position, outcome).

    An interrupt from the keyboard reaches the whole process group: only the parent acts on it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    try:
        pipe.send((READY, None))
        while True:
            position, task, n_halvings = pipe.recv()
            os.environ[HALVINGS] = str(n_halvings)
            pipe.send_bytes(message(position, attempt(function, task)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def attempt(function: Callable[[Any], Any], task: Any) -> Any:
    """The function's result, or the exception it raised, with its traceback as a note."""
    try:
        return function(task)
    except Exception as error:  # noqa: BLE001 - here a task's failure becomes its outcome
        if not isinstance(error, AuditError):
            error.add_note("".join(traceback.format_exception(error)))
        return error


def message(position: int, outcome: Any) -> memoryview:
    """The outcome as bytes the parent can read; what cannot be sent becomes a `MeasureError`."""
    try:
        message = ForkingPickler.dumps((position, outcome))
        if isinstance(outcome, Exception):
            ForkingPickler.loads(message)
    except UNPICKLABLE as error:
        if isinstance(outcome, Exception):
            reason = f"{type(outcome).__name__}: {outcome}"
        else:
            reason = f"the result of the task cannot be sent between processes: {error}"
        return ForkingPickler.dumps((position, MeasureError(reason)))
    return message


def _die_with_parent() -> None:
    """End this process at once when its parent is gone, whatever it is doing."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
