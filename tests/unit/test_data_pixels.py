"""Pixels of every kind of file: those that the loaders of timm and torchvision see, and said."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets.folder import pil_loader

from audit.data.images import decode_bytes, decode_image
from audit.data.pixels import (
    ALPHA,
    BILEVEL,
    BYTE_FLOATS,
    FRAMES,
    NARROW,
    PALETTE,
    SCALED,
    TURNED,
    UNIT_FLOATS,
    UPRIGHT,
    image_from_array,
    oddities,
    standard_mode,
)
from audit.data.sample import draw_sample
from audit.errors import DataError


def photo(side=(9, 7)):
    return Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (side[1], side[0], 3), dtype=np.uint8)
    )


def with_alpha(opaque=False):
    image = photo().convert("RGBA")
    image.putalpha(255 if opaque else 90)
    return image


def transparent_palette():
    image = photo().convert("P")
    image.putpixel((0, 0), 3)
    return image


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


FRAMES_OF_A_CLIP = {"save_all": True, "append_images": [Image.new("RGB", (9, 7), (250, 9, 9))]}

#: Name of a file → (image, how it is saved, oddities). Each reads as `convert("RGB")` has it.
AS_LOADERS_SEE = {
    "rgb.png": (photo(), {}, ()),
    "grey.png": (photo().convert("L"), {}, ()),
    "bilevel.png": (photo().convert("1"), {}, (BILEVEL,)),
    "palette.png": (photo().convert("P"), {}, (PALETTE,)),
    "transparent palette.png": (transparent_palette(), {"transparency": 3}, (PALETTE, ALPHA)),
    "one transparent colour.png": (photo(), {"transparency": (0, 0, 0)}, ()),
    "grey alpha.png": (photo().convert("LA"), {}, ()),
    "alpha.png": (with_alpha(), {}, (ALPHA,)),
    "opaque alpha.png": (with_alpha(opaque=True), {}, ()),
    "alpha.tif": (with_alpha(), {}, (ALPHA,)),
    "cmyk.jpg": (photo().convert("CMYK"), {}, ("CMYK",)),
    "cmyk.tif": (photo().convert("CMYK"), {}, ("CMYK",)),
    "lab.tif": (Image.merge("LAB", photo().split()), {}, ("LAB",)),
    "clip.gif": (photo(), FRAMES_OF_A_CLIP, (PALETTE, FRAMES)),
    "clip.webp": (photo(), {**FRAMES_OF_A_CLIP, "lossless": True}, (FRAMES,)),
    "clip.png": (photo(), FRAMES_OF_A_CLIP, (FRAMES,)),
    "pages.tif": (photo(), FRAMES_OF_A_CLIP, (FRAMES,)),
    "turned.jpg": (photo(), {"exif": turned()}, (TURNED,)),
    "turned.png": (photo(), {"exif": turned()}, (TURNED,)),
    "narrow.png": (Image.fromarray(np.arange(63, dtype=np.uint16).reshape(7, 9)), {}, (NARROW,)),
    "narrow.tif": (Image.fromarray(np.arange(63, dtype=np.int32).reshape(7, 9)), {}, (NARROW,)),
    "whole floats.tif": (
        Image.fromarray(np.arange(63, dtype=np.float32).reshape(7, 9)),
        {},
        (BYTE_FLOATS,),
    ),
}


@pytest.mark.parametrize("name", AS_LOADERS_SEE)
def test_decode_image_gives_what_the_loaders_of_training_give(tmp_path, name):
    image, options, odd = AS_LOADERS_SEE[name]
    image.save(tmp_path / name, **options)
    found = decode_image(tmp_path / name)
    seen = pil_loader(tmp_path / name)
    assert np.array_equal(np.asarray(found.convert("RGB")), np.asarray(seen))
    assert oddities(found) == odd
    assert oddities(decode_bytes((tmp_path / name).read_bytes(), name)) == odd


def test_adobe_cmyk_is_read_as_ink_and_not_as_its_inverse(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=95)
    assert b"Adobe" in (tmp_path / "red.jpg").read_bytes()
    red, green, blue = decode_image(tmp_path / "red.jpg").getpixel((3, 3))
    assert red > 240
    assert max(green, blue) < 15


def sixteen(values, path):
    Image.fromarray(np.array([values], np.uint16)).save(path)
    found = decode_image(path)
    return np.asarray(found).ravel().tolist(), oddities(found)


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_sixteen_bits_that_hold_eight_are_not_black(tmp_path, kind):
    assert sixteen([0, 7, 255], tmp_path / f"a.{kind}") == ([0, 7, 255], (NARROW,))
    assert sixteen([0, 256, 65535], tmp_path / f"b.{kind}") == ([0, 1, 255], (SCALED,))


def test_floats_in_the_unit_interval_are_not_black(tmp_path):
    Image.fromarray(np.array([[0, 0.5, 1]], np.float32)).save(tmp_path / "unit.tif")
    found = decode_image(tmp_path / "unit.tif")
    assert np.asarray(found).tolist() == [[0, 128, 255]]
    assert oddities(found) == (UNIT_FLOATS,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 256])
def test_floats_of_unknown_range_are_refused(value):
    with pytest.raises(DataError, match=r"^float pixels run from .*; \[0, 1\] or \[0, 255\]"):
        standard_mode(Image.fromarray(np.array([[value, 0.5]], np.float32)))


def test_decode_bytes_turns_an_image_upright_where_its_reader_did(tmp_path):
    buffer = io.BytesIO()
    photo().save(buffer, "PNG", exif=turned())
    lying = decode_bytes(buffer.getvalue(), "x")
    upright = decode_bytes(buffer.getvalue(), "x", upright=True)
    assert (lying.size, upright.size) == ((9, 7), (7, 9))
    assert oddities(upright) == (UPRIGHT,)
    assert np.array_equal(np.asarray(upright), np.rot90(np.asarray(lying), -1))


def test_decode_bytes_names_what_it_cannot_decode():
    with pytest.raises(DataError) as caught:
        decode_bytes(b"", "shard/7")
    assert str(caught.value) == "image shard/7 is empty (0 bytes); restore or delete it"
    with pytest.raises(DataError, match=r"^image shard/7 cannot be decoded: UnidentifiedImage"):
        decode_bytes(b"nothing", "shard/7")


def test_a_damaged_second_frame_is_none(tmp_path):
    photo().save(tmp_path / "clip.gif", **FRAMES_OF_A_CLIP)
    whole = (tmp_path / "clip.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(whole[:-20])
    assert decode_image(tmp_path / "cut.gif").size == (9, 7)


def test_standard_mode_leaves_its_image_as_it_is():
    image = with_alpha()
    image.info["note"] = 1
    before = image.copy()
    standard_mode(image)
    assert image == before
    assert image.info == {"note": 1}


def test_standard_mode_twice_says_the_same():
    once = standard_mode(photo().convert("P"))
    assert oddities(standard_mode(once)) == oddities(once) == (PALETTE,)
    assert standard_mode(once) is once or standard_mode(once) == once


@pytest.mark.parametrize(
    ("values", "size", "mode", "odd"),
    [
        (np.zeros((5, 4), np.uint8), (4, 5), "L", ()),
        (np.zeros((5, 4, 1), np.uint8), (4, 5), "L", ()),
        (np.zeros((5, 4, 3), np.uint8), (4, 5), "RGB", ()),
        (np.zeros((3, 5, 4), np.uint8), (5, 3), "RGB", (ALPHA,)),  # an array: channels-last
        (np.zeros((3, 5, 6), np.uint8), (6, 5), "RGB", ()),
        (torch.zeros(3, 5, 4, dtype=torch.uint8), (4, 5), "RGB", ()),
        (torch.zeros(1, 5, 4), (4, 5), "L", (UNIT_FLOATS,)),
        (torch.ones(3, 5, 4), (4, 5), "RGB", (UNIT_FLOATS,)),
        (np.ones((5, 4), bool), (4, 5), "L", ()),
        (np.full((5, 4), 999, np.uint16), (4, 5), "L", (SCALED,)),
        (np.full((5, 4), 9, np.int64), (4, 5), "L", (NARROW,)),
    ],
)
def test_image_from_array_reads_the_usual_shapes(values, size, mode, odd):
    found = standard_mode(image_from_array(values))
    assert (found.size, found.mode, oddities(found)) == (size, mode, odd)


@pytest.mark.parametrize(
    "values", [np.zeros(3), np.zeros((5, 5, 5)), np.zeros((0, 4)), np.array([["a"]])]
)
def test_image_from_array_refuses_what_is_no_image(values):
    with pytest.raises(DataError) as caught:
        image_from_array(values)
    assert str(caught.value) == (
        "an image in memory must hold numbers of shape (height, width), (height, width, channels) "
        f"or (channels, height, width) with 1, 3 or 4 channels; found {values.dtype} of shape "
        f"{values.shape}"
    )


def test_image_from_array_refuses_normalised_tensors():
    with pytest.raises(DataError, match="give the images as they were before normalisation"):
        image_from_array(torch.randn(3, 8, 8))


def test_draw_sample_counts_what_is_odd(tmp_path):
    from audit_datasets.image_folder import open_split

    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        photo().save(tmp_path / label / "1.png")
        photo().convert("P").save(tmp_path / label / "2.png")
        with_alpha().save(tmp_path / label / "3.png")
    split = open_split("train", {"root": str(tmp_path)})
    memo = {}
    for _ in range(2):  # the second time from what is remembered
        sample = draw_sample(split, None, seed=0, memo=memo)
        assert sample.oddities == {PALETTE: 2, ALPHA: 2}
