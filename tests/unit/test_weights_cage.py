"""Each limit of the confined reader holds by itself, in a process that has entered the cage."""

import json
import os
import sys

import pytest
from programs import run_program

from audit.network.weights import _cage

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the limits tested are those of Linux"
)

MEGABYTE = 2**20
#: Enters the cage with the arguments given, then runs the code given and prints what `said` holds.
PROGRAM = """
import ctypes, importlib.util, json, os, resource, signal, socket, sys, tempfile

spec = importlib.util.spec_from_file_location("cage", sys.argv[1])
cage = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cage)
written = tempfile.TemporaryFile()
ctypes.CDLL(None)
said = {}


def refused(call):
    try:
        call()
    except (OSError, MemoryError) as error:
        return type(error).__name__ + (f" {error.errno}" if isinstance(error, OSError) else "")
    return "nothing"


cage.confine(*json.loads(sys.argv[2]))
exec(sys.argv[3])
print(json.dumps(said))
"""


def in_the_cage(code, seconds=20, memory=64 * MEGABYTE, written=MEGABYTE, check=True):
    """What a process that entered the cage said of itself, and how it ended."""
    given = json.dumps([seconds, memory, written])
    ended = run_program(
        [sys.executable, "-c", PROGRAM, _cage.__file__, given, code], check=check, cwd="/"
    )
    return (json.loads(ended.stdout) if ended.stdout else {}), ended.returncode


def test_limits_are_what_was_asked_for():
    said, _ = in_the_cage(
        "said = {name: resource.getrlimit(getattr(resource, f'RLIMIT_{name}'))"
        " for name in ('AS', 'CORE', 'FSIZE', 'NPROC', 'CPU', 'NOFILE')}"
    )
    space = said.pop("AS")
    assert said == {
        "CORE": [0, 0],
        "FSIZE": [MEGABYTE, MEGABYTE],
        "NPROC": [0, 0],
        "CPU": [20, 21],
        "NOFILE": [0, 0],
    }
    assert space[0] == space[1]
    assert 64 * MEGABYTE < space[0] < 1024 * MEGABYTE


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("lambda: open('/etc/passwd')", "OSError 24"),
        ("lambda: socket.socket()", "OSError 24"),
        ("lambda: os.pipe()", "OSError 24"),
        ("lambda: bytearray(80 * 2**20)", "MemoryError"),
        ("lambda: bytearray(16 * 2**20)", "nothing"),
        ("lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))", "ValueError"),
    ],
)
def test_what_is_refused_is_refused_by_the_system(call, error):
    code = f"try: said = refused({call})\nexcept ValueError: said = 'ValueError'"
    assert in_the_cage(code)[0] == error


def test_no_process_can_be_started():
    said, _ = in_the_cage("said = refused(os.fork)")
    assert said == "BlockingIOError 11"


def test_rights_of_root_are_given_up_for_good():
    said, _ = in_the_cage(
        "said = [*os.getresuid(), *os.getresgid(), len(os.getgroups()),"
        " refused(lambda: os.setuid(0))]"
    )
    if os.geteuid() == 0:
        assert said == [65534] * 6 + [0, "PermissionError 1"]
    else:
        assert said[:3] == [os.getuid()] * 3


def test_a_core_is_not_dumped_and_the_parent_is_not_outlived():
    said, _ = in_the_cage(
        "libc, signalled = ctypes.CDLL(None), ctypes.c_int()\n"
        "libc.prctl(2, ctypes.byref(signalled), 0, 0, 0)\n"
        "said = [libc.prctl(3, 0, 0, 0, 0), signalled.value]"
    )
    assert said == [0, 9]


def test_a_file_that_grows_too_large_is_not_written_further():
    said, _ = in_the_cage(
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "said = refused(lambda: (written.write(bytes(2 * 2**20)), written.flush()))"
    )
    assert said == "OSError 27"


def test_processor_time_ends_it():
    _, code = in_the_cage("while True: pass", seconds=1, check=False)
    assert code == -24  # SIGXCPU


def test_limits_that_are_lower_already_are_not_raised():
    found = "said = resource.getrlimit(resource.RLIMIT_FSIZE)"
    assert in_the_cage(found, written=2**50)[0] == [2**50] * 2
    higher = f"cage._limit(resource.RLIMIT_FSIZE, 2**30)\n{found}"
    assert in_the_cage(higher)[0] == [MEGABYTE] * 2


def test_an_empty_folder_is_entered_and_gone(tmp_path):
    program = PROGRAM.replace(
        "cage.confine(*json.loads(sys.argv[2]))", "cage.enter_an_empty_folder()"
    )
    code = (
        "said = [refused(os.getcwd), refused(lambda: open('x', 'w')),"
        " os.listdir(tempfile.gettempdir())]"
    )
    ended = run_program(
        [sys.executable, "-c", program, _cage.__file__, "", code],
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert json.loads(ended.stdout) == ["FileNotFoundError 2", "FileNotFoundError 2", []]


def test_no_privileges_are_gained_and_no_network_is_there():
    program = PROGRAM.replace(
        "cage.confine(*json.loads(sys.argv[2]))",
        "cage.gain_no_privileges(); said['left'] = cage.leave_the_network()",
    )
    code = (
        "said['prctl'] = ctypes.CDLL(None).prctl(39, 0, 0, 0, 0)\n"
        "said['names'] = [name for _, name in socket.if_nameindex()]"
    )
    ended = run_program([sys.executable, "-c", program, _cage.__file__, "", code])
    said = json.loads(ended.stdout)
    assert said["prctl"] == 1
    assert said["left"] == may_leave_the_network()
    assert not said["left"] or set(said["names"]) <= {"lo", "sit0"}


def may_leave_the_network():
    """Whether the system lets a process make a network of its own, by itself or as another user."""
    code = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(int(sys.argv[1])) != 0)"
    ways = (0x40000000, 0x50000000)
    tries = [run_program([sys.executable, "-c", code, str(way)], check=False) for way in ways]
    return any(ended.returncode == 0 for ended in tries)
