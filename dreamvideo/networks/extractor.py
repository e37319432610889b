"""Runs a network up to the layers asked for, and no farther."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dreamvideo.errors import UnknownLayerError
from dreamvideo.networks.introspection import (
    LayerInfo,
    NetworkSummary,
    cost_shares,
    first_tensor,
    inspect_network,
    module_of,
    runs_at,
)
from dreamvideo.networks.model import DEFAULT_SIDE_PX, Model, class_index, suggest_names
from dreamvideo.networks.registry import load_model
from dreamvideo.settings import Settings
from dreamvideo.settings.dream_options import AUTO_LAYER, OUTPUT_LAYER


class DeepestLayerReached(Exception):  # noqa: N818
    """The deepest layer has answered: ends the pass."""


class ForwardPass(threading.local):
    """The answers of a pass; each thread has one of its own."""

    def __init__(self) -> None:
        self.wanted: dict[str, Tensor] = {}
        self.deepest = ""
        self._calls: Counter[str] = Counter()

    def begin(self, deepest: str) -> None:
        """Make ready for a pass that ends with a layer."""
        self.deepest = deepest
        self._calls.clear()

    def keep(self, layer: LayerInfo, activation: Tensor) -> None:
        """Take a layer's answer.

        Raises:
            Reached: nothing more is wanted.
        """
        self._calls[layer.name] += 1
        is_end = layer.name == self.deepest and self._calls[layer.name] == layer.calls
        # What follows may change the answer in place.
        self.wanted[layer.name] = activation if is_end else activation.clone()
        if is_end:
            raise DeepestLayerReached


# Where no layer is asked for and none is known to dream well, the one at this share of the
# network's multiplications is taken: that of the default network's is 0.57, of GoogLeNet's 0.74.
DEFAULT_DEPTH = 0.6
# Sides of pictures that are tried until the network takes one, px.
TRIED_SIDES_PX = (1, *range(16, DEFAULT_SIDE_PX, 16))
# What sides may have to be multiples of, where branches that shrink and grow again meet, px.
TRIED_MULTIPLES_PX = (1, 2, 4, 8, 16, 32, 64)
# No multiples of anything, and large enough for every network but those of one size, px.
ODD_SIDES_PX = (233, 239)


class FeatureExtractor:
    """A network that answers with the activations of the layers asked for, and stops there.

    Safe to call from many threads.
    """

    def __init__(self, model: Model, layers: Sequence[str], device: torch.device) -> None:
        """Prepare for some layers; to be made by `load_backbone`."""
        self.model = model
        self.summary = inspect_network(model.network, model.name, model.side_px)
        self._known = {layer.name: layer for layer in self.summary.layers}
        self._order = {name: place for place, name in enumerate(self._known)}
        self._asked = {name: self._find(name) for name in layers}
        kept = {layer.name for layer in self._asked.values()}
        _fold_batch_norms(model.network, self.summary, kept)
        self.network = model.network.to(device).to(memory_format=torch.channels_last).eval()
        mean, std = (
            torch.tensor(colour, device=device).view(1, 3, 1, 1)
            for colour in (model.mean, model.std)
        )
        self._scale, self._offset = 1 / std, -mean / std
        for name in kept:
            module_of(self.network, name).register_forward_hook(self._keeper(self._known[name]))
        self._pass = ForwardPass()
        # Networks of whose code nothing is known may keep what they reckon in themselves.
        self._turn: AbstractContextManager[object] = (
            threading.Lock() if model.has_unknown_code else nullcontext()
        )
        self._sizes: dict[str, tuple[int, int]] = {}

    def __call__(self, image: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """The activations (1, channels, …) of each layer, in the order asked for.

        What follows the channels are the places: rows and columns, a row of patches, or nothing.

        Args:
            image: (1, 3, H, W), RGB in [0, 1]; runs fastest on channels-last images.
            layers: some of those that the network was loaded for.

        Raises:
            UnknownLayerError: an answer has no gradient, though one is wanted.
        """
        found = [self._asked[name] for name in layers]
        deepest = max((layer.name for layer in found), key=self._order.__getitem__)
        try:
            with self._turn, suppress(DeepestLayerReached):
                self._pass.begin(deepest)
                fitting = self._fitting(self._normalised(image))
                self._pass.begin(deepest)  # what fits was perhaps tried out
                self.network(fitting)
            activations = [_channels_first(self._pass.wanted[layer.name], layer) for layer in found]
        finally:
            self._pass.wanted.clear()  # they would hold all that led to them
        if fitting.requires_grad and not all(
            activation.requires_grad for activation in activations
        ):
            raise UnknownLayerError(
                f"{deepest} of {self.model.name} has no gradient with respect to the "
                "picture (does it run without one, under torch.no_grad?); choose another --layer"
            )
        return activations

    def check(self, settings: Settings) -> None:
        """Refuse channels that the layers do not have.

        Raises:
            UnknownLayerError: names the layer and how many channels it has.
        """
        for layer in (self._asked[name] for name in settings.layers):
            for channel in settings.channel:
                if channel >= layer.channels:
                    raise UnknownLayerError(
                        f"{layer.name} of {settings.model} has no channel {channel}: allowed is 0 "
                        f"to {layer.channels - 1}"
                    )

    def reach(self, layers: Sequence[str]) -> tuple[int, tuple[int, ...]] | None:
        """See `Survey.reach`, of some of the layers that the network was loaded for."""
        return self.summary.reach([self._asked[name] for name in layers])

    def layer(self, name: str) -> LayerInfo:
        """What is known of a layer that the network was loaded for."""
        return self._asked[name]

    def class_index(self, wanted: str) -> int:
        """The channel of the output that stands for a class, by its name or number.

        Raises:
            UnknownLayerError: there is no such class.
        """
        outputs = self._known[OUTPUT_LAYER].channels
        return class_index(wanted, outputs, self.model.categories(), self.model.name)

    def _find(self, name: str) -> LayerInfo:
        if name == AUTO_LAYER:
            return self._known[self.model.default_layer or self._middle_layer()]
        name = self.model.aliases.get(name, name)
        if name in self._known:
            return self._known[name]
        words = [*self._known, *self.model.aliases]
        raise UnknownLayerError(
            f"{self.model.name} has no layer {name!r}; {suggest_names(name, words, 0.3)}"
            f"'dreamvideo layers {self.model.name}' lists its {len(self._known)}"
        )

    def _middle_layer(self) -> str:
        """The last one up to the usual depth."""
        shares = cost_shares(self.model.network, self.summary)
        fitting = [
            layer.name
            for layer in self.summary.worth_dreaming()
            if shares[layer.name] <= DEFAULT_DEPTH
        ]
        return fitting[-1] if fitting else OUTPUT_LAYER

    def _keeper(self, layer: LayerInfo) -> Callable[[nn.Module, object, object], None]:
        def keep(module: nn.Module, inputs: object, activation: object) -> None:
            tensor = first_tensor(activation)
            assert tensor is not None
            self._pass.keep(layer, tensor)

        return keep

    def _normalised(self, image: Tensor) -> Tensor:
        """(image − mean) / deviation, in one pass over the picture."""
        # Numbers for a whole row: with three alone, it takes six times as long, there and back.
        offset, scale = (
            numbers.expand(1, 3, 1, image.shape[-1]).contiguous(memory_format=torch.channels_last)
            for numbers in (self._offset, self._scale)
        )
        return torch.addcmul(offset, image, scale)

    def _fitting(self, image: Tensor) -> Tensor:
        """A picture of a size that the network takes."""
        height, width = image.shape[-2:]
        if self.summary.is_size_fixed:
            return nn.functional.interpolate(
                image, self.summary.size_px, mode="bicubic", antialias=True
            )
        smallest, multiple = self._sizes_taken()
        missing = [
            max(smallest, math.ceil(side / multiple) * multiple) - side for side in (width, height)
        ]
        padding = (0, missing[0], 0, missing[1])
        return nn.functional.pad(image, padding, mode="replicate") if any(missing) else image

    def _sizes_taken(self) -> tuple[int, int]:
        """The smallest side of pictures that are taken, and what sides have to be multiples of, px.

        Up to the deepest layer, found out by trying.
        """
        if self._pass.deepest not in self._sizes:
            smallest = next(filter(self._takes, TRIED_SIDES_PX), DEFAULT_SIDE_PX)
            multiple = next(
                (
                    multiple
                    for multiple in TRIED_MULTIPLES_PX
                    if self._takes(
                        *(math.ceil(side / multiple) * multiple for side in ODD_SIDES_PX)
                    )
                ),
                1,
            )
            self._sizes[self._pass.deepest] = max(smallest, multiple), multiple
        return self._sizes[self._pass.deepest]

    def _takes(self, *sides_px: int) -> bool:
        self._pass.begin(self._pass.deepest)
        return runs_at(self.network, (sides_px[0], sides_px[-1]), DeepestLayerReached)


def load_extractor(
    settings: Settings, device: torch.device, layers: Sequence[str] = ()
) -> FeatureExtractor:
    """The network that the settings name, for all layers that they name.

    Args:
        settings: name the network, its weights, and layers and channels of it.
        device: where it is to run.
        layers: more of them.

    Raises:
        UnknownModelError: there is no such network.
        UnknownLayerError: it has no such layer or channel; the message names the nearest ones.
        WeightsError: its weights are missing or damaged.
    """
    wanted = tuple(dict.fromkeys([*settings.layers, *layers]))
    backbone = FeatureExtractor(load_model(settings), wanted, device)
    backbone.check(settings)
    return backbone


def _channels_first(activation: Tensor, layer: LayerInfo) -> Tensor:
    """(1, channels, …): of answers in windows, which stand for pictures, all are places."""
    if activation.shape[0] == 1:
        return activation.movedim(layer.channel_axis, 1)
    return activation.movedim(layer.channel_axis, 0)[None]


def _fold_batch_norms(network: nn.Module, known: NetworkSummary, kept: set[str]) -> None:
    """Take batch-norms into the convolutions before them, but for layers that are asked for."""
    for fold in known.folds:
        if fold.activations & kept:
            continue
        before, after = network.get_submodule(fold.convolution), network.get_submodule(fold.norm)
        assert isinstance(before, nn.Conv2d)
        assert isinstance(after, nn.BatchNorm2d)
        folded = fuse_conv_bn_eval(before, after)
        network.set_submodule(fold.convolution, folded)
        network.set_submodule(fold.norm, nn.Identity())
