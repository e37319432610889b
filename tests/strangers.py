"""Networks as other people write them, for `--model tests.strangers:Faces`.

`Faces` is built like the Inception-ResNet of FaceNet (Szegedy et al. 2016; Schroff et al. 2015):
blocks whose branches are joined, projected, scaled and added, in-place activations, an output that
is an embedding of unit length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Basic(nn.Module):
    """Convolution, batch-norm and an activation in place."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=0.001, momentum=0.1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.relu(self.bn(self.conv(features)))
        return result


class Residual(nn.Module):
    """Three branches, joined, projected, scaled and added."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        narrow = channels // 4
        self.scale = scale
        self.branch0 = Basic(channels, narrow, 1)
        self.branch1 = nn.Sequential(Basic(channels, narrow, 1), Basic(narrow, narrow, 3))
        self.branch2 = nn.Sequential(
            Basic(channels, narrow, 1), Basic(narrow, narrow, 3), Basic(narrow, narrow, 3)
        )
        self.conv2d = nn.Conv2d(3 * narrow, channels, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        joined = torch.cat(
            [self.branch0(features), self.branch1(features), self.branch2(features)], 1
        )
        added = self.conv2d(joined)
        added *= self.scale
        added += features
        result: Tensor = self.relu(added)
        return result


class Faces(nn.Module):
    """From pictures to embeddings of faces."""

    def __init__(self, width: int = 16, name: str = "") -> None:
        super().__init__()
        self.width = width
        self.conv2d_1a = Basic(3, width, 3, 2)
        self.conv2d_2a = Basic(width, 2 * width, 3, 2)
        self.repeat_1 = nn.Sequential(*(Residual(2 * width, 0.17) for _ in range(2)))
        self.mixed_5 = Basic(2 * width, 4 * width, 3, 2)
        self.repeat_2 = nn.Sequential(*(Residual(4 * width, 0.1) for _ in range(2)))
        self.avgpool_1a = nn.AdaptiveAvgPool2d(1)
        self.last_linear = nn.Linear(4 * width, 32, bias=False)
        self.last_bn = nn.BatchNorm1d(32, eps=0.001)

    def forward(self, image: Tensor) -> Tensor:
        features = self.repeat_1(self.conv2d_2a(self.conv2d_1a(image)))
        features = self.avgpool_1a(self.repeat_2(self.mixed_5(features)))
        embedding = self.last_bn(self.last_linear(features.flatten(1)))
        return nn.functional.normalize(embedding, p=2, dim=1)


def no_network() -> str:
    """Something else."""
    return "hello"


def fails() -> nn.Module:
    """Nothing at all."""
    raise ValueError("not today")


def blind() -> nn.Module:
    """A network for something else than pictures."""
    return nn.Linear(7, 7)
