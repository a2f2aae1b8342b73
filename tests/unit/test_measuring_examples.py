"""Images beside a unit's maps: those of the sample, and the births that the sample has."""

import numpy as np
import pytest
import timm
import torch

from audit.errors import ConfigError, UnavailableError
from audit.measuring.examples import Pick, unit_examples
from audit.measuring.view import Wanted
from audit.runs.one_network import images_of_class, network_view, training_images
from audit.topology import birth_levels

OPTIONS = {"device": "cpu", "layers": ["act1", "layer1"]}


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda number: None)


def view(images, size=(1, 32, 32), filtration="cubical"):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model("test_resnet", num_classes=10, in_chans=1)
    transform = {"input_size": list(size)}
    return network_view(network, images, Wanted((filtration,)), transform=transform, **OPTIONS)


def test_examples_have_the_births_of_the_sample_and_its_images():
    images = training_images("digits", 6, 0)
    picks = [Pick("layer1", 3, "2"), Pick("act1", 0, "7"), Pick("layer1", 5, "2")]
    with view(images) as open_view:
        found = unit_examples(open_view, "cubical", picks, 4)
        births = {layer.layer: layer.birth_levels for layer in open_view.births("cubical")}
        whole, _ = next(open_view.batches())
        pixels = open_view.pixels(whole).permute(0, 2, 3, 1).numpy()
    for pick, one in zip(picks, found, strict=True):
        of_class = images.sample.labels == int(pick.class_name)
        np.testing.assert_array_equal(one.births, births[pick.layer][of_class, pick.unit])
        np.testing.assert_array_equal(one.levels, birth_levels(one.maps, "cubical"))
        assert set(one.levels) <= set(one.births)
        assert one.images.shape == (4, 32, 32, 1)
        own = pixels[np.flatnonzero(of_class)]
        for image in one.images:
            assert (np.abs(own - image).max((1, 2, 3)) < 1e-6).any()
    assert found[0].checkpoint == "ResNet"


def test_the_images_of_a_class_are_those_of_the_whole_sample():
    whole = training_images("digits", 7, 3).sample
    part = images_of_class("digits", "4", 7, 3).sample
    own = whole.labels == 4
    np.testing.assert_array_equal(part.indices, whole.indices[own])
    np.testing.assert_array_equal(part.labels, whole.labels[own])
    assert part.class_names == whole.class_names
    assert part.fingerprint not in (whole.fingerprint, images_of_class("digits", "5", 7, 3))
    with pytest.raises(ConfigError) as caught:
        images_of_class("digits", "four", 7, 3)
    assert str(caught.value) == ("unknown class 'four'; there are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9")


def test_what_is_not_there_is_named():
    with view(training_images("digits", 2, 0), (1, 32, 48), "clique") as open_view:
        for pick, message in (
            (Pick("layer9", 0, "1"), "unknown layer 'layer9'; did you mean 'layer1'? there are "),
            (Pick("layer1", 32, "1"), "unknown unit '32'; layer layer1 has units 0 to 31"),
        ):
            with pytest.raises(ConfigError) as caught:
                unit_examples(open_view, "cubical", [pick], 2)
            assert str(caught.value).startswith(message)
        with pytest.raises(UnavailableError):
            unit_examples(open_view, "clique", [Pick("layer1", 0, "1")], 2)
