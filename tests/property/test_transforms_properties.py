import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from traced_networks import seeded

from audit.transforms import fold_batchnorm, permute_channels, rescale


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.conv, self.norm = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
        self.short, self.head = nn.Conv2d(4, 4, 1, bias=False), nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x).relu()
        y = self.norm(self.conv(nn.functional.pad(x, (1, 1, 1, 1)))).relu_() + x
        y += self.short(y)
        return self.head(y.mean((2, 3)))


class Concatenated(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 4, 1)
        self.norm, self.head = nn.BatchNorm2d(7), nn.Linear(7 * 9, 2)

    def forward(self, x):
        x = torch.cat([self.one(x).relu(), nn.functional.leaky_relu(self.other(x))], 1)
        return self.head(nn.functional.max_pool2d(self.norm(x), 2).flatten(1))


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 1)
        self.group = nn.Conv2d(8, 12, 3, groups=2)
        self.depth = nn.Conv2d(12, 24, 3, groups=12, bias=False)
        self.norm, self.head = nn.BatchNorm2d(24), nn.Conv2d(24, 2, 1)

    def forward(self, x):
        x = self.depth(self.group(self.stem(x).relu()).relu())
        return self.head(self.norm(x).relu()).mean((2, 3))


class Gated(nn.Module):
    """Squeeze and excite, and a scale for each channel."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.squeeze, self.excite = nn.Conv2d(6, 3, 1), nn.Conv2d(3, 6, 1)
        self.scale, self.head = nn.Parameter(torch.ones(6)), nn.Linear(6, 2)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        gate = self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return self.head((x * gate * self.scale.view(-1, 1, 1)).amax((2, 3)))


class Shuffled(nn.Module):
    """Channels of two groups are interleaved, as in ShuffleNet."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 8, 1), nn.BatchNorm2d(8)
        self.group, self.head = nn.Conv2d(8, 8, 1, groups=2), nn.Linear(8, 2)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)
        return self.head(self.group(x).relu().sum((2, 3)))


KINDS = [Residual, Concatenated, Grouped, Gated, Shuffled]


def case(kind, seed):
    image = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(seed % 1000))
    return seeded(kind(), seed % 1000).double(), image.double()


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**32 - 1), how=st.sampled_from(["node-wise", "layer-uniform"]))
@settings(deadline=None, max_examples=6)
def test_rescaling_by_powers_of_two_keeps_outputs_to_the_bit(kind, seed, how):
    network, image = case(kind, seed)
    other = rescale(network, image, how, seed)
    assert torch.equal(other(image), network(image))
    before = network.state_dict()
    assert any(not torch.equal(before[key], now) for key, now in other.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=6)
def test_permuted_networks_compute_the_same(kind, seed):
    network, image = case(kind, seed)
    other = permute_channels(network, image, seed)
    torch.testing.assert_close(other(image), network(image), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [Residual, Grouped, Gated, Shuffled])
@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=4)
def test_folded_networks_compute_the_same_and_can_be_rescaled_on(kind, seed):
    network, image = case(kind, seed)
    folded = fold_batchnorm(network, image)
    assert isinstance(folded.norm, nn.Identity)
    torch.testing.assert_close(folded(image), network(image), rtol=1e-9, atol=1e-9)
    assert torch.equal(rescale(folded, image, seed=seed)(image), folded(image))
