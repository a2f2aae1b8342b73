"""Where feature maps are taken, in which layout, and that taking them leaves no trace."""

import functools
import warnings

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional

from audit.errors import ConfigError, UnavailableError
from audit.network.forward import stream_maps
from audit.network.layers import LayerSpec, Reading, choose_layers
from audit.network.places import Place
from audit.network.plain import plain


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


def images(height=16, width=16, n=2, channels=3):
    return torch.randn(n, channels, height, width, generator=torch.Generator().manual_seed(0))


def captured(module, layers, batch):
    """A copy of each layer's maps, and the network's output."""
    found = {}

    def consume(index, maps):
        assert index not in found
        found[index] = maps.clone()

    output = stream_maps(module, layers, batch, consume)
    return [found[index] for index in range(len(layers))], output


def names(module, batch=None, wanted=("stages",)):
    chosen = choose_layers(module.eval(), images() if batch is None else batch, wanted)
    return [spec.name for spec in chosen.specs]


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
        (Tokens(5), "NLC", 5),
    ],
)
def test_layouts_give_the_same_maps(height, width, last, layout, prefix):
    first = conv(3, 6, stride=2)
    module = Net(lambda self, x: self.act(self.last(self.first(x))), first=first, last=last)
    module.act = nn.ReLU()
    batch = images(height, width)
    [layer] = choose_layers(module, batch, ["act"]).specs
    assert layer == LayerSpec(Place("act"), Reading(layout, height // 2, width // 2, 6, prefix))
    assert layer.name == "act"
    [maps], _ = captured(module, [layer], batch)
    assert maps.shape == (2, 6, height // 2, width // 2)
    torch.testing.assert_close(maps, first(batch).relu(), rtol=0, atol=0)


@pytest.mark.parametrize("units", [15, 16, 17, 24, 32])
@pytest.mark.parametrize("last", [nn.Identity(), Channels()])
def test_layout_is_told_by_where_maps_change(units, last):
    # 16 × 32 maps of 32 units can be read both ways by their shape
    module = nn.Sequential(conv(3, units), last, nn.ReLU())
    [layer] = choose_layers(module, images(16, 32), ["2"]).specs
    expected = "NHWC" if isinstance(last, Channels) else "NCHW"
    assert (layer.reading.layout, layer.reading.units) == (expected, units)


def test_layout_of_a_network_that_keeps_channels_last_is_not_taken_for_channels_first():
    module = network("convnext_atto")
    chosen = choose_layers(module, images(96, 192))
    assert [spec.layer.units for spec in chosen.specs] == [40, 80, 160]
    assert [(spec.layer.height, spec.layer.width) for spec in chosen.specs] == [
        (24, 48),
        (12, 24),
        (6, 12),
    ]


def test_layout_of_sizes_that_were_rounded():
    module = nn.Sequential(conv(3, 7, stride=4), nn.ReLU())
    [layer] = choose_layers(module, images(33, 18)).specs
    assert layer.reading == Reading("NCHW", 9, 5, 7)


class Shuffled(nn.Module):
    """Tokens in windows of 2 × 2 pixels."""

    def forward(self, maps):
        windows = maps.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
        return windows.permute(0, 2, 4, 3, 5, 1).flatten(1, 4)


def test_tokens_in_another_order_than_the_images_are_not_taken():
    module = nn.Sequential(conv(3, 6), Shuffled(), nn.ReLU())
    with pytest.raises(ConfigError) as caught:
        choose_layers(module, images(), ["2"])
    assert str(caught.value) == (
        "layer '2' gives 256 × 6 for each image, which is no stack of feature maps that change "
        "where the image does"
    )


def test_tokens_in_another_order_are_put_right_where_timm_knows_it():
    module = network("hiera_tiny_224", img_size=(64, 64), embed_dim=24)
    batch = images(64, 64, n=1)
    layers = choose_layers(module, batch).specs
    assert [layer.reading.layout for layer in layers] == ["tokens", "tokens", "tokens"]
    maps, _ = captured(module, layers, batch)
    with torch.inference_mode():
        expected = module.forward_intermediates(batch, intermediates_only=True)
    for found, wanted in zip(maps, expected, strict=False):
        torch.testing.assert_close(found, wanted)


def test_shared_activation_is_told_apart_by_call():
    act = nn.ReLU()
    one, two = conv(3, 4), conv(4, 6, stride=2)
    module = Net(
        lambda self, x: self.act(self.two(self.act(self.one(x)))), one=one, two=two, act=act
    )
    batch = images()
    layers = choose_layers(module, batch).specs
    assert [(spec.name, spec.layer.units, spec.layer.height) for spec in layers] == [
        ("act", 4, 16),
        ("act#2", 6, 8),
    ]
    (first, second), output = captured(module, layers, batch)
    torch.testing.assert_close(first, one(batch).relu(), rtol=0, atol=0)
    torch.testing.assert_close(second, output, rtol=0, atol=0)
    [only], _ = captured(module, layers[1:], batch)
    torch.testing.assert_close(only, output, rtol=0, atol=0)
    assert names(module, batch, ["act"]) == ["act", "act#2"]
    assert names(module, batch, ["act#2"]) == ["act#2"]


def test_in_place_activation_after_a_layer_does_not_change_its_maps():
    module = nn.Sequential(conv(3, 4), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(2))
    batch = images()
    module(batch)
    layers = choose_layers(module, batch, ["0", "1"]).specs
    (before, after), _ = captured(module, layers, batch)
    torch.testing.assert_close(before, module[0](batch), rtol=0, atol=0)
    assert (before < 0).any()
    torch.testing.assert_close(after, before.relu(), rtol=0, atol=0)


def test_no_hook_is_left_after_a_hundred_failures():
    module = nn.Sequential(conv(3, 4), nn.ReLU(), nn.Linear(3, 2))
    good = nn.Sequential(*module[:2])
    layers = choose_layers(good, images()).specs

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
    ("module", "left_out"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 8), nn.ReLU()), ""),
        (
            nn.Sequential(conv(3, 4, stride=8), nn.ReLU()),
            "; left out: 1 (4 × 2 × 2): too small for a topology",
        ),
        (nn.Sequential(conv(3, 1), nn.ReLU()), ""),
    ],
    ids=["no maps", "maps too small", "one unit"],
)
def test_network_without_maps_says_what_to_do(module, left_out):
    with pytest.raises(UnavailableError) as caught:
        choose_layers(module, images())
    assert str(caught.value) == (
        "no feature maps of at least 4 × 4 pixels were found for images of 3 × 16 × 16; use larger "
        f"ones ([dataset] transform.input_size) or name the layers ([measures] layers){left_out}"
    )


