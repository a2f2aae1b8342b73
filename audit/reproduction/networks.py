"""Two small networks in the manner of the paper's: VGG-16 and a ResNet, for small images.

Both halve their maps twice on the way to the last convolution: images of 56 × 56 pixels give it
14 × 14, as images of 224 × 224 do in VGG-16. As there, the one has no normalisation and flattens
its maps before a hidden layer, the other has BatchNorm and a mean over positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import Tensor, nn

#: Side of the grid that maps are averaged to before they are flattened.
_GRID: Final = 4


class VggLike(nn.Module):
    """Stages of 3 × 3 convolutions with ReLU and halving by maximum, and two linear maps.

    Source: Simonyan & Zisserman, "Very deep convolutional networks for large-scale image
    recognition", ICLR 2015; weights are drawn as torchvision draws VGG's.

    Args:
        num_classes: Outputs.
        in_chans: Channels of the input.
        widths: Channels of each stage.
        depth: Convolutions per stage.
        hidden: Units between the linear maps.
        drop_rate: Dropout before the last of them.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        widths: Sequence[int] = (8, 16, 32),
        depth: int = 2,
        hidden: int = 64,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        channels = in_chans
        for width in widths:
            for _ in range(depth):
                parts += [_convolution(channels, width), nn.ReLU(inplace=True)]
                channels = width
            parts.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*parts)
        self.pool = nn.AdaptiveAvgPool2d(_GRID)
        self.hidden, self.act = nn.Linear(channels * _GRID**2, hidden), nn.ReLU(inplace=True)
        self.drop = nn.Dropout(drop_rate)
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of each class: (n, channels, height, width) → (n, classes)."""
        maps = self.pool(self.features(images))
        scores: Tensor = self.head(self.drop(self.act(self.hidden(maps.flatten(1)))))
        return scores


def _convolution(inputs: int, outputs: int) -> nn.Module:
    """A 3 × 3 convolution whose activations neither grow nor vanish with depth at first."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution


class _Block(nn.Module):
    """Two 3 × 3 convolutions with BatchNorm around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1, self.act1 = nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2, self.act2 = nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, maps: Tensor) -> Tensor:
        """(n, inputs, h, w) → (n, outputs, h / stride, w / stride)."""
        inner = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(maps)))))
        activations: Tensor = self.act2(inner + self.shortcut(maps))
        return activations


class ResNetLike(nn.Module):
    """A convolution, stages of residual blocks that halve their maps, and a linear map.

    Source: He, Zhang, Ren & Sun, "Deep residual learning for image recognition", CVPR 2016, the
    networks of section 4.2 for small images.

    Args:
        num_classes: Outputs.
        in_chans: Channels of the input.
        widths: Channels of each stage; every stage but the first halves the maps.
        depth: Blocks per stage.
        drop_rate: Dropout before the linear map.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        widths: Sequence[int] = (8, 16, 32),
        depth: int = 1,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, widths[0], 3, padding=1, bias=False)
        self.bn, self.act = nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        blocks = []
        channels = widths[0]
        for stage, width in enumerate(widths):
            for number in range(depth):
                blocks.append(_Block(channels, width, 2 if stage and not number else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.drop = nn.Dropout(drop_rate)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of each class: (n, channels, height, width) → (n, classes)."""
        maps = self.blocks(self.act(self.bn(self.conv(images))))
        scores: Tensor = self.head(self.drop(maps.mean(dim=(2, 3))))
        return scores


def vgg_like(
    num_classes: int = 10,
    in_chans: int = 3,
    widths: Sequence[int] = (8, 16, 32),
    depth: int = 2,
    hidden: int = 64,
    drop_rate: float = 0.0,
) -> nn.Module:
    """Build `VggLike`: the reference `audit.reproduction.networks:vgg_like`."""
    return VggLike(num_classes, in_chans, widths, depth, hidden, drop_rate)


def resnet_like(
    num_classes: int = 10,
    in_chans: int = 3,
    widths: Sequence[int] = (8, 16, 32),
    depth: int = 1,
    drop_rate: float = 0.0,
) -> nn.Module:
    """Build `ResNetLike`: the reference `audit.reproduction.networks:resnet_like`."""
    return ResNetLike(num_classes, in_chans, widths, depth, drop_rate)
