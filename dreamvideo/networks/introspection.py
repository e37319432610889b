"""Lists a network's layers with order, shapes, receptive fields and cost, by running it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dreamvideo.errors import UnknownModelError
from dreamvideo.networks.model import DEFAULT_SIDE_PX, Size
from dreamvideo.networks.observation import (
    FoldableBatchNorm,
    ImageFormat,
    LayerInfo,
    Observation,
    count_while_running,
    find_module,
    observe,
    run_on_black,
)

# Beginnings of the class names of modules that only normalise their input or pass it on.
PASSTHROUGH_KINDS = ("LayerNorm", "GroupNorm", "Dropout", "Identity", "Permute", "StochasticDepth")
# (height, width) of second images: axes whose length changes with the size hold positions. The
# sides of the first are multiples of 32, those of the other of 64.
OTHER_SIZES_PX = ((256, 288), (256, 320))
# The class name of convolutions of videos and volumes; without a batch, they take an image for one.
VIDEO_KIND = "Conv3d"
# Channels of images that are tried: RGB, and luma.
TRIED_CHANNELS = (3, 1)
# Sides of images that networks of a fixed size take: those of common data sets and networks.
TRIED_FIXED_SIDES_PX = (
    *(256, 299, 32, 28, 64, 96, 112, 128, 160, 192, 227, 240, 288, 300, 320, 331, 384, 416, 448),
    *(480, 512, 518, 600, 640),
)


@dataclass(frozen=True)
class NetworkSummary:
    """The layers of a network, and the images that it takes."""

    layers: tuple[LayerInfo, ...]
    """In the order in which they finish."""
    folds: tuple[FoldableBatchNorm, ...]
    """Batch-norms that are the only user of a convolution."""
    image: ImageFormat
    """The image that the network was inspected with."""
    first_layers: Mapping[str, int]
    """For each parameter and buffer, the index of the first layer that needs it."""
    failure: str
    """What the network raises after these layers; empty if it runs to its end."""

    def dreamable_layers(self) -> list[LayerInfo]:
        """Layers with a gradient, several positions and channels, whose energy can be raised.

        The energy of a normalised activation is always the same.
        """
        return [
            layer
            for layer in self.layers
            if layer.has_gradient
            and layer.positions > 1 < layer.channels
            and not layer.kind.startswith(PASSTHROUGH_KINDS)
        ]

    def spread_layers(self, count: int) -> list[str]:
        """Names of `count` dreamable layers, evenly spaced from the first to the last."""
        names = [layer.name for layer in self.dreamable_layers()] or [self.layers[-1].name]
        last = len(names) - 1
        indices = [round(step * last / max(1, count - 1)) for step in range(count)]
        return [names[index] for index in dict.fromkeys(indices)]

    def layers_until(self, layers: Collection[str]) -> tuple[LayerInfo, ...]:
        """All layers that finish before the last of some layers does, and this one."""
        indices = (index for index, layer in enumerate(self.layers) if layer.name in layers)
        return self.layers[: max(indices, default=-1) + 1]

    def tensors_needed(self, layers: Collection[str]) -> list[str]:
        """Names of the parameters and buffers that some layers need."""
        count = len(self.layers_until(layers))
        return [name for name, index in self.first_layers.items() if index < count]

    def last_layer_without(self, tensors: Collection[str]) -> str:
        """The last layer that can be dreamed and needs none of some tensors; may be empty."""
        indices = (self.first_layers[name] for name in tensors if name in self.first_layers)
        names = {layer.name for layer in self.layers[: min(indices, default=0)]}
        usable = [layer.name for layer in self.dreamable_layers() if layer.name in names]
        return usable[-1] if usable else ""

    def receptive_field(self, layers: Sequence[LayerInfo]) -> tuple[int, tuple[int, ...]] | None:
        """What is needed to run layers on a part of an image with the same result.

        Returns:
            Side of the largest receptive field, px, and the stride of each layer, px; None unless
            the positions of all layers form a regular grid over the image.
        """
        if any(layer.is_size_fixed or not layer.is_local for layer in layers):
            return None
        for layer in layers:
            axes = zip(self.image.size_px, layer.shape[2:], strict=True)
            uncovered_px = max(abs(side_px - count * layer.stride_px) for side_px, count in axes)
            if layer.stride_px % 1 or uncovered_px >= layer.stride_px:
                return None
        size_px = math.ceil(max(layer.receptive_field_px for layer in layers))
        return size_px, tuple(int(layer.stride_px) for layer in layers)


def inspect_network(
    network: nn.Module,
    name: str,
    size_px: Size = (DEFAULT_SIDE_PX, DEFAULT_SIDE_PX),
    *,
    is_size_given: bool = False,
) -> NetworkSummary:
    """Run a network on images of two sizes and record its layers.

    Args:
        network: takes an image (N, 3, H, W), or (N, 1, H, W).
        name: of the network, for messages.
        size_px: (height, width) of an image that it probably takes.
        is_size_given: whether it takes that size for sure, so that no other has to be tried.

    Raises:
        UnknownModelError: it does not take an image, or returns no tensor that depends on it.
    """
    first = _observe_as_far_as_possible(network, size_px, is_size_given)
    if not first.layers or next(iter(first.layers.values())).kind == VIDEO_KIND:
        raise UnknownModelError(f"{name} {_reason(network, first)}")
    other = _observe_other_size(network, first)
    return NetworkSummary(
        tuple(_compared(layer, other) for layer in first.layers.values()),
        first.folds,
        first.image,
        first.first_layers,
        "" if first.error is None else _in_one_line(first.error),
    )


def cost_shares(network: nn.Module, summary: NetworkSummary) -> dict[str, float]:
    """For each layer, the share in [0, 1] of the network's multiplications up to its activation."""

    def count(network: nn.Module) -> dict[str, int]:
        counter, counts = FlopCounterMode(display=False), dict[str, int]()
        with ExitStack() as stack:
            for layer in summary.layers:
                hook = find_module(network, layer.name).register_forward_hook(
                    lambda *_, name=layer.name: counts.update({name: counter.get_total_flops()})
                )
                stack.callback(hook.remove)
            with counter, suppress(Exception):  # the network may fail after these layers
                run_on_black(network, summary.image)
        return counts if counts.keys() >= {summary.layers[-1].name} else {}

    counts = count_while_running(network, count)
    total = max(1, *counts.values(), 1)
    return {layer.name: counts.get(layer.name, total) / total for layer in summary.layers}


