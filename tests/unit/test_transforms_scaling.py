import copy
import re

import numpy as np
import pytest
import timm
import torch
from torch import nn
from traced_networks import TIMM, drawn, network_and_image

from audit.errors import ConfigError, UnavailableError
from audit.transforms import fold_batchnorm, orders, permute_channels, rescale, scales


def test_rescale_of_two_layers_is_the_closed_form():
    first, second = nn.Linear(2, 3), nn.Linear(3, 2)
    network = drawn(nn.Sequential(first, nn.ReLU(), second)).double()
    image = torch.randn(1, 2, dtype=torch.float64)
    factors = scales(network, image, seed=3)
    assert list(factors) == ["0.weight"]
    s = torch.from_numpy(factors["0.weight"])
    assert set(np.abs(np.log2(s.numpy()))) <= {1.0, 2.0, 3.0}
    other = rescale(network, image, seed=3)
    assert torch.equal(other[0].weight, first.weight * s[:, None])
    assert torch.equal(other[0].bias, first.bias * s)
    assert torch.equal(other[2].weight, second.weight / s)
    assert torch.equal(other[2].bias, second.bias)


def test_rescale_absorbs_scales_in_batch_norm():
    network = drawn(nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1)))
    image = torch.randn(1, 1, 4, 4)
    factors = {name: torch.from_numpy(s).float() for name, s in scales(network, image).items()}
    assert sorted(factors) == ["0.weight", "1.weight"]
    before, after = factors["0.weight"], factors["1.weight"]
    other = rescale(network, image)
    assert torch.equal(other[0].bias, network[0].bias * before)
    assert torch.equal(other[1].running_mean, network[1].running_mean * before)
    assert torch.equal(other[1].running_var, network[1].running_var)
    assert torch.equal(other[1].weight, network[1].weight * (after / before))
    assert torch.equal(other[1].bias, network[1].bias * after)
    assert torch.equal(other[2].weight, network[2].weight / after.view(1, 3, 1, 1))


@pytest.mark.parametrize("how", ["node-wise", "layer-uniform"])
@pytest.mark.parametrize("name", TIMM)
def test_rescale_keeps_outputs_of_timm_networks_to_the_bit(name, how):
    network, image = network_and_image(name)
    before = copy.deepcopy(network.state_dict())
    factors = scales(network, image, how)
    other = rescale(network, image, how)
    assert torch.equal(other(image), network(image))
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
    now = other.state_dict()
    if how == "layer-uniform":
        assert all(len(np.unique(s)) == 1 for s in factors.values())
        assert any(not torch.equal(before[key], now[key]) for key in factors)
    else:
        assert all(not torch.equal(before[key], now[key]) for key in factors)


#: By hand: all but the outputs of the last linear map, which must not move.
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_rescale_moves_every_channel_of_networks_of_convolutions_and_batch_norm(name):
    network, image = network_and_image(name)
    factors = scales(network, image)
    makers = {
        key: parameter.shape[0]
        for key, parameter in network.named_parameters()
        if key.endswith(".weight") and key not in ("fc.weight", "classifier.weight")
    }
    if name == "test_efficientnet":  # SiLU reads what norms and gates make
        makers = {key: n for key, n in makers.items() if key in factors or "conv_" in key}
        makers = {key: n for key, n in makers.items() if ".se." not in key}
    assert {key: int((s != 1).sum()) for key, s in factors.items()} == makers


def test_rescale_by_any_factor_keeps_outputs_but_for_rounding():
    network, image = network_and_image("test_resnet")
    network, image = network.double(), image.double()
    other = rescale(network, image, powers_of_two=False, largest=1.5)
    torch.testing.assert_close(other(image), network(image), rtol=1e-8, atol=1e-8)
    factors = np.concatenate(list(scales(network, image, powers_of_two=False).values()))
    assert len(np.unique(factors)) > 500
    assert (factors >= 1 / 8).all()
    assert (factors <= 8).all()


def test_rescale_is_fixed_by_its_seed():
    network, image = network_and_image("test_resnet")
    one, same, other = (rescale(network, image, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["conv1.0.weight"], other["conv1.0.weight"])


class ReadsNumbers(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 3), nn.Linear(3, 2)

    def forward(self, x):
        x = self.first(x).relu()
        return self.second(x if x.sum() > 0 else -x)


class HidesWeights(ReadsNumbers):
    """Reads its weights where no operation shows it."""

    def forward(self, x):
        size = float(np.abs(self.first.weight.detach().numpy()).sum())
        return self.second(self.first(x).relu()) * size


class TwiceUsed(ReadsNumbers):
    """The first map is used twice, the second time on what it made."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, 2)

    def forward(self, x):
        return self.second(self.first(self.first(x).relu()).relu())


def refusal(function, network, image=None):
    with pytest.raises(UnavailableError) as caught:
        function(network.eval(), torch.randn(1, 2) if image is None else image)
    return str(caught.value)


ALL = [rescale, permute_channels, fold_batchnorm]


@pytest.mark.parametrize("function", ALL)
def test_transforms_refuse_networks_that_choose_by_numbers(function):
    assert refusal(function, ReadsNumbers()) == (
        "a network that chooses what to compute by the numbers it has computed (it calls "
        "_local_scalar_dense) has no graph that holds for other weights"
    )


@pytest.mark.parametrize("function", ALL)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_transforms_refuse_torch_script(function):
    network = nn.Sequential(nn.Linear(2, 2), torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)))
    assert refusal(function, network) == "1 is TorchScript, whose weights cannot be taken apart"


@pytest.mark.parametrize("function", ALL)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_transforms_refuse_quantised_networks(function):
    network = nn.Sequential(torch.ao.nn.quantized.dynamic.Linear(2, 2))
    assert refusal(function, network) == "0 is quantised: its weights cannot take other scales"


def test_rescale_refuses_weights_that_are_read_in_hiding():
    message = refusal(rescale, drawn(HidesWeights()))
    assert re.fullmatch(
        r"HidesWeights cannot be rescaled: its outputs move by \S+ of the largest, more than "
        "1e-08; it uses its weights in a way that its operations do not show",
        message,
    )


def test_rescale_leaves_weights_that_are_used_twice():
    assert refusal(rescale, drawn(TwiceUsed())) == (
        "TwiceUsed has no layer that could be rescaled: none is followed by functions with "
        "f(a·x) = a·f(x) for a > 0 alone, such as ReLU"
    )


def test_rescale_refuses_unknown_ways():
    network, image = nn.Linear(2, 2), torch.zeros(1, 2)
    with pytest.raises(ConfigError) as caught:
        rescale(network, image, "per-weight")
    assert str(caught.value) == ('how must be "node-wise" or "layer-uniform"; found \'per-weight\'')
    with pytest.raises(ConfigError) as caught:
        rescale(network, image, largest=1.5)
    assert str(caught.value) == "largest must be at least 2; found 1.5"


def test_rescale_takes_images_in_channels_last():
    network, image = network_and_image("test_resnet")
    turned = image.contiguous(memory_format=torch.channels_last)
    assert scales(network, turned).keys() == scales(network, image).keys()
    assert orders(network, turned).keys() == orders(network, image).keys()


def test_rescale_pins_what_gelu_reads_and_scales_what_attention_weighs():
    network = timm.create_model("test_vit", img_size=32, num_classes=5)
    factors = scales(drawn(network), torch.randn(1, 3, 32, 32))
    assert "blocks.0.mlp.fc1.weight" not in factors
    width = network.embed_dim
    moved = factors["blocks.0.attn.qkv.weight"] != 1
    assert moved.tolist() == [False] * (2 * width) + [True] * width
