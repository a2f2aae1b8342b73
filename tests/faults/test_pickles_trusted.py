"""Pickles that a person trusts, file by file: what they may do, and what they may not."""

import hashlib
import logging
import os
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from programs import run_program
from torchvision.models import squeezenet1_1

import audit
from audit.errors import CheckpointError, ConfigError
from audit.network.weights import read_weights
from audit.runs.config import RunOptions


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def whole_network(tmp_path_factory):
    """A network as `torch.save(model, path)` writes it: its classes stand in the pickle."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("whole") / "network.pth"
    torch.save(squeezenet1_1(num_classes=10), path)
    return path


def test_row_01_a_trusted_file_is_read_and_says_what_it_named(whole_network, caplog):
    with pytest.raises(CheckpointError, match="could run code"):
        read_weights(whole_network)
    with caplog.at_level(logging.WARNING, "genaudit"):
        weights = read_weights(whole_network, trusted={digest(whole_network)})
    state = torch.load(whole_network, weights_only=False).state_dict()
    assert weights.state_dict.keys() == state.keys()
    assert all(torch.equal(weights.state_dict[name], state[name]) for name in state)
    (note,) = (note for note in weights.notes if "--trust-pickle" in note)
    assert "torchvision.models.squeezenet.SqueezeNet" in note
    assert "torchvision.models.squeezenet.SqueezeNet" in caplog.text


def test_row_01_numbers_of_numpy_beside_the_weights_are_no_matter(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {"a": torch.ones(2)}, "accuracy": np.float64(0.5)}, path)
    with pytest.raises(CheckpointError, match=r"names numpy\S+\.scalar"):
        read_weights(path)
    weights = read_weights(path, trusted={digest(path)})
    assert weights.state_dict["a"].tolist() == [1, 1]


def test_row_01_trust_is_in_these_bytes_and_no_others(whole_network, tmp_path):
    path = tmp_path / "other.pth"
    torch.save(squeezenet1_1(num_classes=3), path)
    with pytest.raises(CheckpointError, match="could run code"):
        read_weights(path, trusted={digest(whole_network)})


class Touch:
    """Unpickles to the result of a command that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.skipif(sys.platform == "win32", reason="no confined process")
def test_row_01_even_a_trusted_pickle_is_confined(tmp_path):
    path, canary = tmp_path / "w.pth", tmp_path / "canary"
    torch.save({"a": torch.ones(2), "b": Touch(canary)}, path)
    with pytest.raises(CheckpointError):
        read_weights(path, trusted={digest(path)})
    assert not canary.exists()


def test_row_01_what_is_not_installed_is_said(tmp_path, monkeypatch):
    module = type(sys)("my_training_code")
    module.Config = type("Config", (), {"__module__": "my_training_code"})
    monkeypatch.setitem(sys.modules, "my_training_code", module)
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(2), "config": module.Config()}, path)
    with pytest.raises(CheckpointError) as caught:
        read_weights(path, trusted={digest(path)})
    assert "its pickle names my_training_code.Config, which is not among the installed" in str(
        caught.value
    )


def test_row_01_bare_pickles_are_refused_all_the_same(tmp_path):
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"a": 1}, protocol=2))
    with pytest.raises(CheckpointError, match="is a bare pickle"):
        read_weights(path, trusted={digest(path)})


def config(weights):
    return {
        "dataset": {"name": "digits"},
        "measures": {"include": ["train_loss"], "layers": ["last"], "images_per_class": 2},
        "checkpoints": [
            {
                "model": "torchvision.models:squeezenet1_1",
                "model_args": {"num_classes": 10},
                "weights": str(weights),
            }
        ],
    }


def test_row_01_the_row_of_a_trusted_file_is_stamped(whole_network, tmp_path):
    options = {"cache": tmp_path / "cache", "workers": 0, "progress": False}
    given = config(whole_network)
    kept = audit.run(given, tmp_path / "refused", options=RunOptions(**options))
    assert "could run code" in str(kept.failed)
    options["trust_pickle"] = (f"sha256:{digest(whole_network)}",)
    audit.run(given, tmp_path / "out", options=RunOptions(**options))
    rows = pd.read_csv(tmp_path / "out" / "measures.csv")
    assert (rows["status"] == "ok").all()
    record = (tmp_path / "out" / "run.json").read_text("utf-8")
    assert "--trust-pickle unblocked torchvision.models.squeezenet.SqueezeNet" in record


def test_row_01_trust_in_a_file_that_is_not_read_is_a_mistake(whole_network, tmp_path):
    options = RunOptions(
        cache=tmp_path / "cache", workers=0, progress=False, trust_pickle=("sha256:" + "0" * 64,)
    )
    with pytest.raises(ConfigError, match=r"sha256:0+ is the digest of no weights file"):
        audit.run(config(whole_network), tmp_path / "out", options=options)


def test_row_01_an_option_that_is_no_digest_is_refused(tmp_path):
    (tmp_path / "audit.toml").write_text('dataset = "digits"\n')
    command = ["run", str(tmp_path / "audit.toml"), "--trust-pickle", "all"]
    done = run_program([sys.executable, "-m", "audit", *command], check=False)
    assert done.returncode == 2
    assert "'all' is not sha256: and the 64 digits" in done.stderr
