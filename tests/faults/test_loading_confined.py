"""The process that opens torch archives: what it cannot do, and that nothing it does ends a run."""

import io
import os
import pickle
import signal
import textwrap
import time
import zipfile

import pytest
import torch

from audit.errors import CheckpointError
from audit.network.weights import _confined, read_torch_content, read_weights
from audit.network.weights._limits import reading_limits
from audit.network.weights._server import send
from audit.network.weights._snapshot import shared_file

pytestmark = pytest.mark.skipif(not _confined.CONFINES, reason="needs fork and limits")


def archive(pickled):
    """A whole archive around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a/data.pkl", pickled)
        file.writestr("a/version", "3\n")
    return buffer.getvalue()


def key_whose_hash_never_ends(depth=60):
    """A dictionary with a key of nested tuples: each level is hashed twice."""
    parts = [b"\x80\x02)q\x00"]
    parts += [b"h%ch%c\x86q%c" % (level, level, level + 1) for level in range(depth)]
    parts.append(b"}h%cK\x01s." % depth)
    return b"".join(parts)


def limited(monkeypatch, **changed):
    """Every file is read under other limits."""

    def limits(size, trusted=False):
        return reading_limits(size).__class__(**(vars(reading_limits(size)) | changed))

    monkeypatch.setattr(_confined, "reading_limits", limits)


@pytest.mark.parametrize("changed", [{"cpu_s": 1}, {"cpu_s": 60, "wall_s": 1.0}])
def test_row_06_a_reader_that_never_ends_is_a_refusal(tmp_path, monkeypatch, changed):
    path = tmp_path / "w.pth"
    path.write_bytes(archive(key_whose_hash_never_ends()))
    assert path.stat().st_size < 1000
    limited(monkeypatch, **changed)
    with pytest.raises(
        CheckpointError, match=r"reading it exceeds the limit of \d+ seconds of pro"
    ):
        read_weights(path)
    torch.save({"a": torch.ones(2)}, path)
    assert read_weights(path).state_dict["a"].tolist() == [1, 1]


def served(code, **changed):
    """How a reader ends that runs this code once it is confined; what it wrote."""
    program = textwrap.dedent(code)
    limits = reading_limits(0)
    server = _confined._server
    request = {"path": "w", "job": "weights", "which": "auto", "code": program}
    request |= vars(limits) | changed
    with shared_file() as source, shared_file() as answer:
        source.write(program.encode())
        source.flush()
        ended = server.serve(request, (source.fileno(), answer.fileno()), limits)
        answer.seek(0)
        return ended, answer.read().decode("utf-8", "replace")


@pytest.fixture(scope="module", autouse=True)
def _reader_of_programs():
    """A server whose readers run what they are given, as a hole in torch would let a file do."""
    boot = _confined._BOOT.replace(
        "from audit.network.weights._server import main",
        "from audit.network.weights import _server\n"
        "from audit.network.weights._server import main\n"
        "real = _server.read_job\n"
        "def job(request, data, *unblocked):\n"
        "    if 'code' not in request: return real(request, data, *unblocked)\n"
        "    said = []\n"
        "    exec(request['code'], {'say': said.append})\n"
        "    return {'said': said}, {}\n"
        "_server.read_job = job",
    )
    patch = pytest.MonkeyPatch()
    _confined._server.stop()
    patch.setattr(_confined, "_BOOT", boot)
    yield
    patch.undo()
    _confined._server.stop()


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_row_06_a_reader_that_crashes_is_named_by_its_signal(tmp_path, monkeypatch, name):
    number = getattr(signal, name)
    ended, _ = served(f"import os; os.kill(os.getpid(), {int(number)})")
    assert ended == {"end": "signal", "signal": number}
    with pytest.raises(CheckpointError) as caught:
        _confined._check_end(ended, tmp_path / "w", reading_limits(0))
    assert str(caught.value) == (
        f"checkpoint {tmp_path / 'w'} is refused: it crashed its reader ({name}); save it again "
        "with safetensors.torch.save_file(model.state_dict(), path)"
    )


CANNOT = {
    "open a file": "open('/etc/hostname')",
    "make a file": "open('canary', 'w')",
    "make a folder": "__import__('os').mkdir('canary')",
    "open a socket": "__import__('socket').socket()",
    "start a program": "__import__('subprocess').run(['true'])",
    "raise its limits": "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (9, 9))",
    "take 8 GB": "bytearray(8 << 30)",
}


@pytest.mark.parametrize("what", CANNOT)
def test_a_reader_cannot(what):
    code = f"""
    try:
        {CANNOT[what]}
        say("done")
    except BaseException as error:
        say(type(error).__name__)
    """
    ended, wrote = served(code, memory=1 << 30)
    assert ended == {"end": "exit", "code": 0}
    assert "done" not in wrote
    assert "Error" in wrote


def test_a_reader_writes_no_more_than_its_limit():
    ended, wrote = served("say('x' * 100_000)", written=10_000)
    assert ended == {"end": "exit", "code": 0}
    assert len(wrote) <= 10_000
    assert "its reader ended with OSError" in wrote


def test_a_reader_has_neither_files_nor_secrets_of_ours():
    code = """
    import os
    say(sorted(os.environ))
    held = []
    for number in range(64):
        try:
            os.fstat(number)
            held.append(number)
        except OSError:
            pass
    say(len(held))
    """
    _, wrote = served(code)
    assert "OMP_NUM_THREADS" in wrote
    assert not {"PYTHONPATH", "HOME", "USER"} & set(wrote.replace('\\"', '"').split('"'))
    assert ", 7]" in wrote  # the three standard ones, the file and its mapping, the answer, a pipe


def test_a_forked_process_has_a_server_of_its_own(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(2)}, path)
    read_weights(path)
    before = _confined._server._process.pid
    child = os.fork()
    if not child:
        os._exit(0 if _confined._server._process is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    read_weights(path)
    assert _confined._server._process.pid == before


def test_plain_content_is_handed_back_without_objects(tmp_path):
    path = tmp_path / "w.pth"
    names = {0: "cat", 1: "dog"}
    content = {"idx_to_class": names, "classes": ("a", "b"), "epoch": 3, "lr": 0.5, "ok": True}
    torch.save({**content, "state_dict": {"w": torch.ones(2)}, "big": 1 << 80}, path)
    found = read_torch_content(path)
    assert found == {**content, "classes": ["a", "b"], "state_dict": {"w": None}, "big": None}


def test_tensors_come_back_as_they_were(tmp_path):
    path = tmp_path / "w.pth"
    base = torch.arange(12, dtype=torch.float64).reshape(3, 4)
    state = {
        "transposed": base.t(),
        "view": base[1],
        "tied": base,
        "again": base,
        "half": torch.ones(3, dtype=torch.bfloat16),
        "flag": torch.tensor([True, False, True]),
        "number": torch.tensor(5),
        "none": torch.zeros(0, 4),
        "complex": torch.tensor([1 + 2j], dtype=torch.complex64),
        "a name \ud800": torch.ones(1),
    }
    torch.save(state, path)
    found = read_weights(path).state_dict
    assert list(found) == list(state)
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_what_readers_import_late_is_there_already(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {"a": torch.ones(1)}, "blob": bytes(range(256)), "n": 1 << 70}, path)
    assert set(read_weights(path).state_dict) == {"a"}


def test_a_message_that_quotes_a_file_is_bounded(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"x" * 1_000_000: "no tensor"}, path)
    with pytest.raises(CheckpointError, match="must hold tensors by name") as caught:
        read_weights(path)
    assert len(str(caught.value)) < 5000


def test_long_names_of_tensors_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"x" * 5000: torch.ones(1)}, path)
    with pytest.raises(
        CheckpointError, match="a name of 5000 characters exceeds the limit of 4096"
    ):
        read_weights(path)


def test_files_larger_than_memory_and_no_files_are_refused_at_once(tmp_path):
    path = tmp_path / "w.pth"
    with path.open("wb") as file:
        file.write(b"PK\3\4")
        file.truncate(1 << 43)
    with pytest.raises(CheckpointError, match=r"memory of this machine"):
        read_weights(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="is no plain file; copy it to one"):
        read_weights(tmp_path / "pipe")


def test_pickles_of_objects_stay_outside(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(archive(pickle.dumps({"a": 1}, protocol=2)))
    with pytest.raises(CheckpointError, match="must hold tensors by name; found a"):
        read_weights(path)


def test_the_server_and_its_reader_end_with_the_process_that_asked():
    server = _confined._server
    served("say(1)")
    process = server._process
    request = {"path": "w", "code": "import time; time.sleep(100)", **vars(reading_limits(0))}
    with shared_file() as source, shared_file() as answer:
        source.write(b"x")
        source.flush()
        send(server._control, request, (source.fileno(), answer.fileno()))
        time.sleep(0.5)
        server._control.close()  # as the system does when a process dies
        assert process.wait(timeout=30) == 0
    server.stop()
