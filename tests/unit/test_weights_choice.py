"""Which weights of a file that holds several are taken."""

import argparse

import pytest
import torch

from audit.errors import CheckpointError
from audit.network.weights import read_weights

RAW, EMA = {"a": torch.zeros(1)}, {"a": torch.ones(1)}


def saved(tmp_path, content):
    path = tmp_path / "w.pth"
    torch.save(content, path)
    return path


@pytest.mark.parametrize("ema", ["state_dict_ema", "model_ema", "ema_state_dict", "ema"])
@pytest.mark.parametrize(("which", "value"), [("auto", 1), ("ema", 1), ("raw", 0)])
def test_averaged_or_raw_weights_are_taken_as_asked_and_named(tmp_path, ema, which, value):
    weights = read_weights(saved(tmp_path, {"state_dict": RAW, ema: EMA}), which=which)
    assert weights.state_dict["a"].item() == value
    taken, other = (ema, "state_dict") if value else ("state_dict", ema)
    averaged = " (averaged weights)" if value else ""
    assert weights.notes == (f"took the weights in {taken!r}{averaged} rather than {other!r}",)


@pytest.mark.parametrize(("which", "value"), [("auto", 1), ("ema", 1), ("raw", 0)])
def test_lightnings_averaging_is_understood(tmp_path, which, value):
    content = {"state_dict": EMA, "current_model_state": RAW, "averaging_state": {"n": 1}}
    weights = read_weights(saved(tmp_path, content), which=which)
    assert weights.state_dict["a"].item() == value


@pytest.mark.parametrize("content", [RAW, {"state_dict": RAW}])
def test_averaged_weights_that_are_not_there_cannot_be_asked_for(tmp_path, content):
    path = saved(tmp_path, content)
    with pytest.raises(CheckpointError) as caught:
        read_weights(path, which="ema")
    assert str(caught.value) == (
        f'checkpoint {path} has no averaged weights, which = "ema" asks for (looked for '
        "state_dict_ema, model_ema, ema_state_dict, model_ema_state_dict, ema_model, params_ema, "
        "ema and 'n_averaged'); it holds one set of weights, 1 names from 'a' on: leave `which` out"
    )


def test_raw_weights_that_are_not_there_cannot_be_asked_for(tmp_path):
    path = saved(tmp_path, {"state_dict_ema": EMA, "state_dict": {}})
    with pytest.raises(CheckpointError) as caught:
        read_weights(path, which="raw")
    assert str(caught.value) == (
        f'checkpoint {path} has no raw weights, which = "raw" asks for; it holds averaged ones '
        'under state_dict_ema: set which = "ema" or leave it out'
    )
    path = saved(tmp_path, {"module.a": torch.ones(1), "n_averaged": torch.tensor(3)})
    assert set(read_weights(path, which="ema").state_dict) == {"a"}
    with pytest.raises(CheckpointError, match=r"its own count \('n_averaged'\) says that they"):
        read_weights(path, which="raw")


def test_a_configuration_under_the_name_of_weights_is_passed_over(tmp_path):
    content = {"model": {"name": "resnet18"}, "weights": RAW}
    weights = read_weights(saved(tmp_path, content))
    assert weights.notes == ("took the weights in 'weights'",)


@pytest.mark.parametrize(
    "content", [{"arch": "x"}, {"arch": "y", "args": argparse.Namespace(model="x")}]
)
def test_the_architecture_in_a_file_is_kept(tmp_path, content):
    weights = read_weights(saved(tmp_path, {**content, "state_dict": RAW}))
    assert weights.architecture == "x"
