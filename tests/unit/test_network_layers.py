"""Where feature maps are taken, in which layout, and that taking them leaves no trace."""

import functools

import pytest
import timm
import torch
from torch import nn

from audit.errors import ConfigError, UnavailableError
from audit.network.forward import stream_maps
from audit.network.layers import LayerSpec, choose_layers, probe_layers


class Net(nn.Module):
    """A function of named modules."""

    def __init__(self, run, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.run = run

    def forward(self, images):
        return self.run(self, images)


def conv(n_in, n_out, stride=1):
    return nn.Conv2d(n_in, n_out, 3, stride, padding=1)


def images(height=16, width=16, n=2):
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(0))


def captured(module, layers, batch):
    """A copy of each layer's maps, and the network's output."""
    found = {}

    def consume(index, maps):
        assert index not in found
        found[index] = maps.clone()

    output = stream_maps(module, layers, batch, consume)
    return [found[index] for index in range(len(layers))], output


def n_hooks(module):
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


@functools.cache
def network(name, **arguments):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5, **arguments).eval()


class Channels(nn.Module):
    """Moves the channels last."""

    def forward(self, maps):
        return maps.permute(0, 2, 3, 1)


class Tokens(nn.Module):
    """Pixels in a row, after some class tokens of zeros."""

    def __init__(self, n_prefix=0):
        super().__init__()
        self.n_prefix = n_prefix

    def forward(self, maps):
        tokens = maps.flatten(2).transpose(1, 2)
        return torch.cat([tokens.new_zeros(len(tokens), self.n_prefix, tokens.shape[2]), tokens], 1)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 32), (20, 12)])
@pytest.mark.parametrize(
    ("last", "layout", "prefix"),
    [
        (nn.Identity(), "NCHW", 0),
        (Channels(), "NHWC", 0),
        (Tokens(), "NLC", 0),
        (Tokens(1), "NLC", 1),
    ],
)
def test_layouts_give_the_same_maps(height, width, last, layout, prefix):
    first = conv(3, 6, stride=2)
    module = Net(lambda self, x: self.act(self.last(self.first(x))), first=first, last=last)
    module.act = nn.ReLU()
    module.num_prefix_tokens = prefix
    batch = images(height, width)
    [layer] = choose_layers(module, batch)
    assert layer == LayerSpec("act", 0, layout, height // 2, width // 2, 6, prefix)
    assert layer.name == "act"
    [maps], _ = captured(module, [layer], batch)
    assert maps.shape == (2, 6, height // 2, width // 2)
    torch.testing.assert_close(maps, first(batch).relu(), rtol=0, atol=0)


@pytest.mark.parametrize(("units", "layout"), [(15, "NHWC"), (17, "NHWC"), (16, "NCHW")])
def test_layout_that_fits_exactly_goes_before_one_that_nearly_does(units, layout):
    # 16 × 16 maps of 16 units can be read both ways, and channels come first; of 15 they cannot
    module = nn.Sequential(conv(3, units), Channels(), nn.ReLU())
    [layer] = choose_layers(module, images(16, 16))
    assert (layer.layout, layer.units) == (layout, units)


def test_layout_of_sizes_that_were_rounded():
    module = nn.Sequential(conv(3, 7, stride=4), nn.ReLU())
    [layer] = choose_layers(module, images(33, 18))
    assert (layer.layout, layer.height, layer.width, layer.units) == ("NCHW", 9, 5, 7)


def test_shared_activation_is_told_apart_by_call():
    act = nn.ReLU()
    one, two = conv(3, 4), conv(4, 6, stride=2)
    module = Net(
        lambda self, x: self.act(self.two(self.act(self.one(x)))), one=one, two=two, act=act
    )
    batch = images()
    layers = choose_layers(module, batch)
    assert [(layer.name, layer.units, layer.height) for layer in layers] == [
        ("act", 4, 16),
        ("act#2", 6, 8),
    ]
    (first, second), output = captured(module, layers, batch)
    torch.testing.assert_close(first, one(batch).relu(), rtol=0, atol=0)
    torch.testing.assert_close(second, output, rtol=0, atol=0)
    [only], _ = captured(module, layers[1:], batch)
    torch.testing.assert_close(only, output, rtol=0, atol=0)


def test_in_place_activation_after_a_layer_does_not_change_its_maps():
    module = nn.Sequential(conv(3, 4), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(2))
    batch = images()
    module(batch)
    layers = choose_layers(module, batch, ["0", "1"])
    (before, after), _ = captured(module, layers, batch)
    torch.testing.assert_close(before, module[0](batch), rtol=0, atol=0)
    assert (before < 0).any()
    torch.testing.assert_close(after, before.relu(), rtol=0, atol=0)


def test_no_hook_is_left_after_a_hundred_failures():
    module = nn.Sequential(conv(3, 4), nn.ReLU(), nn.Linear(3, 2))
    good = nn.Sequential(*module[:2])
    layers = choose_layers(good, images())

    def fail(index, maps):
        raise ValueError("the consumer fails")

    for _ in range(100):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            choose_layers(module, images())
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            stream_maps(module, layers, images(), lambda index, maps: None)
        with pytest.raises(ValueError, match="the consumer fails"):
            stream_maps(good, layers, images(), fail)
        with pytest.raises(ConfigError):
            choose_layers(nn.Sequential(good, nn.Flatten()), images(), ["1"])
    assert n_hooks(module) == n_hooks(good) == 0


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 8), nn.ReLU()),
        nn.Sequential(conv(3, 4, stride=8), nn.ReLU()),
        nn.Sequential(conv(3, 1), nn.ReLU()),
    ],
    ids=["no maps", "maps too small", "one unit"],
)
def test_network_without_maps_says_what_to_do(module):
    with pytest.raises(UnavailableError) as caught:
        choose_layers(module, images())
    assert str(caught.value) == (
        "no feature maps of at least 4 × 4 pixels were found for input (3, 16, 16); use larger "
        "images ([dataset] transform.input_size) or name the layers ([measures] layers)"
    )


