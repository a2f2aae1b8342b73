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


Z_SCORES = ["shuffled_z", "labels_z", "random_z"]


def test_unit_table_sets_units_against_chance():
    plain = audit.unit_table(network(), "digits", transform=SIZE, **OPTIONS)
    options = OPTIONS | {"images_per_class": 6, "filtration": "cubical"}
    found = audit.unit_table(network(), "digits", transform=SIZE, nulls=True, **options)
    assert not set(Z_SCORES) & set(plain)
    for z in Z_SCORES:
        assert found[z].notna().mean() > 0.5, z
        assert found.loc[found["feature_entropy"].isna(), z].isna().all()
    again = audit.unit_table(network(), "digits", transform=SIZE, **options)
    assert again.equals(found.drop(columns=Z_SCORES))


def test_unit_table_says_how_sure_and_which_units_repeat_others():
    options = OPTIONS | {"images_per_class": 12, "filtration": "cubical"}
    module = network()
    with torch.no_grad():  # the third unit of the stem becomes a copy of the first
        module.conv1[0].weight[2] = module.conv1[0].weight[0]
    found = audit.unit_table(module, "digits", "conv1.0", transform=SIZE, **options)
    columns = ["feature_entropy", "lower", "upper", "status", "repeats"]
    at = list(found.columns).index("feature_entropy")
    assert list(found.columns[at:]) == columns
    few = found["n_images"] * found["effective_rate"] < 10
    assert found.loc[few, ["lower", "upper"]].isna().all(axis=None)
    told = found[~few]
    assert len(told)
    assert (told["lower"] <= told["upper"]).all()
    copies = found[found["unit"] == 2]
    assert (copies["repeats"] == 0).all()
    assert set(copies["status"]) <= {"redundant", "dead", "constant", "never_born"}
    assert (found.loc[found["unit"] == 0, "repeats"] == -1).all()
    without = audit.unit_table(
        module, "digits", "conv1.0", transform=SIZE, confidence=None, **options
    )
    columns = [name for name in without if name != "status"]
    assert without[columns].equals(found[columns])
    assert not set(without["status"]) & {"redundant"}


def test_unit_table_says_why_units_are_not_set_against_random_ones():
    class Own(nn.Module):
        """A network with a parameter that no module draws."""

        pretrained_cfg = {"input_size": (1, 32, 32), "mean": (0.5,), "std": (0.5,)}  # noqa: RUF012

        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.inner = network()

        def forward(self, images):
            return self.inner(images * self.scale)

    found = audit.unit_table(Own(), "digits", nulls=True, **OPTIONS)
    assert found["random_z"].isna().all()
    assert found["labels_z"].notna().any()
    assert found.attrs["notes"] == [
        "no random_z: nothing says how the parameter 'scale' is drawn before training: its module "
        "has no reset_parameters() that sets it"
    ]