# --- the ends of stages ------------------------------------------------------------------------

FAMILIES = (
    "test_resnet",
    "test_coatnet",
    "test_efficientnet",
    "test_convnext",
    "test_byobnet",
    "test_mambaout",
    "test_nfnet",
    "test_maxvit",
    "test_vit2",
    "test_vit3",
    "test_vit_relpos",
    "convit_tiny",
    "crossvit_tiny_240",
    "deit_tiny_distilled_patch16_224",
    "xcit_nano_12_p16_224",
    "mobilevit_xxs",
    "mobilevitv2_050",
    "cpubone_nano",
    "ghostnet_050",
    "tf_mobilenetv3_small_minimal_100",
)


@pytest.mark.parametrize("name", FAMILIES)
def test_stage_ends_are_the_maps_that_timm_gives(name):
    module = network(name)
    batch = images(*module.pretrained_cfg["input_size"][1:], n=2)
    layers = choose_layers(module, batch).specs
    assert layers
    maps, _ = captured(module, layers, batch)
    known = _intermediates(module, batch)
    for layer, found in zip(layers, maps, strict=True):
        assert found.shape[1:] == (layer.layer.units, layer.layer.height, layer.layer.width)
        assert any(
            one.shape == found.shape and torch.allclose(one, found, atol=1e-4) for one in known
        ), layer.name
    assert n_hooks(module) == 0


def _intermediates(module, batch):
    """timm's maps, after its last normalization where it applies that to all of them."""
    with torch.inference_mode():
        try:
            return module.forward_intermediates(batch, norm=True, intermediates_only=True)
        except AssertionError:
            return module.forward_intermediates(batch, intermediates_only=True)


def test_stage_ends_of_a_residual_network_are_whole_stages():
    assert names(network("resnet18"), images(64, 64)) == ["act1", "layer1", "layer2", "layer3"]
    [note] = choose_layers(network("resnet18"), images(64, 64)).notes
    assert note == "layer4 (512 × 2 × 2): too small for a topology"


