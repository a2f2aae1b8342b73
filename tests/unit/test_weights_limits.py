"""Each limit of a weights file holds at its very edge: what docs/trust.md says is read, no more."""

import json
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch

from audit import shown
from audit.errors import CheckpointError
from audit.network.weights import _limits, _shards, _snapshot, _torch_archive
from audit.network.weights._choice import choose_weights, dense_tensors
from audit.network.weights._limits import bounded, listed, reading_limits
from audit.network.weights._safetensors import check_header, header_end
from audit.network.weights._shards import INDEX_ENDING, is_index, shards_of
from audit.network.weights._snapshot import check_size

PATH = Path("w")
MEBIBYTE = 1 << 20
DOCS = Path(__file__).parents[2] / "docs" / "trust.md"


def refusal(call, *given):
    """Why something is refused."""
    with pytest.raises(CheckpointError) as caught:
        call(*given)
    return str(caught.value)


def test_limits_are_those_that_the_documentation_gives():
    table = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", DOCS.read_text("utf-8"), re.MULTILINE))
    assert table["tensors, archive entries"] == f"{_limits.MAX_TENSORS:,}"
    assert table["safetensors header, index"] == f"{_limits.MAX_HEADER_BYTES // MEBIBYTE} MiB"
    assert table["`data.pkl`"] == f"{_limits.MAX_PICKLE_BYTES // MEBIBYTE} MiB"
    assert table["name of a tensor"] == f"{_limits.MAX_NAME:,} characters"
    assert table["message or note that quotes it"] == f"{_limits.MAX_MESSAGE:,} characters"
    limits = reading_limits(2 << 30)
    assert limits.cpu_s == 4 + 16 + 20
    assert limits.wall_s == 5 * limits.cpu_s
    assert limits.memory == 512 * MEBIBYTE + (8 << 30)
    assert limits.written == 32 * MEBIBYTE + (8 << 30)
    assert reading_limits(0).cpu_s == 4
    assert reading_limits(0, trusted=True).cpu_s == 64
    assert reading_limits(2 * MEBIBYTE).cpu_s == 6  # 5.02, rounded up


@pytest.mark.parametrize("n", [0, 1, 9, 10, 11, 12])
def test_lists_name_ten_and_count_the_others(n):
    names = [f"n{number}" for number in range(n)]
    more = f" and {n - 10} more" if n > 10 else ""
    assert listed(names) == ", ".join(names[:10]) + more


def test_messages_are_as_long_as_allowed():
    assert bounded("x" * 4096) == "x" * 4096
    assert len(bounded("x" * 4097)) <= 4096
    assert bounded("x" * 4097) == shown.bounded("x" * 4097, 4096)


def index_of(shards):
    return json.dumps({"weight_map": shards}).encode()


def test_an_index_has_tensors_shards_and_names_up_to_its_limits(monkeypatch):
    monkeypatch.setattr(_shards, "MAX_TENSORS", 5)
    monkeypatch.setattr(_shards, "_MAX_SHARDS", 3)
    fitting = {f"t{number}": f"s{number % 3}" for number in range(5)}
    assert shards_of(index_of(fitting), PATH) == {
        "s0": ["t0", "t3"],
        "s1": ["t1", "t4"],
        "s2": ["t2"],
    }
    assert "6 tensors exceeds the limit of 5" in refusal(
        shards_of, index_of({**fitting, "t5": "s0"}), PATH
    )
    many = {f"t{number}": f"s{number}" for number in range(4)}
    assert "4 shards exceeds the limit of 3" in refusal(shards_of, index_of(many), PATH)
    name = "é" * 127 + "x"
    assert list(shards_of(index_of({"t": name}), PATH)) == [name]
    assert "a shard's name of 129 letters exceeds the limit of 255" in refusal(
        shards_of, index_of({"t": name + "y"}), PATH
    )
    content = index_of({"t": "s"})
    monkeypatch.setattr(_shards, "MAX_HEADER_BYTES", len(content))
    assert shards_of(content, PATH) == {"s": ["t"]}
    assert "an index of" in refusal(shards_of, content + b" ", PATH)


def test_an_index_is_known_by_its_ending():
    assert is_index(Path("a/model.safetensors.index.json"))
    assert is_index(Path("x" + INDEX_ENDING))
    assert not is_index(Path("model.safetensors.index.json/x"))


@pytest.mark.parametrize("name", ["", ".", "..", "/s", "a/s", "../s", "a\\s", "a\0s"])
def test_shards_lie_beside_their_index(name):
    said = refusal(shards_of, index_of({"t": "fine", "u": name}), PATH)
    assert f"its index names the shard {name!r}, and shards must be files beside" in said


def test_a_header_is_as_long_as_allowed_and_within_its_file():
    most = 16 * MEBIBYTE
    assert header_end(most.to_bytes(8, "little"), most + 8, PATH) == most + 8
    assert f"a safetensors header of {most + 1} bytes exceeds" in refusal(
        header_end, (most + 1).to_bytes(8, "little"), 1 << 40, PATH
    )
    said = refusal(header_end, (100).to_bytes(8, "little"), 107, PATH)
    assert "at least 108 bytes expected, 107 found" in said


