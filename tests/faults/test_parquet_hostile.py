"""Parquet files of strangers: small files that unpack to much, and cells that name other files."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit import parquet
from audit.errors import DataError
from audit.folder.unit_rows import read_units
from audit_datasets.huggingface import open_split

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def written(tmp_path, labels, cells, **options):
    """A parquet file of labels and cells."""
    table = pa.table({"label": labels, "image": pa.array(cells, IMAGE)})
    pq.write_table(table, tmp_path / "pets.parquet", **options)
    return tmp_path / "pets.parquet"


def refusal(path):
    with pytest.raises(DataError) as caught:
        open_split("train", {"root": str(path)})
    return str(caught.value)


@pytest.fixture
def small_limits(monkeypatch):
    """Limits that a small bomb passes."""
    monkeypatch.setattr(parquet, "FREE_BYTES", 1 << 20)


def test_a_cell_that_unpacks_to_too_much_is_refused(tmp_path, small_limits):
    cells = [{"bytes": bytes(8 << 20), "path": "x.png"}]
    path = written(tmp_path, [0], cells, compression="zstd", use_dictionary=False)
    most = (1 << 20) + 50 * path.stat().st_size
    message = refusal(path)
    assert message.startswith(f"{path}: column 'image.bytes' unpacks to 83886")
    assert f" bytes in one row group, more than the limit of {most} for a file" in message


def test_labels_that_unpack_to_too_much_are_refused(tmp_path, small_limits):
    labels = ["a" * (8 << 20)]
    path = written(tmp_path, labels, [None], compression="zstd", use_dictionary=False)
    assert refusal(path).startswith(f"{path}: column 'label' unpacks to 83886")


def test_a_label_that_is_no_name_is_refused(tmp_path):
    assert refusal(written(tmp_path, ["a" * 5000] * 3, [None] * 3)) == (
        "huggingface: a label has 5000 characters, more than the limit of 4096 for the name of a "
        "class; choose the column by the option label"
    )


def test_more_rows_than_labels_can_be_kept_of_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MOST_ROWS", 1000)
    path = written(tmp_path, np.zeros(1001, np.int64), [None] * 1001)
    assert refusal(path) == (
        f"{path} and what belongs to it hold 1001 rows, more than the limit of 1000; give a part "
        "of them"
    )


def test_a_value_that_is_repeated_is_kept_once(tmp_path):
    cells = [{"bytes": bytes(1 << 20), "path": "x.png"}] * 300
    path = written(tmp_path, ["a"] * 300, cells, compression="zstd")
    assert path.stat().st_size < 20_000
    split = open_split("train", {"root": str(path)})
    before = pa.total_allocated_bytes()
    with pytest.raises(DataError, match="cannot be decoded"):
        split.load(7)
    assert pa.total_allocated_bytes() - before < 20 << 20


@pytest.mark.parametrize("named", ["/etc/passwd", "/dev/zero", "../other.png", "below/../../x"])
def test_a_cell_names_no_file_outside_of_its_folder(tmp_path, named):
    path = written(tmp_path, [0], [{"bytes": None, "path": named}])
    with pytest.raises(DataError) as caught:
        open_split("train", {"root": str(path)}).load(0)
    assert str(caught.value) == (
        f"image 0000000 is said to be {named!r}, which lies outside of {tmp_path}; put the images "
        "into the data itself"
    )


def test_a_pipe_in_the_place_of_an_image_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    path = written(tmp_path, [0], [{"bytes": None, "path": "pipe"}])
    with pytest.raises(DataError, match="no plain file"):
        open_split("train", {"root": str(path)}).load(0)


def test_a_unit_table_that_unpacks_to_too_much_is_refused(tmp_path, small_limits):
    table = pa.table({"layer": ["a" * (8 << 20)]})
    pq.write_table(table, tmp_path / "units.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(DataError, match="column 'layer' unpacks to 83886"):
        read_units(tmp_path / "units.parquet")
