"""Unit tables are written part by part, and read as one table."""

import resource
import signal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.errors import ConfigError, DataError, StoreError
from audit.folder import unit_rows
from audit.folder.unit_rows import folder_units, read_units, write_units
from audit.measuring.rows import UNIT_SCHEMA
from audit.measuring.unit_spool import UnitSpool

WORDS = ["checkpoint", "filtration", "layer", "class_name", "status"]


def table(checkpoint, n=6, layers=("b", "a"), statuses=("ok", "dead")):
    """A unit table as it comes out of the store: words as categories of their own order."""
    rng = np.random.default_rng(n)
    numbers = np.arange(n)
    frame = pd.DataFrame(
        {
            "checkpoint": checkpoint,
            "filtration": "cubical",
            "layer": pd.Categorical.from_codes(numbers % len(layers), list(layers)),
            "unit": numbers.astype(np.int32),
            "class_name": pd.Categorical.from_codes(numbers % 2, ["z", "ä"]),
            "n_images": np.full(n, 5, np.int32),
            "effective_rate": rng.random(n),
            "birth_entropy": np.where(numbers % 3, rng.random(n), np.nan),
            "feature_entropy": rng.random(n),
            "status": pd.Categorical.from_codes(numbers % len(statuses), list(statuses)),
        }
    )
    return pa.Table.from_pandas(frame, preserve_index=False).cast(UNIT_SCHEMA)


def plain(frame):
    """Words as text."""
    frame = frame.to_pandas() if isinstance(frame, pa.Table) else frame
    return frame.astype(dict.fromkeys(WORDS, "str")).reset_index(drop=True)


@pytest.mark.parametrize("together", [1, 7, 10**6])
def test_tables_come_back_below_each_other(tmp_path, monkeypatch, together):
    monkeypatch.setattr(unit_rows, "_ROWS_TOGETHER", together)
    tables = [
        table("two", 6),
        table("one", 4, layers=("c",), statuses=("never_born",)),
        table("three", 1),
        table("four", 300, layers=[f"layer {number}" for number in range(290)]),
    ]
    write_units(iter(tables), tmp_path / "units")
    expected = plain(pd.concat([plain(one) for one in tables]))
    found = read_units(tmp_path / "units")
    pd.testing.assert_frame_equal(plain(found), expected)
    for column in WORDS:
        assert isinstance(found[column].dtype, pd.CategoricalDtype)
        assert list(found[column].cat.categories) == sorted(set(expected[column]))
    numbers = pq.ParquetFile(tmp_path / "units").metadata.num_row_groups
    assert numbers == {1: 4, 7: 2, 10**6: 1}[together]


