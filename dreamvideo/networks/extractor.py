"""Runs a network up to the requested layers and returns their activations."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from dreamvideo.errors import UnknownLayerError
from dreamvideo.networks.introspection import cost_shares, inspect_network
from dreamvideo.networks.model import DEFAULT_SIDE_PX, Model
from dreamvideo.networks.names import class_index, suggest_names
from dreamvideo.networks.observation import LayerInfo, TorchScript, find_module, first_tensor
from dreamvideo.networks.preparation import (
    check_weights,
    fold_batch_norms,
    note_peculiarities,
    to_channels_last,
)
from dreamvideo.networks.registry import load_model
from dreamvideo.settings import Settings
from dreamvideo.settings.network_options import AUTO_LAYER, OUTPUT_LAYER
from dreamvideo.types import LUMA_BT709

# `--layer auto` of a network without a default layer is the last one up to this share of the
# network's multiplications. It is 0.57 at the default network's layer, 0.74 at GoogLeNet's.
DEFAULT_DEPTH = 0.6
# Least similarity of a layer name that is suggested (see difflib).
LAYER_SIMILARITY = 0.3
# Sides that are tried to find the smallest image that a network takes, px.
TRIED_SIDES_PX = (1, *range(16, DEFAULT_SIDE_PX, 16))
# Networks with branches that shrink and grow again need sides that are multiples of one of these.
TRIED_MULTIPLES_PX = (1, 2, 4, 8, 16, 32, 64)
# (width, height) of the image that the multiples are tried with: multiples of nothing, and large
# enough for every network that takes several sizes.
PRIME_SIDES_PX = (233, 239)


class FeatureExtractor:
    """A network that returns the activations of requested layers, and stops at the deepest one.

    Safe to call from several threads.
    """

    def __init__(self, model: Model, layers: Sequence[str], device: torch.device) -> None:
        """Prepare a network; its batch-norms are folded, and it is moved to the device.

        Args:
            model: the network; it must not be used otherwise afterwards.
            layers: names or aliases of the layers that will be requested.
            device: where the network runs.

        Raises:
            UnknownModelError: the network does not take an image.
            UnknownLayerError: it has no such layer.
            WeightsError: weights that the layers need are missing, do not fit, or are not finite.
        """
        self.model = model
        self.summary = inspect_network(
            model.network, model.name, model.size_px, is_size_given=model.is_size_given
        )
        self._known = {layer.name: layer for layer in self.summary.layers}
        self._depth = {name: index for index, name in enumerate(self._known)}
        self._layers = {name: self._find_layer(name) for name in layers}
        requested = {layer.name for layer in self._layers.values()}
        check_weights(model, self.summary, requested)
        note_peculiarities(model, self.summary, requested)
        fold_batch_norms(model.network, self.summary, requested)
        self.network = to_channels_last(model.network.to(device))
        mean, std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1)
            for values in (model.mean, model.std)
        )
        self._luma = None
        if self.summary.image.channels == 1:
            self._luma = torch.tensor(LUMA_BT709, device=device).view(1, 3, 1, 1)
            mean, std = (self._to_luma(values) for values in (mean, std))
        self._scale, self._offset = 1 / std, -mean / std
        self._pass = _ForwardPass()
        for name in requested:
            hook = self._recording_hook(self._known[name])
            find_module(self.network, name).register_forward_hook(hook)
        # Third-party networks may keep intermediate results in themselves.
        self._turn: AbstractContextManager[object] = (
            threading.Lock() if model.has_unknown_code else nullcontext()
        )
        self._size_limits: dict[str, tuple[int, int]] = {}

    def __call__(self, image: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """The activations of layers, in the order requested.

        Args:
            image: (1, 3, H, W), RGB in [0, 1]; runs fastest in channels-last memory format.
            layers: some of those that the network was prepared for.

        Returns:
            (1, channels, …) for each layer; what follows the channels are the positions: rows and
            columns, a sequence of patches, or nothing.

        Raises:
            UnknownLayerError: a layer has no gradient although the image requires one, or does not
                run on an image of this size.
        """
        requested = [self._layers[name] for name in layers]
        deepest = max((layer.name for layer in requested), key=self._depth.__getitem__)
        try:
            with self._turn:
                self._run(self._fit_size(self._normalise(image), deepest), deepest)
            activations = [self._pass.activations.get(layer.name) for layer in requested]
        finally:
            self._pass.activations.clear()  # else the graph behind them would be kept
        return [
            self._checked(layer, activation, image)
            for layer, activation in zip(requested, activations, strict=True)
        ]

    def check_channels(self, settings: Settings) -> None:
        """Check that the layers of settings have the channels of the settings.

        Raises:
            UnknownLayerError: names the layer and its number of channels.
        """
        for layer in (self._layers[name] for name in settings.layers):
            for channel in settings.channel:
                if channel >= layer.channels:
                    raise UnknownLayerError(
                        f"{layer.name} of {settings.model} has no channel {channel}: allowed is 0 "
                        f"to {layer.channels - 1}"
                    )

    def receptive_field(self, layers: Sequence[str]) -> tuple[int, tuple[int, ...]] | None:
        """See `NetworkSummary.receptive_field`, of some of the prepared layers."""
        return self.summary.receptive_field([self._layers[name] for name in layers])

    def layer(self, name: str) -> LayerInfo:
        """Facts of a prepared layer, by its name, alias or `auto`."""
        return self._layers[name]

    def class_index(self, name: str) -> int:
        """The channel of the output for a class, by its name or number.

        Raises:
            UnknownLayerError: there is no such class.
        """
        model, outputs = self.model, self._known[OUTPUT_LAYER].channels
        is_given = model.has_given_categories
        return class_index(name, outputs, model.categories(), model.name, is_given=is_given)

    def _find_layer(self, name: str) -> LayerInfo:
        if name == AUTO_LAYER:
            return self._known[self.model.default_layer or self._layer_at_default_depth()]
        name = self.model.aliases.get(name, name)
        if name in self._known:
            return self._known[name]
        names = [*self._known, *self.model.aliases]
        raise UnknownLayerError(
            f"{self._why_unknown(name)}; {suggest_names(name, names, LAYER_SIMILARITY)}"
            f"'dreamvideo layers {self.model.name}' lists its {len(self._known)}"
        )

    def _why_unknown(self, name: str) -> str:
        model, summary = self.model, self.summary
        modules = dict(model.network.named_modules())
        if any(isinstance(module, TorchScript) for module in modules.values()):
            return (
                f"{model.name} has no layer {name!r} that can be reached: it is or contains a "
                "TorchScript program; give the network that was made into it"
            )
        if name not in modules and name != OUTPUT_LAYER:
            return f"{model.name} has no layer {name!r}"
        if summary.failure:
            height, width = summary.image.size_px
            return (
                f"{model.name} fails before {name} gives an activation, on an image of "
                f"{width}x{height} pixels: {summary.failure}; give --network-size WIDTHxHEIGHT if "
                "it needs another size"
            )
        return (
            f"{name} of {model.name} does not run, or its output contains no activation (floats "
            "that depend on the image)"
        )

    def _layer_at_default_depth(self) -> str:
        shares = cost_shares(self.model.network, self.summary)
        layers = [layer.name for layer in self.summary.dreamable_layers()]
        candidates = [name for name in layers if shares[name] <= DEFAULT_DEPTH] or layers[:1]
        return candidates[-1] if candidates else self.summary.layers[-1].name

    def _recording_hook(self, layer: LayerInfo) -> Callable[[nn.Module, object, object], None]:
        def record(module: nn.Module, inputs: object, output: object) -> None:
            activation = first_tensor(output)
            assert activation is not None
            self._pass.record(layer, activation)

        return record

    def _run(self, image: Tensor, deepest: str) -> None:
        """Run the network until the deepest layer has finished."""
        self._pass.start(deepest)
        try:
            self.network(image)
        except _DeepestLayerFinished:
            pass
        except Exception:
            if not self._pass.is_finished:  # else the network caught the stop and raised this
                raise

    def _normalise(self, image: Tensor) -> Tensor:
        """(image − mean) / std, in one pass over the image or its luma."""
        if self._luma is not None:
            image = self._to_luma(image)
        # Constants for a whole row: with one per channel, forward and backward take six times as
        # long on a CPU.
        offset, scale = (
            values.expand(1, -1, 1, image.shape[-1]).contiguous(memory_format=torch.channels_last)
            for values in (self._offset, self._scale)
        )
        return torch.addcmul(offset, image, scale)

    def _to_luma(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 1, H, W)."""
        assert self._luma is not None
        return (image * self._luma).sum(1, keepdim=True)

    def _fit_size(self, image: Tensor, deepest: str) -> Tensor:
        """The image resized or padded to a size that the network takes."""
        if self._known[deepest].is_size_fixed:
            return nn.functional.interpolate(
                image, self.summary.image.size_px, mode="bicubic", antialias=True
            )
        if deepest not in self._size_limits:
            self._size_limits[deepest] = self._find_size_limits(image, deepest)
        smallest, multiple = self._size_limits[deepest]
        height, width = image.shape[-2:]
        right, bottom = (
            max(smallest, math.ceil(side / multiple) * multiple) - side for side in (width, height)
        )
        if right == bottom == 0:
            return image
        return nn.functional.pad(image, (0, right, 0, bottom), mode="replicate")

    def _find_size_limits(self, image: Tensor, deepest: str) -> tuple[int, int]:
        """The smallest side, and the number that sides must be multiples of, px, by trial."""

        def is_taken(width: int, height: int) -> bool:
            return self._takes(image.new_zeros((*image.shape[:2], height, width)), deepest)

        smallest = next((side for side in TRIED_SIDES_PX if is_taken(side, side)), DEFAULT_SIDE_PX)
        for multiple in TRIED_MULTIPLES_PX:
            if is_taken(*(math.ceil(side / multiple) * multiple for side in PRIME_SIDES_PX)):
                return max(smallest, multiple), multiple
        return smallest, 1

    def _takes(self, image: Tensor, deepest: str) -> bool:
        try:
            with torch.no_grad():
                self._run(image, deepest)
        except torch.OutOfMemoryError:
            raise  # which says nothing about the size
        except Exception:  # there is no error class for images that are too small
            return False
        return True

    def _checked(self, layer: LayerInfo, activation: Tensor | None, image: Tensor) -> Tensor:
        """The activation as (1, channels, …), upright."""
        if activation is None or activation.numel() == 0:
            height, width = image.shape[-2:]
            raise UnknownLayerError(
                f"{layer.name} of {self.model.name} does not run on an image of {width}x{height} "
                "pixels, or gives nothing; choose another --layer or --size"
            )
        if torch.is_grad_enabled() and image.requires_grad and not activation.requires_grad:
            raise UnknownLayerError(
                f"{layer.name} of {self.model.name} has no gradient with respect to the image "
                "(does it run under torch.no_grad?); choose another --layer"
            )
        if activation.shape[0] == 1:
            activation = activation.movedim(layer.channel_axis, 1)
        else:  # windows of the image in place of a batch: all their positions count
            activation = activation.movedim(layer.channel_axis, 0)[None]
        activation = activation.to(image.dtype)  # the network may compute in another one itself
        is_rotated = self.model.has_rotated_layers and activation.ndim == 4
        return activation.flip(2, 3) if is_rotated else activation


