"""A checkpoint as measures see it: computed once, kept, and never changed by being looked at."""

import dataclasses
import functools
import json
import types

import numpy as np
import pytest
import timm
import torch
from torch import nn

import audit_datasets
import audit_timm
from audit import birth_levels
from audit.data.sample import draw_sample
from audit.data.transform import eval_transform
from audit.errors import CheckpointError, ConfigError, MeasureError, UnavailableError
from audit.measuring.checkpoint import CheckpointView
from audit.measuring.subject import Provided, Subject
from audit.measuring.view import Wanted
from audit.network.forward import stream_maps
from audit.network.layers import choose_layers
from audit.network.running import lay_out
from audit.network.saving import write_weights
from audit.network.threads import one_math_thread
from audit.network.weights import file_digest
from audit.plugin import DataConfig, ModelEntry
from audit.plugin.registry import Registry
from audit.store import Store, key_digest
from audit.topology import FLAG_CONSTANT, FLAG_ZERO

PLUGINS = {"timm": audit_timm, "datasets": audit_datasets}
SIDE = 32


@functools.cache
def digits(images_per_class=3):
    """A sample of scikit-learn's digits, and the split it is from."""
    split = Registry(PLUGINS).dataset("digits").open("train", {})
    return draw_sample(split, images_per_class, 0), split


def network(**changes):
    """A small network for the digits, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model("test_resnet", num_classes=10, in_chans=1, **changes)


def subject_of(weights, **changes):
    """The checkpoint in a file, audited on a few digits."""
    fields = {
        "name": "checkpoint",
        "model_source": Provided("timm", "1"),
        "source_digest": "",
        "model": "test_resnet",
        "model_args": {"num_classes": 10, "in_chans": 1},
        "weights": weights,
        "weights_digest": file_digest(weights) if weights else "",
        "data_source": Provided("digits", "1"),
        "dataset_options": {},
        "sample": digits()[0],
        "transform": {"input_size": [1, SIDE, SIDE], "mean": [0.5], "std": [0.5]},
        "layers": ("stages",),
        "batch_size": 8,
        "device": "cpu",
        "seed": 0,
    }
    return Subject(**{**fields, **changes})


def registry_of(build, data_config=None):
    """A registry whose only model source builds this network."""
    config = data_config or DataConfig((1, SIDE, SIDE), (0.5,), (0.5,))
    source = ModelEntry(
        name="timm",
        summary="",
        version="1",
        matches=lambda reference: True,
        names=list,
        create=lambda reference, args, pretrained: build(),
        data_config=lambda module, args: config,
    )
    return types.SimpleNamespace(
        models={"timm": source},
        dataset=lambda name: Registry(PLUGINS).dataset(name),
        origin=lambda hook, name: "",
    )


def no_network():
    raise AssertionError("the network was built")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Nothing waits for the disk, and sums do not depend on the machine's cores."""
    monkeypatch.setattr("os.fsync", lambda number: None)
    with one_math_thread():
        yield


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "checkpoint.safetensors"
    write_weights(network(), path, {})
    return path


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


@pytest.fixture
def view(weights, store):
    return CheckpointView(
        subject_of(weights), store, Wanted(("cubical", "clique")), Registry(PLUGINS)
    )


def view_of(build, store, filtrations=("cubical",), **changes):
    subject = subject_of(None, **changes)
    return CheckpointView(subject, store, Wanted(filtrations), registry_of(build))


