"""Pipes, devices and files with holes where a stranger's file is read: refused, not waited for."""

import os
import resource

import pytest
import safetensors.torch
import torch

from audit.errors import AuditError, CheckpointError, DataError, StoreError
from audit.files import open_plain, plain_bytes, plain_text
from audit.folder.cells import read_cells
from audit.folder.csv_files import read_csv
from audit.folder.record import read_run
from audit.folder.unit_rows import folder_units
from audit.network.class_names import names_in_checkpoint
from audit.network.weights import read_weights
from audit.ranking import load_card
from audit.runs.inspection import inspect_file
from audit.runs.progress import read_progress
from audit.store import Store

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")

ENDLESS = ("pipe", "device", "folder")


def make(kind, path):
    """Something that is no plain file."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ENDLESS)
def test_row_06_a_config_beside_weights_is_not_waited_for(tmp_path, kind):
    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors")
    make(kind, tmp_path / "config.json")
    assert names_in_checkpoint(tmp_path / "w.safetensors", []) == []


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("run.json", lambda path: read_run(path.parent)),
        ("progress.json", lambda path: read_progress(path.parent)),
        ("units.parquet", lambda path: folder_units(path.parent)),
        ("ranking.csv", lambda path: read_csv(path, "ranking")),
        ("card.json", load_card),
        ("held_out.csv", lambda path: read_cells(path, str(path))),
    ],
)
def test_row_06_a_folder_of_results_is_not_waited_for(tmp_path, kind, name, read):
    with pytest.raises(AuditError, match=r"cannot be read|plain file|directory"):
        read(make(kind, tmp_path / name))


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "model.safetensors.index.json"])
def test_row_06_inspect_says_that_it_is_no_plain_file(tmp_path, kind, name):
    make(kind, tmp_path / name)
    found = inspect_file(tmp_path / name)
    assert "plain file" in found["refused"]


def test_row_27_units_that_are_no_table_are_refused(tmp_path):
    (tmp_path / "units.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(DataError, match=r"units\.parquet cannot be read: "):
        folder_units(tmp_path)


@pytest.mark.parametrize("n_header", [0, 2, 100])
def test_row_03_files_with_holes_are_refused_by_their_header(tmp_path, n_header):
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        file.write(n_header.to_bytes(8, "little") + b"{}" + b" " * 98)
        file.truncate(3 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError):
        read_weights(path)
    assert names_in_checkpoint(path, []) == []
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1 << 20  # KiB


def test_plain_files_are_read_up_to_a_limit(tmp_path):
    path = tmp_path / "text"
    path.write_bytes("\ufeffa\r\nb\rc\n".encode())
    assert plain_text(path) == "a\nb\nc\n"
    assert plain_bytes(path, 10) == path.read_bytes()
    with pytest.raises(OSError, match="more than 9 bytes"):
        plain_bytes(path, 9)
    with pytest.raises(FileNotFoundError), open_plain(tmp_path / "none"):
        pass
    with pytest.raises(ZeroDivisionError), open_plain(path) as file:
        raise ZeroDivisionError
    assert file.closed


@pytest.mark.parametrize("kind", ENDLESS)
def test_row_13_what_lies_where_an_entry_should_is_a_miss(tmp_path, kind):
    store = Store(tmp_path)
    key = {"a": 1}
    store.path(key).parent.mkdir(parents=True)
    make(kind, store.path(key))
    assert store.get(key) is None
    assert store.verify()[0] == 0
    if kind != "folder":
        store.put(key, {}, {"value": 1})
        assert store.get(key).meta["value"] == 1


@pytest.mark.parametrize("kind", ENDLESS)
def test_row_13_a_ledger_is_not_waited_for(tmp_path, kind):
    make(kind, tmp_path / "ledger.jsonl")
    with pytest.raises(StoreError, match="cannot be read"):
        list(Store(tmp_path).ledger())
