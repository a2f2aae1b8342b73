"""The training sample: the same for every model, stable under growth and damage."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from audit.data.sample import draw_sample
from audit.data.transform import eval_transform, load_batch
from audit.errors import ConfigError, DataError
from audit.plugin import DataConfig, ImageSplit


class Memory(ImageSplit):
    """Images of one grey value each; names in `broken` cannot be decoded."""

    def __init__(self, labels, names, broken=(), class_names=("a", "b"), stamped=False):
        self.class_names = class_names
        self.labels = np.asarray(labels, dtype=np.int64)
        self.sample_ids = tuple(names)
        self.broken = set(broken)
        self.stamped = stamped
        self.n_loads = 0

    def digest(self, index):
        return hashlib.sha256(self.sample_ids[index].encode()).hexdigest()

    def load(self, index):
        self.n_loads += 1
        if self.sample_ids[index] in self.broken:
            raise DataError(f"image {self.sample_ids[index]} cannot be decoded")
        return Image.new("L", (4, 4), index)

    def stamp(self, index):
        return "stamp" if self.stamped else ""


def two_classes(n_each=10, **kwargs):
    names = [f"{label}-{number}" for label in "ab" for number in range(n_each)]
    return Memory([0] * n_each + [1] * n_each, names, **kwargs)


def test_draw_sample_is_stratified():
    sample = draw_sample(two_classes(), 3, seed=0)
    assert sample.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert sample.labels.dtype == sample.indices.dtype == np.int64
    assert sample.class_names == ("a", "b")
    assert sample.n_available == 20
    assert sample.excluded == {}
    assert [name[0] for name in sample.sample_ids] == list("aaabbb")


def test_draw_sample_takes_what_there_is():
    assert len(draw_sample(two_classes(2), 100, seed=0).labels) == 4
    assert len(draw_sample(two_classes(2), None, seed=0).labels) == 4


@given(st.integers(1, 9), st.integers(0, 5))
def test_draw_sample_of_more_images_contains_that_of_fewer(n, seed):
    fewer, more = (draw_sample(two_classes(), k, seed).sample_ids for k in (n, n + 1))
    assert fewer[:n] == more[:n]
    assert fewer[n:] == more[n + 1 : 2 * n + 1]


@given(st.permutations(range(8)), st.integers(0, 3))
def test_draw_sample_does_not_depend_on_the_order_of_the_split(order, seed):
    names = [f"{'ab'[i % 2]}-{i}" for i in range(8)]
    first = draw_sample(Memory([i % 2 for i in range(8)], names), 3, seed)
    other = draw_sample(Memory([i % 2 for i in order], [names[i] for i in order]), 3, seed)
    assert other.sample_ids == first.sample_ids
    assert other.fingerprint == first.fingerprint


def test_draw_sample_depends_on_the_seed():
    drawn = {draw_sample(two_classes(), 5, seed).sample_ids for seed in range(5)}
    assert len(drawn) == 5


def test_draw_sample_replaces_unreadable_images_by_the_next():
    whole = draw_sample(two_classes(), 10, seed=0)
    broken = whole.sample_ids[1]
    sample = draw_sample(two_classes(broken=[broken]), 3, seed=0)
    assert sample.sample_ids[:3] == (whole.sample_ids[0], *whole.sample_ids[2:4])
    assert sample.excluded == {broken: f"image {broken} cannot be decoded"}


def test_draw_sample_fingerprint_covers_names_labels_classes_and_content():
    names = ["x", "y"]
    first = draw_sample(Memory([0, 1], names), 1, 0).fingerprint
    others = [
        draw_sample(Memory([1, 0], names), 1, 0).fingerprint,
        draw_sample(Memory([0, 1], ["x", "z"]), 1, 0).fingerprint,
        draw_sample(Memory([0, 1], names, class_names=("a", "c")), 1, 0).fingerprint,
    ]
    assert len({first, *others}) == 4


def test_draw_sample_with_memo_reads_nothing_twice():
    memo = {}
    split = two_classes(stamped=True, broken=["a-3"])
    first = draw_sample(split, None, seed=0, memo=memo)
    n_loads = split.n_loads
    again = draw_sample(split, None, seed=0, memo=memo)
    assert split.n_loads == n_loads
    assert again.fingerprint == first.fingerprint
    assert again.excluded == first.excluded == {"a-3": "image a-3 cannot be decoded"}
    assert all(isinstance(text, str) for text in memo.values())


def test_draw_sample_without_stamps_reads_again():
    memo = {}
    split = two_classes()
    draw_sample(split, 2, seed=0, memo=memo)
    draw_sample(split, 2, seed=0, memo=memo)
    assert split.n_loads == 8
    assert memo == {}


def test_draw_sample_names_a_class_without_images():
    with pytest.raises(DataError) as caught:
        draw_sample(Memory([0, 0], ["x", "y"]), 1, seed=0)
    assert str(caught.value) == "class 'b' has no image; images per class: a: 2, b: 0"


def test_draw_sample_names_a_class_without_readable_images():
    with pytest.raises(DataError) as caught:
        draw_sample(Memory([0, 1], ["x", "y"], broken=["y"]), 1, seed=0)
    assert str(caught.value) == (
        "class 'b' has no readable image among 1; the first: image y cannot be decoded"
    )


def test_draw_sample_refuses_less_than_one_image():
    with pytest.raises(ConfigError) as caught:
        draw_sample(two_classes(), 0, seed=0)
    assert str(caught.value) == "images_per_class must be at least 1; found 0"


def test_load_batch_stacks_prepared_images_in_order():
    config = DataConfig((1, 4, 4), (0.0,), (1.0,))
    batch = load_batch(two_classes(), [5, 0, 9], eval_transform(config))
    assert batch.shape == (3, 1, 4, 4)
    torch.testing.assert_close(batch[:, 0, 0, 0] * 255, torch.tensor([5.0, 0.0, 9.0]))


def many_classes(n_classes=50, n_each=4, **kwargs):
    names = [f"{label}-{number}" for label in range(n_classes) for number in range(n_each)]
    labels = [label for label in range(n_classes) for _ in range(n_each)]
    class_names = tuple(f"class {label}" for label in range(n_classes))
    return Memory(labels, names, class_names=class_names, **kwargs)


def test_draw_sample_of_some_classes_keeps_their_numbers():
    split = many_classes()
    sample = draw_sample(split, 2, seed=0, max_classes=20)
    assert sample.class_names == split.class_names
    assert len(set(sample.labels.tolist())) == len(sample.images_of_class) == 20
    assert all(
        name.startswith(f"{k}-") for name, k in zip(sample.sample_ids, sample.labels, strict=True)
    )
    assert sample.images_of_class == {f"class {k}": 2 for k in sorted(set(sample.labels.tolist()))}
    assert split.n_loads == 40


@given(st.integers(1, 49), st.integers(0, 5))
def test_draw_sample_of_more_classes_contains_that_of_fewer(most, seed):
    fewer, more = (
        draw_sample(many_classes(), 1, seed, None, k).sample_ids for k in (most, most + 1)
    )
    assert set(fewer) < set(more)


def test_draw_sample_of_all_classes_is_the_same_with_a_higher_bound():
    whole = draw_sample(many_classes(), 2, seed=0)
    assert draw_sample(many_classes(), 2, seed=0, max_classes=50).fingerprint == whole.fingerprint
    seeds = {tuple(draw_sample(many_classes(), 1, s, None, 5).labels) for s in range(4)}
    assert len(seeds) > 1


def test_draw_sample_stops_at_an_empty_class_even_if_it_is_not_chosen():
    split = many_classes()
    split.class_names = (*split.class_names, "nobody")
    for seed in range(5):
        with pytest.raises(DataError) as caught:
            draw_sample(split, 1, seed, None, 2)
        assert str(caught.value).startswith("class 'nobody' has no image; images per class: ")
        assert str(caught.value).endswith("class 39: 4 and 11 more classes")


def test_draw_sample_takes_a_class_of_one_image():
    sample = draw_sample(Memory([0, 0, 1], ["x", "y", "z"]), 100, seed=0)
    assert sample.images_of_class == {"a": 2, "b": 1}


def test_draw_sample_refuses_less_than_one_class():
    with pytest.raises(ConfigError) as caught:
        draw_sample(two_classes(), 1, seed=0, max_classes=0)
    assert str(caught.value) == "max_classes must be at least 1; found 0"


class Million(Memory):
    """A million images in a thousand classes, none of which can be opened unnoticed."""

    def __init__(self):
        self.class_names = tuple(map(str, range(1000)))
        self.labels = np.arange(1_000_000) % 1000
        self.sample_ids = tuple(map(str, range(1_000_000)))
        self.broken, self.stamped, self.n_loads = set(), False, 0


def test_draw_sample_opens_no_more_images_than_it_takes():
    split = Million()
    assert len(draw_sample(split, 100, seed=0, max_classes=20).labels) == 2000
    assert split.n_loads == 2000
