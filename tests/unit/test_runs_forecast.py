"""What a run would do: tried in a child process, and not on every network."""

import pytest
import torch
from test_views import network

from audit.network.saving import write_weights
from audit.runs.config import RunOptions
from audit.runs.forecast import forecast

CONFIG = """
[dataset]
name = "digits"
transform = { input_size = [1, 32, 32], mean = [0.5], std = [0.5] }

[[checkpoints]]
model = "test_resnet"
weights = "zoo/*.safetensors"
model_args = { num_classes = 10, in_chans = 1 }

[measures]
images_per_class = 2
"""


def refuse(*given):
    raise AssertionError("a network was built in this process")


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """The plan of a zoo of six: four fit, one has another shape, one is no weights file."""
    for number in range(4):
        module = network()
        with torch.no_grad():
            module.fc.bias += number
        write_weights(module, tmp_path / "zoo" / f"fits-{number}.safetensors")
    (tmp_path / "zoo" / "broken.safetensors").write_bytes(b"no weights at all")
    state = network().state_dict()
    state["fc.bias"] = torch.zeros(7)
    write_weights(state, tmp_path / "zoo" / "misfit.safetensors")
    (tmp_path / "audit.toml").write_text(CONFIG)
    monkeypatch.setattr("audit.measuring.checkpoint.CheckpointView._network", refuse)
    options = RunOptions(
        output=tmp_path / "out", cache=tmp_path / "cache", device="cpu", workers=1, progress=False
    )
    return forecast(tmp_path / "audit.toml", options)


def test_forecast_tries_one_network_of_each_layout_in_a_child(plan):
    assert plan["n_checkpoints"] == 6
    assert plan["n_cached"] == 0
    assert plan["n_tried"] == 2
    assert plan["passes"] == 4.45
    assert set(plan["refused"]) == {"broken", "misfit"}
    assert "is neither safetensors nor a torch.save archive" in plan["refused"]["broken"]
    assert "fc.bias is 7 in the file, 10 in the model" in plan["refused"]["misfit"]
    assert plan["seconds"] > 0
    assert plan["time"].startswith("about ")


def test_forecast_names_weights_that_are_not_finite_where_they_are_tried(tmp_path):
    module = network()
    with torch.no_grad():
        module.fc.bias[0] = float("nan")
    path = tmp_path / "zoo" / "diverged.safetensors"
    write_weights(module, path)
    write_weights(network(), tmp_path / "zoo" / "fits.safetensors")
    (tmp_path / "audit.toml").write_text(CONFIG)
    options = RunOptions(
        output=tmp_path / "out", cache=tmp_path / "cache", device="cpu", workers=1, progress=False
    )
    plan = forecast(tmp_path / "audit.toml", options)
    assert plan["n_tried"] == 1
    assert list(plan["refused"]) == ["diverged"]
    assert plan["refused"]["diverged"].startswith(
        f"checkpoint {path} has weights that are NaN or infinite: 1 of 10 in fc.bias, 1 of "
    )
    assert plan["time"] == "cannot be told: no checkpoint could be timed"