def state_of(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_view_gives_the_sample_in_order_and_in_batches(view):
    sample, split = digits()
    batches = list(view.batches())
    assert [len(images) for images, _ in batches] == [8, 8, 8, 6]
    assert torch.cat([labels for _, labels in batches]).tolist() == sample.labels.tolist()
    images = torch.cat([images for images, _ in batches])
    assert images.shape == (30, 1, SIDE, SIDE)
    assert images.dtype == torch.float32
    prepare = eval_transform(view.data_config)
    expected = torch.stack([prepare(split.load(int(index))) for index in sample.indices])
    torch.testing.assert_close(images, expected, rtol=0, atol=0)
    assert view.class_names == tuple("0123456789")


def test_view_logits_are_the_networks_outputs(view):
    module = network().eval()
    layout = lay_out(module, torch.zeros(1, 1, SIDE, SIDE))
    assert layout == view.memory_format == torch.channels_last
    with torch.inference_mode():
        images = [batch.clone(memory_format=layout) for batch, _ in view.batches()]
        expected = torch.cat([module(batch) for batch in images])
    np.testing.assert_array_equal(view.logits(), expected.numpy())
    assert view.logits().shape == (30, 10)


@pytest.mark.parametrize("filtration", ["clique", "cubical"])
def test_view_births_are_those_of_the_captured_maps(view, filtration):
    module = network().eval()
    layers = choose_layers(module, next(view.batches())[0]).specs
    maps = [[] for _ in layers]
    for images, _ in view.batches():
        stream_maps(module, layers, images, lambda index, found: maps[index].append(found.clone()))
    births = view.births(filtration)
    assert [layer.layer for layer in births] == [layer.name for layer in layers]
    for found, parts in zip(births, maps, strict=True):
        whole = torch.cat(parts)
        assert (found.height, found.width) == whole.shape[2:]
        expected = birth_levels(whole, filtration=filtration).numpy()
        assert found.birth_levels.dtype == np.int32
        np.testing.assert_array_equal(found.birth_levels, expected)
        zero = (whole == 0).all((2, 3)).numpy()
        constant = (whole == whole[:, :, :1, :1]).all((2, 3)).numpy()
        np.testing.assert_array_equal(found.flags, constant * FLAG_CONSTANT + zero * FLAG_ZERO)
        assert found.flags.dtype == np.uint8
        assert 0 <= found.tied_rate <= 1


def test_view_tied_rate_counts_equal_pixels_that_are_not_zero(store):
    class Pattern(nn.Module):
        """One map of 16 different values, one with a pair of equal ones, zeros apart."""

        def forward(self, images):
            one = torch.arange(1.0, 17).reshape(4, 4)
            two = torch.zeros(4, 4)
            two[0, :3] = torch.tensor([5.0, 5.0, 2.0])
            return torch.stack([one, two]).expand(len(images), 2, 4, 4)

    def build():
        return nn.Sequential(Pattern(), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10))

    [layer] = view_of(build, store, layers=("1",)).births("cubical")
    assert layer.tied_rate == round(2 / 32, 6)


def test_view_that_is_cached_builds_no_network(view, weights, store):
    logits = view.logits()
    births = {name: view.births(name) for name in ("clique", "cubical")}
    again = CheckpointView(subject_of(weights), store, Wanted(("clique",)), registry_of(no_network))
    np.testing.assert_array_equal(again.logits(), logits)
    for name, layers in births.items():
        for one, two in zip(layers, again.births(name), strict=True):
            np.testing.assert_array_equal(one.birth_levels, two.birth_levels)
            np.testing.assert_array_equal(one.flags, two.flags)
            assert dataclasses.replace(one, birth_levels=None, flags=None) == (
                dataclasses.replace(two, birth_levels=None, flags=None)
            )


def test_view_of_another_name_shares_the_cache(view, weights, store):
    view.logits()
    renamed = subject_of(weights, name="another")
    again = CheckpointView(renamed, store, Wanted(("clique",)), registry_of(no_network))
    np.testing.assert_array_equal(again.logits(), view.logits())
    assert again.generator("x").random() == view.generator("x").random()


def test_view_takes_a_filtration_that_was_not_announced(weights, store):
    view = CheckpointView(subject_of(weights), store, Wanted(), Registry(PLUGINS))
    view.logits()
    births = view.births("cubical")
    assert len(births) == 3
    assert births[0].birth_levels.shape[0] == 30


def test_view_facts_do_not_depend_on_what_was_computed_before(weights, tmp_path):
    def facts(store, *filtrations):
        view = CheckpointView(subject_of(weights), store, Wanted(filtrations), Registry(PLUGINS))
        view.run()
        return json.loads(json.dumps(view.facts()))  # as the store and run.json hold them

    both = facts(Store(tmp_path / "fresh"), "clique", "cubical")
    assert [layer["layer"] for layer in both["layers"]]
    used = Store(tmp_path / "used")
    assert facts(used)["layers"] == []
    assert facts(used, "cubical") == both
    assert facts(used, "clique", "cubical") == both
    assert facts(used)["layers"] == []


def test_view_recomputes_what_was_damaged(view, weights, store, caplog):
    logits, births = view.logits(), view.births("cubical")
    for path in list(store.paths()):
        path.write_bytes(path.read_bytes()[:-1])
    again = CheckpointView(subject_of(weights), store, Wanted(("cubical",)), Registry(PLUGINS))
    np.testing.assert_array_equal(again.logits(), logits)
    np.testing.assert_array_equal(again.births("cubical")[0].birth_levels, births[0].birth_levels)
    assert "is damaged" in caplog.text


