"""Runs a network once to find its layers, their order, shapes, receptive fields and cost."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dreamvideo.errors import UnknownModelError
from dreamvideo.networks.model import DEFAULT_SIDE_PX
from dreamvideo.networks.receptive_fields import ReceptiveFieldTracker
from dreamvideo.settings.dream_options import OUTPUT_LAYER

# Classes of modules, by their beginnings, that normalise or pass on what others answer.
PASSTHROUGH_KINDS = ("LayerNorm", "GroupNorm", "Dropout", "Identity", "Permute", "StochasticDepth")


@dataclass(frozen=True)
class LayerInfo:
    """A part of a network that gives an answer of its own."""

    name: str
    """Its path in the network; `output` is the network as a whole."""
    kind: str
    """The name of its class."""
    shape: tuple[int, ...]
    """Of its answer to one picture of the size looked at, as the network has it."""
    channel_axis: int
    """Which axis of the answer holds the channels."""
    calls: int
    """How often it runs in one pass; its answer is the last one's."""
    receptive_field_px: float
    """How wide a part of the picture each place of it sees; infinite for all of it."""
    stride_px: float
    """How far apart on the picture neighbouring places are."""

    @property
    def channels(self) -> int:
        """How many there are."""
        return self.shape[self.channel_axis]

    @property
    def is_picture(self) -> bool:
        """Whether its answer has rows and columns, of which each sees a part of the picture."""
        is_map = self.channel_axis == 1 and len(self.shape) == 4
        return is_map and math.isfinite(self.receptive_field_px)

    @property
    def places(self) -> int:
        """How many there are of each channel."""
        return math.prod(self.shape) // max(1, self.channels)


@dataclass(frozen=True)
class FoldableBatchNorm:
    """A batch-norm that can be taken into the convolution before it."""

    convolution: str
    norm: str
    activations: frozenset[str]
    """Layers whose answer is the convolution's, and would become the batch-norm's."""


@dataclass(frozen=True)
class NetworkSummary:
    """What is known of a network before it is used."""

    layers: tuple[LayerInfo, ...]
    """In the order in which they have their answers."""
    folds: tuple[FoldableBatchNorm, ...]
    """Of convolutions whose answer nothing but the batch-norm takes."""
    size_px: tuple[int, int]
    """(height, width) of the picture that was looked at."""
    is_size_fixed: bool
    """Whether the network takes no other."""

    def worth_dreaming(self) -> list[LayerInfo]:
        """Layers that answer for places, with an energy of their own.

        That of a normalised answer is always the same: nothing raises it.
        """
        return [
            layer
            for layer in self.layers
            if layer.places > 1 < layer.channels and not layer.kind.startswith(PASSTHROUGH_KINDS)
        ]

    def spread(self, count: int) -> list[str]:
        """Names of so many layers worth dreaming with, from the first to the last."""
        fitting = [layer.name for layer in self.worth_dreaming()] or [self.layers[-1].name]
        last = len(fitting) - 1
        places = [round(step * last / max(1, count - 1)) for step in range(count)]
        return [fitting[place] for place in dict.fromkeys(places)]

    def reach(self, layers: Sequence[LayerInfo]) -> tuple[int, tuple[int, ...]] | None:
        """What has to be known to run on a part of a picture as on all of it, px.

        How wide a part each place of some layers sees, and how far apart the places of each layer
        are; None if they do not lie on the picture like a grid that begins at its corner, each
        seeing what is around it.
        """
        if self.is_size_fixed or not all(layer.is_picture for layer in layers):
            return None
        for layer in layers:
            sides = zip(self.size_px, layer.shape[2:], strict=True)
            missing_px = max(abs(side_px - places * layer.stride_px) for side_px, places in sides)
            if layer.stride_px % 1 or missing_px >= layer.stride_px:
                return None
        receptive_field_px = math.ceil(max(layer.receptive_field_px for layer in layers))
        return receptive_field_px, tuple(int(layer.stride_px) for layer in layers)


