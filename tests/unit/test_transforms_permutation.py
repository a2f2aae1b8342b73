import copy

import numpy as np
import pytest
import torch
from torch import nn
from traced_networks import TIMM, drawn, network_and_image

from audit.errors import DataError, UnavailableError
from audit.transforms import orders, permute_channels, relabel_classes


def test_permute_channels_of_two_layers_is_the_closed_form():
    network = drawn(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)))
    image = torch.randn(1, 2)
    found = orders(network, image, seed=1)
    order = found["0.weight"][0]
    assert sorted(order) == [0, 1, 2, 3]
    assert (order != np.arange(4)).all()
    assert {name: list(axes) for name, axes in found.items()} == {
        "0.weight": [0],
        "0.bias": [0],
        "2.weight": [1],
    }
    other = permute_channels(network, image, seed=1)
    assert torch.equal(other[0].weight, network[0].weight[order])
    assert torch.equal(other[0].bias, network[0].bias[order])
    assert torch.equal(other[2].weight, network[2].weight[:, order])


def test_permute_channels_moves_the_places_of_a_flattened_map_together():
    network = drawn(nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(12, 2)))
    image = torch.randn(1, 1, 2, 2)
    found = orders(network, image)
    columns = found["2.weight"][1].reshape(3, 4)
    assert (columns == 4 * found["0.weight"][0][:, None] + np.arange(4)).all()


@pytest.mark.parametrize("name", TIMM)
def test_permute_channels_keeps_outputs_of_timm_networks(name):
    network, image = network_and_image(name)
    before = copy.deepcopy(network.state_dict())
    found = orders(network, image)
    other = permute_channels(network, image)
    torch.testing.assert_close(other(image), network(image), rtol=1e-3, atol=1e-3)
    now = other.state_dict()
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
    assert all(
        not torch.equal(before[key], now[key]) for key in found if len(before[key].unique()) > 1
    )


#: By hand: the outputs of every layer but those of the last, which are classes.
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_permute_channels_moves_every_channel_of_networks_without_groups(name):
    network, image = network_and_image(name)
    found = orders(network, image)
    for key, parameter in network.named_parameters():
        if key.endswith(".weight") and key not in ("fc.weight", "classifier.weight"):
            assert (found[key][0] != np.arange(parameter.shape[0])).all(), key


def test_permute_channels_is_fixed_by_its_seed():
    network, image = network_and_image("test_resnet")
    one, same, other = (orders(network, image, seed)["fc.weight"][1] for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


class HalvesApart(nn.Module):
    """Half of the channels take another way, though no weight tells them apart."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 6), nn.Linear(6, 2)

    def forward(self, x):
        one, other = self.first(x).chunk(2, dim=1)
        return self.second(torch.cat([one.relu(), other.sigmoid()], 1))


def test_permute_channels_sees_ways_that_no_weight_tells_apart():
    network, image = drawn(HalvesApart()), torch.randn(1, 2)
    order = orders(network, image)["second.weight"][1]
    assert set(order[:3]) == {0, 1, 2}
    assert set(order[3:]) == {3, 4, 5}
    torch.testing.assert_close(permute_channels(network, image)(image), network(image))


def test_permute_channels_keeps_groups_of_a_norm_together():
    layers = nn.Conv2d(1, 6, 1), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv2d(6, 1, 1)
    network, image = drawn(nn.Sequential(*layers)), torch.randn(1, 1, 3, 3)
    order = orders(network, image)["1.weight"][0]
    assert set(order[:3]) == {0, 1, 2}
    torch.testing.assert_close(permute_channels(network, image)(image), network(image))


def test_permute_channels_of_a_network_without_hidden_channels_is_refused():
    with pytest.raises(UnavailableError) as caught:
        permute_channels(nn.Linear(2, 2), torch.zeros(1, 2))
    assert str(caught.value) == (
        "Linear has no channels that could change places: each is met by other operations or "
        "weights than every other"
    )


@pytest.mark.parametrize("name", TIMM)
def test_relabel_classes_puts_scores_in_another_order(name):
    network, image = network_and_image(name)
    order = [2, 0, 1, 4, 3]
    other = relabel_classes(network, image, order)
    torch.testing.assert_close(other(image), network(image)[:, order], rtol=1e-4, atol=1e-5)


def test_relabel_classes_moves_the_rows_of_the_last_layer_alone():
    network = drawn(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3)))
    other = relabel_classes(network, torch.randn(1, 2), [1, 2, 0])
    assert torch.equal(other[0].weight, network[0].weight)
    assert torch.equal(other[2].weight, network[2].weight[[1, 2, 0]])
    assert torch.equal(other[2].bias, network[2].bias[[1, 2, 0]])


@pytest.mark.parametrize("order", [[0, 1], [0, 0, 1], [1, 2, 3]])
def test_relabel_classes_refuses_orders_that_do_not_hold_each_class_once(order):
    with pytest.raises(DataError) as caught:
        relabel_classes(nn.Linear(2, 3), torch.zeros(1, 2), order)
    assert str(caught.value) == f"order must hold each of the 3 classes once; found {order}"


class ScoresReadOn(nn.Module):
    """Scores that are sums of others cannot change places."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 3)

    def forward(self, x):
        return self.head(x).cumsum(1)


def test_relabel_classes_refuses_scores_that_are_not_made_by_weights():
    with pytest.raises(UnavailableError) as caught:
        relabel_classes(ScoresReadOn().eval(), torch.zeros(1, 2), [1, 0, 2])
    assert str(caught.value) == (
        "the classes of ScoresReadOn cannot change places: its scores are not made by weights "
        "that serve nothing else"
    )