def _observe_as_far_as_possible(
    network: nn.Module, size_px: Size, is_size_given: bool
) -> Observation:
    """A pass on an image that the network takes; else the pass with the most layers."""
    passes: list[Observation] = []
    for channels in TRIED_CHANNELS:
        passes.append(observe(network, ImageFormat(channels, size_px)))
        if passes[-1].error is None:
            return passes[-1]
    passes.sort(key=lambda one: len(one.layers), reverse=True)
    for one in passes if not is_size_given else ():
        for side_px in TRIED_FIXED_SIDES_PX:
            other = observe(network, ImageFormat(one.image.channels, (side_px, side_px)))
            if other.error is None:
                return other
    return passes[0]


def _observe_other_size(network: nn.Module, first: Observation) -> Observation:
    """A pass on an image of another size; the one that gets farther, if none gets to the end."""
    passes: list[Observation] = []
    for size_px in OTHER_SIZES_PX:
        passes.append(observe(network, ImageFormat(first.image.channels, size_px)))
        if passes[-1].error is None or len(passes[-1].layers) == len(first.layers):
            return passes[-1]
    return max(passes, key=lambda one: len(one.layers))


def _compared(layer: LayerInfo, other: Observation) -> LayerInfo:
    """A layer with what a pass on an image of another size tells about it."""
    there = other.layers.get(layer.name)
    is_unfinished = there is None or there.calls < layer.calls
    if other.error is not None and is_unfinished:
        return replace(layer, is_size_fixed=True)
    axis = _constant_axis(layer.shape, None if there is None else there.shape)
    return replace(layer, channel_axis=axis)


def _reason(network: nn.Module, first: Observation) -> str:
    """Why no layer of a network can be dreamed, in words that follow its name."""
    if first.error is None and not first.layers:
        return "has no layer whose activation depends on the image; give another --model"
    if any(type(module).__name__ == VIDEO_KIND for module in network.modules()):
        return (
            "takes videos or volumes (it has 3D convolutions), and images are dreamed one at a "
            "time; give another --model"
        )
    first_convolution = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    if first_convolution is not None and first_convolution.in_channels not in TRIED_CHANNELS:
        return (
            f"takes images of {first_convolution.in_channels} channels; allowed are 3 (RGB) and 1 "
            "(luma): give another --model, or a callable that returns a network for 3 channels"
        )
    assert first.error is not None
    height, width = first.image.size_px
    return (
        f"does not take an image of shape (1, {first.image.channels}, {height}, {width}): "
        f"{_in_one_line(first.error)}; give --network-size WIDTHxHEIGHT if it needs another size, "
        "or a callable that returns a network whose only input is an image"
    )


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _constant_axis(shape: Sequence[int], other: Sequence[int] | None) -> int:
    """The axis of the channels: the longest of those that do not depend on the image's size."""
    other = shape if other is None else other
    axes = [axis for axis in range(1, len(shape)) if shape[axis] == other[axis]]
    return max(axes, key=lambda axis: (shape[axis], -axis)) if axes else 1
