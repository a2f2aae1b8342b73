"""Damaged, odd and oversized image files: decoded by the policy or refused by name."""

import errno
import io
import os
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image

from audit.data.images import decode_bytes, decode_image, start_no_program
from audit.data.sample import draw_sample
from audit.errors import DataError
from audit_datasets.image_folder import open_split
from tests.campaigns.disk import Disk


def encoded(kind, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM"])
def test_row_27_decode_image_refuses_files_cut_anywhere(tmp_path, kind):
    data = encoded(kind)
    path = tmp_path / "cut image.bin"
    for length in np.linspace(0, len(data) - 30, 50).astype(int):
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"cut image\.bin"):
            decode_image(path)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "BMP", "TIFF", "GIF"]), st.data())
def test_row_27_decode_image_of_mutated_files_decodes_or_names_the_file(
    tmp_path_factory, kind, data
):
    content = bytearray(encoded(kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, min(len(content) - 1, 400)))] = data.draw(
            st.integers(0, 255)
        )
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(content)
    try:
        found = decode_image(path).mode
    except DataError as error:
        found = "named" if str(path) in str(error) else str(error)
    assert found in ("L", "RGB", "named")


def test_row_27_decode_image_refuses_empty_files(tmp_path):
    path = tmp_path / "empty.png"
    path.touch()
    with pytest.raises(DataError) as caught:
        decode_image(path)
    assert str(caught.value) == f"image {path} is empty (0 bytes); restore or delete it"


def test_row_27_decode_image_refuses_missing_files(tmp_path):
    path = tmp_path / "missing.png"
    with pytest.raises(DataError) as caught:
        decode_image(path)
    assert str(caught.value) == (
        f"image {path} cannot be decoded: FileNotFoundError: [Errno 2] No such file or directory: "
        f"'{path}'; restore or delete it"
    )


@pytest.mark.parametrize("side", [110, 200])
def test_row_27_decode_image_refuses_decompression_bombs(tmp_path, monkeypatch, side):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    path = tmp_path / "bomb.png"
    Image.new("L", (side, side)).save(path)
    with pytest.raises(DataError, match=r"bomb\.png has more pixels than the limit of 10000"):
        decode_image(path)


def test_row_27_decode_image_reads_every_pixel_format(tmp_path):
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    cases = {
        "gray.png": (rgb.convert("L"), "L"),
        "bilevel.png": (rgb.convert("1"), "L"),
        "gray alpha.png": (rgb.convert("LA"), "L"),
        "alpha.png": (rgb.convert("RGBA"), "RGB"),
        "palette.png": (rgb.convert("P"), "RGB"),
        "palette.gif": (rgb.convert("P"), "RGB"),
        "cmyk.jpg": (rgb.convert("CMYK"), "RGB"),
        "cmyk.tif": (rgb.convert("CMYK"), "RGB"),
        "sixteen.png": (Image.fromarray(np.full((9, 7), 65535, np.uint16)), "L"),
        "sixteen.tif": (Image.fromarray(np.full((9, 7), 65535, np.uint16)), "L"),
        "größe 图.png": (rgb, "RGB"),
    }
    for name, (image, mode) in cases.items():
        image.save(tmp_path / name)
        found = decode_image(tmp_path / name)
        assert (name, found.mode, found.size) == (name, mode, (7, 9))
        if name.startswith("sixteen"):
            assert set(np.asarray(found).ravel().tolist()) == {255}


def test_row_27_decode_image_does_not_rotate_by_exif(tmp_path):
    image = Image.new("RGB", (4, 2))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "rotated.jpg", exif=exif)
    assert decode_image(tmp_path / "rotated.jpg").size == (4, 2)