def test_stage_ends_of_a_transformer_are_its_quarters_normed():
    module = network("deit_tiny_distilled_patch16_224")
    layers = choose_layers(module, images(224, 224)).specs
    assert [layer.name for layer in layers] == [f"blocks.{n}|norm" for n in (2, 5, 8, 11)]
    assert {layer.reading for layer in layers} == {Reading("NLC", 14, 14, 192, 2)}


def test_stage_ends_of_a_transformer_for_images_that_are_not_square():
    module = network("test_vit", dynamic_img_size=True)
    [layer, *_] = choose_layers(module, images(96, 192)).specs
    assert (layer.reading.height, layer.reading.width) == (6, 12)


@pytest.mark.parametrize(
    ("name", "side", "expected"),
    [
        ("resnet18", 64, ["relu", "layer1", "layer2", "layer3"]),
        ("vgg11", 64, ["features.1", "features.4", "features.9", "features.14", "features.19"]),
        ("mobilenet_v3_small", 64, ["features.0", "features.1", "features.3", "features.8"]),
        ("googlenet", 96, ["conv1", "conv3", "inception3b", "inception4e"]),
        ("swin_t", 128, ["features.1", "features.3", "features.5", "permute"]),
    ],
)
def test_stage_ends_of_other_networks_are_what_goes_into_a_smaller_size(name, side, expected):
    torch.manual_seed(0)
    more = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    module = getattr(torchvision.models, name)(num_classes=5, **more).eval()
    found = names(module, images(side, side))
    assert found[: len(expected)] == expected


def test_layers_do_not_depend_on_memory(monkeypatch):
    module = timm.create_model("test_resnet", num_classes=5).eval()

    def full(*args, **more):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "forward_intermediates", full)
    with pytest.raises(torch.OutOfMemoryError):
        choose_layers(module, images(64, 64))


def test_stage_ends_may_be_functions():
    def run(self, x):
        x = functional.relu(self.one(x))
        x = functional.relu(self.two(x) + self.side(x))
        return self.head(functional.relu(self.three(x)).mean((2, 3)))

    module = Net(
        run,
        one=conv(3, 4),
        side=nn.Sequential(conv(4, 4), nn.ReLU()),
        two=conv(4, 4),
        three=conv(4, 6, 2),
        head=nn.Linear(6, 2),
    )
    batch = images()
    layers = choose_layers(module, batch).specs
    assert [layer.name for layer in layers] == [":relu#2", ":relu#3"]
    maps, _ = captured(module, layers, batch)
    assert [len(found[0]) for found in maps] == [4, 6]
    assert (maps[0] >= 0).all()
    assert names(module, batch, ["all-activations"]) == [":relu", "side.1", ":relu#2", ":relu#3"]


def test_stage_ends_of_encoders_that_torch_would_fuse():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 32, 4, 4)
            block = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
            self.blocks = nn.TransformerEncoder(block, 6)
            self.head = nn.Linear(32, 5)

        def forward(self, x):
            return self.head(self.blocks(self.patches(x).flatten(2).transpose(1, 2)).mean(1))

    torch.manual_seed(0)
    module = Encoder().eval()
    assert names(module, images(32, 32)) == [f"blocks.layers.{n}" for n in (1, 2, 4, 5)]
    assert torch.backends.mha.get_fastpath_enabled()


def test_outputs_without_a_batch_axis_are_no_maps():
    class Bias(nn.Module):
        def forward(self, x):
            return torch.arange(6 * 16 * 16.0).reshape(1, 6, 16, 16)

    module = Net(lambda self, x: self.act(self.one(x) + self.bias(x)), one=conv(3, 6))
    module.bias, module.act = Bias(), nn.ReLU()
    with pytest.raises(ConfigError, match="which is no stack of feature maps"):
        choose_layers(module, images(), ["bias"])
    assert names(module) == ["act"]


# --- presets, names and patterns ---------------------------------------------------------------


def test_presets_take_what_they_say():
    module = network("test_resnet")
    batch = images(64, 64)
    modules = dict(module.named_modules())
    found = names(module, batch, ["all-conv"])
    assert found
    assert all(isinstance(modules[name], nn.Conv2d) for name in found)
    assert names(module, batch, ["last"]) == names(module, batch)[-1:]
    assert set(names(module, batch, ["last", "all-conv"])) == {*found, names(module, batch)[-1]}
    found = names(module, batch, ["all-activations"])
    assert found[:4] == ["conv1.2", "conv1.5", "act1", "layer1.0.act1"]
    assert all(isinstance(modules[name], nn.ReLU) for name in found)


