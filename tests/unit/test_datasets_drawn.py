"""Shapes, textures and sounds: what is drawn, by name and seed, and what is held out."""

import numpy as np
import pytest

import audit_datasets
from audit.conformance import check_dataset
from audit.errors import ConfigError
from audit.plugin.registry import Registry
from audit_datasets._drawn import drawn_split, grey_picture, named_generator

REGISTRY = Registry({"datasets": audit_datasets})
DRAWN = ("shapes", "sounds", "textures")
#: The styles of the two splits.
STYLES = {
    "shapes": ({"filled", "outlined"}, {"dashed", "hatched"}),
    "sounds": ({"register-0", "register-2"}, {"register-1", "register-3"}),
    "textures": ({"scale-1", "scale-3", "scale-5"}, {"scale-2", "scale-4"}),
}


def opened(name, split="train", **options):
    return REGISTRY.dataset(name).open(split, options)


def pixels(split):
    return np.stack([np.asarray(split.load(index)) for index in range(len(split.labels))])


def styles(split):
    return {name.split("/")[1] for name in split.sample_ids}


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_datasets_keep_the_contract(name):
    split = check_dataset(REGISTRY.dataset(name), {"per_class": 2})
    assert len(split.class_names) == 12
    assert np.bincount(split.labels).tolist() == [2] * 12
    image = split.load(0)
    assert (image.mode, image.size) == ("L", (32, 32))


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_datasets_hold_out_styles(name):
    train, held_out = opened(name, per_class=6), opened(name, "held_out", per_class=6)
    assert (styles(train), styles(held_out)) == STYLES[name]
    assert len(np.unique(np.concatenate([pixels(train), pixels(held_out)]), axis=0)) == 144


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawing_is_decided_by_its_name_and_the_seed(name):
    few, many = opened(name, per_class=2), opened(name, per_class=3)
    place = {sample: index for index, sample in enumerate(many.sample_ids)}
    for index, sample in enumerate(few.sample_ids):
        assert few.digest(index) == many.digest(place[sample])
    other = opened(name, per_class=2, seed=1)
    assert other.sample_ids == few.sample_ids
    assert all(few.digest(index) != other.digest(index) for index in range(24))


@pytest.mark.parametrize("name", DRAWN)
def test_clutter_and_side_change_a_drawing(name):
    plain, cluttered = opened(name, per_class=1, clutter=0), opened(name, per_class=1, clutter=1)
    assert all(plain.digest(index) != cluttered.digest(index) for index in range(12))
    assert opened(name, per_class=1, side=20).load(3).size == (20, 20)


@pytest.mark.parametrize("name", DRAWN)
def test_every_class_has_contrast(name):
    for split in ("train", "held_out"):
        drawn = pixels(opened(name, split, per_class=3))
        assert drawn.std(axis=(1, 2)).min() > 8


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sides": 32},
            "unknown option 'sides'; did you mean 'side'? "
            "the options of {} are side, per_class, seed, clutter",
        ),
        ({"side": 8}, "{}: side must be a whole number from 16 on; found 8"),
        ({"per_class": 0}, "{}: per_class must be a whole number from 1 on; found 0"),
        ({"per_class": 2.0}, "{}: per_class must be a whole number from 1 on; found 2.0"),
        ({"seed": -1}, "{}: seed must be a whole number from 0 on; found -1"),
        ({"seed": True}, "{}: seed must be a whole number from 0 on; found True"),
        ({"clutter": 1.5}, "{}: clutter must be from 0 to 1; found 1.5"),
        ({"clutter": "much"}, "{}: clutter must be from 0 to 1; found 'much'"),
    ],
)
def test_drawn_datasets_explain_options_they_cannot_use(name, options, message):
    with pytest.raises(ConfigError) as caught:
        opened(name, **options)
    assert str(caught.value) == message.format(name)


