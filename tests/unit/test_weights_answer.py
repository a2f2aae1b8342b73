"""What a confined reader hands back is what the file held, within its limits, and is checked."""

import argparse
import io
import json
import struct
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import CheckpointError
from audit.network.weights import _answer
from audit.network.weights._answer import from_plain, plain_content, read_answer, write_answer

PATH = Path("weights.pt")
TYPES = [getattr(torch, name) for name in _answer._TYPES]


def through(tensors, reply=None):
    """What is read of an answer that was written."""
    with tempfile.TemporaryFile() as file:
        write_answer(file, reply or {}, tensors, PATH)
        found = read_answer(file, PATH)
        return found[0], {name: tensor.clone() for name, tensor in found[1].items()}


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_tensors_of_every_type_come_back_bit_for_bit(dtype):
    raw = torch.arange(48, dtype=torch.uint8)
    tensor = raw.view(torch.uint8).bool() if dtype == torch.bool else raw.view(dtype)
    _, found = through({"weight": tensor, "nothing": tensor[:0], "single": tensor[1]})
    assert list(found) == ["weight", "nothing", "single"]
    for name, expected in (("weight", tensor), ("nothing", tensor[:0]), ("single", tensor[1])):
        assert found[name].dtype == dtype
        assert found[name].shape == expected.shape
        assert bits(found[name]) == bits(expected)


def test_views_come_back_as_their_values_in_their_order():
    whole = torch.arange(24.0).reshape(4, 6)
    waves = torch.tensor([1 + 2j, 3 - 1j], dtype=torch.complex64)
    given = {
        "z": whole.T,
        "a": whole[::2, 1:3],
        "conjugated": waves.conj(),
        "negated": waves.conj().imag,
        "empty": torch.zeros(0, 3),
        "also empty": torch.zeros(3, 0),
    }
    _, found = through(given)
    assert list(found) == list(given)
    for name, tensor in given.items():
        torch.testing.assert_close(found[name], tensor.resolve_conj().resolve_neg(), rtol=0, atol=0)


def test_a_tensor_of_several_names_is_written_once():
    weight = torch.rand(1000)
    sizes = []
    for tensors in ({"a": weight}, {"a": weight, "b": weight}, {"a": weight, "b": weight[1:]}):
        file = io.BytesIO()
        write_answer(file, {}, tensors, PATH)
        sizes.append(len(file.getvalue()))
    assert sizes[1] - sizes[0] < 100
    assert sizes[2] - sizes[0] > 3900
    assert torch.equal(through({"a": weight, "b": weight})[1]["b"], weight)


def test_what_is_said_comes_back():
    reply = {"notes": ["é", '"'], "prefix": "", "n": 3, "architecture": None}
    found = through({"w": torch.ones(1)}, reply)[0]
    assert found == {**reply, "names": [["w", 0]]}


def test_types_that_safetensors_has_no_name_for_are_refused():
    with pytest.raises(CheckpointError) as caught:
        through({"w": torch.zeros(1, dtype=torch.complex128)})
    assert str(caught.value) == (
        "checkpoint weights.pt holds tensors of type complex128, which are not read; save the "
        "weights as floating point numbers"
    )


def test_names_without_end_are_refused():
    with pytest.raises(CheckpointError, match="a name of 100001 characters"):
        through({"w" * 100_001: torch.ones(1)})


def forged(header, content=b"\0" * 4):
    """The bytes of an answer with this header."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


SOUND = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 2**60),
        struct.pack("<Q", 100) + b"{}",
        forged({"0": SOUND}),
        forged({"0": SOUND, "__metadata__": {"reply": "{"}}),
        forged({"0": SOUND, "__metadata__": {"reply": "[]"}}),
        forged({"0": SOUND, "__metadata__": {"reply": "{}"}}),
        forged({"0": SOUND, "__metadata__": {"reply": '{"names": [["w", 1]]}'}}),
        forged({"0": SOUND, "__metadata__": {"reply": '{"names": [["w"]]}'}}),
        forged({"0": SOUND, "__metadata__": {"reply": '{"names": 3}'}}),
        forged({"1": SOUND, "__metadata__": {"reply": '{"names": [["w", 0]]}'}}),
        forged({"0": SOUND, "__metadata__": {"reply": '{"names": [["w", 0]]}'}}, b""),
    ],
)
def test_an_answer_that_is_none_is_refused(answer):
    with tempfile.TemporaryFile() as file:
        file.write(answer)
        file.flush()
        with pytest.raises(CheckpointError):
            read_answer(file, PATH)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63) + 1, (1 << 63) - 1)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.dictionaries(st.text() | st.integers(-5, 5), inside, max_size=4)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_plain_content_comes_back_as_it_was(content):
    said = json.loads(json.dumps(plain_content(content)))
    found = from_plain(said)
    assert found == content
    assert repr(found) == repr(content)  # 1, 1.0 and True are not one another


def test_other_objects_are_left_out_of_plain_content():
    content = {
        "args": argparse.Namespace(model="resnet18", lr=0.1),
        "tensor": torch.ones(2),
        "bytes": b"x",
        "large": 1 << 63,
        "tuple": (1, {2, 3}, [4]),
        None: 1,
        True: 2,
        (1, 2): 3,
        1 << 63: 4,
        -3: 5,
        2.5: 6,
    }
    assert from_plain(plain_content(content)) == {
        "args": {"model": "resnet18", "lr": 0.1},
        "tensor": None,
        "bytes": None,
        "large": None,
        "tuple": [1, None, [4]],
        -3: 5,
    }


def nested(depth):
    content = "deep"
    for _ in range(depth):
        content = [content]
    return content


def test_plain_content_is_twenty_deep_at_most():
    assert from_plain(plain_content(nested(20))) == nested(20)
    found = from_plain(plain_content(nested(21)))
    for _ in range(20):
        (found,) = found
    assert found is None


def test_a_mapping_is_as_deep_as_a_list():
    content = nested(19)
    assert from_plain(plain_content({"a": content})) == {"a": content}
    assert "deep" not in json.dumps(plain_content({"a": nested(20)}))


def test_plain_content_ends_where_its_limits_do(monkeypatch):
    monkeypatch.setattr(_answer, "_MAX_VALUES", 20)
    for content in ([None] * 100, [1] * 100, [0.5] * 100, ["a"] * 100, [[]] * 100, [{}] * 100):
        found = from_plain(plain_content(content))
        assert found[:5] == content[:5]
        assert len(found) <= 20
    assert len(from_plain(plain_content({n: n for n in range(100)}))) <= 20
    monkeypatch.setattr(_answer, "_MAX_VALUES", 200_000)
    monkeypatch.setattr(_answer, "_MAX_CONTENT", 1000)
    assert from_plain(plain_content(["a" * 600, "b" * 600])) == ["a" * 600, None]
    assert from_plain(plain_content({"a" * 1001: 1})) == {}


def test_a_list_that_holds_itself_ends():
    content = []
    content.append(content)
    content.append({"self": content})
    assert json.dumps(plain_content(content))


def test_limits_are_for_all_of_a_file():
    names = {f"n{number}": list(range(1000)) for number in range(300)}
    found = from_plain(plain_content(names))
    count = sum(len([v for v in values or () if v is not None]) for values in found.values())
    assert 90_000 < count <= 200_000
