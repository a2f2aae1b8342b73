"""Glyphs of other scripts than the Latin one, and that Latin ones stay as they were."""

import hashlib

import numpy as np
import pytest

import audit_datasets
from audit.conformance import check_dataset
from audit.errors import ConfigError
from audit.plugin.registry import Registry

matplotlib = pytest.importorskip("matplotlib", reason="glyphs are drawn with its fonts")

from audit_datasets import glyphs  # noqa: E402  (after the skip)

GLYPHS = Registry({"datasets": audit_datasets}).dataset("glyphs")
SCRIPTS = {"Greek": "αβγδεζηθκλμν", "Cyrillic": "бвгдежзиклмн"}


def families(split):
    fonts = {name.split("/")[1] for name in split.sample_ids}
    return {family for family, members in glyphs.FAMILIES.items() if fonts & set(members)}


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_glyphs_of_other_scripts_keep_the_contract(script):
    options = {"letters": SCRIPTS[script], "images_per_font": 1}
    train = check_dataset(GLYPHS, options)
    assert train.class_names == tuple(sorted(SCRIPTS[script]))
    held_out = GLYPHS.open("held_out", options)
    assert not families(train) & families(held_out)
    assert families(train) | families(held_out) == {
        *("dejavu-mono", "dejavu-sans", "dejavu-serif", "stix"),
    }


def test_every_font_that_is_taken_has_every_letter():
    from matplotlib.ft2font import FT2Font

    folder = glyphs._font_folder()
    letters = SCRIPTS["Greek"]
    for split in ("train", "held_out"):
        opened = GLYPHS.open(split, {"letters": letters, "images_per_font": 1})
        for font in {name.split("/")[1] for name in opened.sample_ids}:
            characters = FT2Font(str(folder / f"{font}.ttf")).get_charmap()
            assert all(ord(letter) in characters for letter in letters), font


def test_letters_of_one_font_are_not_drawn_alike():
    split = GLYPHS.open("train", {"letters": SCRIPTS["Cyrillic"], "images_per_font": 1})
    first = {}
    for index, name in enumerate(split.sample_ids):
        letter, font, _ = name.split("/")
        first.setdefault(font, {})[letter] = np.asarray(split.load(index)).tobytes()
    assert all(len(set(drawn.values())) == 12 for drawn in first.values())


def test_letters_that_leave_a_split_without_fonts_are_refused():
    with pytest.raises(ConfigError) as caught:
        GLYPHS.open("train", {"letters": "אבגד"})
    assert str(caught.value) == (
        "glyphs: letters = 'אבגד' leaves a split without fonts: two or more families must have "
        "every letter; these have them all: dejavu-sans; leave out letters that few fonts have"
    )
    with pytest.raises(ConfigError) as caught:
        GLYPHS.open("train", {"letters": "金木"})
    assert str(caught.value) == (
        "glyphs: letters = '木金' leaves a split without fonts: two or more families must have "
        "every letter; these have them all: none; leave out letters that few fonts have"
    )


def test_fonts_are_not_asked_for_ascii_letters(monkeypatch):
    def fail(path):
        raise AssertionError(path)

    monkeypatch.setattr(glyphs, "_code_points", fail)
    split = GLYPHS.open("train", {"letters": "az09"})
    assert families(split) | families(GLYPHS.open("held_out", {})) == set(glyphs.FAMILIES)


@pytest.mark.parametrize(
    ("split", "n", "digest", "brightness"),
    [
        ("train", 864, "1adf456c490e1c49", (10.09, 11.31)),
        ("held_out", 1248, "b33b6349796b71a8", (7.57, 10.2)),
    ],
)
def test_ascii_glyphs_are_what_they_were(split, n, digest, brightness):
    opened = GLYPHS.open(split, {})
    assert len(opened.labels) == n
    names = "\n".join(opened.sample_ids).encode()
    assert hashlib.sha256(names).hexdigest()[:16] == digest
    drawn = [np.asarray(opened.load(index)).mean() for index in (5, n - 5)]
    assert drawn == pytest.approx(brightness, abs=0.5)  # rasterisers differ by little