def test_styles_take_turns_and_reach_the_drawing():
    seen = []

    def draw(name, style, rng, side, clutter):
        seen.append((name, style, side, clutter))
        return rng.random((side, side))

    turns = {"train": ("a", "b"), "held_out": ("c",)}
    options = {"per_class": 3, "side": 16, "clutter": 1}
    split = drawn_split("toy", "train", options, ("x", "y"), turns, draw)
    assert split.sample_ids == ("x/a/0", "x/b/0", "x/a/1", "y/a/0", "y/b/0", "y/a/1")
    image = np.asarray(split.load(4))
    assert seen == [("y", "b", 16, 1.0)]
    expected = named_generator(0, "y/b/0").random((16, 16))
    assert np.array_equal(image, np.asarray(grey_picture(expected)))


def test_grey_levels_outside_of_black_and_white_are_cut_off():
    picture = grey_picture(np.array([[-1.0, 0.0], [0.5, 2.0]]))
    assert np.asarray(picture).tolist() == [[0, 0], [128, 255]]


def outlines(shape):
    from audit_datasets.shapes import _outlines

    return _outlines(shape)


def test_shapes_differ_and_lie_around_the_unit_circle():
    from audit_datasets.shapes import CLASSES

    for shape in CLASSES:
        reach = max(np.linalg.norm(outline, axis=1).max() for outline in outlines(shape))
        assert 0.9 < reach < 1.4, shape
    assert len({np.concatenate(outlines(shape)).tobytes() for shape in CLASSES}) == 12


def test_a_filled_shape_covers_its_area():
    from audit_datasets.shapes import _cover

    rng = np.random.default_rng(0)
    for shape, area in (("square", 2.0), ("ring", 0.75 * np.pi), ("ellipse", 0.6 * np.pi)):
        placed = [64 + 40 * outline for outline in outlines(shape)]
        cover = _cover(placed, "filled", rng, 128)
        assert cover.sum() == pytest.approx(area * 1600, rel=0.06), shape
    dashed = _cover(placed, "dashed", rng, 128)
    outlined = _cover(placed, "outlined", rng, 128)
    assert 0.6 < dashed.sum() / outlined.sum() < 0.95


def test_textures_have_their_period_and_direction():
    from audit_datasets.textures import _TEXTURES

    values = _TEXTURES["grain-narrow"](64, 6.0, np.deg2rad(30), np.random.default_rng(0))
    power = np.abs(np.fft.fft2(values - values.mean())) ** 2
    fy, fx = np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64), indexing="ij")
    strongest = np.unravel_index(power.argmax(), power.shape)
    assert np.hypot(fy[strongest], fx[strongest]) == pytest.approx(1 / 6, rel=0.25)
    turn = np.rad2deg(np.arctan2(fy[strongest], fx[strongest])) % 180
    assert turn == pytest.approx(30, abs=15)


def test_brown_noise_falls_faster_with_frequency_than_pink():
    from audit_datasets.textures import _TEXTURES

    def rough(name):
        values = _TEXTURES[name](64, 6.0, 0.0, np.random.default_rng(1))
        return np.diff(values, axis=0).std() / values.std()

    assert rough("brown") < 0.5 * rough("pink")


def test_held_out_textures_have_less_contrast():
    train, held_out = (pixels(opened("textures", s, per_class=5)) for s in ("train", "held_out"))
    assert held_out.std(axis=(1, 2)).mean() < train.std(axis=(1, 2)).mean()


def test_sweeps_rise_and_fall():
    split = opened("sounds", per_class=2, clutter=0)
    loudest = pixels(split)[:, ::-1].argmax(axis=1)  # the band, from low to high
    for name, sign in (("sweep-up", 1), ("sweep-down", -1)):
        for index in np.flatnonzero(split.labels == split.class_names.index(name)):
            assert sign * (loudest[index, 24] - loudest[index, 8]) > 1


def test_held_out_sounds_stand_out_less_from_the_noise():
    train, held_out = (pixels(opened("sounds", s, per_class=4)) for s in ("train", "held_out"))
    assert np.median(held_out.max((1, 2))) < np.median(train.max((1, 2)))
    assert abs(np.median(held_out) - np.median(train)) <= 1