def test_view_leaves_weights_buffers_and_modes_as_they_are(view, weights):
    module = view.module
    before = state_of(module)
    view.logits()
    view.births("clique")
    assert view.module is module
    after = state_of(module)
    loaded = state_of(network())
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=0)
        torch.testing.assert_close(after[name], loaded[name], rtol=0, atol=0)
    assert not any(part.training for part in module.modules())
    assert not any(part._forward_hooks for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_view_forces_eval_of_a_network_left_in_train_mode(store):
    def build():
        return nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.9),
            nn.Flatten(),
            nn.Linear(4 * 900, 10),
        ).train()

    view = view_of(build, store)
    before = state_of(view.module)
    view.logits()
    for name, tensor in state_of(view.module).items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_view_network_that_changes_its_input_in_place_harms_no_other(store):
    class Shift(nn.Module):
        def forward(self, images):
            return images.add_(1)

    def build():
        return nn.Sequential(
            Shift(), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 10)
        )

    def images(view):
        return torch.cat([batch for batch, _ in view.batches()])

    view = view_of(build, store)
    before = images(view).clone()
    view.logits()
    torch.testing.assert_close(images(view), before, rtol=0, atol=0)
    torch.testing.assert_close(images(view_of(build, store)), before, rtol=0, atol=0)


def test_view_of_weights_that_are_not_finite_names_the_tensor(tmp_path, store):
    module = network()
    with torch.no_grad():
        module.fc.weight[0, 0] = float("nan")
    path = tmp_path / "broken.safetensors"
    write_weights(module, path, {})
    view = CheckpointView(subject_of(path), store, Wanted(("clique",)), Registry(PLUGINS))
    with pytest.raises(CheckpointError, match=r"NaN or infinite: 1 of \d+ in fc\.weight, 1 of"):
        view.logits()
    assert list(store.paths()) == []


def test_view_of_activations_that_are_not_finite_names_the_layer(store):
    def build():
        module = network()
        with torch.no_grad():
            module.layer2[0].bn1.weight.fill_(float("inf"))
        return module

    view = view_of(build, store)
    with pytest.raises(MeasureError) as caught:
        view.logits()
    assert str(caught.value) == "layer layer2 gives activations that are not finite"
    assert list(store.paths()) == []


def test_view_of_outputs_that_are_not_finite_names_the_image(store):
    def build():
        module = network()
        with torch.no_grad():
            module.fc.bias.fill_(float("nan"))
        return module

    with pytest.raises(MeasureError) as caught:
        view_of(build, store).logits()
    assert str(caught.value) == (
        "the outputs are not finite for 30 of 30 training images, "
        f"first for {digits()[0].sample_ids[0]!r}"
    )
    assert store.get(subject_of(None).trace_key("logits")) is None


@pytest.mark.parametrize("n_classes", [1, 7, 11])
def test_view_of_a_head_that_does_not_fit_says_so(store, n_classes):
    def build():
        return timm.create_model("test_resnet", num_classes=n_classes, in_chans=1)

    with pytest.raises(CheckpointError) as caught:
        view_of(build, store).logits()
    assert str(caught.value) == (
        f"the head of test_resnet gives outputs of shape ({n_classes},), but the training set has "
        "10 classes; check the dataset, or model_args.num_classes"
    )


@pytest.mark.parametrize(("wrap", "refused"), [(tuple, False), (list, False), (dict, True)])
def test_view_takes_the_scores_of_networks_that_return_more(store, wrap, refused):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, images):
            scores = self.inner(images)
            return {"mask": scores, "box": images} if refused else wrap([scores, images])

    view = view_of(Wrapped, store)
    if refused:
        with pytest.raises(CheckpointError) as caught:
            view.logits()
        assert str(caught.value) == (
            "the network returns dict with mask, box, not class scores; needed is a tensor, alone, "
            "first in a tuple, or under one of the names logits, out, output, scores, pred, cls"
        )
    else:
        assert view.logits().shape == (30, 10)


def test_view_of_a_network_without_maps_has_outputs_but_no_births(store):
    def build():
        return nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 10))

    view = view_of(build, store)
    assert view.logits().shape == (30, 10)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="no feature maps of at least 4 × 4 pixels"):
            view.births("cubical")


def test_view_of_maps_that_are_not_square_has_no_clique_births(weights, store):
    transform = {"input_size": [1, 32, 64], "mean": [0.5], "std": [0.5]}
    subject = subject_of(weights, transform=transform)
    view = CheckpointView(subject, store, Wanted(("clique", "cubical")), Registry(PLUGINS))
    with pytest.raises(UnavailableError) as caught:
        view.births("clique")
    assert str(caught.value) == (
        "the clique filtration needs square feature maps, and no layer has them"
    )
    assert [(layer.height, layer.width) for layer in view.births("cubical")] == [
        (16, 32),
        (8, 16),
        (4, 8),
    ]


def test_view_takes_the_layers_that_were_named(weights, store):
    subject = subject_of(weights, layers=("layer1", "layer2"))
    view = CheckpointView(subject, store, Wanted(("cubical",)), Registry(PLUGINS))
    assert [layer.layer for layer in view.births("cubical")] == ["layer1", "layer2"]
    wrong = subject_of(weights, layers=("layer9",))
    with pytest.raises(ConfigError, match="unknown layer 'layer9'; did you mean"):
        CheckpointView(wrong, store, Wanted(("cubical",)), Registry(PLUGINS)).births("cubical")


