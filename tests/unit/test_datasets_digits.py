"""scikit-learn's digits as a dataset."""

import numpy as np
import pytest

import audit_datasets
from audit.errors import ConfigError
from audit.plugin.registry import Registry

DIGITS = Registry({"datasets": audit_datasets}).dataset("digits")


def test_digits_splits_are_disjoint_stratified_and_whole():
    train, held_out = DIGITS.open("train", {}), DIGITS.open("held_out", {})
    assert len(train.labels) + len(held_out.labels) == 1797
    assert set(train.sample_ids).isdisjoint(held_out.sample_ids)
    assert train.class_names == tuple("0123456789")
    difference = np.bincount(train.labels) - np.bincount(held_out.labels)
    assert np.abs(difference).max() <= 1


def test_digits_are_eight_bit_grayscale_scans():
    from sklearn.datasets import load_digits

    train = DIGITS.open("train", {"held_out_rate": 0.01})
    assert train.sample_ids[0] == "digit-0001"
    image = train.load(0)
    assert (image.mode, image.size) == ("L", (8, 8))
    expected = np.floor(load_digits().images[0] * 255 / 16 + 0.5)
    assert np.array_equal(np.asarray(image), expected)
    assert train.labels[0] == 0
    assert train.labels.dtype == np.int64


def test_digits_are_the_same_every_time():
    first, second = (
        DIGITS.open("train", {}),
        DIGITS.open("train", {"held_out_rate": 0.5, "seed": 0}),
    )
    assert first.sample_ids == second.sample_ids
    assert first.digest(5) == second.digest(5)
    assert first.digest(5) != first.digest(6)


def test_digits_options_change_the_split():
    assert len(DIGITS.open("held_out", {"held_out_rate": 0.2}).labels) == pytest.approx(359, abs=3)
    default, other = DIGITS.open("train", {}), DIGITS.open("train", {"seed": 1})
    assert default.sample_ids != other.sample_ids


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"held_out": 0.5},
            "unknown option 'held_out'; did you mean 'held_out_rate'? "
            "the options of digits are held_out_rate, seed",
        ),
        ({"held_out_rate": 1}, "digits: held_out_rate must be between 0 and 1; found 1"),
        ({"held_out_rate": "half"}, "digits: held_out_rate must be between 0 and 1; found 'half'"),
        ({"seed": 1.5}, "digits: seed must be an integer; found 1.5"),
    ],
)
def test_digits_explains_options_it_cannot_use(options, message):
    with pytest.raises(ConfigError) as caught:
        DIGITS.open("train", options)
    assert str(caught.value) == message
