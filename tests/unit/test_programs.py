"""What tests start ends with them: the helper does as it says, and every test uses it."""

import ast
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import pytest
from programs import end_everything, run_program, start_program

TESTS = Path(__file__).parents[1]

#: Starts a program that would live on, says its number, and goes on itself.
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def ends_soon(pid):
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


def test_programs_end_with_what_they_started_and_their_pipes_are_closed():
    program = start_program([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE)
    child = int(program.stdout.readline())
    assert is_alive(child)
    end_everything()
    assert program.returncode == -9
    assert program.stdout.closed
    assert ends_soon(child)


def test_programs_that_take_too_long_end_with_what_they_started(tmp_path):
    told = tmp_path / "child"
    code = FAMILY.replace(
        "print(child.pid, flush=True)", "open(sys.argv[1], 'w').write(str(child.pid))"
    )
    with pytest.raises(subprocess.TimeoutExpired):
        run_program([sys.executable, "-c", code, told], timeout=2)
    assert ends_soon(int(told.read_text()))


def test_programs_that_fail_show_what_they_said():
    code = "import sys; print('here'); print('there', file=sys.stderr); sys.exit(3)"
    with pytest.raises(AssertionError, match=r"ended with 3\nhere\n\nthere\n"):
        run_program([sys.executable, "-c", code])


def test_processes_of_multiprocessing_end_with_the_test():
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    process.start()
    end_everything()
    assert process.exitcode == -9
    process.close()


def test_every_test_starts_programs_by_the_helper():
    for path in sorted(TESTS.rglob("*.py")):
        if path.name == "programs.py":
            continue
        called = [
            node.func
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        ]
        found = {
            func.attr
            for func in called
            if isinstance(func.value, ast.Name) and func.value.id == "subprocess"
        }
        assert not found, f"{path} calls subprocess.{found}: use tests/programs.py"
