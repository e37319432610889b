"""Networks and weights as other people write them, for `--model tests.unknown_networks:Faces`.

`Faces` is built like the Inception-ResNet of FaceNet (Szegedy et al. 2016; Schroff et al. 2015):
blocks whose branches are joined, projected, scaled and added, in-place activations, an output that
is an embedding of unit length.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

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
    """From images to embeddings of faces."""

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


def return_text() -> str:
    """A factory that returns no network."""
    return "hello"


def fail() -> nn.Module:
    """A factory that raises an error."""
    raise ValueError("not today")


def exit_program() -> nn.Module:
    """A factory that ends the program."""
    raise SystemExit(0)


def take_no_images() -> nn.Module:
    """A network whose input is no image."""
    return nn.Linear(7, 7)


class NormWithActivation(nn.BatchNorm2d):
    """A batch-norm followed by an activation, as in timm."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(super().forward(features))


class WeightStandardised(nn.Conv2d):
    """A convolution that standardises its weight in every pass."""

    def forward(self, features: Tensor) -> Tensor:
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = centred / (self.weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return nn.functional.conv2d(features, weight, self.bias, self.stride, self.padding)


def plain_convolution() -> nn.Conv2d:
    """A convolution with stride 2."""
    return nn.Conv2d(3, 8, 3, 2, 1)


class Pair(nn.Module):
    """A convolution and a batch-norm, of any class, and a convolution after them."""

    def __init__(self, convolution: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.convolution, self.norm = convolution, norm
        self.last = nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.last(self.norm(self.convolution(image)))
        return result


PAIRS = {
    "with activation": lambda: Pair(plain_convolution(), NormWithActivation(8)),
    "standardised": lambda: Pair(WeightStandardised(3, 8, 3, 2, 1), nn.BatchNorm2d(8)),
    "parametrised": lambda: Pair(
        nn.utils.parametrizations.weight_norm(plain_convolution()), nn.BatchNorm2d(8)
    ),
    "hooked": lambda: Pair(nn.utils.spectral_norm(plain_convolution()), nn.BatchNorm2d(8)),
    "wrapped": lambda: Pair(nn.Sequential(plain_convolution()), nn.BatchNorm2d(8)),
    "without statistics": lambda: Pair(
        plain_convolution(), nn.BatchNorm2d(8, track_running_stats=False)
    ),
    "lazy": lambda: Pair(nn.LazyConv2d(8, 3, 2, 1), nn.LazyBatchNorm2d()),
}


def make_lazy() -> nn.Module:
    """A network whose shapes depend on its first input."""
    return PAIRS["lazy"]()


class Remembering(nn.Module):
    """Keeps a tensor from one image to the next, and branches on a value."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = plain_convolution(), nn.Conv2d(8, 8, 3, 2, 1)
        self.last = nn.Conv2d(8, 8, 3, 2, 1)
        self.kept: Tensor | None = None

    def forward(self, image: Tensor) -> Tensor:
        features = self.second(self.first(image))
        if self.kept is None:
            self.kept = torch.ones(1, 8, 1, 1, device=image.device)
        if float(features.abs().mean()) > 1e9:
            features = features * 0
        result: Tensor = self.last(features * self.kept)
        return result


class Hourglass(nn.Module):
    """Joins a branch that shrinks and grows again: sides must be multiples of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 8, 3, 1, 1)
        self.down = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1))
        self.up = nn.Sequential(nn.ConvTranspose2d(8, 8, 2, 2), nn.ConvTranspose2d(8, 8, 2, 2))
        self.joined = nn.Conv2d(16, 5, 1)

    def forward(self, image: Tensor) -> Tensor:
        wide = self.wide(image)
        result: Tensor = self.joined(torch.cat([wide, self.up(self.down(wide))], 1))
        return result


class WithoutGradients(nn.Module):
    """Computes no gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.only = plain_convolution()

    def forward(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            result: Tensor = self.only(image)
        return result


class Catching(nn.Module):
    """Runs a fallback where a module fails."""

    def __init__(self, caught: type[BaseException] = Exception) -> None:
        super().__init__()
        self.caught = caught
        self.first, self.second = plain_convolution(), nn.Conv2d(8, 8, 3, 1, 1)
        self.fallback, self.last = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.first(image)
        try:
            features = self.second(features)
        except self.caught:
            features = self.second(self.fallback(features)).zero_()
        result: Tensor = self.last(features)
        return result


class Wrapping(Catching):
    """Turns whatever is raised into an error of its own."""

    def forward(self, image: Tensor) -> Tensor:
        features = self.first(image)
        try:
            features = self.second(features)
        except BaseException as error:
            raise RuntimeError("the second module failed") from error
        result: Tensor = self.last(features)
        return result


CATCHING = {"errors": Catching, "everything": lambda: Catching(BaseException), "wraps": Wrapping}


class Selective(nn.Module):
    """Runs a module on small images only."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.small_only = plain_convolution(), nn.Conv2d(8, 8, 3, 1, 1)
        self.last = nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.first(image)
        if max(image.shape[2:]) < 300:
            features = self.small_only(features)
        result: Tensor = self.last(features)
        return result


class StoresResults(nn.Module):
    """Keeps an intermediate result in itself."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        self.kept: Tensor = self.one(image)
        time.sleep(0.01)
        changed: Tensor = self.other(self.kept)
        return changed.add(self.kept)


class OldTransformerMLP(nn.Module):
    """The MLP of torchvision's vision transformers before version 0.13, with its old names."""

    def __init__(self, current: nn.Sequential) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = current[0], current[3]


class Malice:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))