@pytest.mark.parametrize("together", [1, 10**6])
def test_one_checkpoint_is_read_without_the_others(tmp_path, monkeypatch, together):
    monkeypatch.setattr(unit_rows, "_ROWS_TOGETHER", together)
    tables = [table(name, n) for n, name in enumerate(("b", "a", "ä", "c"), 3)]
    write_units(iter(tables), tmp_path / "units.parquet")
    whole = plain(read_units(tmp_path / "units.parquet"))
    read = []
    real = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda file, n, columns: read.append(n) or real(file, n, columns),
    )
    for name in ("a", "b", "ä"):
        found = folder_units(tmp_path, checkpoint=name, layer=None)
        expected = whole[whole["checkpoint"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(plain(found), expected)
        assert list(found["layer"].cat.categories) == sorted(set(expected["layer"]))
    assert read == ([1, 0, 2] if together == 1 else [0, 0, 0])
    assert read_units(tmp_path / "units.parquet", "nobody").empty
    with pytest.raises(ConfigError, match=r"nobody.*there are b, a, ä, c"):
        folder_units(tmp_path, checkpoint="nobody")


def test_a_file_of_too_many_rows_is_read_for_one_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(unit_rows, "_ROWS_TOGETHER", 1)
    monkeypatch.setattr("audit.parquet.MOST_ROWS", 10)
    write_units([table("a", 6), table("b", 6)], tmp_path / "units.parquet")
    with pytest.raises(DataError, match="hold 12 rows, more than the limit of 10"):
        folder_units(tmp_path)
    assert len(folder_units(tmp_path, checkpoint="b")) == 6


def test_equal_tables_give_equal_bytes(tmp_path):
    for name in "ab":
        write_units((table(str(number)) for number in range(20)), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_table_is_no_file(tmp_path):
    write_units([table("one")], tmp_path / "units")
    write_units([], tmp_path / "units")
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_fails_on_the_way_leaves_the_old_file(tmp_path, monkeypatch):
    monkeypatch.setattr(unit_rows, "_ROWS_TOGETHER", 1)
    write_units([table("one")], tmp_path / "units")
    before = (tmp_path / "units").read_bytes()

    def tables():
        yield table("two")
        yield table("three")
        raise StoreError("on purpose")

    with pytest.raises(StoreError, match="on purpose"):
        write_units(tables(), tmp_path / "units")
    assert (tmp_path / "units").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["units"]


def test_a_table_that_cannot_be_written_says_where(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"file/units cannot be written: .*choose another folder"):
        write_units([table("one")], tmp_path / "file" / "units")


def test_a_file_that_may_not_grow_is_a_sentence(tmp_path, monkeypatch):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(unit_rows, "_ROWS_TOGETHER", 1)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"units cannot be written: File too large; free"):
            write_units((table(str(n), 50) for n in range(20)), tmp_path / "units")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []


def test_spooled_tables_come_back_in_the_order_asked_for(tmp_path):
    spool = UnitSpool(tmp_path / "spool")
    given = {name: [table(name, n), table(name, n + 1)] for n, name in enumerate("abc", 3)}
    for name, tables in given.items():
        spool.put(name, tables)
    spool.put("none", [])
    found = list(spool.tables(["c", "unknown", "none", "a"]))
    assert len(found) == 4
    for one, expected in zip(found, [*given["c"], *given["a"]], strict=True):
        pd.testing.assert_frame_equal(plain(one), plain(expected))
        assert one.schema == expected.schema
    spool.put("a", [table("a", 9)])
    (again,) = spool.tables(["a"])
    assert len(again) == 9
    assert list((tmp_path / "spool").iterdir()) == []


def odd(place, column, values, **options):
    """A unit table with a column of another kind."""
    whole = table("a")
    position = whole.column_names.index(column)
    pq.write_table(whole.set_column(position, column, values), place, **options)
    return place


KINDS = {
    "lists": pa.array([[1]] * 6),
    "structs": pa.array([{"a": 1}] * 6),
    "bytes": pa.array([b"\xff"] * 6),
    "times": pa.array([1] * 6, pa.timestamp("ns")),
    "truths": pa.array([True] * 6),
    "nothing": pa.nulls(6),
    "decimals": pa.array([1] * 6).cast(pa.decimal128(38, 0)),
}


@pytest.mark.parametrize("chosen", [None, "a"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("column", table("a").column_names)
def test_a_column_of_another_kind_is_refused(tmp_path, column, kind, chosen):
    path = odd(tmp_path / "units.parquet", column, KINDS[kind])
    with pytest.raises(
        DataError, match=rf"needs (words|whole numbers|numbers) in column '{column}'"
    ):
        read_units(path, chosen)


@pytest.mark.parametrize("chosen", [None, "a"])
@pytest.mark.parametrize("column", [*WORDS[1:], "unit"])
def test_a_row_without_a_word_is_refused(tmp_path, column, chosen):
    values = table("a")[column].to_pylist()
    kind = pa.int32() if column == "unit" else pa.string()
    path = odd(tmp_path / "units.parquet", column, pa.array([None, *values[1:]], kind))
    with pytest.raises(DataError, match=f"rows without a value in column '{column}'"):
        read_units(path, chosen)


@pytest.mark.parametrize("chosen", [None, "a"])
@pytest.mark.parametrize("column", ["unit", "status", "checkpoint"])
def test_a_column_that_is_there_twice_is_refused(tmp_path, column, chosen):
    whole = table("a")
    twice = pa.table([*whole.columns, whole[column]], names=[*whole.column_names, column])
    pq.write_table(twice, tmp_path / "units.parquet")
    with pytest.raises(DataError, match=f"has the column '{column}' twice"):
        read_units(tmp_path / "units.parquet", chosen)


@pytest.mark.parametrize("chosen", [None, "a"])
def test_what_a_file_says_to_pandas_is_not_heard(tmp_path, chosen):
    frame = table("a").to_pandas().set_index("layer", append=True)
    frame.attrs = {"notes": 5}
    frame.assign(more="x").to_parquet(tmp_path / "units.parquet")
    found = read_units(tmp_path / "units.parquet", chosen)
    assert found.attrs == {}
    assert sorted(found.columns) == sorted(table("a").column_names)
    assert isinstance(found.index, pd.RangeIndex)


def test_other_types_of_the_same_kind_are_read(tmp_path):
    whole = table("a")
    kinds = {"unit": pa.int64(), "feature_entropy": pa.float32(), "layer": pa.large_string()}
    for name, kind in kinds.items():
        column = whole[name].cast(pa.string()) if name == "layer" else whole[name]
        position = whole.column_names.index(name)
        whole = whole.set_column(position, name, column.cast(kind))
    pq.write_table(whole, tmp_path / "units.parquet")
    found = plain(read_units(tmp_path / "units.parquet"))
    pd.testing.assert_frame_equal(found, plain(table("a")), rtol=1e-6)


@pytest.mark.parametrize("chosen", [None, "a"])
@pytest.mark.parametrize("column", ["layer", "more"])
def test_a_long_word_that_comes_often_takes_no_room_for_each_row(tmp_path, column, chosen):
    """Some kilobytes of file are 8 GB of text; a process of 3 GB more reads them."""
    n = 8000
    whole = table("a", n)
    words = pa.array(["x" * (1 << 20)] * 2).dictionary_encode()
    words = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), words.dictionary)
    if column == "layer":
        whole = whole.set_column(whole.column_names.index("layer"), "layer", words)
    else:
        whole = whole.append_column("more", words)
    path = tmp_path / "units.parquet"
    pq.write_table(whole, path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 400_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(read_units(path, chosen)) == n
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB
