"""Runs a network once, and records its layers and the parameters and buffers that they need."""

from __future__ import annotations

import copy
import dataclasses
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dreamvideo.networks.receptive_fields import ReceptiveFieldTracker
from dreamvideo.settings.network_options import OUTPUT_LAYER

# Networks with more parameters take longer to run than PyTorch's meta device takes to start, 1.5 s.
# The default network has 5 million, ResNet-50 has 25 million.
LARGE_PARAMETERS = 30_000_000

Result = TypeVar("Result")


class TorchScript(nn.Module):
    """A TorchScript program as a module like others, which can have hooks."""

    def __init__(self, program: torch.jit.ScriptModule) -> None:
        """Take over a program."""
        super().__init__()
        self.program = program

    def forward(self, *inputs: object, **options: object) -> object:
        """Whatever the program returns."""
        return self.program(*inputs, **options)


@dataclass(frozen=True)
class ImageFormat:
    """The shape of an image that a network is run with."""

    channels: int
    """3 for RGB, 1 for luma."""
    size_px: tuple[int, int]
    """(height, width)."""


@dataclass(frozen=True)
class LayerInfo:
    """A module of a network with an activation of its own."""

    name: str
    """Its path in the network; `output` is the network as a whole."""
    kind: str
    """The name of its class."""
    shape: tuple[int, ...]
    """Shape of its activation for one image of `NetworkSummary.image`."""
    channel_axis: int
    """The axis of the activation that holds the channels."""
    calls: int
    """How often it runs in one pass; its activation is that of the last call."""
    receptive_field_px: float
    """Side of its receptive field; infinite if every position depends on the whole image."""
    stride_px: float
    """Distance on the image of neighbouring positions."""
    has_gradient: bool
    """Whether its activation can be differentiated with respect to the image."""
    is_random: bool
    """Whether the network has drawn random numbers when it finishes."""
    is_size_fixed: bool = False
    """Whether it runs on images of the size of `NetworkSummary.image` only."""

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
class Observation:
    """What happened while a network ran on an image."""

    image: ImageFormat
    layers: Mapping[str, LayerInfo]
    """The layers that finished, by name, in the order in which they finished."""
    folds: tuple[FoldableBatchNorm, ...]
    """Batch-norms that are the only user of a convolution."""
    first_layers: Mapping[str, int]
    """For each parameter and buffer, the index of the first layer that needs it."""
    error: Exception | None
    """What the network raised; None if it ran to its end."""


def observe(network: nn.Module, image: ImageFormat) -> Observation:
    """Run a network on a black image. Random numbers that it draws are put back."""

    def run(network: nn.Module, *, raises: bool) -> Observation:
        observer, error = _Observer(network), None
        with ExitStack() as stack:
            for hook in observer.register_hooks():
                stack.callback(hook.remove)
            try:
                with observer.tracker:
                    run_on_black(network, image)
            except Exception as raised:  # third-party code may raise anything
                if raises:
                    raise
                error = raised
        layers, folds = observer.layers, tuple(observer.folds())
        return Observation(image, layers, folds, observer.first_layers(), error)

    # What fails on the meta device may run elsewhere.
    with torch.random.fork_rng(devices=[]):
        observation = _without_arithmetic(lambda copied: run(copied, raises=True), network)
        return observation or run(network, raises=False)


def count_while_running(
    network: nn.Module, run: Callable[[nn.Module], dict[str, int]]
) -> dict[str, int]:
    """What a run of a network counts that does not depend on any value; empty where it fails."""
    return _without_arithmetic(run, network) or run(network)


def run_on_black(network: nn.Module, image: ImageFormat) -> None:
    """Run a network on a black image, on the network's device."""
    device = next(chain(network.parameters(), [torch.zeros(0)])).device
    leaf = torch.zeros(1, image.channels, *image.size_px, device=device, requires_grad=True)
    with torch.enable_grad():
        network(leaf * 1)  # the network may change its image in place, which a leaf forbids


def find_module(network: nn.Module, layer: str) -> nn.Module:
    """The module of a network that has the name of a layer."""
    return network if layer == OUTPUT_LAYER else network.get_submodule(layer)


def first_tensor(output: object) -> Tensor | None:
    """The activation in the output of a module, whatever that is.

    The output itself, or the first in a sequence, a dictionary or an object with fields. What is no
    activation, such as a loss or an index, is passed over; None if there is nothing else.
    """
    if isinstance(output, Tensor):
        return output if output.ndim >= 2 and output.is_floating_point() else None
    items: Iterable[object] = ()
    if isinstance(output, Mapping):
        items = output.values()
    elif isinstance(output, (tuple, list)):
        items = output
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        items = (getattr(output, field.name) for field in dataclasses.fields(output))
    return next((tensor for item in items if (tensor := first_tensor(item)) is not None), None)


