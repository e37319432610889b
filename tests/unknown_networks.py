"""Networks and weights as other people write them, for `--model tests.unknown_networks:Faces`.

`Faces` is built like the Inception-ResNet of FaceNet (Szegedy et al. 2016; Schroff et al. 2015):
blocks whose branches are joined, projected, scaled and added, in-place activations, an output that
is an embedding of unit length.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


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


class Small(nn.Module):
    """A stem, a stage of two blocks, an auxiliary branch that never runs, and a head."""

    def __init__(self, channels: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(channels, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.stage = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 2, 1))
        self.auxiliary, self.head = nn.Linear(8, classes), nn.Linear(8, classes)

    def stages(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stem = self.norm(self.stem(image)).relu()
        stage = self.stage(stem)
        return stem, stage, self.head(stage.mean((2, 3)))

    def forward(self, image: Tensor) -> Any:
        return self.stages(image)[-1]


class Gray(Small):
    """Takes one channel."""

    def __init__(self) -> None:
        super().__init__(channels=1)


class FourChannels(Small):
    """Takes four channels."""

    def __init__(self) -> None:
        super().__init__(channels=4)


class FixedSize(Small):
    """Its head takes the features of 64×64 pixels only."""

    side_px = (64, 64)

    def __init__(self) -> None:
        super().__init__()
        rows, columns = self.side_px
        self.head = nn.Linear(8 * (rows // 4) * (columns // 4), 10)

    def forward(self, image: Tensor) -> Tensor:
        features = self.stage(self.norm(self.stem(image)).relu())
        scores: Tensor = self.head(features.flatten(1))
        return scores


class FixedPortrait(FixedSize):
    """Takes images of 24×48 pixels only, which is not found by trial."""

    side_px = (48, 24)


@dataclass
class Prediction:
    """An output with fields."""

    loss: Tensor | None
    scores: Tensor


class PredictionPair(NamedTuple):
    """An output with named items."""

    loss: Tensor
    scores: Tensor


class Returns(Small):
    """Returns its scores in a container of some kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, image: Tensor) -> Any:
        stem, _, scores = self.stages(image)
        outputs: dict[str, Any] = {
            "dictionary": {"out": scores, "aux": stem},
            "list": [scores, stem],
            "tuple with a loss": (scores.mean(), scores),
            "named tuple": PredictionPair(scores.mean(), scores),
            "dataclass": Prediction(None, scores),
            "ordered dictionary": OrderedDict(loss=None, logits=scores, hidden=(stem,)),
            "text": "a cat",
            "index": scores.argmax(1),
        }
        return outputs[self.kind]


class Detached(Small):
    """What its last module gives has no gradient, as boxes of a detection network."""

    def forward(self, image: Tensor) -> Any:
        return self.stages(image)[1].detach()


class AlwaysDropout(Small):
    """Drops out features of its stage in evaluation mode, too."""

    def forward(self, image: Tensor) -> Any:
        stem = self.norm(self.stem(image))
        return self.stage(nn.functional.dropout(stem, 0.5, training=True))


class Autocast(Small):
    """Computes in bfloat16 itself."""

    def forward(self, image: Tensor) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.stages(image)[-1]


class NotFinite(Small):
    """Takes roots of negative numbers, or the root of zero, which has no finite gradient."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, image: Tensor) -> Any:
        stage = self.stages(image)[1]
        return (stage - 1e6).sqrt() if self.kind == "activation" else stage + (stage * 0).sqrt()


class TwoInputs(Small):
    """Takes an image and something else."""

    def forward(self, image: Tensor, other: Tensor) -> Any:  # type: ignore[override]
        return self.stages(image)[-1] + other


class EvenBatches(Small):
    """Takes images in pairs."""

    def forward(self, image: Tensor) -> Any:
        assert len(image) % 2 == 0, "images come in pairs"
        return self.stages(image)[-1]


class Volumes(nn.Module):
    """Takes videos or volumes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.only = nn.Conv3d(channels, 4, 3, padding=1)

    def forward(self, video: Tensor) -> Tensor:
        result: Tensor = self.only(video)
        return result


class InnerVolume(Small):
    """A 3D convolution inside a network for images."""

    def __init__(self) -> None:
        super().__init__()
        self.deep = nn.Conv3d(8, 8, 3, padding=1)

    def forward(self, image: Tensor) -> Any:
        stem, _, _ = self.stages(image)
        return self.deep(stem[:, :, None])[:, :, 0]


class Attentive(nn.Module):
    """Attention between patches."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 16, 16)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.stem(image).flatten(2).transpose(1, 2)
        result: Tensor = self.attention(patches, patches, patches)[0]
        return result


class OwnMode(Small):
    """Its `train`, and with it `eval`, returns nothing."""

    def train(self, mode: bool = True) -> Any:
        super().train(mode)


def wrapped(kind: str) -> nn.Module:
    """`Small` inside a wrapper, with the same weights as alone."""
    network = Small().eval()
    if kind == "compiled":
        return torch.compile(network)  # type: ignore[return-value]
    if kind == "compiled in place":
        network.compile()
    elif kind == "parallel":
        return nn.DataParallel(network)
    elif kind == "averaged":
        return AveragedModel(network)
    elif kind == "parts":
        compiled: Any = torch.compile(network.stage)
        network.stage = nn.DataParallel(compiled)  # type: ignore[assignment]
    else:
        return getattr(network, kind)()  # type: ignore[no-any-return]
    return network


def scripted(part: str = "") -> nn.Module:
    """`Small` as TorchScript, or with a part that is."""
    network = Small().eval()
    if part:
        network.set_submodule(part, torch.jit.script(network.get_submodule(part)))
        return network
    return torch.jit.script(network)


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
