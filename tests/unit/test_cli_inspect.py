"""`genaudit inspect`: what a file is, what it holds, and what would be refused."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner

from audit.cli import genaudit
from audit.ranking import shipped_cards
from audit.runs.inspection import inspect_file
from audit.store import Store


def inspected(path, *options):
    found = CliRunner().invoke(genaudit, ["inspect", str(path), "--json", *options])
    return json.loads(found.stdout), found.exit_code


def test_inspect_describes_safetensors(tmp_path):
    path = tmp_path / "w.safetensors"
    state = {"module.a": torch.zeros(2, 3), "module.b": torch.zeros(4, dtype=torch.int64)}
    safetensors.torch.save_file(state, path, {"na\u202eme": "line\nline"})
    found, code = inspected(path)
    assert code == 0
    assert found["refused"] == ""
    assert found["format"] == "safetensors"
    assert found["prefix"] == "module."
    assert found["dtypes"] == {"float32": 1, "int64": 1}
    assert found["total_bytes"] == 56
    assert {"name": "a", "dtype": "float32", "shape": [2, 3], "bytes": 24} in found["tensors"]
    assert found["beside"] == {"na\\u202eme": "line\\nline"}


def test_inspect_says_which_weights_would_be_taken(tmp_path):
    path = tmp_path / "w.pth"
    content = {"state_dict": {"a": torch.ones(1)}, "state_dict_ema": {"a": torch.ones(1)}}
    torch.save({**content, "epoch": 3, "classes": ["x", "y"]}, path)
    found, _ = inspected(path)
    assert found["notes"] == [
        "took the weights in 'state_dict_ema' (averaged weights) rather than 'state_dict'"
    ]
    assert found["beside"]["epoch"] == "3"
    assert found["beside"]["classes"] == "list of 2"
    found, _ = inspected(path, "--which", "raw")
    assert found["notes"][0].startswith("took the weights in 'state_dict'")


def test_inspect_says_why_a_file_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"cposix\nsystem\n(S'touch canary'\ntR.")
    found, code = inspected(path)
    assert code == 1
    assert "its pickle names posix.system, which weights do not need" in found["refused"]
    assert inspected(tmp_path / "none.pth")[1] == 1
    shown = CliRunner().invoke(genaudit, ["inspect", str(path)])
    assert f"{path}: weights" in shown.stdout
    assert "refused: checkpoint" in shown.stdout


def test_inspect_describes_folders(tmp_path):
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "one.safetensors")
    (tmp_path / "two.pth").write_bytes(b"nonsense")
    found, code = inspected(tmp_path)
    assert code == 1
    assert found["kind"] == "folder"
    assert [each["refused"] == "" for each in found["files"]] == [True, False]
    assert found["refused"] == "1 of its 2 checkpoints are refused"
    shown = CliRunner().invoke(genaudit, ["inspect", str(tmp_path)])
    assert "a: float32, 1" in shown.stdout


def test_inspect_describes_cards_and_entries(tmp_path):
    from audit.ranking import load_card, save_card

    card = load_card(shipped_cards()[0])
    save_card(card, tmp_path / "card.json")
    found, code = inspected(tmp_path / "card.json")
    assert code == 0
    assert (found["kind"], found["card"]) == ("calibrator card", card.kind)
    store = Store(tmp_path / "store")
    store.put({"what": "x"}, {"numbers": np.zeros((2, 3), np.float32)}, {"note": "y"})
    (entry,) = store.paths()
    found, code = inspected(entry)
    assert code == 0
    assert found["arrays"] == {"numbers": "float32 [2, 3]"}
    assert (found["key"], found["json"]) == (["what"], ["note"])
    entry.write_bytes(entry.read_bytes()[:-1])
    found, code = inspected(entry)
    assert code == 1
    assert "is damaged" in found["refused"]


@pytest.mark.parametrize("data", [b"", b"{", b"PK", b"PK\3\4", bytes(100), b"genaudit-entry\n"])
def test_inspect_of_anything_is_a_dictionary(tmp_path, data):
    path = tmp_path / "x"
    path.write_bytes(data)
    assert inspect_file(path)["refused"]


def test_tensors_are_not_beside_themselves(tmp_path):
    torch.save({"a": torch.ones(2), "b": torch.ones(1)}, tmp_path / "w.pth")
    found = inspect_file(tmp_path / "w.pth")
    assert (found["n_tensors"], found["beside"]) == (2, {})
    torch.save({"state_dict": {"module.a": torch.ones(2)}, "epoch": 3}, tmp_path / "w.pth")
    assert inspect_file(tmp_path / "w.pth")["beside"]["epoch"] == "3"