def test_activations_are_recognized_by_name_unless_they_have_parameters():
    class FastSwish(nn.Module):
        def forward(self, maps):
            return maps * maps.sigmoid()

    class ActNorm(nn.Conv2d):
        pass

    module = nn.Sequential(conv(3, 4), FastSwish(), ActNorm(4, 4, 1))
    assert names(module, wanted=["all-activations"]) == ["1"]


def test_patterns_name_modules():
    module = network("resnet18")
    batch = images(64, 64)
    assert names(module, batch, ["layer[23]"]) == ["layer2", "layer3"]
    assert names(module, batch, ["layer?.0.act1"]) == [f"layer{n}.0.act1" for n in (1, 2, 3)]
    assert names(module, batch, [r"re:layer(1|3)\.1"]) == ["layer1.1", "layer3.1"]


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
    layers = choose_layers(small, images(), ["block", "block.0", "block"]).specs
    assert [layer.name for layer in layers] == ["block.0", "block"]
    maps, _ = captured(small, layers, images())
    assert len(maps) == 2


def test_named_layer_may_be_smaller_than_the_rule_asks(small):
    [layer] = choose_layers(small, images(), ["pool"]).specs
    assert (layer.reading.height, layer.reading.width, layer.reading.units) == (1, 1, 4)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("blok.0", "unknown layer 'blok.0'; did you mean 'block.0' or 'block.1' or 'block'?"),
        ("xyz", "unknown layer 'xyz'"),
        ("spare", "layer 'spare' is not reached in a forward pass, or gives no tensor"),
        (
            "head",
            "layer 'head' gives 2 for each image, which is no stack of feature maps that change "
            "where the image does",
        ),
        (
            "zzz*",
            "layers 'zzz*' matches none of the 6 modules of the network; `genaudit layers` lists "
            "those that give feature maps",
        ),
        (
            "hea?",
            "layers 'hea?' matches 1 modules of the network, none of which gives feature maps of "
            "at least 4 × 4 pixels",
        ),
        (
            "re:(",
            "layers 're:(' is no regular expression: missing ), unterminated subpattern at "
            "position 0",
        ),
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
    assert str(caught.value) == "layer '1' is not reached in a forward pass, or gives no tensor"


def test_names_that_are_given_can_be_asked_for():
    for module, batch in ((network("test_vit"), images(160, 160)), (network("resnet18"), images())):
        for layer in choose_layers(module, batch).specs:
            [again] = choose_layers(module, batch, [layer.name]).specs
            assert again == layer


# --- networks that are not plain Python --------------------------------------------------------


def _compiled_inside(module):
    module.layer1 = torch.compile(module.layer1)
    module.compile()
    return module


@pytest.mark.parametrize(
    "wrap",
    [torch.compile, nn.DataParallel, torch.optim.swa_utils.AveragedModel, _compiled_inside],
    ids=["compiled", "parallel", "averaged", "compiled inside"],
)
def test_wrapped_networks_give_the_layers_of_what_they_wrap(wrap):
    torch.manual_seed(0)
    module = plain(wrap(timm.create_model("resnet18", num_classes=5))).eval()
    assert names(module, images(64, 64)) == ["act1", "layer1", "layer2", "layer3"]


def test_exported_programs_give_the_functions_they_call():
    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=5).eval()
    n = torch.export.Dim("n", min=1, max=64)
    exported = torch.export.export(network, (images(64, 64),), dynamic_shapes=({0: n},))
    module = plain(exported)
    batch = images(64, 64)
    layers = choose_layers(module, batch).specs
    assert [layer.name for layer in layers] == [":relu", ":relu#5", ":relu#9", ":relu#13"]
    maps, output = captured(module, layers, batch)
    same, expected = captured(network, choose_layers(network, batch).specs, batch)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(maps, same)


def test_scripted_networks_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises against it, and people have such files
        module = torch.jit.script(torchvision.models.resnet18(num_classes=5)).eval()
    with pytest.raises(UnavailableError) as caught:
        choose_layers(plain(module), images())
    assert str(caught.value) == (
        "no feature maps can be taken from a network that is TorchScript, whose forward pass "
        "cannot be watched; give the network as Python"
    )
