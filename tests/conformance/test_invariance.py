"""What moves a measure is what it declares, and a false declaration is refused."""

import re

import numpy as np
import pytest
import timm
import torch
from torch import nn

from audit.conformance import (
    TRANSFORMS,
    ReferenceNetwork,
    ReferenceResidual,
    changed,
    check_invariance,
    observe,
    reference_setting,
    setting_of,
)
from audit.errors import ConfigError, PluginError, UnavailableError
from audit.plugin import MeasureEntry, Value
from audit.plugin.registry import installed


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small only lose by sharing their work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def entry(compute, **changes):
    described = {
        "name": "example",
        "summary": "an example",
        "version": "1",
        "direction": "none",
        "invariance": "node-wise",
        "cost": "weights",
    }
    return MeasureEntry(compute=compute, **described | changes)


def first_weights(view):
    return float(next(view.module.parameters()).double().norm())


def first_image(view):
    return float(view.logits()[0, 0])


CHANGES_OF_THE_NETWORK = ("node-wise", "layer-uniform", "permutation", "folding", "relabelling")


@pytest.mark.parametrize("transform", CHANGES_OF_THE_NETWORK)
def test_a_change_keeps_the_outputs_and_moves_the_weights(transform):
    before = reference_setting(ReferenceResidual()).to(torch.float64)
    after = changed(before, transform, seed=5)
    expected = before.network.eval()(before.images)
    if transform == "relabelling":
        expected = expected[:, [int(name) for name in after.class_names]]
        assert [after.class_names[label] for label in after.labels] == [
            before.class_names[label] for label in before.labels
        ]
    else:
        assert np.array_equal(before.labels, after.labels)
    torch.testing.assert_close(after.network.eval()(after.images), expected, rtol=1e-9, atol=1e-9)
    ours, theirs = before.network.state_dict(), after.network.state_dict()
    assert ours.keys() != theirs.keys() or any(
        not torch.equal(ours[name], theirs[name]) for name in ours
    )


def test_images_are_permuted_and_doubled_with_their_labels():
    before = reference_setting()
    shuffled, doubled = (changed(before, name, 1) for name in ("image-order", "duplicates"))
    rows = [
        next(k for k in range(24) if torch.equal(before.images[k], image))
        for image in shuffled.images
    ]
    assert sorted(rows) == list(range(24))
    assert rows != list(range(24))
    assert np.array_equal(before.labels[rows], shuffled.labels)
    assert len(doubled.images) == len(doubled.labels) == 48
    assert changed(before, "batch-size").batch_size < before.batch_size
    assert changed(before, "dtype").images.dtype == torch.float64


def test_an_unknown_change_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="unknown change 'rotation'"):
        changed(reference_setting(), "rotation")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            entry(first_weights),
            "measure 'example' declares invariance 'node-wise', but under 'node-wise' example goes "
            "from ",
        ),
        (
            entry(first_weights, invariance="layer-uniform"),
            "measure 'example' declares invariance 'layer-uniform', but under 'layer-uniform' "
            "example goes from ",
        ),
        (
            entry(lambda view: 1.0, invariance="none"),
            "measure 'example' declares invariance 'none', but under 'node-wise' no part changes",
        ),
        (
            entry(lambda view: 1.0, varies_with=("folding",)),
            "measure 'example' declares varies_with ('folding',), but under 'folding' no part "
            "changes",
        ),
        (
            entry(first_image, cost="forward", varies_with=("relabelling",)),
            "measure 'example' declares varies_with ('relabelling',), but under 'image-order' "
            "example goes from ",
        ),
    ],
)
def test_check_invariance_refuses_what_is_declared_and_not_so(bad, message):
    with pytest.raises(PluginError, match=re.escape(message)):
        check_invariance(bad)


def test_check_invariance_tells_what_it_saw():
    good = entry(first_image, cost="forward", varies_with=("image-order", "relabelling"))
    found = {each.transform: each for each in check_invariance(good)}
    assert tuple(found) == TRANSFORMS
    assert found["image-order"].outcome == found["relabelling"].outcome == "moves"
    assert found["image-order"].before != found["image-order"].after
    if not torch.cuda.is_available():
        assert found["device"].outcome == "not tried"
        assert found["device"].note == "there is no CUDA device here"


def test_check_invariance_takes_a_network_and_a_change_of_the_users_own():
    network = timm.create_model("test_resnet", num_classes=4).eval()

    def double_everything(module, image):
        return changed(setting_of(module, images=image), "node-wise", 3).network

    def negate(module, image):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.neg_()
        return module

    assert check_invariance("train_loss", network, double_everything)[0].outcome == "same"
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with pytest.raises(
        ConfigError, match="the change 'negate' moves the outputs of the network, by"
    ):
        check_invariance("train_loss", network, negate, images=images, labels=[0, 1] * 4)
    with pytest.raises(PluginError, match="but under 'double_everything' parameter_norm goes from"):
        check_invariance("parameter_norm", network, double_everything)


def test_check_invariance_refuses_what_is_no_network_and_no_change():
    network = timm.create_model("test_resnet", num_classes=4)
    with pytest.raises(ConfigError, match="unknown change 'nodewise'; did you mean"):
        check_invariance("train_loss", network, "nodewise")
    with pytest.raises(
        ConfigError, match=r"model must be a network, a torch\.nn.Module; found str"
    ):
        check_invariance("train_loss", "resnet18", "node-wise")
    with pytest.raises(ConfigError, match="the network does not take images of 1 × 32 × 32"):
        check_invariance("train_loss", network, "node-wise", images=torch.zeros(4, 1, 32, 32))


def test_check_invariance_of_a_foreign_network_needs_images():
    with pytest.raises(ConfigError, match="no model source knows how images are prepared"):
        check_invariance("train_loss", nn.Sequential(nn.Flatten(), nn.Linear(12, 2)))


def test_a_measure_without_a_number_is_not_judged():
    missing = entry(lambda view: Value.undefined("nothing to see"))
    found = check_invariance(missing)
    assert {each.outcome for each in found} <= {"no value", "not tried"}
    assert found[0].note == "nothing to see"


def test_what_cannot_be_changed_is_said_and_costs_nothing_else():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))
    setting = setting_of(network, images=reference_setting().images, layers=("all-activations",))
    found = {
        each.transform: each for each in observe([installed().measures["train_loss"]], setting)
    }
    assert found["image-order"].outcome == "same"
    assert found["folding"].outcome == "not tried"
    assert found["folding"].note


@pytest.mark.parametrize("filtration", ["clique", "cubical"])
@pytest.mark.parametrize("network", [ReferenceNetwork(), ReferenceResidual()])
@pytest.mark.parametrize("how", ["node-wise", "layer-uniform"])
def test_feature_entropy_is_the_same_to_the_bit_under_powers_of_two(filtration, network, how):
    before = reference_setting(network)
    after = changed(before, how, seed=11)
    pairs = zip(before.view().births(filtration), after.view().births(filtration), strict=True)
    for ours, theirs in pairs:
        assert np.array_equal(ours.birth_levels, theirs.birth_levels)
        assert np.array_equal(ours.flags, theirs.flags)
    compute = installed().measures[f"feature_entropy.{filtration}"].compute
    assert compute(before.view()) == compute(after.view())


def test_there_is_nothing_to_relabel_in_one_class():
    setting = setting_of(ReferenceNetwork(), images=reference_setting().images)
    alone = setting.__class__(
        network=setting.network,
        images=setting.images,
        labels=np.zeros(24, np.int64),
        class_names=("only",),
    )
    with pytest.raises(UnavailableError, match="two or more"):
        changed(alone, "relabelling")
