"""Folders by URL: listed once, fetched where they are new, read like any folder."""

import io

import numpy as np
import pytest
from PIL import Image

from audit.errors import DataError, RemoteError
from audit.remote import trees
from audit_datasets.image_folder import open_split


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    """Nothing waits for the disk."""
    monkeypatch.setattr("os.fsync", lambda number: None)


def picture(level):
    made = io.BytesIO()
    Image.fromarray(np.full((4, 4), level, np.uint8)).save(made, "png")
    return made.getvalue()


def fill(bucket, root="data/train"):
    for label in ("cat", "dog"):
        for number in range(3):
            bucket.put(f"{root}/{label}/{number}.png", picture(number))


def later(monkeypatch):
    """As another process, or this one after a while."""
    monkeypatch.setattr("audit.remote.trees._listed", {})


def test_image_folder_reads_a_url(bucket):
    fill(bucket)
    split = open_split("train", {"root": f"{bucket.url}/data/train"})
    assert split.class_names == ("cat", "dog")
    assert split.sample_ids[:2] == ("cat/0.png", "cat/1.png")
    assert np.asarray(split.load(5)).max() == 2
    assert bucket.requests["list"] == 1
    assert bucket.requests["get"] == 6
    open_split("train", {"root": f"{bucket.url}/data/train"})
    assert bucket.requests["list"] == 1


def test_tree_fetches_only_what_is_new(bucket, monkeypatch):
    fill(bucket)
    trees.tree_of(f"{bucket.url}/data")
    later(monkeypatch)
    bucket.reset()
    bucket.put("data/train/cat/1.png", picture(99))
    bucket.remove("data/train/dog/2.png")
    root = trees.tree_of(f"{bucket.url}/data")
    assert bucket.requests["get"] == 1
    assert np.asarray(Image.open(root / "train/cat/1.png")).max() == 99
    assert not (root / "train/dog/2.png").exists()


def test_held_out_folders_are_refused_by_url_too(bucket):
    fill(bucket, "data/val")
    with pytest.raises(DataError, match="is named as validation or test data are"):
        open_split("train", {"root": f"{bucket.url}/data/val"})


def test_a_url_without_files_says_so(bucket):
    with pytest.raises(DataError) as caught:
        open_split("train", {"root": f"{bucket.url}/none"})
    assert str(caught.value) == (
        f"the root of image_folder: {bucket.url}/none holds no file; check the address"
    )


def test_a_folder_over_the_limit_is_refused_before_it_is_fetched(bucket, monkeypatch):
    fill(bucket)
    monkeypatch.setenv("GENAUDIT_MAX_DOWNLOAD", "10")
    with pytest.raises(RemoteError, match="bytes, more than the limit of 10; set GENAUDIT_MAX_"):
        trees.tree_of(f"{bucket.url}/data")
    assert bucket.requests["get"] == 0


@pytest.mark.parametrize("name", ["../secret", "a/../../b", "a//b", "./c"])
def test_names_that_lead_elsewhere_are_refused(name):
    found = trees.Listed(f"bucket/data/{name}", 1, 0.0, "1")
    system = type("S", (), {"path": "bucket/data", "url": "s3://bucket/data"})()
    with pytest.raises(RemoteError, match="which is no name that a file can have; remove it"):
        trees._relative(system, found)
