"""A network is followed while it trains, and is left exactly as it was."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from audit.conformance.views import ArrayView
from audit.errors import CheckpointError, ConfigError, DataError, UnavailableError
from audit.following._apart import copied
from audit.following.follower import Follower
from audit.following.logs import COLUMNS, read_table
from audit.following.sample import FixedSample
from audit.plugin.registry import installed

SIDE = 16


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda number: None)


def small_network(channels=1, n_classes=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(6 * (SIDE // 2) ** 2, n_classes),
    )


def small_sample(n=24, n_classes=3):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, 1, SIDE, SIDE, generator=generator)
    return FixedSample(images, np.arange(n) % n_classes)


def follow(model, **options):
    return Follower(model, small_sample(), folder=None, **{"budget": None, **options})


def one_step(model, optimizer=None):
    sample = small_sample()
    loss = nn.functional.cross_entropy(model(sample.images), torch.from_numpy(sample.labels))
    loss.backward()
    if optimizer:
        optimizer.step()
        optimizer.zero_grad()


def everything_in(model):
    """All that training could meet: tensors, gradients, modes."""
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    modes = [(part.training, len(part._forward_hooks)) for part in model.modules()]
    wanted = [p.requires_grad for p in model.parameters()]
    return tensors, gradients, modes, wanted


def assert_same(before, after):
    for known, found in zip(before[:2], after[:2], strict=True):
        assert known.keys() == found.keys()
        assert all(torch.equal(known[name], found[name]) for name in known)
    assert before[2:] == after[2:]


@pytest.mark.parametrize("training", [True, False])
def test_follower_leaves_weights_gradients_statistics_and_modes(training):
    model = small_network()
    model[4].requires_grad_(False)
    one_step(model.train())
    model.train(training)
    model[3].train(not training)
    follower = follow(model)
    before = everything_in(model)
    assert follower.after_epoch(1)
    assert_same(before, everything_in(model))
    assert before[1]
    assert int(model[1].num_batches_tracked) == 1


def test_follower_leaves_random_generators():
    model = small_network()
    follower = follow(model)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    follow(model)
    follower.after_epoch(1)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_follower_leaves_settings_of_torch():
    model = small_network()
    torch.set_num_threads(1)
    with torch.autocast("cpu", torch.bfloat16):
        found = follow(model).after_epoch(1)
        assert torch.is_autocast_enabled("cpu")
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert found[0]["sample_loss"] == follow(model).after_epoch(1)[0]["sample_loss"]


def test_follower_changes_nothing_that_training_gives():
    """Weights after steps with and without a follower are the same to the bit."""
    weights = []
    for followed in (False, True):
        model = small_network().train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        torch.manual_seed(3)
        follower = follow(model) if followed else None
        for epoch in range(3):
            one_step(model, optimizer)
            if follower:
                follower.after_epoch(epoch)
        weights.append({name: t.clone() for name, t in model.state_dict().items()})
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_follower_leaves_hooks_uncalled():
    model = small_network()
    seen = []
    model[2].register_forward_hook(lambda *given: seen.append(1))
    model.register_forward_pre_hook(lambda *given: seen.append(2))
    follow(model).after_epoch(1)
    assert seen == []
    model(small_sample().images)
    assert seen == [2, 1]


def test_follower_looks_at_pruned_weights_as_they_are_computed():
    model = small_network()
    prune.random_unstructured(model[0], "weight", 0.5)
    parametrizations.spectral_norm(model[4])
    one_step(model)
    assert not model[0].weight.is_leaf
    network = copied(model)
    model.eval()
    images = small_sample().images
    with torch.no_grad():
        assert torch.equal(network(images), model(images))


def test_follower_looks_inside_wrappers():
    model = small_network()
    plain = follow(model).after_epoch(1)
    compiled = torch.compile(nn.DataParallel(model), backend="eager")
    assert follow(compiled).after_epoch(1)[0]["layer"] == plain[0]["layer"]


def test_follower_gives_what_the_measures_of_the_same_names_give():
    model, sample = small_network(), small_sample()
    rows = {row["layer"]: row for row in follow(model, filtration="cubical").after_epoch(1)}
    measures = installed().measures
    for name in ("feature_entropy", "effective_rate", "birth_class_information"):
        entry = measures[f"{name}.cubical"]
        view = ArrayView(model, sample.images, sample.labels, measures=[entry])
        values = entry.compute(view)
        for position, layer in enumerate(view.layers, start=1):
            assert rows[layer.name][name] == pytest.approx(values[f"layer_{position}"].value, 1e-12)
    first = rows[next(iter(rows))]
    for name, column in (("train_loss", "sample_loss"), ("train_accuracy", "sample_accuracy")):
        value = measures[name].compute(ArrayView(model, sample.images, sample.labels))
        assert first[column] == pytest.approx(getattr(value, "value", value), 1e-6)


def test_follower_keeps_one_row_for_each_epoch_and_layer(tmp_path):
    model = small_network()
    with Follower(model, small_sample(), every=2, folder=tmp_path, budget=None) as follower:
        looked = [bool(follower.after_epoch(e, loss=1 / e, lr=0.1)) for e in range(3, 8)]
    assert looked == [True, False, True, False, True]
    table = read_table(tmp_path / "following.csv")
    assert list(table.columns) == [*COLUMNS, "lr"]
    assert table["epoch"].unique().tolist() == [3, 5, 7]
    assert table["layer"].unique().tolist() == list(follower.layers)
    assert table["loss"].tolist() == pytest.approx([1 / e for e in (3, 5, 7) for _ in range(2)])
    assert table["sample_accuracy"].between(0, 1).all()
    assert table.drop(columns="reason").equals(follower.table.drop(columns="reason"))


def test_follower_goes_on_with_the_table_of_a_training_that_is_resumed(tmp_path):
    model = small_network()
    for start in (0, 2):
        follower = Follower(model, small_sample(), "last", folder=tmp_path, budget=None)
        for epoch in range(start, start + 3):
            follower.after_epoch(epoch, loss=start)
    table = read_table(tmp_path / "following.csv")
    assert table["epoch"].tolist() == [0, 1, 2, 3, 4]
    assert table["loss"].tolist() == [0, 0, 2, 2, 2]


def test_follower_looks_at_another_network_in_place_of_the_model():
    model = small_network()
    average = copy.deepcopy(model)
    with torch.no_grad():
        average[7].bias += 5 * torch.arange(3.0)
    follower = follow(model)
    found = follower.after_epoch(1, network=average)
    assert found[0]["sample_loss"] != follower.after_epoch(2)[0]["sample_loss"]
    assert found[0]["sample_loss"] == follow(average).after_epoch(1)[0]["sample_loss"]


def test_follower_says_why_there_is_no_number():
    model = small_network()
    with torch.no_grad():
        model[4].weight.zero_()
        model[4].bias.fill_(-1)
    last = follow(model, layers="5").after_epoch(1)[0]
    assert np.isnan(last["feature_entropy"])
    assert np.isnan(last["birth_class_information"])
    assert last["n_silent"] == last["n_units"] == 6
    assert last["reason"] == (
        "no unit is born for any class; every unit is dead or constant on the sample"
    )


def test_follower_refuses_what_it_cannot_follow():
    model = small_network()
    with pytest.raises(ConfigError, match=r"^every must be at least 1; found 0$"):
        follow(model, every=0)
    with pytest.raises(ConfigError, match="unknown filtration 'cubicle'"):
        follow(model, filtration="cubicle")
    with pytest.raises(UnavailableError, match="no feature maps"):
        follow(nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 3)))
    with pytest.raises(CheckpointError, match="one score for each class is needed"):
        follow(small_network(n_classes=2))
    with pytest.raises(DataError, match="needs images of shape"):
        FixedSample(torch.zeros(3, SIDE, SIDE), np.zeros(3))


def test_follower_says_what_cannot_be_copied():
    model = small_network()
    model.file = open(__file__)  # noqa: SIM115
    expected = (
        "Sequential cannot be copied, so that it cannot be followed: TypeError: cannot pickle "
        "'_io.TextIOWrapper' object; `genaudit trajectory` reads its checkpoints instead"
    )
    with model.file, pytest.raises(CheckpointError) as caught:
        follow(model)
    assert str(caught.value) == expected
