"""Where Python looks for modules: never in the current folder for that reason alone.

Whoever audits a folder of somebody else's files stands in it, and a `pickle.py` lying there must
not run. `python -m` puts the current folder before everything else, and an empty entry of
`PYTHONPATH` means it, mostly by accident; the command `genaudit` itself does neither. A folder that
`PYTHONPATH` names, and that of the user's own script, stay.
"""

from __future__ import annotations

import os
import sys


def leave_current_folder() -> None:
    """Take the current folder out of the path, where `python -m` has put it first."""
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", _here()):
        del sys.path[0]


def drop_empty_entries() -> None:
    """Take empty entries out of `PYTHONPATH`, for this process and those that it starts."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    named = [entry for entry in entries if entry]
    if not named or len(named) == len(entries):
        return
    os.environ["PYTHONPATH"] = os.pathsep.join(named)
    here = _here()
    if all(os.path.abspath(entry) != here for entry in named):
        sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]


def _here() -> str:
    """The current folder; "" where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""
