"""Networks on which transforms of weights are tried, with statistics that are not trivial."""

import copy
import functools

import timm
import torch
from timm.models.densenet import DenseNet
from torch.nn.modules.batchnorm import _BatchNorm

TIMM = [
    *("test_resnet", "test_efficientnet", "test_convnext", "test_vit", "test_nfnet"),
    *("test_byobnet", "densenet"),
]


@torch.no_grad()
def drawn(network, seed=0):
    """The network with biases, norms and their statistics drawn anew, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(generator=generator)
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.3, 2, generator=generator)
            if module.weight is not None:
                module.weight.uniform_(-2, 2, generator=generator)
    return network.eval().requires_grad_(False)


@functools.cache
def _built(name):
    torch.manual_seed(0)
    if name == "densenet":
        network = DenseNet(growth_rate=4, block_config=(2, 2), num_classes=5)
    else:
        options = {"img_size": 32} if name == "test_vit" else {}
        network = timm.create_model(name, num_classes=5, **options)
    return drawn(network)


def network_and_image(name):
    """A fresh copy of a small network, and an image for it."""
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return copy.deepcopy(_built(name)), image


def seeded(module, seed):
    """A module whose weights come from a seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=generator)
    return drawn(module, seed)


def modules_of(network, kind):
    """Paths of the modules of a kind."""
    return [path for path, module in network.named_modules() if isinstance(module, kind)]