def test_view_generator_depends_on_seed_and_purpose_alone(weights, store):
    def draw(purpose="x", **changes):
        subject = subject_of(weights, **changes)
        return (
            CheckpointView(subject, store, Wanted(), Registry(PLUGINS)).generator(purpose).random()
        )

    assert draw() == draw(name="renamed") == draw(weights_digest="other")
    assert len({draw(), draw("y"), draw(seed=1)}) == 3


CHANGES = {
    "weights_digest": "0" * 64,
    "model_source": Provided("timm", "2"),
    "data_source": Provided("digits", "2"),
    "dataset_options": {"seed": 1},
    "source_digest": "1",
    "model": "test_resnet2",
    "model_args": {"num_classes": 10, "in_chans": 1, "drop_rate": 0.1},
    "transform": {"input_size": [1, SIDE, SIDE], "mean": [0.4], "std": [0.5]},
    "batch_size": 4,
    "layers": ("layer1",),
    "device": "cuda",
}


def keys_of(**changes):
    subject = dataclasses.replace(subject_of(None), **changes)
    return (
        key_digest(subject.trace_key("logits")),
        key_digest(subject.trace_key("clique")),
        key_digest(subject.measure_key(Provided("path_norm", "1"))),
    )


@pytest.mark.parametrize("field", CHANGES)
def test_key_changes_with_what_decides_numbers(field):
    before, after = keys_of(), keys_of(**{field: CHANGES[field]})
    assert all(one != two for one, two in zip(before, after, strict=True))


def test_key_changes_with_the_images():
    other = dataclasses.replace(digits()[0], fingerprint="other")
    before, after = keys_of(), keys_of(sample=other)
    assert all(one != two for one, two in zip(before, after, strict=True))
    assert digits(2)[0].fingerprint != digits(3)[0].fingerprint


def test_key_of_measures_alone_changes_with_the_seed():
    before, after = keys_of(), keys_of(seed=1)
    assert before[:2] == after[:2]
    assert before[2] != after[2]


def test_key_of_measures_changes_with_name_and_version():
    subject = subject_of(None)
    keys = [("a", "1"), ("b", "1"), ("a", "2"), ("a", "1", "plugin 2")]
    assert len({key_digest(subject.measure_key(Provided(*key))) for key in keys}) == 4
    assert len(set(keys_of())) == 3


def test_key_does_not_change_with_names_and_places(tmp_path):
    moved = tmp_path / "elsewhere.safetensors"
    changes = {"name": "other", "weights": moved, "dataset_options": {"root": "/moved"}}
    assert keys_of(dataset_locations=("root",), **changes) == keys_of()


def test_view_computes_in_the_precision_that_is_asked_for(weights, tmp_path):
    def births_in(precision):
        subject = subject_of(weights, precision=precision)
        view = CheckpointView(
            subject, Store(tmp_path / "cache"), Wanted(("cubical",)), Registry(PLUGINS)
        )
        assert view.logits().dtype == np.float32
        assert not torch.is_autocast_enabled("cpu")
        return view.logits(), view.births("cubical")

    (full, births), (half, rounded) = births_in("float32"), births_in("bfloat16")
    assert not np.array_equal(full, half)
    np.testing.assert_allclose(half, full, atol=0.05)
    tied = [[layer.tied_rate for layer in layers] for layers in (births, rounded)]
    assert all(one < two for one, two in zip(*tied, strict=True))


def test_view_finds_a_batch_size_by_rule_whose_results_are_those_of_that_size(weights, tmp_path):
    def view_with(batch_size):
        subject = subject_of(weights, batch_size=batch_size)
        return CheckpointView(
            subject, Store(tmp_path / "cache"), Wanted(("cubical",)), Registry(PLUGINS)
        )

    auto, given = view_with("auto"), view_with(64)
    np.testing.assert_array_equal(auto.logits(), given.logits())
    assert auto.batch_size == given.batch_size == 64


def test_view_of_a_network_that_needs_the_usual_order_leaves_it(store):
    class Viewing(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
            self.relu, self.head = nn.ReLU(), nn.Linear(4 * 28 * 28, 10)

        def forward(self, images):
            return self.head(self.relu(self.two(self.one(images))).view(len(images), -1))

    view = view_of(Viewing, store)
    assert view.logits().shape == (30, 10)
    assert view.memory_format == torch.contiguous_format
    assert len(view.births("cubical")) == 1


def test_what_a_measure_computes_does_not_depend_on_earlier_passes(weights, store):
    def scores():
        view = CheckpointView(subject_of(weights), store, Wanted(), Registry(PLUGINS))
        view.logits()
        return torch.cat([view.scores(images) for images, _ in view.batches()])

    assert torch.equal(scores(), scores())  # the second one makes no pass
