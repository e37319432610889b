"""Looks at a network at work: which layers run, in which order, how large they are, what they cost.

Refuses to know which layers are wanted.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dreamvideo.errors import UnknownModelError
from dreamvideo.networks.fields import Fields
from dreamvideo.networks.layers import Fold, Layer, Survey
from dreamvideo.networks.model import USUAL_SIDE_PX
from dreamvideo.settings import OUTPUT_LAYER

Found = TypeVar("Found")

# A second picture on which networks are looked at: other sides tell the channels from the places.
OTHER_SIZE_PX = (256, 288)
# Networks with more of them take longer to run once than torch takes to prepare for running them on
# shapes alone: 1.5 s. The default one has 5 million, ResNet-50 25.
LARGE_PARAMETERS = 30_000_000


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
        look = _look(network, usual)
    except Exception as error:  # a stranger's network may raise anything
        raise UnknownModelError(
            f"{name} does not take a picture (1, 3, {side_px}, {side_px}): "
            f"{type(error).__name__}: {error}"
        ) from error
    layers, folds = tuple(look.layers.values()), tuple(look.folds())
    if not layers or layers[-1].name != OUTPUT_LAYER:
        raise UnknownModelError(f"{name} gives no tensor for a picture; it cannot be dreamed with")
    try:
        others = {name: layer.shape for name, layer in _look(network, OTHER_SIZE_PX).layers.items()}
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
    except torch.OutOfMemoryError:
        raise  # which says nothing of the size
    except Exception:  # too small a picture has no error of its own
        return False
    return True


def _constant_axis(shape: Sequence[int], other: Sequence[int]) -> int:
    """The axis of the channels: the longest of those that do not grow with the picture."""
    axes = [axis for axis in range(1, len(shape)) if shape[axis] == other[axis]]
    return max(axes, key=lambda axis: (shape[axis], -axis)) if axes else 1


def cost_shares(network: nn.Module, known: Survey) -> dict[str, float]:
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
                _run(probe, known.size_px)
        return counts

    counts = _on_shapes(count, network)
    return {name: count / max(1, counts[OUTPUT_LAYER]) for name, count in counts.items()}


def _on_shapes(work: Callable[[nn.Module], Found], network: nn.Module) -> Found:
    """Do work that runs a network, with a large one on shapes alone (torch's "meta") if it goes."""
    if sum(parameter.numel() for parameter in network.parameters()) > LARGE_PARAMETERS:
        with suppress(Exception):  # what a stranger's network may raise
            return work(copy.deepcopy(network).to("meta"))
    return work(network)


def _run(network: nn.Module, size_px: tuple[int, int]) -> None:
    """On a black picture."""
    device = next(chain(network.parameters(), [torch.zeros(0)])).device
    with torch.no_grad():
        network(torch.zeros(1, 3, *size_px, device=device))


def _look(network: nn.Module, size_px: tuple[int, int]) -> _Look:
    def look_at(probe: nn.Module) -> _Look:
        look = _Look(probe)
        with ExitStack() as stack:
            for hook in look.hooks():
                stack.callback(hook.remove)
            with look.fields:
                _run(probe, size_px)
        return look

    return _on_shapes(look_at, network)


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

    def folds(self) -> Iterator[Fold]:
        for convolution, norm in self._pairs:
            answer = self._answers[convolution]
            once = all(self.layers[name].calls == 1 for name in (convolution, norm))
            if once and self.fields.uses(answer) == 1:
                same = frozenset(name for name, other in self._answers.items() if other is answer)
                yield Fold(convolution, norm, same)

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
            channel_axis=_likely_axis(tensor.shape),
            calls=1 if before is None else before.calls + 1,
            field_px=field_px,
            step_px=self.fields.step_of(tensor),
        )

    def _note_pair(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        for name, answer in self._answers.items():
            module = self._modules.get(name)
            if answer is inputs[0] and module is not None and _can_fold(module, norm):
                self._pairs.append((name, self._names[norm]))


def _can_fold(convolution: nn.Module, norm: nn.Module) -> bool:
    """Whether both are what they are called: heirs may do more, such as activate or standardise."""
    plain = type(convolution) is nn.Conv2d and type(norm) is nn.BatchNorm2d
    # A weight that is computed from others is no parameter.
    own = dict(convolution.named_parameters(recurse=False))
    return plain and "weight" in own and norm.running_mean is not None


def _likely_axis(shape: Sequence[int]) -> int:
    """The axis of the channels in an answer to a square picture."""
    last = len(shape) - 1
    is_channels_first = len(shape) == 2 or (len(shape) == 4 and shape[2] == shape[3])
    return 1 if is_channels_first else last


def module_of(network: nn.Module, layer: str) -> nn.Module:
    """The part of a network whose answer a layer is."""
    return network if layer == OUTPUT_LAYER else network.get_submodule(layer)


def first_tensor(answer: object) -> Tensor | None:
    """A module's answer, or the first of several."""
    while isinstance(answer, (tuple, list)) and answer:
        answer = answer[0]
    return answer if isinstance(answer, Tensor) else None
