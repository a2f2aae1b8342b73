"""Two networks compared by their units, on the images of one training set."""

import numpy as np
import pandas as pd
import pytest
import timm
import torch

import audit
from audit.errors import ConfigError, UnavailableError
from audit.transforms import permute_channels

SIZE = {"input_size": [1, 32, 32]}
OPTIONS = {"images_per_class": 24, "device": "cpu", "transform": SIZE, "max_classes": 6}


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda number: None)


def network(seed=0, name="test_resnet"):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(name, num_classes=10, in_chans=1).eval()


def test_a_network_and_itself_with_channels_in_another_order_share_all_status():
    module = network()
    images = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    other = permute_channels(module, images, seed=1)
    found = audit.compare_units(
        module, other, "digits", ["layer1"], "cubical", n_permutations=99, **OPTIONS
    )
    assert found.names == (f"{type(module).__name__} (first)", f"{type(other).__name__} (second)")
    row = found.matched.iloc[0]
    assert row["alike"] == pytest.approx(1, abs=1e-4)
    assert row["alike_by_chance"] < 0.8
    assert row["spearman"] == pytest.approx(row["ceiling"], abs=1e-6)
    assert row["verdict"] == "shared"
    assert (found.classes["distance"] < 1e-9).all()
    assert found.layers["p_value"].tolist() == [1]
    assert found.class_order["kendall"].iloc[0] == pytest.approx(1)
    shares = found.states.groupby("layer")["ok"].nunique()
    assert (shares == 1).all()


def test_maps_of_two_architectures_are_brought_to_one_size():
    found = audit.compare_units(
        network(),
        network(0, "test_mambaout"),
        "digits",
        None,
        "cubical",
        n_permutations=19,
        **OPTIONS,
    )
    assert all(own.size == other.size for own, other in found.pairs)
    assert len(found.matched) == len(found.layers) == len(found.pairs)
    told = found.matched["p_value"].notna() | (found.matched["reason"] != "")
    assert told.all()


def test_tables_and_networks_answer_the_same_where_maps_have_one_size():
    own, other = network(0), network(1)
    views = audit.compare_units(
        own, other, "digits", n_permutations=19, names=("a", "b"), **OPTIONS
    )
    tables = [audit.unit_table(one, "digits", **OPTIONS) for one in (own, other)]
    found = audit.compare_units(*tables, n_permutations=19, names=("a", "b"))
    assert found.names == ("a", "b")
    assert found.matched.empty
    assert found.pairs[0][0].size == views.pairs[0][0].size
    for name, table in found.tables.items():
        pd.testing.assert_frame_equal(table, views.tables[name])
    np.testing.assert_array_equal(found.states["ok"] >= 0, True)


def test_wrong_questions_are_refused():
    table = pd.DataFrame({"layer": ["a"]})
    with pytest.raises(ConfigError) as caught:
        audit.compare_units(table, network(), "digits")
    assert str(caught.value) == ("two unit tables or two networks are compared; found one of each")
    with pytest.raises(ConfigError) as caught:
        audit.compare_units(network(), network())
    assert str(caught.value) == "to compare networks, say on which training set: dataset=…"
    with pytest.raises(ConfigError) as caught:
        audit.compare_units(network(), network(), "digits", filtration="clik")
    assert str(caught.value) == "unknown filtration 'clik'; did you mean 'clique'?"
    wide = OPTIONS | {"transform": {"input_size": [1, 32, 48]}}
    with pytest.raises(UnavailableError) as caught:
        audit.compare_units(network(), network(1), "digits", **wide)
    assert str(caught.value) == (
        "the clique filtration needs square feature maps, and not both networks have them"
    )
