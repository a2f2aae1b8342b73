"""Class names that look alike are told."""

import pytest

from audit.data.look_alikes import look_alike_notes


@pytest.mark.parametrize(
    "twin", ["c\u0430t", "cat\u200b", "cat ", "Cat", "\u202ecat", "\uff43at", "cat\n", "c\u00adat"]
)
def test_names_that_look_alike_are_told(twin):
    [note] = look_alike_notes(["cat", twin, "dog"])
    assert note == (
        f"the names of the classes 'cat' and {twin!a} look alike: they are taken for "
        "different classes; rename one, or move its images, if they are the same"
    )


def test_accents_written_in_two_ways_look_alike():
    assert look_alike_notes(["caf\u00e9", "cafe\u0301"])


@pytest.mark.parametrize("names", [["cat", "dog"], ["1", "10", "2"], ["cat", "cats"], ["猫", "犬"]])
def test_names_that_differ_are_not(names):
    assert look_alike_notes(names) == []
