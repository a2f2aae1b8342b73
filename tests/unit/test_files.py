"""Files: where this machine keeps its own, how much is read, and what is said when it fails."""

import errno
import os
import platform
import sys
from pathlib import Path

import pytest
from programs import run_program

from audit import files
from audit.errors import ConfigError, StoreError
from audit.files import (
    NoPlainFileError,
    machine_folder,
    open_plain,
    plain_bytes,
    plain_text,
    refusals_typed,
    remove_leftovers,
    sync_folder,
    unwritable,
    write_atomically,
    writing_atomically,
)


@pytest.fixture
def no_folders(monkeypatch):
    """No variable says where to keep things."""
    for name in ("GENAUDIT_LOCAL", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_this_machine_keeps_its_own_where_the_environment_says(no_folders, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert machine_folder() == tmp_path / "home" / ".cache" / "genaudit"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert machine_folder() == tmp_path / "home" / ".cache" / "genaudit"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert machine_folder() == tmp_path / "caches" / "genaudit"
    monkeypatch.setenv("GENAUDIT_LOCAL", str(tmp_path / "local"))
    assert machine_folder() == tmp_path / "local"


def test_without_a_home_it_says_how_to_name_one(no_folders, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(ConfigError, match=r"there is no home folder .*--cache FOLDER"):
        machine_folder()


def test_texts_up_to_64_mebibytes_are_read_and_tables_up_to_4_gibibytes(tmp_path):
    """The file has holes, so that it costs no disk."""
    path = tmp_path / "text"
    path.touch()
    os.truncate(path, 64 << 20)
    assert len(plain_bytes(path)) == 64 << 20
    os.truncate(path, (64 << 20) + 1)
    for read in (plain_bytes, plain_text):
        with pytest.raises(OSError, match="it has more than 67,108,864 bytes") as caught:
            read(path)
        assert caught.value.errno == errno.EFBIG
        assert caught.value.filename == str(path)
    assert files.MOST_IN_TABLE == 4 * 2**30


def test_a_file_of_any_size_is_read_where_no_limit_is_given(tmp_path):
    path = tmp_path / "entry"
    path.touch()
    os.truncate(path, (64 << 20) + 1)
    assert len(plain_bytes(path, None)) == (64 << 20) + 1
    assert plain_bytes(path, (64 << 20) + 1)[:1] == b"\0"


def test_what_is_no_plain_file_says_which_kind_it_is(tmp_path):
    with pytest.raises(NoPlainFileError) as caught:
        open_plain(tmp_path)
    assert caught.value.errno == errno.EISDIR
    assert caught.value.filename == str(tmp_path)
    with pytest.raises(NoPlainFileError, match="it is no plain file") as caught:
        open_plain(Path(os.devnull))
    assert caught.value.errno == errno.EINVAL


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    code = "import sys; from pathlib import Path; from audit.files import open_plain; "
    code += "open_plain(Path(sys.argv[1]))"
    ended = run_program(
        [sys.executable, "-c", code, str(tmp_path / "pipe")], check=False, timeout=60
    )
    assert "NoPlainFileError" in ended.stderr


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks into /proc")
def test_what_is_refused_is_closed_and_nothing_is_left_to_children(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(NoPlainFileError):
            open_plain(tmp_path)
    sync_folder(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
    (tmp_path / "file").write_bytes(b"")
    with open_plain(tmp_path / "file") as file:
        assert not os.get_inheritable(file.fileno())


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_not_seen_before_it_is_whole(tmp_path):
    path = tmp_path / "below" / "file"
    with writing_atomically(path) as file:
        file.write(b"content")
        assert not path.exists()
        [temporary] = names_in(path.parent)
        assert temporary.startswith(".")
        assert temporary.endswith(".tmp")
        assert str(os.getpid()) in temporary
    assert names_in(path.parent) == ["file"]
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail():
        with writing_atomically(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        fail()
    assert names_in(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


def test_what_cannot_be_written_says_so_with_and_without_the_bytes(tmp_path):
    error = OSError(errno.ENOSPC, "No space left on device")
    assert str(unwritable(tmp_path, 0, error)) == (
        f"{tmp_path} cannot be written (0 bytes): No space left on device; "
        "free space there or choose another folder"
    )
    assert "written: out of order;" in str(unwritable(tmp_path, None, OSError("out of order")))
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(StoreError, match="cannot be written: "),
        writing_atomically(tmp_path / "file" / "x"),
    ):
        pass


def ended_process():
    """The number of a process that is gone."""
    return int(run_program([sys.executable, "-c", "import os; print(os.getpid())"]).stdout)


def test_only_temporary_files_of_ended_processes_of_this_machine_are_removed(tmp_path, monkeypatch):
    write_atomically(tmp_path / "kept", b"")
    with writing_atomically(tmp_path / "x"):
        [living] = [name for name in names_in(tmp_path) if name.endswith(".tmp")]
        machine, number, rest = living.split("-")
        assert number == str(os.getpid())
        gone = str(ended_process())
        orphan = f"{machine}-{gone}-{rest}"
        huge = f"{machine}-{10**30}-{rest}"
        stays = [
            living,
            f"{machine}-{gone}-{rest}.txt",
            f"{machine}-no number-{rest}",
            f".00000000-{gone}-{rest}",
            f"{machine[1:]}-{gone}-{rest}",
        ]
        for name in (orphan, huge, *stays[1:]):
            (tmp_path / name).write_bytes(b"")
        remove_leftovers(tmp_path)
        assert names_in(tmp_path) == sorted(["kept", *stays])
        monkeypatch.setattr(platform, "node", lambda: "another machine")
        (tmp_path / orphan).write_bytes(b"")
        remove_leftovers(tmp_path)
        assert (tmp_path / orphan).exists()
    remove_leftovers(tmp_path / "not there")


def test_a_process_of_somebody_else_lives(monkeypatch):
    def refused(process, number):
        assert number == 0
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refused)
    assert files._lives(1)


def test_refusals_that_name_a_file_are_typed_and_others_are_not(tmp_path):
    with (
        pytest.raises(StoreError, match=r"none cannot be read or written: No such file or dir"),
        refusals_typed(),
    ):
        (tmp_path / "none").read_bytes()
    with pytest.raises(BrokenPipeError), refusals_typed():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    error = OSError()
    error.filename = b"a"
    with (
        pytest.raises(StoreError, match=r"^a cannot be read or written: .*; repair the folder"),
        refusals_typed(),
    ):
        raise error
