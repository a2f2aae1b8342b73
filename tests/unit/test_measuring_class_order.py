"""Orders of classes: how they sort, what settles them, and what is refused."""

import json
import re

import numpy as np
import pytest
from timm.data.readers.reader_image_folder import natural_key

from audit.errors import ConfigError
from audit.measuring.class_order import (
    checked_order,
    differs,
    labels_in,
    named_order,
    natural_order,
    ordered_names,
    plain_order,
    read_class_map,
)

NAMES = ("10", "2", "Bee", "ant", "cat")


def test_natural_order_is_that_of_timm():
    rng = np.random.default_rng(0)
    letters = np.array(list("aAbB019.-_ "))
    for _ in range(200):
        words = {"".join(rng.choice(letters, rng.integers(1, 7))) for _ in range(12)}
        names = list({word.lower(): word for word in words}.values())  # timm leaves ties open
        keys = [tuple(natural_key(name)) for name in natural_order(names)]
        assert keys == sorted(keys)
        assert list(natural_order(names)) == sorted(sorted(names), key=natural_key)


def test_natural_order_takes_superscripts_as_letters():
    assert natural_order(["m²", "m10", "m2"]) == ("m2", "m10", "m²")


def test_orders_differ_only_where_the_training_set_has_one_of_the_usual_ones():
    assert differs(plain_order(NAMES))
    assert differs(natural_order(NAMES))
    assert not differs(("cat", "10", "2", "Bee", "ant"))  # an order of its own
    assert not differs(("a", "b", "c"))
    assert named_order("dataset", ("b", "a")) == ("b", "a")


def test_labels_move_with_the_names():
    labels = np.array([0, 1, 2, 2])
    assert labels_in(("c", "a", "b"), ("a", "b", "c"), labels).tolist() == [1, 2, 0, 0]
    assert labels_in((), ("a", "b", "c"), labels).tolist() == labels.tolist()
    back = labels_in(("a", "b", "c"), ("c", "a", "b"), np.array([1, 2, 0, 0]))
    assert back.tolist() == labels.tolist()
    assert labels_in((), ("a", "b", "c"), labels) is not labels


def test_wrong_names_are_listed():
    with pytest.raises(ConfigError) as caught:
        checked_order(["ant", "ant", "Bees", "x"], NAMES, "class_order")
    assert str(caught.value) == (
        "class_order must name each of the 5 classes of the training set once; it has 4 names; "
        "unknown: 'Bees' (did you mean 'Bee'?), 'x'; missing: '10', '2', 'Bee', 'cat'; given "
        "twice: 'ant'"
    )


def test_many_wrong_names_are_counted():
    with pytest.raises(ConfigError, match=r"'n8', 'n9' and 10 more; missing: 'm0', .*'m9' and 10"):
        checked_order([f"n{k}" for k in range(20)], [f"m{k}" for k in range(20)], "class_order")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (["b", "a"], ["b", "a"]),
        ({"b": 0, "a": 1}, ["b", "a"]),
        ({"0": "b", "1": "a"}, ["b", "a"]),
        ({0: "b", 1: "a"}, ["b", "a"]),
        ({"1": 0, "0": 1}, ["1", "0"]),
        ({"b": 0, "a": 2}, None),
        ({"b": 0, "a": 0}, None),
        ({"b": True, "a": 0}, None),
        ([1, 2], None),
        ([], None),
        ({}, None),
        ("ab", None),
        (None, None),
    ],
)
def test_names_in_order_are_read_off_lists_and_mappings(found, expected):
    assert ordered_names(found) == expected


def read(tmp_path, text, names=NAMES):
    path = tmp_path / "classes.txt"
    path.write_text(text, encoding="utf-8")
    return read_class_map(path, names, "class_order in [dataset]")


def test_class_map_lines_may_end_in_numbers_of_their_own(tmp_path):
    names = ("class 0", "class 1")
    assert read(tmp_path, "class 1\nclass 0\n", names) == ("class 1", "class 0")
    assert read(tmp_path, "class 0 1\nclass 1 0\n", names) == ("class 1", "class 0")


@pytest.mark.parametrize(
    "text",
    [
        "ant\ncat\nBee\n2\n10",
        "\ufeffant\r\ncat\r\n\r\nBee\r\n2\r\n10\r\n",
        "10 4\n2\t3\nBee, 2\ncat;1\nant 0\n",
        json.dumps(["ant", "cat", "Bee", "2", "10"]),
    ],
)
def test_class_maps_of_several_forms_are_read(tmp_path, text):
    assert read(tmp_path, text) == ("ant", "cat", "Bee", "2", "10")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10 4\n2 3\nBee 2\ncat 1\nant 1\n", "must number its 5 classes 0 to 4, each once; found"),
        ("{", "is not valid JSON: Expecting property name enclosed in double quotes: line 1"),
        (
            '{"a": 0.5}',
            "must be a list of names, or map each name to its index from 0; found a dict",
        ),
        ("", "it has 0 names; missing: '10', '2', 'Bee', 'ant', 'cat'"),
    ],
)
def test_class_maps_that_cannot_be_used_are_refused(tmp_path, text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        read(tmp_path, text)


def test_a_class_map_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "classes.pkl"
    path.write_bytes(b"\x80\x04\xff")
    with pytest.raises(ConfigError) as caught:
        read_class_map(path, NAMES, "class_order in [dataset]")
    assert str(caught.value) == (
        f"class_order in [dataset]: the class map {path} cannot be read: it is not UTF-8 text; "
        "write one class name per line, in the order of the network's outputs"
    )
