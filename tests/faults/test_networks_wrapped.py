"""Networks that are not plain Python: compiled, wrapped, exported, quantised, scripted."""

import warnings

import pytest
import timm
import torch
import torchvision
from torch import nn

import audit
from audit.errors import CheckpointError, ConfigError, UnavailableError

IMAGES = {"input_size": [1, 32, 32], "mean": [0.5], "std": [0.5]}


def network():
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=10, in_chans=1).eval()


def units(module, **more):
    return audit.unit_table(
        module, "digits", filtration="cubical", images_per_class=2, transform=IMAGES, **more
    )


def compiled_inside(module):
    module.layer1 = torch.compile(module.layer1)
    module.compile()
    return module


@pytest.mark.parametrize(
    "wrap",
    [torch.compile, nn.DataParallel, torch.optim.swa_utils.AveragedModel, compiled_inside],
    ids=["compiled", "parallel", "averaged", "compiled inside"],
)
def test_row_22_wrapped_network_gives_the_units_of_what_it_wraps(wrap):
    wrapped = wrap(network())
    before = {name: tensor.clone() for name, tensor in wrapped.state_dict().items()}
    found = units(wrapped)
    assert found.equals(units(network()))
    assert list(wrapped.state_dict()) == list(before)  # it is left as it was


def test_row_22_exported_program_gives_the_units_of_the_network():
    n = torch.export.Dim("n", min=1, max=64)
    images = torch.zeros(2, 1, 32, 32)
    program = torch.export.export(network(), (images,), dynamic_shapes=({0: n},))
    found, expected = units(program), units(network())
    assert len(found) == len(expected)
    assert found["layer"].nunique() == expected["layer"].nunique()
    # The program sums in another order. That moves births on the flat ground of the digits, where
    # values are equal but for rounding; that the maps themselves agree is tested elsewhere.
    assert (found["effective_rate"] == expected["effective_rate"]).mean() > 0.8


def test_row_22_half_precision_network_is_converted():
    assert len(units(network().bfloat16())) == len(units(network()))


def test_row_22_statically_quantised_network_gives_units():
    from torch.ao import quantization

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises against it, and people have such networks
        torch.manual_seed(0)
        module = torchvision.models.quantization.resnet18(num_classes=10, quantize=False).eval()
        module.fuse_model()
        module.qconfig = quantization.get_default_qconfig("x86")
        quantization.prepare(module, inplace=True)
        module(torch.randn(4, 3, 32, 32))
        quantization.convert(module, inplace=True)
        size = {"input_size": [3, 32, 32], "mean": [0.5], "std": [0.5]}
        found = audit.unit_table(
            module, "digits", filtration="cubical", images_per_class=2, transform=size
        )
    assert list(dict.fromkeys(found["layer"])) == ["relu", "layer1", "layer2"]


def test_row_22_scripted_network_is_refused_with_the_reason():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.script(torchvision.models.resnet18(num_classes=10))
    with pytest.raises(UnavailableError) as caught:
        audit.unit_table(
            module,
            "digits",
            images_per_class=2,
            transform={"input_size": [3, 32, 32], "mean": [0.5], "std": [0.5]},
        )
    assert str(caught.value) == (
        "no feature maps can be taken from a network that is TorchScript, whose forward pass "
        "cannot be watched; give the network as Python"
    )


def test_row_22_network_without_shapes_is_refused():
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    with pytest.raises(CheckpointError) as caught:
        units(module)
    assert str(caught.value) == (
        "3.weight of Sequential has no shape yet: run the network once on an image before it is "
        "handed over"
    )


def test_network_of_one_channel_needs_to_be_told_how_images_are_prepared():
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    with pytest.raises(ConfigError, match="no model source recognises Sequential"):
        audit.unit_table(module, "digits", images_per_class=2)
    size = {"input_size": [1, 8, 8], "mean": [0.5], "std": [0.5]}
    assert len(audit.unit_table(module, "digits", images_per_class=2, transform=size)) == 80
