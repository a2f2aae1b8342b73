"""A checkpoint by its files: what is read, what is refused, what comes from before training."""

import dataclasses

import pytest
import torch
from test_views import PLUGINS, network, registry_of, subject_of
from torch import nn

from audit.errors import CheckpointError, UnavailableError
from audit.measuring.checkpoint import CheckpointView
from audit.measuring.view import Wanted
from audit.network.digests import state_digest
from audit.network.saving import write_weights
from audit.network.weights import file_digest
from audit.plugin.registry import Registry
from audit.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def zeros():
    module = network()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    return module


def test_initial_weights_are_those_of_the_file(tmp_path, store):
    weights, init = tmp_path / "w.safetensors", tmp_path / "init.safetensors"
    write_weights(network(), weights, {})
    write_weights(zeros(), init, {})
    subject = subject_of(weights, init=init, init_digest=file_digest(init))
    view = CheckpointView(subject, store, Wanted(), Registry(PLUGINS))
    found = view.initial_weights()
    assert found.keys() == view.module.state_dict().keys()
    assert float(found["fc.weight"].abs().max()) == 0
    assert float(view.module.fc.weight.abs().max()) > 0


def test_initial_weights_that_were_not_given_are_unavailable(tmp_path, store):
    view = CheckpointView(subject_of(None), store, Wanted(), Registry(PLUGINS))
    with pytest.raises(UnavailableError) as caught:
        view.initial_weights()
    assert str(caught.value) == (
        "the weights before training were not given; set `init` in [[checkpoints]] to the file"
    )


def test_initial_weights_that_changed_are_refused(tmp_path, store):
    init = tmp_path / "init.safetensors"
    write_weights(zeros(), init, {})
    subject = subject_of(None, init=init, init_digest="0" * 64)
    view = CheckpointView(subject, store, Wanted(), Registry(PLUGINS))
    with pytest.raises(CheckpointError, match="changed while it was used"):
        view.initial_weights()


def test_a_private_copy_may_be_changed_and_differentiated(store):
    view = CheckpointView(subject_of(None), store, Wanted(), registry_of(network))
    before = state_digest(view.module)
    images, _ = next(view.batches())
    copy = view.private_copy()
    view.scores(images, copy).sum().backward()
    assert all(parameter.requires_grad for parameter in copy.parameters())
    assert copy.fc.weight.grad is not None
    assert not copy.training
    with torch.no_grad():
        copy.fc.weight.zero_()
    assert state_digest(view.module) == before
    assert not any(parameter.requires_grad for parameter in view.module.parameters())


def test_pixels_and_normalised_images_are_each_others_inverse(store):
    view = CheckpointView(subject_of(None), store, Wanted(), registry_of(network))
    images, _ = next(view.batches())
    pixels = view.pixels(images)
    assert 0 <= float(pixels.min()) < float(pixels.max()) <= 1
    torch.testing.assert_close(view.normalised(pixels), images)


def test_features_come_from_the_store_and_are_unavailable_with_their_reason(store):
    view = CheckpointView(subject_of(None), store, Wanted(features=True), registry_of(network))
    features = view.features()
    assert features.shape[0] == 30
    again = CheckpointView(subject_of(None), store, Wanted(), registry_of(lambda: 1 / 0))
    assert (again.features() == features).all()

    def headless():
        return nn.Sequential(nn.Conv2d(1, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    other = dataclasses.replace(subject_of(None), model="headless")
    for build in (headless, lambda: 1 / 0):
        view = CheckpointView(other, store, Wanted(features=True), registry_of(build))
        with pytest.raises(UnavailableError, match="Sequential has no penultimate features"):
            view.features()


def test_pretrained_weights_that_changed_since_the_plan_are_refused(store):
    subject = subject_of(None, weights_digest=state_digest(network()), built=True)
    assert CheckpointView(subject, store, Wanted(), registry_of(network)).logits().shape == (30, 10)
    other = dataclasses.replace(subject, weights_digest="0" * 64)
    with pytest.raises(CheckpointError) as caught:
        CheckpointView(other, store, Wanted(), registry_of(network)).logits()
    assert str(caught.value) == (
        "the pretrained weights of test_resnet changed after the run was planned, so that its "
        "numbers would be kept under the wrong key; start again when nothing writes to it"
    )