class _Observer:
    """Hooks that record what happens while the network runs."""

    def __init__(self, network: nn.Module) -> None:
        self.tracker = ReceptiveFieldTracker()
        self.layers: dict[str, LayerInfo] = {}
        self._modules = dict(network.named_modules())
        self._names = {module: name or OUTPUT_LAYER for name, module in self._modules.items()}
        self._activations: dict[str, Tensor] = {}
        self._pairs: list[tuple[str, str]] = []
        self._random_state = torch.get_rng_state()
        # Layers are numbered as they finish; a layer that runs again gets another number.
        self._finished = 0
        self._numbers: dict[str, int] = {}
        self._first_numbers: dict[str, int] = {}
        self._tensor_names: dict[int, list[str]] = {}
        for name, tensor in _named_tensors(network):
            self._tensor_names.setdefault(id(tensor), []).append(name)

    def register_hooks(self) -> Iterator[RemovableHandle]:
        """Register the hooks one by one."""
        yield self._modules[""].register_forward_pre_hook(
            lambda module, inputs: self.tracker.start(inputs[0])
        )
        for module in self._modules.values():
            if isinstance(module, torch.jit.ScriptModule):  # cannot have hooks
                continue
            yield module.register_forward_pre_hook(self._note_own_tensors)
            yield module.register_forward_hook(self._record)
            if isinstance(module, nn.BatchNorm2d):
                yield module.register_forward_pre_hook(self._record_pair)

    def folds(self) -> Iterator[FoldableBatchNorm]:
        """Pairs of modules that run once, where only the batch-norm uses the convolution."""
        for convolution, norm in self._pairs:
            if norm not in self.layers:  # the network failed in it
                continue
            activation = self._activations[convolution]
            runs_once = all(self.layers[name].calls == 1 for name in (convolution, norm))
            if runs_once and self.tracker.uses(activation) == 1:
                affected = frozenset(
                    name for name, other in self._activations.items() if other is activation
                )
                yield FoldableBatchNorm(convolution, norm, affected)

    def first_layers(self) -> dict[str, int]:
        """See `Observation.first_layers`."""
        numbers = [self._numbers[name] for name in self.layers]
        return {
            tensor: bisect_left(numbers, number) for tensor, number in self._first_numbers.items()
        }

    def _note_own_tensors(self, module: nn.Module, inputs: object) -> None:
        """A module that starts needs its own parameters, however it uses them."""
        for _, tensor in _named_tensors(module, recurse=isinstance(module, TorchScript)):
            self._note(id(tensor))

    def _note(self, identity: int) -> None:
        for name in self._tensor_names.get(identity, ()):
            self._first_numbers.setdefault(name, self._finished)

    def _record(self, module: nn.Module, inputs: object, output: object) -> None:
        tensor = first_tensor(output)
        if tensor is None or tensor.numel() == 0:  # such as no boxes, where nothing is found
            return
        if isinstance(module, TorchScript):  # what happens inside cannot be followed
            self.tracker.declare_global(tensor)
        receptive_field_px = self.tracker.size_px(tensor)
        if receptive_field_px is None:  # such as position embeddings
            return
        name = self._names[module]
        for identity in self.tracker.newly_used():
            self._note(identity)
        self._numbers[name] = self._finished
        self._finished += 1
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
            has_gradient=tensor.requires_grad,
            is_random=not torch.equal(torch.get_rng_state(), self._random_state),
        )

    def _record_pair(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        for name, activation in self._activations.items():
            module = self._modules.get(name)
            if activation is inputs[0] and module is not None and _can_fold(module, norm):
                self._pairs.append((name, self._names[norm]))


def _named_tensors(network: nn.Module, recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers; those that have several names under each of them."""
    yield from network.named_parameters(recurse=recurse, remove_duplicate=False)
    yield from network.named_buffers(recurse=recurse, remove_duplicate=False)


def _without_arithmetic(run: Callable[[nn.Module], Result], network: nn.Module) -> Result | None:
    """Run a large network on PyTorch's meta device, which computes shapes only.

    None for small networks, and where it cannot.
    """
    if sum(parameter.numel() for parameter in network.parameters()) > LARGE_PARAMETERS:
        with suppress(Exception):  # third-party code may raise anything
            return run(copy.deepcopy(network).to("meta"))
    return None


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
