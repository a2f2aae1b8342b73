"""The process that forks readers: what is said to it, and the state in which it serves."""

import io
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from audit.errors import CheckpointError
from audit.network.weights import _confined, _server
from audit.network.weights._answer import from_plain, read_answer
from audit.network.weights._limits import reading_limits
from audit.network.weights._server import read_job, receive, send
from audit.network.weights._snapshot import shared_file

PATH = Path("w.pth")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
confines = pytest.mark.skipif(not _confined.CONFINES, reason="needs fork and limits")


@pytest.fixture
def pair():
    """Both ends of a socket."""
    first, second = socket.socketpair()
    first.settimeout(10)
    second.settimeout(10)
    with first, second:
        yield first, second


@pytest.mark.parametrize("message", [{}, {"path": "a ü \ud800", "n": [1, 2.5, None, True]}])
def test_a_message_comes_as_it_was_sent(pair, message):
    send(pair[0], message)
    assert receive(pair[1], 0) == (message, [])
    send(pair[0], message)
    assert receive(pair[1], 2) == (message, [])


def test_messages_come_one_by_one_however_long_they_are(pair):
    messages = [{"x": "y" * size} for size in (3_000_000, 0, 1 << 20, 17)]
    sender = threading.Thread(target=lambda: [send(pair[0], message) for message in messages])
    sender.start()
    assert [receive(pair[1], 0)[0] for _ in messages] == messages
    sender.join()


def test_open_files_come_with_their_message(pair, tmp_path):
    (tmp_path / "a").write_text("first")
    (tmp_path / "b").write_text("second")
    with open(tmp_path / "a", "rb") as first, open(tmp_path / "b", "rb") as second:
        send(pair[0], {"n": 1}, (first.fileno(), second.fileno()))
    message, handles = receive(pair[1], 2)
    assert message == {"n": 1}
    contents = []
    for handle in handles:
        with open(handle, "rb") as file:
            contents.append(file.read())
    assert contents == [b"first", b"second"]


@pytest.mark.parametrize("most", [0, 2])
@pytest.mark.parametrize("sent", [b"", b"\5\0", b"\5\0\0\0", b"\5\0\0\0{}", struct.pack("<I", 0)])
def test_the_other_side_that_goes_says_nothing(pair, most, sent):
    pair[0].sendall(sent)
    pair[0].close()
    assert receive(pair[1], most) == (None, [])


def test_a_head_that_comes_in_parts_is_put_together(pair):
    data = json.dumps({"a": 1}).encode()
    parts = [struct.pack("<I", len(data))[:1], struct.pack("<I", len(data))[1:], data]

    def slowly():
        for part in parts:
            pair[0].sendall(part)
            time.sleep(0.05)

    sender = threading.Thread(target=slowly)
    sender.start()
    assert receive(pair[1], 2) == ({"a": 1}, [])
    sender.join()


@linux
@confines
def test_a_server_holds_nothing_and_is_not_interrupted(tmp_path, monkeypatch):
    monkeypatch.setenv("A_SECRET", "x")
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(2)}, path)
    with path.open("rb") as file, shared_file() as answer:
        limits = reading_limits(path.stat().st_size)
        request = {"path": str(path), "job": "tensors", "which": "auto", "trusted": False}
        server = _confined._Server()
        try:
            handles = (file.fileno(), answer.fileno())
            ended = server.serve(request | vars(limits), handles, limits)
            assert ended == {"end": "exit", "code": 0}
            assert read_answer(answer, path)[1]["a"].tolist() == [1, 1]
            process = Path("/proc") / str(server._process.pid)
            status = dict(
                line.split(":\t", 1)
                for line in (process / "status").read_text().splitlines()
                if ":\t" in line
            )
            assert os.readlink(process / "cwd").endswith("(deleted)")
            assert status["NoNewPrivs"] == "1"
            assert status["Threads"].strip() == "1"
            ignored = int(status["SigIgn"], 16)
            for number in (signal.SIGINT, signal.SIGHUP):
                assert ignored >> (number - 1) & 1
            assert b"A_SECRET" not in (process / "environ").read_bytes()
            open_files = {os.readlink(place) for place in (process / "fd").iterdir()}
            assert str(path) not in open_files
            assert not any("memfd" in name for name in open_files)
            # neither a signal of a terminal nor a file in between ends it
            os.kill(server._process.pid, signal.SIGINT)
            number = server._process.pid
            answer.truncate(0)
            answer.seek(0)
            assert server.serve(request | vars(limits), handles, limits)["code"] == 0
            assert server._process.pid == number
        finally:
            server.stop()
        assert server._process is None


