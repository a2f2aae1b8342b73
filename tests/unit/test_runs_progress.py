"""How far a run is: what is kept of it, and what another terminal is told."""

import json
import os
import sys
import time

import pytest
from click.testing import CliRunner
from programs import run_program

from audit.cli.status import command
from audit.errors import DataError, MeasureError
from audit.runs import progress as module
from audit.runs.progress import Progress, read_progress


def started(folder, names="abcd", refused=None, lengths=None, draw=False):
    lengths = dict.fromkeys(names, 1.0) if lengths is None else lengths
    return Progress(folder, list(names), refused or {}, lengths, draw)


def kept(folder):
    return json.loads((folder / "progress.json").read_text())


def told(folder):
    done = CliRunner().invoke(command, [str(folder)])
    assert done.exit_code == 0, done.exception
    return done.output


@pytest.fixture
def at_once(monkeypatch):
    """Everything is written when it happens."""
    monkeypatch.setattr(module, "_SECONDS_BETWEEN", 0.0)


@pytest.mark.usefixtures("at_once")
def test_progress_counts_what_is_done_and_names_what_is_under_way(tmp_path):
    with started(tmp_path, refused={}, lengths={"b": 1.0, "c": 1.0, "d": 2.0}) as progress:
        assert kept(tmp_path)["running"] is None
        progress.watch({"b": 3.0, "c": 1.0})
        assert [task["checkpoint"] for task in kept(tmp_path)["running"]] == ["b", "c"]
        assert kept(tmp_path)["seconds_left"] is None
        progress.finish("b", "")
        progress.finish("c", "no such file")
        record = read_progress(tmp_path)
        assert record["state"] == "running"
        assert record["alive"] is True
        assert (record["total"], record["finished"], record["failed"]) == (4, 3, 1)
        assert record["last_failures"] == [{"checkpoint": "c", "reason": "no such file"}]
        assert record["running"] == []
        assert 0 <= record["seconds_left"] < 60
    assert read_progress(tmp_path)["state"] == "finished"


def test_time_left_follows_the_expected_lengths(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    with started(tmp_path, "abc", lengths={"a": 6.0, "b": 3.0, "c": 1.0}) as progress:
        assert progress.seconds_left() is None
        now[0] += 60
        progress.finish("a", "")
        assert progress.seconds_left() == pytest.approx(60 * 4 / 6)
        progress.watch({"b": 0.0})
        assert progress.seconds_left() == pytest.approx(60 * 2.5 / 7.5)
        progress.finish("b", "")
        progress.finish("c", "")
        assert progress.seconds_left() == 0


def test_progress_is_written_at_most_once_a_second_and_not_for_nothing(tmp_path, monkeypatch):
    written = []
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(module, "write_atomically", lambda path, content: written.append(content))
    with started(tmp_path) as progress:
        for _ in range(50):
            now[0] += 0.1
            progress.watch({"a": 0.1})
        assert len(written) == 2  # when it started, and when a was begun
        for _ in range(100):
            now[0] += 0.1
            progress.watch({"a": 0.1})
        assert len(written) == 3  # a sign of life
        for name in "abcd":
            progress.finish(name, "")
        assert len(written) == 4
    assert len(written) == 5


def test_a_disk_that_is_full_ends_no_run(tmp_path):
    (tmp_path / "file").write_text("")
    with started(tmp_path / "file" / "below") as progress:
        progress.finish("a", "")


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (KeyboardInterrupt(), "interrupted", ""),
        (SystemExit(143), "interrupted", ""),
        (MeasureError("no worker\nstarts"), "failed", "no worker starts"),
        (ValueError("odd"), "failed", "ValueError: odd"),
    ],
)
def test_what_ends_a_run_is_kept(tmp_path, error, state, reason):
    with pytest.raises(type(error)), started(tmp_path):
        raise error
    assert (kept(tmp_path)["state"], kept(tmp_path)["reason"]) == (state, reason)


def test_failures_are_drawn_as_they_come_in_one_short_line(tmp_path, capsys):
    with started(tmp_path, draw=True) as progress:
        progress.finish("a", "it\nis " + "very " * 100 + "wrong")
    [line] = [line for line in capsys.readouterr().err.splitlines() if "failed: a" in line]
    assert line.startswith("failed: a: it is very very")
    assert len(line) == 200


def test_nothing_is_drawn_when_it_is_quiet(tmp_path, capsys):
    with started(tmp_path) as progress:
        progress.finish("a", "wrong")
    assert capsys.readouterr() == ("", "")


def test_status_of_a_running_run(tmp_path):
    with started(tmp_path, refused={"d": "no file"}, lengths=dict.fromkeys("abc", 1.0)) as progress:
        progress.watch({"a": 42.0})
        progress._write()
        said = told(tmp_path).splitlines()
    assert said[0] == "running: 1 of 4 checkpoints are done, 1 of them failed"
    assert said[1] == "running now    a, for 42 seconds"
    assert said[2] == f"process        {os.getpid()} on {module.socket.gethostname()}, alive"
    assert said[3] == "failed         d: no file"


def test_status_of_a_run_whose_process_is_gone(tmp_path):
    with started(tmp_path):
        record = kept(tmp_path)
    done = run_program([sys.executable, "-c", "import os; print(os.getpid())"])
    for gone in ({"pid": int(done.stdout)}, {"pid_started": record["pid_started"] - 60}):
        (tmp_path / "progress.json").write_text(json.dumps({**record, **gone}))
        assert read_progress(tmp_path)["state"] == "interrupted"
        assert told(tmp_path).startswith("was interrupted at ")
        assert told(tmp_path).endswith(": 0 of 4 checkpoints are done; run again to go on\n")


def test_status_of_a_run_on_another_machine(tmp_path):
    with started(tmp_path):
        record = kept(tmp_path)
    (tmp_path / "progress.json").write_text(json.dumps({**record, "host": "elsewhere", "pid": 1}))
    assert read_progress(tmp_path)["alive"] is None
    assert "on elsewhere, another machine than this one: last heard of" in told(tmp_path)


def test_status_as_json_is_one_document(tmp_path):
    with started(tmp_path) as progress:
        progress.stop("not audited: …")
    done = CliRunner().invoke(command, [str(tmp_path), "--json"])
    record = json.loads(done.output)
    assert record["state"] == "stopped"
    assert record["schema"] == 1
    assert told(tmp_path).startswith("stopped at ")


def test_status_of_folders_without_a_run(tmp_path):
    with pytest.raises(DataError) as error:
        read_progress(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} holds no run (progress.json is missing); `genaudit run CONFIG -o {tmp_path}` "
        "makes one"
    )
    with pytest.raises(DataError, match="absent does not exist; `genaudit run CONFIG -o"):
        read_progress(tmp_path / "absent")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"state": 1}', "[" * 100000, "\xff"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, text):
    (tmp_path / "progress.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"progress\.json cannot be read: .*writes it anew$"):
        read_progress(tmp_path)


def test_status_loads_neither_torch_nor_timm():
    code = (
        "import sys; from audit.runs.progress import read_progress; import audit.cli.status;"
        "print([name for name in ('torch', 'timm', 'psutil') if name in sys.modules])"
    )
    done = run_program([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": _PATH})
    assert done.stdout == "[]\n"


_PATH = os.pathsep.join(filter(None, sys.path))