def test_network_whose_activations_are_functions_gives_its_leaves():
    module = Net(
        lambda self, x: self.two(self.one(x).relu()).relu(), one=conv(3, 4), two=conv(4, 5)
    )
    assert [layer.name for layer in probe_layers(module, images())] == ["one", "two"]
    assert [layer.name for layer in choose_layers(module, images())] == ["two"]


def test_layers_by_rule_are_the_last_of_each_size_or_thirds_of_one_size():
    sizes = nn.Sequential(
        conv(3, 4),
        nn.ReLU(),
        conv(4, 4),
        nn.GELU(),
        conv(4, 8, 2),
        nn.SiLU(),
        conv(8, 8, 4),
        nn.ReLU(),
    )
    assert [layer.name for layer in choose_layers(sizes, images())] == ["3", "5"]
    same = nn.Sequential(*[part for _ in range(9) for part in (conv(3, 3), nn.ReLU())])
    assert [layer.name for layer in choose_layers(same, images())] == ["5", "11", "17"]
    few = nn.Sequential(*[part for _ in range(3) for part in (conv(3, 3), nn.ReLU())])
    assert [layer.name for layer in choose_layers(few, images())] == ["5"]


def test_activations_are_recognized_by_name_unless_they_have_parameters():
    class FastSwish(nn.Module):
        def forward(self, maps):
            return maps * maps.sigmoid()

    class ActNorm(nn.Conv2d):
        pass

    module = nn.Sequential(conv(3, 4), FastSwish(), ActNorm(4, 4, 1))
    assert [layer.name for layer in probe_layers(module, images())] == ["1"]


@pytest.fixture
def small():
    return Net(
        lambda self, x: self.head(self.pool(self.block(x)).flatten(1)),
        block=nn.Sequential(conv(3, 4), nn.ReLU()),
        pool=nn.AdaptiveAvgPool2d(1),
        head=nn.Linear(4, 2),
        spare=nn.ReLU(),
    )


def test_named_layers_are_given_in_order_of_execution_and_once(small):
    layers = choose_layers(small, images(), ["block", "block.0", "block"])
    assert [layer.name for layer in layers] == ["block.0", "block"]
    maps, _ = captured(small, layers, images())
    assert len(maps) == 2


def test_named_layer_may_be_smaller_than_the_rule_asks(small):
    [layer] = choose_layers(small, images(), ["pool"])
    assert (layer.height, layer.width, layer.units) == (1, 1, 4)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("blok.0", "unknown layer 'blok.0'; did you mean 'block.0' or 'block.1' or 'block'?"),
        ("xyz", "unknown layer 'xyz'"),
        ("spare", "layers spare are not reached in a forward pass"),
        ("head", "layer 'head' gives Tensor of shape (2, 2), which is no stack of feature maps"),
    ],
)
def test_named_layer_that_cannot_be_used_is_refused(small, path, message):
    with pytest.raises(ConfigError) as caught:
        choose_layers(small, images(), [path])
    assert str(caught.value) == message
    assert n_hooks(small) == 0


def test_named_layer_that_gives_no_tensor_is_refused():
    module = nn.Sequential(nn.Flatten(2), nn.LSTM(256, 4))
    with pytest.raises(ConfigError) as caught:
        choose_layers(module, images(), ["1"])
    assert str(caught.value) == (
        "layer '1' gives tuple of shape (), which is no stack of feature maps"
    )


@pytest.mark.parametrize(
    ("name", "arguments", "side", "layout", "sizes"),
    [
        ("test_resnet", {}, 32, "NCHW", [16, 8, 4]),
        ("test_resnet", {"in_chans": 1}, 64, "NCHW", [32, 16, 8, 4]),
        ("test_efficientnet", {}, 64, "NCHW", [32, 16, 8, 4]),
        ("test_mambaout", {}, 48, "NHWC", [24, 12, 6]),
        ("test_vit", {"img_size": 64}, 64, "NLC", [4]),
    ],
)
def test_timm_networks_give_layers_of_every_size(name, arguments, side, layout, sizes):
    module = network(name, **arguments)
    batch = torch.randn(
        2, arguments.get("in_chans", 3), side, side, generator=torch.Generator().manual_seed(1)
    )
    layers = choose_layers(module, batch)
    assert {layer.layout for layer in layers if layer.path != "stem.act"} == {layout}
    assert [layer.height for layer in layers] == sizes * (len(layers) // len(sizes))
    assert all(layer.height == layer.width and layer.units > 1 for layer in layers)

    outputs = {}
    modules = dict(module.named_modules())
    handles = [
        modules[layer.path].register_forward_hook(
            lambda _, __, output, path=layer.path: outputs.setdefault(path, []).append(
                output.detach().clone()
            )
        )
        for layer in layers
    ]
    with torch.no_grad():
        expected = module(batch)
    for handle in handles:
        handle.remove()
    maps, output = captured(module, layers, batch)
    torch.testing.assert_close(output, expected, rtol=0, atol=0)
    for layer, found in zip(layers, maps, strict=True):
        direct = outputs[layer.path][layer.call]
        if layer.layout == "NLC":
            direct = direct[:, module.num_prefix_tokens :]
            direct = direct.unflatten(1, (layer.height, layer.width))
        if layer.layout != "NCHW":
            direct = direct.movedim(-1, 1)
        torch.testing.assert_close(found, direct, rtol=0, atol=0)
    assert n_hooks(module) == 0
