"""Which weights lie in a folder is told from the names of its files, and from equal content."""

import os
import tempfile

import pytest
import torch

from audit.errors import CheckpointError
from audit.network.weights import _snapshot, read_weights
from audit.network.weights.folders import stem, weights_in


def made(folder, *names, content=None):
    """Files of these names, each of a content of its own or of the one that is given."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}" if content is None else content)


def names_in(folder):
    return [str(path.relative_to(folder)) for path in weights_in(folder)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.safetensors", "a"),
        ("a.pth.tar", "a"),
        ("a.b.ckpt", "a.b"),
        ("model.safetensors.index.json", "model"),
        ("pytorch_model.bin.index.json", "pytorch_model"),
        (".pth", ".pth"),
        ("a.onnx", "a"),
        ("a", "a"),
    ],
)
def test_the_stem_of_a_name_has_no_ending(tmp_path, name, expected):
    assert stem(tmp_path / name) == expected


def test_a_network_by_its_usual_name_comes_before_all_else(tmp_path):
    made(tmp_path, "pytorch_model.bin", "epoch_1.pth", "below/other.pth")
    assert names_in(tmp_path) == ["pytorch_model.bin"]
    made(tmp_path, "model.safetensors.index.json")
    assert names_in(tmp_path) == ["model.safetensors.index.json"]
    made(tmp_path, "model.safetensors")
    assert names_in(tmp_path) == ["model.safetensors"]


def test_indices_come_before_files_and_files_before_folders(tmp_path):
    made(tmp_path, "below/deep.pth", "below/.hidden.pth", ".git/other.pth")
    assert names_in(tmp_path) == ["below/deep.pth"]
    made(tmp_path, "b.pth", "a.ckpt", "optimizer.pt", "notes.txt", ".hidden.pth")
    (tmp_path / "folder.pth").mkdir()
    assert names_in(tmp_path) == ["a.ckpt", "b.pth"]
    made(tmp_path, "other.safetensors.index.json", "another.safetensors.index.json")
    assert names_in(tmp_path) == ["another.safetensors.index.json", "other.safetensors.index.json"]


@pytest.mark.parametrize("copy", ["last.ckpt", "model_best.pth.tar", "best.pt"])
def test_copies_of_an_epoch_are_left_out_and_others_are_not(tmp_path, copy):
    made(tmp_path, "epoch_1.pth", "epoch_2.pth", copy)
    assert names_in(tmp_path) == sorted(["epoch_1.pth", "epoch_2.pth", copy])
    made(tmp_path, copy, content="1")  # the content of epoch_2
    assert names_in(tmp_path) == ["epoch_1.pth", "epoch_2.pth"]
    (tmp_path / copy).unlink()
    (tmp_path / copy).symlink_to(tmp_path / "epoch_1.pth")
    assert names_in(tmp_path) == ["epoch_1.pth", "epoch_2.pth"]


def test_of_copies_alone_one_is_left(tmp_path):
    made(tmp_path, "best.pth", "last.pth", content="same")
    assert names_in(tmp_path) == ["best.pth"]
    made(tmp_path, "last.pth", content="another")
    assert names_in(tmp_path) == ["best.pth", "last.pth"]


def test_files_that_cannot_be_compared_are_all_given(tmp_path, monkeypatch):
    made(tmp_path, "best.pth", "epoch.pth", content="same")

    def refused(*given, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filecmp.cmp", refused)
    assert names_in(tmp_path) == ["best.pth", "epoch.pth"]


def test_of_shards_without_an_index_the_first_stands_for_all(tmp_path):
    made(tmp_path, *(f"m-0000{n}-of-00003.safetensors" for n in (1, 2, 3)), "z.pth")
    assert names_in(tmp_path) == ["m-00001-of-00003.safetensors", "z.pth"]


def test_folders_are_looked_into_eight_deep(tmp_path):
    eight = "/".join("abcdefgh")
    made(tmp_path, f"{eight}/w.pth")
    assert names_in(tmp_path) == [f"{eight}/w.pth"]
    (tmp_path / eight / "w.pth").unlink()
    made(tmp_path, f"{eight}/i/w.pth")
    with pytest.raises(CheckpointError, match="is a folder without weights"):
        weights_in(tmp_path)


def test_a_folder_without_weights_says_what_it_holds(tmp_path):
    with pytest.raises(CheckpointError, match=r"it is empty$"):
        weights_in(tmp_path)
    made(tmp_path, *(f"{n:02}.txt" for n in range(10)))
    with pytest.raises(CheckpointError, match=r"it holds 00\.txt, .*, 09\.txt$"):
        weights_in(tmp_path)
    made(tmp_path, "10.txt")
    with pytest.raises(CheckpointError, match=r"09\.txt and more$"):
        weights_in(tmp_path)


def test_a_folder_with_one_checkpoint_below_it_is_that_checkpoint(tmp_path):
    path = tmp_path / "run" / "epoch_3" / "model.safetensors"
    path.parent.mkdir(parents=True)
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.ones(2)}, path)
    assert set(read_weights(tmp_path).state_dict) == {"a"}
    made(tmp_path, "run/epoch_4/model.safetensors")
    with pytest.raises(CheckpointError, match=r"is a folder with 2 checkpoints: run/epoch_3/mod"):
        read_weights(tmp_path)


def test_what_cannot_be_told_of_memory_is_no_limit(monkeypatch):
    def unknown(name):
        raise ValueError("unrecognized configuration name")

    assert _snapshot._memory() > 1 << 28
    monkeypatch.setattr(os, "sysconf", unknown)
    assert _snapshot._memory() == 0


def test_a_file_for_another_process_has_a_place(monkeypatch):
    for there in (True, False):
        if not there:
            monkeypatch.delattr(os, "memfd_create", raising=False)
        with _snapshot.shared_file() as file:
            file.write(b"content")
            file.flush()
            with open(_snapshot.place_of(file), "rb") as again:
                assert again.read() == b"content"
            if not there:
                assert _snapshot.place_of(file).startswith(tempfile.gettempdir())


def test_a_snapshot_of_an_archive_has_its_bytes_size_and_digest(tmp_path, monkeypatch):
    import hashlib

    monkeypatch.setattr(_snapshot, "_CHUNK", 100)
    path = tmp_path / "w.pth"
    torch.save({"a": torch.arange(100)}, path)
    content = path.read_bytes()
    with path.open("rb") as file, _snapshot.snapshot(file, path) as found:
        assert (found.kind, found.size) == ("torch", len(content))
        assert found.digest == hashlib.sha256(content).hexdigest()
        assert found.file.read() == content
    assert _snapshot.file_digest(path) == found.digest