Found = TypeVar("Found")

# A second picture on which networks are looked at: other sides tell the channels from the places.
OTHER_SIZE_PX = (256, 288)
# Networks with more of them take longer to run once than torch takes to prepare for running them on
# shapes alone: 1.5 s. The default one has 5 million, ResNet-50 25.
LARGE_PARAMETERS = 30_000_000


def inspect_network(
    network: nn.Module, name: str, side_px: int = DEFAULT_SIDE_PX
) -> NetworkSummary:
    """Run a network and note what happens.

    Args:
        network: takes a picture (N, 3, H, W).
        name: of the network, for messages.
        side_px: of the square picture it is sure to take.

    Raises:
        UnknownModelError: it takes no such picture, or gives no answer.
    """
    usual = (side_px, side_px)
    try:
        look = _observe(network, usual)
    except Exception as error:  # a stranger's network may raise anything
        raise UnknownModelError(
            f"{name} does not take a picture (1, 3, {side_px}, {side_px}): "
            f"{type(error).__name__}: {error}"
        ) from error
    layers, folds = tuple(look.layers.values()), tuple(look.folds())
    if not layers or layers[-1].name != OUTPUT_LAYER:
        raise UnknownModelError(f"{name} gives no tensor for a picture; it cannot be dreamed with")
    try:
        others = {
            name: layer.shape for name, layer in _observe(network, OTHER_SIZE_PX).layers.items()
        }
    except Exception:  # likewise
        return NetworkSummary(layers, folds, usual, True)
    told_apart = tuple(
        replace(
            layer, channel_axis=_constant_axis(layer.shape, others.get(layer.name, layer.shape))
        )
        for layer in layers
    )
    return NetworkSummary(told_apart, folds, usual, False)


def runs_at(network: nn.Module, size_px: tuple[int, int], enough: type[Exception]) -> bool:
    """Whether a network takes pictures (height, width), to its end or until `enough` is raised."""
    try:
        _run_once(network, size_px)
    except enough:
        return True
    except torch.OutOfMemoryError:
        raise  # which says nothing of the size
    except Exception:  # too small a picture has no error of its own
        return False
    return True


def _constant_axis(shape: Sequence[int], other: Sequence[int]) -> int:
    """The axis of the channels: the longest of those that do not grow with the picture."""
    axes = [axis for axis in range(1, len(shape)) if shape[axis] == other[axis]]
    return max(axes, key=lambda axis: (shape[axis], -axis)) if axes else 1


def cost_shares(network: nn.Module, known: NetworkSummary) -> dict[str, float]:
    """By layer, the share of the network's multiplications until it has its answer."""

    def count(probe: nn.Module) -> dict[str, int]:
        counter, counts = FlopCounterMode(display=False), dict[str, int]()
        with ExitStack() as stack:
            for layer in known.layers:
                hook = module_of(probe, layer.name).register_forward_hook(
                    lambda *_, name=layer.name: counts.update({name: counter.get_total_flops()})
                )
                stack.callback(hook.remove)
            with counter:
                _run_once(probe, known.size_px)
        return counts

    counts = _on_shapes(count, network)
    return {name: count / max(1, counts[OUTPUT_LAYER]) for name, count in counts.items()}


def _on_shapes(work: Callable[[nn.Module], Found], network: nn.Module) -> Found:
    """Do work that runs a network, with a large one on shapes alone (torch's "meta") if it goes."""
    if sum(parameter.numel() for parameter in network.parameters()) > LARGE_PARAMETERS:
        with suppress(Exception):  # what a stranger's network may raise
            return work(copy.deepcopy(network).to("meta"))
    return work(network)


def _run_once(network: nn.Module, size_px: tuple[int, int]) -> None:
    """On a black picture."""
    device = next(chain(network.parameters(), [torch.zeros(0)])).device
    with torch.no_grad():
        network(torch.zeros(1, 3, *size_px, device=device))


