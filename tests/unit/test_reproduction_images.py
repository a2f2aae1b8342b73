"""The images of a source."""

import numpy as np
import pytest

from audit.errors import ConfigError, DataError
from audit.reproduction.form import VARIANTS, read_form
from audit.reproduction.images import write_images
from audit.zoo.images import held_out_file, training_file


@pytest.fixture
def form():
    """The miniature, with small images and a source of three classes."""
    form = read_form("quick")
    source = form.sources[0].model_copy(update={"classes": 3, "images_per_class": 5})
    return form.model_copy(update={"side": 16, "sources": [source]})


def recipes(form, seed=0):
    (source,), architecture = form.sources, form.architectures[0]
    return {variant: form.recipe(architecture, source, variant, seed) for variant in VARIANTS}


def test_a_source_has_some_classes_with_as_many_images_of_each(form, tmp_path):
    wanted = recipes(form)
    write_images(form, form.sources[0], 0, tmp_path, list(wanted.values()))
    found = np.load(training_file(tmp_path, wanted["regular"]))
    assert found["images"].shape == (15, 16, 16)
    assert np.bincount(found["labels"]).tolist() == [5, 5, 5]
    assert found["class_names"].tolist() == ["0", "3", "6"]
    held_out = np.load(held_out_file(tmp_path))
    assert held_out["class_names"].tolist() == ["0", "3", "6"]
    assert not set(held_out["sample_ids"]) & set(found["sample_ids"])
    noisy = np.load(training_file(tmp_path, wanted["noisy"]))
    clean = np.load(training_file(tmp_path, wanted["noisy"], clean=True))
    assert (noisy["labels"] != clean["labels"]).sum() == round(0.3 * 15)
    np.testing.assert_array_equal(clean["images"], found["images"])


def test_other_seeds_take_other_images(form, tmp_path):
    ids = []
    for seed in (0, 1):
        wanted = recipes(form, seed)["regular"]
        write_images(form, form.sources[0], seed, tmp_path / str(seed), [wanted])
        ids.append(set(np.load(training_file(tmp_path / str(seed), wanted))["sample_ids"]))
    assert ids[0] != ids[1]


def test_what_is_there_is_kept_and_what_is_missing_is_added(form, tmp_path):
    wanted = recipes(form)
    write_images(form, form.sources[0], 0, tmp_path, [wanted["regular"]])
    file = training_file(tmp_path, wanted["regular"])
    before = file.read_bytes()
    write_images(form, form.sources[0], 0, tmp_path, [wanted["noisy"]])
    assert file.read_bytes() == before
    assert training_file(tmp_path, wanted["noisy"]).exists()


def test_a_folder_of_another_form_is_refused(form, tmp_path):
    wanted = [recipes(form)["regular"]]
    write_images(form, form.sources[0], 0, tmp_path, wanted)
    larger = form.model_copy(update={"side": 20})
    with pytest.raises(ConfigError, match="holds images of another form"):
        write_images(larger, form.sources[0], 0, tmp_path, wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 11}, "needs 11 classes, and there are 10"),
        ({"images_per_class": 1000}, "needs 1000 training images of class 0, and there are"),
    ],
)
def test_a_source_that_is_too_small_says_so(form, tmp_path, change, message):
    source = form.sources[0].model_copy(update=change)
    with pytest.raises(DataError, match=message):
        write_images(form, source, 0, tmp_path, [recipes(form)["regular"]])
