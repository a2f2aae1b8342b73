import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from traced_networks import drawn, modules_of, network_and_image

from audit.errors import UnavailableError
from audit.transforms import fold_batchnorm, folds


def test_fold_batchnorm_of_a_convolution_is_the_closed_form():
    network = drawn(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))).double()
    image = torch.randn(1, 1, 3, 3, dtype=torch.float64)
    other = fold_batchnorm(network, image)
    convolution, norm = network
    a = norm.weight / (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(other[0].weight, convolution.weight * a.view(2, 1, 1, 1))
    torch.testing.assert_close(
        other[0].bias, a * (convolution.bias - norm.running_mean) + norm.bias
    )
    assert type(other[1]) is nn.Identity


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_byobnet"])
def test_fold_batchnorm_leaves_none_in_timm_networks_of_convolutions(name):
    network, image = network_and_image(name)
    other = fold_batchnorm(network, image)
    assert modules_of(other, _BatchNorm) == []
    assert not folds(network, image).left
    torch.testing.assert_close(other(image), network(image), rtol=1e-3, atol=1e-3)
    channels = sum(m.num_features for m in network.modules() if isinstance(m, _BatchNorm))
    biases = sum(
        m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d) and m.bias is None
    )
    size = sum(parameter.numel() for parameter in network.parameters())
    assert sum(parameter.numel() for parameter in other.parameters()) == (
        size - 2 * channels + biases
    )


def test_fold_batchnorm_keeps_the_places_of_activations():
    network, image = network_and_image("test_efficientnet")
    other = fold_batchnorm(network, image)
    assert {path for path in modules_of(network, nn.SiLU) if ".act" in path} <= set(
        modules_of(other, nn.SiLU)
    )
    assert isinstance(other.bn1.act, nn.SiLU)


def test_fold_batchnorm_leaves_norms_before_activations_and_after_concatenations():
    network, image = network_and_image("densenet")
    found = folds(network, image)
    assert found.folded["features.norm0"] == "features.conv0"
    assert found.folded["features.denseblock1.denselayer1.norm2"] == (
        "features.denseblock1.denselayer1.conv1"
    )
    assert set(found.left.values()) == {
        "its input is not the output of a convolution or linear map"
    }
    assert "features.denseblock1.denselayer2.norm1" in found.left
    other = fold_batchnorm(network, image)
    assert set(modules_of(other, _BatchNorm)) == set(found.left)


class Net(nn.Module):
    """A convolution and a norm; subclasses say how they are wired."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)


class ReadTwice(Net):
    def forward(self, x):
        x = self.conv(x)
        return self.norm(x) + x


class AddedInPlace(Net):
    def forward(self, x):
        y = self.conv(x)
        y += x
        return self.norm(y)


class SharedNorm(Net):
    def forward(self, x):
        return self.norm(self.conv(self.norm(self.conv(x))))


class SharedConvolution(Net):
    def forward(self, x):
        return self.norm(self.conv(self.conv(x)))


class ChangedThroughAView(Net):
    def forward(self, x):
        y = self.conv(x)
        y[:, :, 0] += 1
        return self.norm(y)


class Scaled(Net):
    def forward(self, x):
        return self.norm(nn.functional.conv2d(x, self.conv.weight / self.conv.weight.norm()))


class OtherOrder(Net):
    """Modules are registered in another order than they are called in."""

    def __init__(self):
        super().__init__()
        self.last, self.first = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

    def forward(self, x):
        return self.last(self.norm(self.first(x)).relu()) + self.conv(x)


NOT_A_MAP = "its input is not the output of a convolution or linear map"
READ = "something else reads its input too"


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (ReadTwice(), READ),
        (AddedInPlace(), NOT_A_MAP),
        (SharedNorm(), "it is called 2 times"),
        (SharedConvolution(), NOT_A_MAP),
        (ChangedThroughAView(), NOT_A_MAP),
        (Scaled(), NOT_A_MAP),
        (
            nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, track_running_stats=False)),
            "it normalises by the statistics of the batch",
        ),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else "",
)
def test_fold_batchnorm_says_why_a_norm_stays(network, reason):
    image = torch.randn(1, 1, 3, 3)
    assert list(folds(drawn(network), image).left.values()) == [reason]
    with pytest.raises(UnavailableError) as caught:
        fold_batchnorm(network, image)
    assert str(caught.value) == (
        f"{type(network).__name__} has no BatchNorm that can be folded: {reason}"
    )


def test_fold_batchnorm_of_a_network_without_any_is_refused():
    with pytest.raises(UnavailableError) as caught:
        fold_batchnorm(nn.Sequential(nn.Linear(2, 2)), torch.zeros(1, 2))
    assert str(caught.value) == "Sequential has no BatchNorm that can be folded: it has none"


def test_fold_batchnorm_follows_tensors_and_not_the_order_of_modules():
    network, image = drawn(OtherOrder()), torch.randn(1, 1, 3, 3)
    assert folds(network, image).folded == {"norm": "first"}
    torch.testing.assert_close(fold_batchnorm(network, image)(image), network(image))


class LinearThenNorm(nn.Module):
    """As in LeViT: tokens are put in a row for the norm."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4)

    def forward(self, x):
        x = self.linear(x)
        return self.norm(x.flatten(0, 1)).reshape_as(x)


class LinearThenNormOfTokens(LinearThenNorm):
    def forward(self, x):
        return self.norm(self.linear(x))


def test_fold_batchnorm_sees_linear_maps_through_views():
    network, image = drawn(LinearThenNorm()), torch.randn(1, 4, 3)
    assert folds(network, image).folded == {"norm": "linear"}
    torch.testing.assert_close(fold_batchnorm(network, image)(image), network(image))
    assert folds(drawn(LinearThenNormOfTokens()), image).left == {
        "norm": "its channels are not those of the map before it"
    }


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_fold_batchnorm_of_transposed_convolutions(groups, affine):
    maps = nn.ConvTranspose2d(4, 6, 2, stride=2, groups=groups), nn.BatchNorm2d(6, affine=affine)
    network, image = drawn(nn.Sequential(*maps)), torch.randn(1, 4, 3, 3)
    torch.testing.assert_close(fold_batchnorm(network, image)(image), network(image))


def test_fold_batchnorm_works_on_a_network_in_training_mode_and_leaves_it_so():
    network = drawn(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))).train()
    before = network[1].running_mean.clone()
    other = fold_batchnorm(network, torch.randn(2, 1, 3, 3))
    assert network.training
    assert not other.training
    assert torch.equal(network[1].running_mean, before)


class Remembers(Net):
    """As LeViT in eval mode: a table computed from weights is kept for later runs."""

    table = None

    def train(self, mode=True):
        self.table = None if mode else self.table
        return super().train(mode)

    def forward(self, x):
        if self.table is None:
            self.table = self.norm.bias * 2
        return self.norm(self.conv(x)) + self.table


def test_fold_batchnorm_frees_tables_that_networks_keep_of_their_weights():
    network, image = drawn(Remembers()), torch.randn(1, 1, 3, 3)
    network(image)
    assert folds(network, image).left == {"norm": "it shares its weights"}
