"""What a process gives up before it opens a file that may be hostile.

Each of these is a limit of the system, not of Python: code that breaks out of a reader is still
held by them. They are layers, not a wall; see docs/trust.md.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_NOBODY: Final = 65534


def leave_the_network() -> bool:
    """Move this process into a network of its own, without any interface, where that is allowed.

    Returns:
        Whether it was. Where it is not, a confined process still cannot open a socket: see
        `confine`.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None, use_errno=True)
    return any(
        library.unshare(flags) == 0 for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET)
    )


def enter_an_empty_folder() -> None:
    """Work in a folder that is removed already: nothing is found there, and nothing can be made."""
    folder = tempfile.mkdtemp(prefix="genaudit-")
    os.chdir(folder)
    os.rmdir(folder)


def gain_no_privileges() -> None:
    """Let neither this process nor its children gain rights by running a program."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def confine(seconds: int, memory: int, written: int) -> None:
    """Give up all but what is open already; what is lost is lost for good.

    Nothing can be opened afterwards: no file, no socket, no process.

    Args:
        seconds: Of processor time.
        memory: Bytes beyond those that the process has.
        written: Bytes of a file that is written, at most.
    """
    import resource

    held = _address_space()
    if held:
        _limit(resource.RLIMIT_AS, held + memory)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, written)
    if hasattr(resource, "RLIMIT_NPROC"):
        _limit(resource.RLIMIT_NPROC, 0)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    _limit(resource.RLIMIT_NOFILE, 0)
    _become_nobody()
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which resets it


def _limit(what: int, value: int) -> None:
    """Lower a limit for good, as far as it is not lower already."""
    import resource

    _, most = resource.getrlimit(what)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(what, (value, value))


def _address_space() -> int:
    """Bytes that are mapped; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _become_nobody() -> None:
    """Give up the rights of root, who could raise limits again."""
    if os.geteuid() != 0:
        return
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except OSError:  # a container that has one user only
        return


def _prctl(option: int, value: int) -> None:
    """Linux's `prctl`; elsewhere nothing."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
