"""Small networks whose weights can be changed in every way that a measure may have to survive."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class ReferenceNetwork(nn.Module):
    """Three convolutions with ReLU, average pooling and a linear map; no normalization.

    A chain: every unit has one reader, so that products over layers survive a factor per layer.

    Args:
        seed: Of its weights; the global random state is not used. The default spreads the
            predictions on `reference_images` over all three classes.
    """

    def __init__(self, seed: int = 68) -> None:
        super().__init__()
        # on no device, or the usual initialization would use the global random state
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, device="meta")
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1, device="meta")
        self.conv3 = nn.Conv2d(8, 8, 3, padding=1, device="meta")
        self.head = nn.Linear(8, 3, device="meta")
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        _fill(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        """Outputs, shape (n, 3)."""
        features = self.relu1(self.conv1(images))
        features = self.pool(self.relu2(self.conv2(features)))
        logits: Tensor = self.head(self.relu3(self.conv3(features)).mean((2, 3)))
        return logits


class ReferenceResidual(nn.Module):
    """Convolutions without bias, each with BatchNorm, one of them depthwise, around a shortcut.

    What most of timm is made of, and still piecewise linear. Its BatchNorm has statistics, scales
    and shifts that are far from those of an untrained one.

    Args:
        seed: Of its weights; the global random state is not used.
    """

    def __init__(self, seed: int = 27) -> None:
        super().__init__()

        def convolution(inputs: int, outputs: int, side: int, groups: int = 1) -> nn.Module:
            return nn.Conv2d(
                inputs, outputs, side, padding=side // 2, groups=groups, bias=False, device="meta"
            )

        self.stem, self.bn1, self.relu1 = convolution(3, 8, 3), _norm(8), nn.ReLU()
        self.depthwise, self.bn2, self.relu2 = convolution(8, 8, 3, 8), _norm(8), nn.ReLU()
        self.pointwise, self.bn3, self.relu3 = convolution(8, 8, 1), _norm(8), nn.ReLU()
        self.last, self.bn4, self.relu4 = convolution(8, 10, 3), _norm(10), nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(10, 3, device="meta")
        _fill(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        """Outputs, shape (n, 3)."""
        shortcut = self.relu1(self.bn1(self.stem(images)))
        inner = self.relu2(self.bn2(self.depthwise(shortcut)))
        features = self.pool(self.relu3(self.bn3(self.pointwise(inner)) + shortcut))
        features = self.relu4(self.bn4(self.last(features)))
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits


def _norm(n_channels: int) -> nn.Module:
    """BatchNorm without values yet."""
    return nn.BatchNorm2d(n_channels, device="meta")


def _fill(network: nn.Module, seed: int) -> None:
    """Draw all weights, and the statistics, scales and shifts of BatchNorm."""
    network.to_empty(device="cpu")
    generator = np.random.default_rng(seed)
    head: Any = network.head
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = max(1, math.prod(parameter.shape[1:]))
            drawn = generator.normal(size=tuple(parameter.shape)) / math.sqrt(fan_in / 2)
            parameter.copy_(torch.from_numpy(drawn))
        for norm in (part for part in network.modules() if isinstance(part, nn.BatchNorm2d)):
            n = norm.num_features
            for tensor, low, high in (
                (norm.weight, 0.5, 2.0),
                (norm.bias, -0.5, 0.5),
                (norm.running_mean, -0.5, 0.5),
                (norm.running_var, 0.5, 2.0),
            ):
                assert tensor is not None
                tensor.copy_(torch.from_numpy(generator.uniform(low, high, n)))
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.zero_()
        # or one class would win everywhere, by what all images have in common
        head.weight.sub_(head.weight.mean(1, keepdim=True))
        head.bias.mul_(0.1)