def _observe(network: nn.Module, size_px: tuple[int, int]) -> _Observer:
    def look_at(probe: nn.Module) -> _Observer:
        look = _Observer(probe)
        with ExitStack() as stack:
            for hook in look.hooks():
                stack.callback(hook.remove)
            with look.fields:
                _run_once(probe, size_px)
        return look

    return _on_shapes(look_at, network)


class _Observer:
    """What hooks note while the network runs."""

    def __init__(self, network: nn.Module) -> None:
        self.fields = ReceptiveFieldTracker()
        self.layers: dict[str, LayerInfo] = {}
        self._modules = dict(network.named_modules())
        self._answers: dict[str, Tensor] = {}
        self._pairs: list[tuple[str, str]] = []
        self._names = {module: name or OUTPUT_LAYER for name, module in self._modules.items()}

    def hooks(self) -> Iterator[Any]:
        yield self._modules[""].register_forward_pre_hook(
            lambda module, inputs: self.fields.begin(inputs[0])
        )
        for module in self._modules.values():
            yield module.register_forward_hook(self._note)
            if isinstance(module, nn.BatchNorm2d):
                yield module.register_forward_pre_hook(self._note_pair)

    def folds(self) -> Iterator[FoldableBatchNorm]:
        for convolution, norm in self._pairs:
            activation = self._answers[convolution]
            once = all(self.layers[name].calls == 1 for name in (convolution, norm))
            if once and self.fields.uses(activation) == 1:
                same = frozenset(
                    name for name, other in self._answers.items() if other is activation
                )
                yield FoldableBatchNorm(convolution, norm, same)

    def _note(self, module: nn.Module, inputs: object, activation: object) -> None:
        tensor = first_tensor(activation)
        if tensor is None or tensor.ndim < 2 or not tensor.is_floating_point():
            return
        receptive_field_px = self.fields.of(tensor)
        if receptive_field_px is None:  # such as what is known of places, before there is a picture
            return
        name = self._names[module]
        before = self.layers.pop(name, None)  # its place is that of the last call
        self._answers[name] = tensor
        self.layers[name] = LayerInfo(
            name=name,
            kind=type(module).__name__,
            shape=tuple(tensor.shape),
            channel_axis=_likely_channel_axis(tensor.shape),
            calls=1 if before is None else before.calls + 1,
            receptive_field_px=receptive_field_px,
            stride_px=self.fields.step_of(tensor),
        )

    def _note_pair(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        for name, activation in self._answers.items():
            module = self._modules.get(name)
            if activation is inputs[0] and module is not None and _can_fold(module, norm):
                self._pairs.append((name, self._names[norm]))


def _can_fold(convolution: nn.Module, norm: nn.Module) -> bool:
    """Whether both are what they are called: heirs may do more, such as activate or standardise."""
    plain = type(convolution) is nn.Conv2d and type(norm) is nn.BatchNorm2d
    # A weight that is computed from others is no parameter.
    own = dict(convolution.named_parameters(recurse=False))
    return plain and "weight" in own and norm.running_mean is not None


def _likely_channel_axis(shape: Sequence[int]) -> int:
    """The axis of the channels in an answer to a square picture."""
    last = len(shape) - 1
    is_channels_first = len(shape) == 2 or (len(shape) == 4 and shape[2] == shape[3])
    return 1 if is_channels_first else last


def module_of(network: nn.Module, layer: str) -> nn.Module:
    """The part of a network whose answer a layer is."""
    return network if layer == OUTPUT_LAYER else network.get_submodule(layer)


def first_tensor(activation: object) -> Tensor | None:
    """A module's answer, or the first of several."""
    while isinstance(activation, (tuple, list)) and activation:
        activation = activation[0]
    return activation if isinstance(activation, Tensor) else None