def test_row_27_decode_image_names_the_file_of_unknown_pixel_ranges(tmp_path):
    path = tmp_path / "floats.tif"
    Image.fromarray(np.array([[-1, 3]], np.float32)).save(path)
    with pytest.raises(DataError) as caught:
        decode_image(path)
    assert str(caught.value) == (
        f"image {path}: float pixels run from -1 to 3; [0, 1] or [0, 255] was expected; give the "
        "images as they were before normalisation, or convert them to 8 bits"
    )


def test_row_27_decode_image_is_silent_about_malformed_metadata(tmp_path):
    path = tmp_path / "exif.jpg"
    Image.new("RGB", (4, 4)).save(path, exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(path).size == (4, 4)


def damaged(kind):
    """The bytes of a file that cannot be read, or is too large."""
    whole = encoded("JPEG", quality=90)
    if kind == "bomb":
        buffer = io.BytesIO()
        Image.new("1", (300, 300)).save(buffer, "PNG")
        return buffer.getvalue()
    cut = {f"cut {k}": whole[: int(k * (len(whole) - 30) / 50)] for k in range(50)}
    return {"corrupt": b"\xff\xd8" + whole[600:] + whole[:300], "empty": b"", **cut}[kind]


@pytest.mark.parametrize("kind", ["corrupt", "empty", "bomb", *(f"cut {k}" for k in range(50))])
def test_row_27_a_damaged_image_is_left_out_for_every_model_alike(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(3):
            (tmp_path / label / f"{number}.jpg").write_bytes(encoded("JPEG", quality=50 + number))
    (tmp_path / "a/1.jpg").write_bytes(damaged(kind))
    split = open_split("train", {"root": str(tmp_path)})
    samples = [draw_sample(split, n, seed=0) for n in (None, None)]
    assert list(samples[0].excluded) == ["a/1.jpg"]
    assert str(tmp_path / "a/1.jpg") in samples[0].excluded["a/1.jpg"]
    assert samples[0].images_of_class == {"a": 2, "b": 3}
    assert samples[0].fingerprint == samples[1].fingerprint


def test_row_27_an_image_that_the_system_refused_once_is_read_again(tmp_path):
    """Whereas one that is damaged is remembered as such; what passes must not last."""
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(3):
            (tmp_path / label / f"{number}.jpg").write_bytes(encoded("JPEG", quality=50 + number))

    def refuse(call, path, content):
        if call == "open" and path.endswith("a/1.jpg"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    memo = {}
    split = open_split("train", {"root": str(tmp_path)})
    with Disk(tmp_path, refuse):
        assert list(draw_sample(split, None, 0, memo).excluded) == ["a/1.jpg"]
    assert draw_sample(split, None, 0, memo).excluded == {}


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def test_row_27_no_program_is_started_for_an_image(tmp_path, monkeypatch):
    """Pillow has Ghostscript draw EPS files, whatever their names say they are."""
    programs, canary = tmp_path / "bin", tmp_path / "canary"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch {canary}\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    path = tmp_path / "photograph.png"
    path.write_bytes(EPS)
    with pytest.raises(DataError, match=r"photograph\.png"):
        decode_image(path)
    with pytest.raises(DataError, match="some image"):
        decode_bytes(EPS, "some image")
    assert not canary.exists()
    start_no_program()
    with Image.open(path) as image, pytest.raises(OSError, match="Ghostscript"):
        image.load()
    assert not canary.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_row_27_an_image_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="no plain file"):
        decode_image(tmp_path / "pipe.png")


def test_row_27_a_jpeg_of_many_scans_is_refused(tmp_path):
    data = encoded("JPEG", progressive=True)
    assert 2 < data.count(b"\xff\xda") < 20
    path = tmp_path / "scans.jpg"
    path.write_bytes(data)
    assert decode_image(path).size == (30, 40)
    start = data.rindex(b"\xff\xda")
    scan = data[start:-2]
    path.write_bytes(data[:-2] + scan * 200 + data[-2:])
    with pytest.raises(DataError, match=r"scans\.jpg has \d+ scans, more than the limit of 100"):
        decode_image(path)
