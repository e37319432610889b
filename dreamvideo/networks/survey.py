"""Looks at a network at work: which layers run, in which order, how large they are, what they cost.

Refuses to know which layers are wanted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from dreamvideo.errors import UnknownModelError
from dreamvideo.networks.fields import Fields
from dreamvideo.settings import OUTPUT_LAYER

# The picture on which networks are looked at: the size most were trained on, and another one, with
# other sides, that tells the channels from the places.
USUAL_SIDE_PX = 224
OTHER_SIZE_PX = (256, 288)
# Networks with more of them take longer to run once than torch takes to prepare for running them on
# shapes alone: 1.5 s. The default one has 5 million, ResNet-50 25.
LARGE_PARAMETERS = 30_000_000
# Classes of modules, by their beginnings, that normalise or pass on what others answer.
NOT_OWN_ANSWERS = ("LayerNorm", "GroupNorm", "Dropout", "Identity", "Permute", "StochasticDepth")


@dataclass(frozen=True)
class Layer:
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
    field_px: float
    """How wide a part of the picture each place of it sees; infinite for all of it."""

    @property
    def channels(self) -> int:
        """How many there are."""
        return self.shape[self.channel_axis]

    @property
    def places(self) -> int:
        """How many there are of each channel."""
        return math.prod(self.shape[1:]) // max(1, self.channels)


@dataclass(frozen=True)
class Survey:
    """What is known of a network before it is used."""

    layers: tuple[Layer, ...]
    """In the order in which they have their answers."""
    folds: tuple[tuple[str, str], ...]
    """Convolutions, and the batch-norm that alone takes each one's answer."""
    size_px: tuple[int, int]
    """(height, width) of the picture that was looked at."""
    is_size_fixed: bool
    """Whether the network takes no other."""

    def worth_dreaming(self) -> list[Layer]:
        """Layers that answer for places, with an energy of their own.

        That of a normalised answer is always the same: nothing raises it.
        """
        return [
            layer
            for layer in self.layers
            if layer.places > 1 < layer.channels and not layer.kind.startswith(NOT_OWN_ANSWERS)
        ]

    def spread(self, count: int) -> list[str]:
        """Names of so many layers worth dreaming with, from the first to the last."""
        fitting = [layer.name for layer in self.worth_dreaming()]
        last = len(fitting) - 1
        places = [round(step * last / max(1, count - 1)) for step in range(count)]
        return [fitting[place] for place in dict.fromkeys(places)]


def survey(network: nn.Module, name: str, side_px: int = USUAL_SIDE_PX) -> Survey:
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
        layers, folds = _look(network, usual)
    except Exception as error:  # a stranger's network may raise anything
        raise UnknownModelError(
            f"{name} does not take a picture (1, 3, {side_px}, {side_px}): "
            f"{type(error).__name__}: {error}"
        ) from error
    if not layers or layers[-1].name != OUTPUT_LAYER:
        raise UnknownModelError(f"{name} gives no tensor for a picture; it cannot be dreamed with")
    try:
        others = {layer.name: layer.shape for layer in _look(network, OTHER_SIZE_PX)[0]}
    except Exception:  # likewise
        return Survey(layers, folds, usual, True)
    told_apart = tuple(
        replace(
            layer, channel_axis=_constant_axis(layer.shape, others.get(layer.name, layer.shape))
        )
        for layer in layers
    )
    return Survey(told_apart, folds, usual, False)


def runs_at(network: nn.Module, size_px: tuple[int, int], enough: type[Exception]) -> bool:
    """Whether a network takes pictures (height, width), to its end or until `enough` is raised."""
    try:
        _run(network, size_px)
    except enough:
        return True
    except Exception:  # too small a picture has no error of its own
        return False
    return True


def _constant_axis(shape: Sequence[int], other: Sequence[int]) -> int:
    """The axis of the channels: the longest of those that do not grow with the picture."""
    axes = [axis for axis in range(1, len(shape)) if shape[axis] == other[axis]]
    return max(axes, key=lambda axis: (shape[axis], -axis)) if axes else 1


def cost_shares(network: nn.Module, known: Survey) -> dict[str, float]:
    """By layer, the share of the network's multiplications until it has its answer."""
    counter, counts = FlopCounterMode(display=False), dict[str, int]()
    with ExitStack() as stack:
        for layer in known.layers:
            module = network if layer.name == OUTPUT_LAYER else network.get_submodule(layer.name)
            hook = module.register_forward_hook(
                lambda *_, name=layer.name: counts.update({name: counter.get_total_flops()})
            )
            stack.callback(hook.remove)
        with counter:
            _run(network, known.size_px)
    return {name: count / max(1, counts[OUTPUT_LAYER]) for name, count in counts.items()}


def _run(network: nn.Module, size_px: tuple[int, int]) -> None:
    """On a black picture; large networks on shapes alone, where that goes (torch's "meta")."""
    parameters = list(network.parameters())
    device = parameters[0].device if parameters else torch.device("cpu")
    is_large = sum(parameter.numel() for parameter in parameters) > LARGE_PARAMETERS
    with torch.no_grad():
        if is_large:
            tensors = chain(network.named_parameters(), network.named_buffers())
            state = {name: tensor.to("meta") for name, tensor in tensors}
            try:
                functional_call(network, state, (torch.zeros(1, 3, *size_px, device="meta"),))
                return
            except (NotImplementedError, RuntimeError, TypeError):
                pass
        network(torch.zeros(1, 3, *size_px, device=device))


def _look(
    network: nn.Module, size_px: tuple[int, int]
) -> tuple[tuple[Layer, ...], tuple[tuple[str, str], ...]]:
    look = _Look(network)
    with ExitStack() as stack:
        for hook in look.hooks():
            stack.callback(hook.remove)
        with look.fields:
            _run(network, size_px)
    return tuple(look.layers.values()), tuple(look.folds())


class _Look:
    """What hooks note while the network runs."""

    def __init__(self, network: nn.Module) -> None:
        self.fields = Fields()
        self.layers: dict[str, Layer] = {}
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

    def folds(self) -> Iterator[tuple[str, str]]:
        for convolution, norm in self._pairs:
            once = all(self.layers[name].calls == 1 for name in (convolution, norm))
            if once and self.fields.uses(self._answers[convolution]) == 1:
                yield convolution, norm

    def _note(self, module: nn.Module, inputs: object, answer: object) -> None:
        tensor = first_tensor(answer)
        if tensor is None or tensor.ndim < 2 or not tensor.is_floating_point():
            return
        field_px = self.fields.of(tensor)
        if field_px is None:  # such as what is known of places, before there is a picture
            return
        name = self._names[module]
        before = self.layers.pop(name, None)  # its place is that of the last call
        self._answers[name] = tensor
        self.layers[name] = Layer(
            name=name,
            kind=type(module).__name__,
            shape=tuple(tensor.shape),
            channel_axis=tensor.ndim - 1 if tensor.ndim == 3 else 1,
            calls=1 if before is None else before.calls + 1,
            field_px=field_px,
        )

    def _note_pair(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        for name, answer in self._answers.items():
            if answer is inputs[0] and isinstance(self._modules.get(name), nn.Conv2d):
                self._pairs.append((name, self._names[norm]))


def first_tensor(answer: object) -> Tensor | None:
    """A module's answer, or the first of several."""
    while isinstance(answer, (tuple, list)) and answer:
        answer = answer[0]
    return answer if isinstance(answer, Tensor) else None
