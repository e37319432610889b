"""Runs a network once to list its layers with order, shapes, receptive fields and cost."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from dreamvideo.errors import UnknownModelError
from dreamvideo.networks.model import DEFAULT_SIDE_PX
from dreamvideo.networks.receptive_fields import ReceptiveFieldTracker
from dreamvideo.settings.dream_options import OUTPUT_LAYER

# Beginnings of the class names of modules that only normalise their input or pass it on.
PASSTHROUGH_KINDS = ("LayerNorm", "GroupNorm", "Dropout", "Identity", "Permute", "StochasticDepth")
# (height, width) of a second image: axes whose length changes with it hold positions.
OTHER_SIZE_PX = (256, 288)
# Networks with more parameters take longer to run than PyTorch's meta device takes to start, 1.5 s.
# The default network has 5 million, ResNet-50 has 25 million.
LARGE_PARAMETERS = 30_000_000

Result = TypeVar("Result")


@dataclass(frozen=True)
class LayerInfo:
    """A module of a network with an activation of its own."""

    name: str
    """Its path in the network; `output` is the network as a whole."""
    kind: str
    """The name of its class."""
    shape: tuple[int, ...]
    """Shape of its activation for one image of `NetworkSummary.size_px`."""
    channel_axis: int
    """The axis of the activation that holds the channels."""
    calls: int
    """How often it runs in one pass; its activation is that of the last call."""
    receptive_field_px: float
    """Side of its receptive field; infinite if every position depends on the whole image."""
    stride_px: float
    """Distance on the image of neighbouring positions."""

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[self.channel_axis]

    @property
    def positions(self) -> int:
        """Number of positions of each channel."""
        return math.prod(self.shape) // max(1, self.channels)

    @property
    def is_local(self) -> bool:
        """Whether it has rows and columns whose positions depend on a part of the image only."""
        is_map = self.channel_axis == 1 and len(self.shape) == 4
        return is_map and math.isfinite(self.receptive_field_px)


@dataclass(frozen=True)
class FoldableBatchNorm:
    """A batch-norm that can be folded into the convolution before it."""

    convolution: str
    norm: str
    affected: frozenset[str]
    """Layers whose activation is the convolution's, and would become the batch-norm's."""


@dataclass(frozen=True)
class NetworkSummary:
    """The layers of a network, and the images that it takes."""

    layers: tuple[LayerInfo, ...]
    """In the order in which they finish."""
    folds: tuple[FoldableBatchNorm, ...]
    """Batch-norms that are the only user of a convolution."""
    size_px: tuple[int, int]
    """(height, width) of the image that the network was inspected with."""
    is_size_fixed: bool
    """Whether the network takes images of that size only."""

    def dreamable_layers(self) -> list[LayerInfo]:
        """Layers with several positions and channels whose energy can be raised.

        The energy of a normalised activation is always the same.
        """
        return [
            layer
            for layer in self.layers
            if layer.positions > 1 < layer.channels and not layer.kind.startswith(PASSTHROUGH_KINDS)
        ]

    def spread_layers(self, count: int) -> list[str]:
        """Names of `count` dreamable layers, evenly spaced from the first to the last."""
        names = [layer.name for layer in self.dreamable_layers()] or [self.layers[-1].name]
        last = len(names) - 1
        indices = [round(step * last / max(1, count - 1)) for step in range(count)]
        return [names[index] for index in dict.fromkeys(indices)]

    def receptive_field(self, layers: Sequence[LayerInfo]) -> tuple[int, tuple[int, ...]] | None:
        """What is needed to run layers on a part of an image with the same result.

        Returns:
            Side of the largest receptive field, px, and the stride of each layer, px; None unless
            the positions of all layers form a regular grid over the image.
        """
        if self.is_size_fixed or not all(layer.is_local for layer in layers):
            return None
        for layer in layers:
            axes = zip(self.size_px, layer.shape[2:], strict=True)
            uncovered_px = max(abs(side_px - count * layer.stride_px) for side_px, count in axes)
            if layer.stride_px % 1 or uncovered_px >= layer.stride_px:
                return None
        size_px = math.ceil(max(layer.receptive_field_px for layer in layers))
        return size_px, tuple(int(layer.stride_px) for layer in layers)


def inspect_network(
    network: nn.Module, name: str, side_px: int = DEFAULT_SIDE_PX
) -> NetworkSummary:
    """Run a network on images of two sizes and record its layers.

    Args:
        network: takes an image (N, 3, H, W).
        name: of the network, for messages.
        side_px: of a square image that it takes.

    Raises:
        UnknownModelError: it does not take that image, or returns no tensor.
    """
    size_px = (side_px, side_px)
    try:
        observer = _observe(network, size_px)
    except Exception as error:  # third-party code may raise anything
        raise UnknownModelError(
            f"{name} does not take an image of shape (1, 3, {side_px}, {side_px}): "
            f"{type(error).__name__}: {error}; give another --model"
        ) from error
    layers, folds = tuple(observer.layers.values()), tuple(observer.folds())
    if not layers or layers[-1].name != OUTPUT_LAYER:
        raise UnknownModelError(
            f"{name} returns no tensor that depends on the image; give another --model"
        )
    try:
        other = _observe(network, OTHER_SIZE_PX)
    except Exception:  # likewise
        return NetworkSummary(layers, folds, size_px, is_size_fixed=True)
    other_shapes = {name: layer.shape for name, layer in other.layers.items()}
    layers = tuple(
        replace(layer, channel_axis=_constant_axis(layer.shape, other_shapes.get(layer.name)))
        for layer in layers
    )
    return NetworkSummary(layers, folds, size_px, is_size_fixed=False)


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
            with counter:
                _run_on_black(network, summary.size_px)
        return counts

    counts = _without_arithmetic(count, network)
    return {name: count / max(1, counts[OUTPUT_LAYER]) for name, count in counts.items()}


def find_module(network: nn.Module, layer: str) -> nn.Module:
    """The module of a network that has the name of a layer."""
    return network if layer == OUTPUT_LAYER else network.get_submodule(layer)


def first_tensor(output: object) -> Tensor | None:
    """The output of a module, or the first tensor of a nested sequence."""
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


class _Observer:
    """Hooks that record what happens while the network runs."""

    def __init__(self, network: nn.Module) -> None:
        self.tracker = ReceptiveFieldTracker()
        self.layers: dict[str, LayerInfo] = {}
        self._modules = dict(network.named_modules())
        self._names = {module: name or OUTPUT_LAYER for name, module in self._modules.items()}
        self._activations: dict[str, Tensor] = {}
        self._pairs: list[tuple[str, str]] = []

    def register_hooks(self) -> Iterator[RemovableHandle]:
        """Register the hooks one by one."""
        yield self._modules[""].register_forward_pre_hook(
            lambda module, inputs: self.tracker.start(inputs[0])
        )
        for module in self._modules.values():
            yield module.register_forward_hook(self._record)
            if isinstance(module, nn.BatchNorm2d):
                yield module.register_forward_pre_hook(self._record_pair)

    def folds(self) -> Iterator[FoldableBatchNorm]:
        """Pairs of modules that run once, where only the batch-norm uses the convolution."""
        for convolution, norm in self._pairs:
            activation = self._activations[convolution]
            runs_once = all(self.layers[name].calls == 1 for name in (convolution, norm))
            if runs_once and self.tracker.uses(activation) == 1:
                affected = frozenset(
                    name for name, other in self._activations.items() if other is activation
                )
                yield FoldableBatchNorm(convolution, norm, affected)

    def _record(self, module: nn.Module, inputs: object, output: object) -> None:
        tensor = first_tensor(output)
        if tensor is None or tensor.ndim < 2 or not tensor.is_floating_point():
            return
        receptive_field_px = self.tracker.size_px(tensor)
        if receptive_field_px is None:  # such as position embeddings
            return
        name = self._names[module]
        previous = self.layers.pop(name, None)  # layers are in the order of their last calls
        self._activations[name] = tensor
        self.layers[name] = LayerInfo(
            name=name,
            kind=type(module).__name__,
            shape=tuple(tensor.shape),
            channel_axis=_likely_channel_axis(tensor.shape),
            calls=1 if previous is None else previous.calls + 1,
            receptive_field_px=receptive_field_px,
            stride_px=self.tracker.stride_px(tensor),
        )

    def _record_pair(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        for name, activation in self._activations.items():
            module = self._modules.get(name)
            if activation is inputs[0] and module is not None and _can_fold(module, norm):
                self._pairs.append((name, self._names[norm]))


def _observe(network: nn.Module, size_px: tuple[int, int]) -> _Observer:
    def observe(network: nn.Module) -> _Observer:
        observer = _Observer(network)
        with ExitStack() as stack:
            for hook in observer.register_hooks():
                stack.callback(hook.remove)
            with observer.tracker:
                _run_on_black(network, size_px)
        return observer

    return _without_arithmetic(observe, network)


def _without_arithmetic(run: Callable[[nn.Module], Result], network: nn.Module) -> Result:
    """Run a large network on PyTorch's meta device, which computes shapes only, if it can."""
    if sum(parameter.numel() for parameter in network.parameters()) > LARGE_PARAMETERS:
        with suppress(Exception):  # third-party code may raise anything
            return run(copy.deepcopy(network).to("meta"))
    return run(network)