def load_extractor(
    settings: Settings, device: torch.device, layers: Sequence[str] = ()
) -> FeatureExtractor:
    """Load the network of settings, prepared for the layers of the settings.

    Args:
        settings: name the network, its weights, layers and channels.
        device: where the network runs.
        layers: further layers.

    Raises:
        UnknownModelError: there is no such network.
        UnknownLayerError: it has no such layer or channel.
        WeightsError: its weights are missing or damaged.
    """
    names = tuple(dict.fromkeys([*settings.layers, *layers]))
    extractor = FeatureExtractor(load_model(settings), names, device)
    extractor.check_channels(settings)
    return extractor


class _DeepestLayerFinished(BaseException):
    """Ends a pass. No `Exception`, so that a network that catches those lets it through."""


class _ForwardPass(threading.local):
    """The activations of a running pass; each thread has its own."""

    def __init__(self) -> None:
        self.activations: dict[str, Tensor] = {}
        self.is_finished = False
        self._deepest = ""
        self._calls: Counter[str] = Counter()

    def start(self, deepest: str) -> None:
        """Begin a pass that ends with the last call of a layer."""
        self.activations.clear()
        self.is_finished = False
        self._deepest = deepest
        self._calls.clear()

    def record(self, layer: LayerInfo, activation: Tensor) -> None:
        """Keep the activation of a layer.

        Raises:
            _DeepestLayerFinished: it was the last activation that is needed.
        """
        if self.is_finished:  # a network that catches everything goes on
            return
        self._calls[layer.name] += 1
        self.is_finished = layer.name == self._deepest and self._calls[layer.name] == layer.calls
        # Later modules may change the activation in place.
        self.activations[layer.name] = activation if self.is_finished else activation.clone()
        if self.is_finished:
            raise _DeepestLayerFinished
