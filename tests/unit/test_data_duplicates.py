"""Copies of held-out images among training images are found, distinct images are not."""

import sys

import numpy as np
import pytest
from photograph_blocks import blocks, recompressed, write
from PIL import Image, ImageEnhance

from audit.data.duplicates import MOST_BITS, find_overlap, perceptual_bits
from audit.data.sample import draw_sample
from audit.errors import ConfigError, DataError
from audit_datasets import digits
from audit_datasets.image_folder import open_held_out, open_split

imagehash = pytest.importorskip("imagehash", reason="near copies are found with it")


def patches(first, n, side=40):
    """Different blocks of two photographs, the flat sky left out."""
    found = [block for block in blocks(side) if np.asarray(block.convert("L")).std() > 25]
    return found[first : first + n]


def jpeg(image):
    return recompressed(image, quality=80)


ALTERED = (
    jpeg,
    lambda image: image.resize((80, 80), Image.Resampling.BICUBIC),
    lambda image: ImageEnhance.Brightness(image).enhance(1.1),
)


@pytest.mark.parametrize("rate", [0.03, 0.1])
def test_find_overlap_finds_what_was_planted(tmp_path, rate):
    own = patches(0, 100)
    other = patches(100, 25)
    assert len(own) == 100
    n = round(100 * rate)
    write(tmp_path / "train", own)
    copies = own[:n]
    altered = [ALTERED[k % 3](image) for k, image in enumerate(own[n : 2 * n])]
    write(tmp_path / "val", [*other, *copies, *altered])
    split = open_split("train", {"root": str(tmp_path / "train")})
    sample = draw_sample(split, None, seed=0)
    held_out = open_held_out({"root": str(tmp_path / "val")})
    found = find_overlap(split, sample, held_out)
    assert (found.n_sampled, found.n_held_out) == (100, 25 + 2 * n)
    planted = {f"{'ab'[k % 2]}/{k:03}.png" for k in range(n)}
    assert {training for training, _ in found.exact} == planted
    assert all(name.startswith("val/") for _, name in found.exact)
    near = {f"{'ab'[k % 2]}/{k:03}.png" for k in range(n, 2 * n)}
    assert {training for training, _, _ in found.near} == near
    assert all(bits <= MOST_BITS for _, _, bits in found.near)
    said = found.describe()
    assert (said["n_exact"], said["n_near"], said["most_bits"]) == (n, n, MOST_BITS)


def test_find_overlap_sees_equal_pixels_in_other_files(tmp_path):
    image = patches(0, 1)[0]
    write(tmp_path / "train", [image, patches(1, 1)[0]])
    (tmp_path / "val").mkdir()
    image.save(tmp_path / "val/x.bmp")
    image.convert("RGBA").save(tmp_path / "val/y.webp", lossless=True)
    split = open_split("train", {"root": str(tmp_path / "train")})
    held_out = open_held_out({"root": str(tmp_path / "val")})
    found = find_overlap(split, draw_sample(split, None, seed=0), held_out)
    assert found.exact == (("a/000.png", "val/x.bmp"),)
    assert found.near == ()


def test_find_overlap_calls_no_two_distinct_scans_copies():
    train, held_out = (digits.open_split(name, {}) for name in ("train", "held_out"))
    found = find_overlap(train, draw_sample(train, 20, seed=0), held_out)
    assert (found.exact, found.near) == ((), ())


def test_find_overlap_reads_remembered_prints_and_counts_unreadable_images(tmp_path):
    write(tmp_path / "train", patches(0, 4))
    write(tmp_path / "val", patches(0, 4))
    (tmp_path / "val/a/000.png").write_bytes(b"nothing")
    split = open_split("train", {"root": str(tmp_path / "train")})
    sample = draw_sample(split, None, seed=0)
    held_out = open_held_out({"root": str(tmp_path / "val")})
    memos = {}, {}
    first = find_overlap(split, sample, held_out, *memos)
    assert list(first.unreadable) == ["val/a/000.png"]
    assert len(first.exact) == 3
    split.load = held_out.load = None  # nothing that is remembered is loaded again
    (tmp_path / "val/a/000.png").unlink()
    assert find_overlap(split, sample, held_out, *memos).exact == first.exact


def test_pictures_without_contrast_have_no_hash():
    assert perceptual_bits(Image.new("RGB", (30, 30), (9, 9, 9))) == ""
    assert len(perceptual_bits(patches(0, 1)[0])) == 64


def test_find_overlap_names_the_extra_of_the_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagehash", None)
    split = digits.open_split("train", {})
    with pytest.raises(ConfigError) as caught:
        find_overlap(split, draw_sample(split, 1, seed=0), split)
    assert str(caught.value) == (
        "[held_out] images is compared with the training images by the package 'imagehash', which "
        "cannot be imported (import of imagehash halted; None in sys.modules); install it: "
        "pip install 'genaudit[duplicates]'"
    )


def test_open_held_out_of_no_images_says_so(tmp_path):
    with pytest.raises(DataError, match="must be a folder, but"):
        open_held_out({"root": str(tmp_path / "none")})
