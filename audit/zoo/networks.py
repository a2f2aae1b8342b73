"""A small network in the manner of VGG, as no small one comes with timm: no shortcut anywhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class _Convolution(nn.Module):
    """A 3 × 3 convolution, a normaliser and a ReLU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """(n, in_channels, h, w) → (n, channels, h, w)."""
        activations: Tensor = self.act(self.bn(self.conv(maps)))
        return activations


class PlainConvolutions(nn.Module):
    """Stages of 3 × 3 convolutions, each with a normaliser and a ReLU, and a linear classifier.

    Halving between stages is by maximum. Source: Simonyan & Zisserman, "Very deep convolutional
    networks for large-scale image recognition", ICLR 2015, in a width for small images.

    Args:
        num_classes: Outputs.
        in_chans: Channels of the input.
        widths: Channels of each stage.
        depth: Convolutions per stage.
        drop_rate: Dropout before the classifier.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        widths: Sequence[int] = (16, 32, 64),
        depth: int = 2,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        stages = []
        channels = in_chans
        for width in widths:
            stage: list[nn.Module] = []
            for _ in range(depth):
                stage.append(_Convolution(channels, width))
                channels = width
            stage.append(nn.MaxPool2d(2))
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.drop = nn.Dropout(drop_rate)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of each class: (n, channels, height, width) → (n, classes)."""
        pooled: Tensor = self.stages(images).mean(dim=(2, 3))
        scores: Tensor = self.head(self.drop(pooled))
        return scores


def plain_convolutions(
    num_classes: int = 10,
    in_chans: int = 3,
    widths: Sequence[int] = (16, 32, 64),
    depth: int = 2,
    drop_rate: float = 0.0,
) -> nn.Module:
    """Build `PlainConvolutions`: the reference `audit.zoo.networks:plain_convolutions`."""
    return PlainConvolutions(num_classes, in_chans, widths, depth, drop_rate)


def device_of(name: str) -> str:
    """The device that "auto" means here; any other name means itself."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