def head_of(entries):
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


def test_a_header_has_tensors_and_names_up_to_their_limits(monkeypatch):
    monkeypatch.setattr("audit.network.weights._safetensors.MAX_TENSORS", 2)
    one = {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}
    head = head_of({"a": one, "b": {**one, "data_offsets": [3, 6]}, "__metadata__": {"c": "d"}})
    check_header(head, len(head) + 6, PATH)
    for size in (len(head) + 5, len(head) + 7):
        said = refusal(check_header, head, size, PATH)
        assert f"{len(head) + 6} bytes expected, {size} found" in said
    head = head_of(dict.fromkeys("abc", one))
    assert "3 tensors exceeds the limit of 2" in refusal(check_header, head, len(head) + 3, PATH)
    head = head_of({"n" * 4096: one})
    check_header(head, len(head) + 3, PATH)
    head = head_of({"n" * 4097: one})
    assert "a name of 4097 characters exceeds the limit of 4096" in refusal(
        check_header, head, len(head) + 3, PATH
    )
    head = head_of({})
    check_header(head, len(head), PATH)


def test_an_archive_has_entries_up_to_its_limit(tmp_path, monkeypatch):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(2)}, path)
    data = path.read_bytes()
    n_entries = len(_torch_archive.Archive(data, 1000).records)
    monkeypatch.setattr(_torch_archive, "MAX_TENSORS", n_entries)
    _torch_archive.checked_pickle(data, path)
    monkeypatch.setattr(_torch_archive, "MAX_TENSORS", n_entries - 1)
    assert f"{n_entries} archive entries exceeds the limit of {n_entries - 1}" in refusal(
        _torch_archive.checked_pickle, data, path
    )
    monkeypatch.setattr(_torch_archive, "MAX_TENSORS", 1000)
    pickled = _torch_archive.unchecked_pickle(data)
    monkeypatch.setattr(_torch_archive, "MAX_PICKLE_BYTES", len(pickled))
    _torch_archive.read_torch_archive(data, path)
    monkeypatch.setattr(_torch_archive, "MAX_PICKLE_BYTES", len(pickled) - 1)
    assert f"exceeds the limit of {len(pickled) - 1}" in refusal(
        _torch_archive.read_torch_archive, data, path
    )


def test_files_are_read_up_to_half_of_the_memory(monkeypatch):
    monkeypatch.setattr(_snapshot, "_memory", lambda: 2001)
    check_size(1000, PATH)
    assert "its 1001 bytes exceeds the limit of 1000 (half the memory" in refusal(
        check_size, 1001, PATH
    )
    monkeypatch.setattr(_snapshot, "_memory", lambda: 0)
    check_size(1 << 60, PATH)


def test_tensors_take_four_times_the_file_at_most():
    base = torch.zeros(100)
    assert set(dense_tensors({"a": base}, PATH, 100, [])) == {"a"}
    assert "tensors of 400 bytes in all exceeds the limit of 396" in refusal(
        dense_tensors, {"a": base}, PATH, 99, []
    )
    # a storage that is shared by few names is counted once, and by many for each of them
    shared = {f"t{number}": base for number in range(64)}
    assert len(dense_tensors(shared, PATH, 100, [])) == 64
    shared["t64"] = base
    assert f"tensors of {65 * 400} bytes in all" in refusal(dense_tensors, shared, PATH, 100, [])
    halves = {"a": base[:50], "b": base[50:]}
    assert len(dense_tensors(halves, PATH, 100, [])) == 2
    assert "a of 1600 bytes exceeds the limit of 400" in refusal(
        dense_tensors, {"a": base.expand(4, 100)}, PATH, 1000, []
    )


def test_state_dicts_are_looked_for_five_deep():
    def nested(depth):
        found = {"a": torch.ones(1)}
        for _ in range(depth):
            found = {"state_dict": found}
        return found

    chosen = choose_weights(nested(4), PATH, "auto", "torch", 100)
    assert set(chosen.state_dict) == {"a"}
    assert len(chosen.notes) == 4
    with pytest.raises(CheckpointError):
        choose_weights(nested(6), PATH, "auto", "torch", 100)


def test_a_sound_file_is_far_from_every_limit(tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({"a": torch.ones(3)}, path)
    data = path.read_bytes()
    check_header(data[: header_end(data, len(data), path)], len(data), path)


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        b'"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
        b'{"a":{"dtype":"U8","dtype":"I8","shape":[2],"data_offsets":[0,2]}}',
    ],
)
def test_a_header_that_has_a_name_twice_is_refused(header):
    head = len(header).to_bytes(8, "little") + header
    said = refusal(check_header, head, len(head) + 2, PATH)
    assert re.search(r"the key '(a|dtype)' is there twice in one object", said)