@confines
def test_a_server_that_ended_is_started_again():
    server = _confined._Server()
    limits = reading_limits(0)
    request = {"path": "w", "job": "tensors", "which": "auto", "trusted": False, **vars(limits)}
    pids = []
    try:
        for _ in range(2):
            with shared_file() as given, shared_file() as answer:
                given.write(b"PK")
                given.flush()
                ended = server.serve(request, (given.fileno(), answer.fileno()), limits)
                assert ended == {"end": "exit", "code": 0}
                assert "refused" in read_answer(answer, PATH)[0]
            pids.append(server._process.pid)
            server._process.kill()
            server._process.wait()
        assert pids[0] != pids[1]
    finally:
        server.stop()


@confines
@pytest.mark.parametrize(
    ("boot", "words"),
    [
        ("raise SystemExit('no library of that name')", "no library of that name"),
        ("pass", "it said nothing"),
        ("print('x' * 999, file=__import__('sys').stderr)", "x" * 300 + r"\)"),
    ],
)
def test_a_server_that_cannot_be_started_says_why(monkeypatch, boot, words):
    monkeypatch.setattr(_confined, "_BOOT", boot)
    server = _confined._Server()
    with pytest.raises(CheckpointError, match=f"could not be started \\({words}"):
        server.serve({}, (0, 1), reading_limits(0))
    assert server._process is None


def watch(pair, seconds, parent=None):
    """Whether a reader ended, and how long that was waited for."""
    reading, writing = os.pipe()
    started = time.monotonic()
    try:
        ended = _server._ended_within(reading, pair[0], seconds, parent or os.getppid())
    finally:
        os.close(reading)
        os.close(writing)
    return ended, time.monotonic() - started


def test_a_reader_is_waited_for_as_long_as_allowed(pair):
    ended, took = watch(pair, 0.3)
    assert not ended
    assert 0.3 <= took < 5


def test_a_reader_whose_asker_is_gone_is_not_waited_for(pair, monkeypatch):
    monkeypatch.setattr(_server, "_LOOK_S", 0.2)
    ended, took = watch(pair, 60, parent=-1)
    assert (ended, took < 10) == (False, True)
    pair[1].close()
    ended, took = watch(pair, 60)
    assert (ended, took < 10) == (False, True)


def test_a_reader_that_ended_is_seen_though_the_asker_is_gone(pair):
    reading, writing = os.pipe()
    os.close(writing)
    pair[1].close()
    assert _server._ended_within(reading, pair[0], 60, os.getppid())
    os.close(reading)


def saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def job(data, name="weights", unblocked=None, which="auto"):
    return read_job({"path": str(PATH), "job": name, "which": which}, data, unblocked)


def test_what_is_read_is_what_was_asked_for():
    data = saved({"epoch": 3, "state_dict": {"module.a": torch.ones(2)}})
    said, tensors = job(data)
    assert set(tensors) == {"a"}
    assert said["prefix"] == "module."
    assert said["unblocked"] == []
    assert any("state_dict" in note for note in said["notes"])
    content, tensors = job(data, "content")
    found = from_plain(json.loads(json.dumps(content["content"])))
    assert (found, tensors) == ({"epoch": 3, "state_dict": {"module.a": None}}, {})
    said, tensors = job(saved({"b": torch.zeros(3)}), "tensors")
    assert (said, list(tensors)) == ({}, ["b"])
    with pytest.raises(CheckpointError):
        job(data, "tensors")


def test_an_architecture_that_is_named_is_handed_back_bounded():
    data = saved({"arch": "resnet18" * 100, "state_dict": {"a": torch.ones(2)}})
    assert job(data)[0]["architecture"] == ("resnet18" * 100)[:200]


def test_a_trusted_file_may_hold_whole_networks():
    network = nn.Linear(2, 1)
    named = [(nn.Linear, "torch.nn.modules.linear.Linear")]
    for content in (network, {"model": network, "epoch": 1}):
        found = _server._state_dicts(content)
        state = found if content is network else found["model"]
        assert set(state) == {"weight", "bias"}
    assert _server._state_dicts(7) == 7
    said, _ = job(saved({"state_dict": {"a": torch.ones(1)}}), unblocked=named * 60)
    assert said["unblocked"] == ["torch.nn.modules.linear.Linear"] * 50


@pytest.mark.parametrize("why", ["it is odd", CheckpointError("checkpoint w.pth is odd")])
def test_a_refusal_takes_the_place_of_what_was_written(why):
    with shared_file() as answer:
        answer.write(b"x" * 1000)
        answer.flush()
        assert _server._refuse(answer.fileno(), {"path": "w.pth"}, why) == 0
        reply, tensors = read_answer(answer, PATH)
    assert tensors == {}
    expected = str(why)
    if isinstance(why, str):
        expected = (
            "checkpoint w.pth is refused: it is odd; save it again with "
            "safetensors.torch.save_file(model.state_dict(), path)"
        )
    assert reply["refused"] == expected
