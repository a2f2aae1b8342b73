"""Patches of the pictures inside packages: blocks, strips, and what is held out."""

import importlib.util
import itertools
import sys

import numpy as np
import pytest

import audit_datasets
from audit.conformance import check_dataset
from audit.errors import ConfigError, DataError
from audit.plugin.registry import Registry
from audit_datasets import patches

PATCHES = Registry({"datasets": audit_datasets}).dataset("patches")
PACKAGES = {"scikit-learn": "sklearn", "scikit-image": "skimage", "matplotlib": "matplotlib"}
CLASSES = {"scikit-learn": 18, "scikit-image": 16, "matplotlib": 13}


@pytest.fixture(params=sorted(PACKAGES))
def pictures(request):
    if importlib.util.find_spec(PACKAGES[request.param]) is None:
        pytest.skip(f"{request.param} is not installed, whose pictures are read")
    return request.param


def corners(split):
    """Class → left and upper edges of its patches."""
    found = {name: [] for name in split.class_names}
    for sample in split.sample_ids:
        block, place = sample.split("/")
        found[block].append(tuple(map(int, place.split("+"))))
    return found


def test_patches_keep_the_contract(pictures):
    split = check_dataset(PATCHES, {"pictures": pictures, "per_class": 4})
    assert np.bincount(split.labels).tolist() == [4] * CLASSES[pictures]
    image = split.load(0)
    assert (image.mode, image.size) == ("L", (32, 32))


def test_no_held_out_pixel_was_trained_on(pictures):
    train, held_out = (
        corners(PATCHES.open(split, {"pictures": pictures})) for split in ("train", "held_out")
    )
    for block in train:
        columns = [
            {x + step for x, _ in places[block] for step in range(32)}
            for places in (train, held_out)
        ]
        assert not columns[0] & columns[1], block
        assert len(set(train[block])) == len(set(held_out[block])) == 40
        near = min(abs(a - b) for a, b in itertools.product(*columns))
        assert near > 8, block


def test_no_patch_is_of_one_level_and_none_comes_twice(pictures):
    drawn = [
        np.asarray(split.load(index))
        for split in (PATCHES.open(s, {"pictures": pictures}) for s in ("train", "held_out"))
        for index in range(len(split.labels))
    ]
    assert min(image.std() for image in drawn) > 0
    assert len({image.tobytes() for image in drawn}) == len(drawn)


def test_a_patch_is_cut_from_where_its_name_says():
    from sklearn.datasets import load_sample_image

    split = PATCHES.open("train", {"per_class": 3, "side": 20})
    index = split.class_names.index("china-1-2") * 3 + 1
    x, y = map(int, split.sample_ids[index].split("/")[1].split("+"))
    red, green, blue = np.moveaxis(load_sample_image("china.jpg").astype(float), -1, 0)
    grey = (0.299 * red + 0.587 * green + 0.114 * blue)[142:284, 426:639]
    cut = np.asarray(split.load(index)).astype(float)
    assert np.abs(cut - grey[y : y + 20, x : x + 20]).max() <= 1


def test_the_seed_chooses_the_patches():
    first, same, other = (PATCHES.open("train", {"seed": s, "per_class": 5}) for s in (0, 0, 1))
    assert first.sample_ids == same.sample_ids
    assert set(first.sample_ids) != set(other.sample_ids)
    more = PATCHES.open("train", {"per_class": 6})
    assert set(first.sample_ids) < set(more.sample_ids)


def test_where_one_strip_has_too_few_patches_the_others_give_more(monkeypatch):
    levels = np.random.default_rng(0).integers(0, 256, (16, 128), dtype=np.uint8)
    levels[:, :32] = 7  # the first of four strips is plain
    monkeypatch.setitem(patches._BLOCKS, "scikit-learn", lambda: {"noise": levels, "more": levels})
    split = PATCHES.open("train", {"side": 16, "per_class": 12})
    assert {x // 32 for places in corners(split).values() for x, _ in places} == {2}
    with pytest.raises(ConfigError) as caught:
        PATCHES.open("train", {"side": 16, "per_class": 14})
    assert str(caught.value) == (
        "patches: noise has 13 train patches of 16 × 16 pixels, fewer than per_class = 14; "
        "lower per_class or side"
    )


def test_high_land_and_land_lit_from_the_north_west_are_brighter():
    row = np.arange(31.0) - 15
    hill = patches._relief(-np.hypot(*np.meshgrid(row, row)))
    assert hill[8, 8] > hill[22, 22]  # as high, on the other side
    assert hill[13, 17] > hill[3, 27]  # lit as much, higher


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"picture": "matplotlib"},
            "unknown option 'picture'; did you mean 'pictures'? "
            "the options of patches are pictures, side, per_class, seed",
        ),
        (
            {"pictures": "scikit-lear"},
            "unknown pictures of patches: 'scikit-lear'; did you mean 'scikit-learn' or "
            "'scikit-image'?",
        ),
        ({"pictures": 3}, "patches: pictures must be a string; found 3"),
        ({"side": 7}, "patches: side must be a whole number from 8 on; found 7"),
        ({"per_class": 0}, "patches: per_class must be a whole number from 1 on; found 0"),
        ({"seed": None}, "patches: seed must be a whole number from 0 on; found None"),
        (
            {"side": 100},
            "patches: side = 100 is too large for china-0-0, which is 213 × 142 pixels and is cut "
            "into 2 strips",
        ),
    ],
)
def test_patches_explain_options_they_cannot_use(options, message):
    with pytest.raises(ConfigError) as caught:
        PATCHES.open("train", options)
    assert str(caught.value) == message


def test_patches_name_the_extra_of_a_missing_package(monkeypatch):
    patches._from_scikit_image.cache_clear()
    patches._from_matplotlib.cache_clear()
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ConfigError) as caught:
        PATCHES.open("train", {"pictures": "scikit-image"})
    assert str(caught.value) == (
        "dataset 'patches' needs the package 'skimage' for pictures = \"scikit-image\", which is "
        "not installed; install it: pip install 'genaudit[pictures]'"
    )
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError) as caught:
        PATCHES.open("train", {"pictures": "matplotlib"})
    assert str(caught.value) == (
        "dataset 'patches' needs the package 'matplotlib', which cannot be imported (import of "
        "matplotlib halted; None in sys.modules); install it: pip install 'genaudit[pictures]'"
    )


def test_a_package_without_its_pictures_is_named(tmp_path):
    with pytest.raises(DataError) as caught:
        patches._grey_file(tmp_path / "moon.png")
    assert str(caught.value) == (
        "patches: moon.png cannot be read from its package: [Errno 2] No such file or directory: "
        f"'{tmp_path / 'moon.png'}'; install the package from PyPI, where its pictures come along, "
        "or choose other pictures"
    )
