"""The unit table of one network, in memory or on disk."""

import pytest
import timm
import torch
from torch import nn

import audit
from audit.errors import ConfigError
from audit.network.saving import write_weights

SIZE = {"input_size": [1, 32, 32]}
OPTIONS = {"images_per_class": 2, "device": "cpu"}


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda number: None)


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model("test_resnet", num_classes=10, in_chans=1)


class Wrapped(nn.Module):
    """A network that nobody's source builds."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(images)


def test_unit_table_of_a_network_in_memory_is_that_of_its_file(tmp_path):
    module = network().train()
    path = tmp_path / "network.safetensors"
    write_weights(module, path, {})
    named = {
        "model": "test_resnet",
        "model_args": {"num_classes": 10, "in_chans": 1},
        "weights": str(path),
    }
    found = audit.unit_table(module, "digits", transform=SIZE, **OPTIONS)
    assert found.equals(audit.unit_table(named, "digits", transform=SIZE, **OPTIONS))
    assert module.training
    assert found["status"].eq("ok").any()


def test_unit_table_of_a_network_nobody_recognises_needs_the_whole_transform():
    module = Wrapped(network())
    with pytest.raises(ConfigError) as caught:
        audit.unit_table(module, "digits", transform=SIZE, **OPTIONS)
    assert str(caught.value) == (
        "no model source recognises Wrapped, so that how its images are prepared must be given: "
        "transform={'input_size': [3, 224, 224], 'mean': [0.5], 'std': [0.5]}, with the numbers it "
        "was trained with"
    )
    whole = SIZE | {"mean": [0.5], "std": [0.5], "crop_pct": 1.0, "interpolation": "bicubic"}
    layers = ["layer1"]
    plain = audit.unit_table(module.inner, "digits", layers, transform=whole, **OPTIONS)
    wrapped = audit.unit_table(module, "digits", ["inner.layer1"], transform=whole, **OPTIONS)
    assert set(wrapped.pop("layer")) == {"inner.layer1"}
    assert set(plain.pop("layer")) == {"layer1"}
    assert wrapped.equals(plain)


def test_unit_table_of_a_network_that_describes_itself_needs_no_transform():
    module = Wrapped(network())
    module.pretrained_cfg = {"input_size": (1, 32, 32), "mean": (0.5,), "std": (0.5,)}
    whole = {"input_size": [1, 32, 32], "mean": [0.5], "std": [0.5], "crop_pct": 1.0}
    told = audit.unit_table(module, "digits", **OPTIONS)
    assert told.equals(audit.unit_table(module, "digits", transform=whole, **OPTIONS))


def test_unit_table_sets_units_against_their_shuffled_maps():
    plain = audit.unit_table(network(), "digits", transform=SIZE, **OPTIONS)
    options = OPTIONS | {"images_per_class": 6, "filtration": "cubical"}
    found = audit.unit_table(network(), "digits", transform=SIZE, nulls=True, **options)
    assert "shuffled_z" not in plain
    assert found["shuffled_z"].notna().mean() > 0.5
    assert found.loc[found["status"] != "ok", "shuffled_z"].isna().all()
    again = audit.unit_table(network(), "digits", transform=SIZE, **options)
    assert again.equals(found.drop(columns="shuffled_z"))
