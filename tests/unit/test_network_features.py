"""Penultimate features: what timm says the classifier is given, in an ordinary pass."""

import pytest
import timm
import torch
from torch import nn

from audit.errors import UnavailableError
from audit.network.features import find_features

MODELS = timm.list_models("test_*")


def features_of(module, images):
    tap = find_features(module, images[:2])
    with torch.inference_mode(), tap.open(module, images.clone()) as found:
        module(images.clone())
    return tap.path, found[0]


@pytest.mark.parametrize("name", MODELS)
def test_features_of_timm_networks_are_those_before_the_classifier(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = timm.create_model(name, num_classes=7).eval()
        size = timm.data.resolve_model_data_config(module)["input_size"]
        images = torch.rand(3, *size)
    path, found = features_of(module, images)
    with torch.inference_mode():
        expected = module.forward_head(module.forward_features(images), pre_logits=True).flatten(1)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert path, "the features need a second pass"
    assert not any(part._forward_pre_hooks for part in module.modules())


def test_features_of_other_networks_are_the_input_of_the_last_linear_layer():
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 5), nn.Sigmoid()
    ).eval()
    images = torch.rand(4, 1, 4, 4)
    path, found = features_of(module, images)
    assert path == "3"
    torch.testing.assert_close(found, module[:3](images))


def test_a_network_without_a_linear_layer_has_no_features():
    module = nn.Sequential(nn.Conv2d(1, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.raises(UnavailableError) as caught:
        find_features(module, torch.rand(2, 1, 4, 4))
    assert str(caught.value) == (
        "Sequential has no penultimate features: they are the input of its last linear layer, one "
        "vector for each image, and no linear layer is given that"
    )


def test_features_are_kept_as_they_were_given_to_a_module_that_works_in_place():
    class Headed(nn.Module):
        """timm's two functions around a classifier that is no linear layer."""

        def __init__(self):
            super().__init__()
            self.act, self.end = nn.ReLU(inplace=True), nn.Softmax(1)

        def forward_features(self, images):
            return images.mean((2, 3)) - 0.5

        def forward_head(self, features, pre_logits=False):
            return features if pre_logits else self.end(self.act(features))

        def forward(self, images):
            return self.forward_head(self.forward_features(images))

    module, images = Headed().eval(), torch.rand(4, 3, 5, 5)
    path, found = features_of(module, images)
    assert path == "act"
    torch.testing.assert_close(found, module.forward_features(images), rtol=0, atol=0)


def test_features_are_those_of_the_call_that_is_seen_last():
    class Twice(nn.Module):
        """A head that is called twice, the features first."""

        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 3)

        def forward_features(self, images):
            return images.mean((2, 3))

        def forward_head(self, features, pre_logits=False):
            return features if pre_logits else self.head(self.head(features))

        def forward(self, images):
            return self.forward_head(self.forward_features(images))

    module, images = Twice().eval(), torch.rand(4, 3, 5, 5)
    path, found = features_of(module, images)
    assert path == ""
    torch.testing.assert_close(found, module.forward_features(images), rtol=0, atol=0)