def _run_on_black(network: nn.Module, size_px: tuple[int, int]) -> None:
    device = next(chain(network.parameters(), [torch.zeros(0)])).device
    with torch.no_grad():
        network(torch.zeros(1, 3, *size_px, device=device))


def _can_fold(convolution: nn.Module, norm: nn.Module) -> bool:
    """Whether both are exactly these classes: subclasses may, for example, activate as well."""
    is_pair = type(convolution) is nn.Conv2d and type(norm) is nn.BatchNorm2d
    # The weight is no parameter where it is computed from others.
    parameters = dict(convolution.named_parameters(recurse=False))
    return is_pair and "weight" in parameters and norm.running_mean is not None


def _likely_channel_axis(shape: Sequence[int]) -> int:
    """The axis of the channels of an activation of a square image."""
    last = len(shape) - 1
    is_channels_first = len(shape) == 2 or (len(shape) == 4 and shape[2] == shape[3])
    return 1 if is_channels_first else last


def _constant_axis(shape: Sequence[int], other: Sequence[int] | None) -> int:
    """The axis of the channels: the longest of those that do not depend on the image's size."""
    other = shape if other is None else other
    axes = [axis for axis in range(1, len(shape)) if shape[axis] == other[axis]]
    return max(axes, key=lambda axis: (shape[axis], -axis)) if axes else 1
