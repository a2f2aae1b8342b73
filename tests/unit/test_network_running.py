"""How a network is run: the memory format, the precision, and how many images at a time."""

import pytest
import timm
import torch
from torch import nn

from audit.network.running import arithmetic, batch_size_for, is_out_of_memory, lay_out

CHANNELS_LAST, USUAL = torch.channels_last, torch.contiguous_format


class Viewing(nn.Module):
    """Needs the usual order, as many a network of one's own."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, images):
        return self.two(self.one(images)).view(len(images), -1)


def network(name):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=10).eval()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test_resnet", CHANNELS_LAST),
        ("test_efficientnet", CHANNELS_LAST),
        ("test_convnext", CHANNELS_LAST),
        ("test_vit", USUAL),
    ],
)
def test_networks_of_convolutions_run_channels_last_and_give_the_same(name, expected):
    module = network(name)
    images = torch.rand(2, 3, 160, 160)
    with torch.inference_mode():
        before = module(images)
        assert lay_out(module, images) == expected
        after = module(images.clone(memory_format=expected))
    torch.testing.assert_close(after, before)


def test_weights_keep_their_values_and_other_parameters_their_layout():
    module, fresh = network("test_resnet"), network("test_resnet")
    lay_out(module, torch.rand(1, 3, 64, 64))
    assert module.conv1[0].weight.is_contiguous(memory_format=CHANNELS_LAST)
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(module.state_dict()[name], tensor)


def test_a_network_that_needs_the_usual_order_stays_as_it_is():
    module = Viewing().eval()
    assert lay_out(module, torch.rand(1, 3, 8, 8)) == USUAL
    assert all(part.weight.is_contiguous() for part in (module.one, module.two))
    with torch.inference_mode():
        assert module(torch.rand(2, 3, 8, 8)).shape == (2, 64)


def test_a_network_that_cannot_run_at_all_says_so_later():
    assert lay_out(Viewing().eval(), torch.rand(1, 1, 8, 8)) == USUAL


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_precision_is_what_is_asked_for_within_and_no_longer(precision):
    layer = nn.Conv2d(3, 4, 3)
    with arithmetic(precision, "cpu"):
        assert torch.is_inference_mode_enabled()
        assert layer(torch.rand(1, 3, 8, 8)).dtype == getattr(torch, precision)
    assert not torch.is_autocast_enabled("cpu")
    assert layer(torch.rand(1, 3, 8, 8)).dtype == torch.float32


def test_a_batch_size_found_by_memory_is_a_power_of_two():
    small, large = network("test_resnet"), nn.Sequential(nn.Conv2d(3, 256, 1))
    assert batch_size_for(small, torch.rand(1, 3, 32, 32), "cpu") == 64
    size = batch_size_for(large, torch.rand(1, 3, 224, 224), "cpu")
    assert size == 2  # 4 × 256 × 224 × 224 × 4 bytes an image, of 512 MB
    assert batch_size_for(large, torch.rand(2, 3, 224, 224), "cpu") == size
    assert batch_size_for(large, torch.rand(1, 3, 1024, 1024), "cpu") == 1
    assert not any(part._forward_hooks for part in large.modules())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("CUDA out of memory"), False),
    ],
)
def test_what_is_out_of_memory(error, expected):
    assert is_out_of_memory(error) is expected


def test_what_torch_raises_on_processors_is_out_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)
