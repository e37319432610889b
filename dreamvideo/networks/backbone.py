"""Runs a network up to the layers asked for, and no farther.

Refuses to know how the network is built and what its activations are wanted for.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dreamvideo.errors import UnknownLayerError
from dreamvideo.networks.catalogue import load_model
from dreamvideo.networks.classes import class_index
from dreamvideo.networks.model import Model
from dreamvideo.networks.survey import (
    USUAL_SIDE_PX,
    Layer,
    Survey,
    cost_shares,
    first_tensor,
    runs_at,
    survey,
)
from dreamvideo.settings import AUTO_LAYER, OUTPUT_LAYER, Settings

NEAREST_NAMES = 4
# Where no layer is asked for and none is known to dream well, the one at this share of the
# network's multiplications is taken: that of the default network's is 0.57, of GoogLeNet's 0.74.
DEFAULT_DEPTH = 0.6
# Sides of pictures that are tried until the network takes one, px.
SIDE_STEP_PX = 16
# Pictures with longer sides are taken by every network.
LARGE_SIDE_PX = 400


class _Reached(Exception):  # noqa: N818
    """The deepest layer has answered: ends the pass."""


class Backbone:
    """A network that answers with the activations of the layers asked for, and stops there."""

    def __init__(self, model: Model, layers: Sequence[str], device: torch.device) -> None:
        """Prepare for some layers; to be made by `load_backbone`."""
        self.model = model
        self.survey = survey(model.network, model.name, model.side_px)
        self._known = {layer.name: layer for layer in self.survey.layers}
        self._order = {name: place for place, name in enumerate(self._known)}
        self._asked = {name: self._find(name) for name in layers}
        kept = {layer.name for layer in self._asked.values()}
        _fold(model.network, self.survey, kept)
        self.network = model.network.to(device).to(memory_format=torch.channels_last).eval()
        self._mean, self._deviation = (
            torch.tensor(colour, device=device).view(1, 3, 1, 1)
            for colour in (model.mean, model.deviation)
        )
        for name in kept:
            module = self.network if name == OUTPUT_LAYER else self.network.get_submodule(name)
            module.register_forward_hook(self._keeper(self._known[name]))
        self._wanted: dict[str, Tensor] = {}
        self._deepest = ""
        self._calls: Counter[str] = Counter()
        self._smallest_side_px = dict.fromkeys(kept, 0)

    def __call__(self, image: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """The activations (N, channels, …) of each layer, in the order asked for.

        What follows the channels are the places: rows and columns, a row of patches, or nothing.

        Args:
            image: (N, 3, H, W), RGB in [0, 1]; runs fastest on channels-last images.
            layers: some of those that the network was loaded for.
        """
        found = [self._asked[name] for name in layers]
        self._deepest = max((layer.name for layer in found), key=self._order.__getitem__)
        fitting = self._fitting((image - self._mean) / self._deviation)
        self._calls.clear()
        with suppress(_Reached):
            self.network(fitting)
        answers = [self._wanted[layer.name].movedim(layer.channel_axis, 1) for layer in found]
        self._wanted.clear()
        return answers

    def layer(self, name: str) -> Layer:
        """What is known of a layer that the network was loaded for."""
        return self._asked[name]

    def class_index(self, wanted: str) -> int:
        """The channel of the output that stands for a class, by its name or number.

        Raises:
            UnknownLayerError: there is no such class.
        """
        outputs = self._known[OUTPUT_LAYER].channels
        return class_index(wanted, outputs, self.model.categories(), self.model.name)

    def _find(self, name: str) -> Layer:
        if name == AUTO_LAYER:
            return self._known[self.model.default_layer or self._middle_layer()]
        name = self.model.aliases.get(name, name)
        if name in self._known:
            return self._known[name]
        words = [*self._known, *self.model.aliases]
        nearest = difflib.get_close_matches(name, words, n=NEAREST_NAMES, cutoff=0.3)
        raise UnknownLayerError(
            f"{self.model.name} has no layer {name!r}; "
            + (f"nearest are {', '.join(nearest)}; " if nearest else "")
            + f"'dreamvideo layers {self.model.name}' lists its {len(self._known)}"
        )

    def _middle_layer(self) -> str:
        """The last one up to the usual depth."""
        shares = cost_shares(self.model.network, self.survey)
        fitting = [
            layer.name
            for layer in self.survey.worth_dreaming()
            if shares[layer.name] <= DEFAULT_DEPTH
        ]
        return fitting[-1] if fitting else OUTPUT_LAYER

    def _keeper(self, layer: Layer) -> Callable[[nn.Module, object, object], None]:
        def keep(module: nn.Module, inputs: object, answer: object) -> None:
            tensor = first_tensor(answer)
            assert tensor is not None
            self._calls[layer.name] += 1
            is_end = layer.name == self._deepest and self._calls[layer.name] == layer.calls
            # What follows may change the answer in place.
            self._wanted[layer.name] = tensor if is_end else tensor.clone()
            if is_end:
                raise _Reached

        return keep

    def _fitting(self, image: Tensor) -> Tensor:
        """A picture of a size that the network takes."""
        height, width = image.shape[-2:]
        if self.survey.is_size_fixed:
            return nn.functional.interpolate(
                image, self.survey.size_px, mode="bicubic", antialias=True
            )
        if min(height, width) >= LARGE_SIDE_PX:
            return image
        smallest = self._smallest()
        missing = (0, max(0, smallest - width), 0, max(0, smallest - height))
        return nn.functional.pad(image, missing, mode="replicate") if any(missing) else image

    def _smallest(self) -> int:
        """The smallest side of a picture that is taken, up to the deepest layer."""
        if self._smallest_side_px[self._deepest] == 0:
            sides = [1, *range(SIDE_STEP_PX, USUAL_SIDE_PX, SIDE_STEP_PX)]
            taken = (side for side in sides if self._runs_at(side))
            self._smallest_side_px[self._deepest] = next(taken, USUAL_SIDE_PX)
        return self._smallest_side_px[self._deepest]

    def _runs_at(self, side_px: int) -> bool:
        self._calls.clear()
        return runs_at(self.network, (side_px, side_px), _Reached)


def load_backbone(settings: Settings, device: torch.device, layers: Sequence[str] = ()) -> Backbone:
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
    backbone = Backbone(load_model(settings), wanted, device)
    for name in settings.layers:
        layer = backbone.layer(name)
        for channel in settings.channel:
            if channel >= layer.channels:
                raise UnknownLayerError(
                    f"{layer.name} of {settings.model} has no channel {channel}: allowed is 0 to "
                    f"{layer.channels - 1}"
                )
    return backbone


def _fold(network: nn.Module, known: Survey, kept: set[str]) -> None:
    """Take batch-norms into the convolutions before them, but for layers that are asked for."""
    for convolution, norm in known.folds:
        if convolution in kept:
            continue
        before, after = network.get_submodule(convolution), network.get_submodule(norm)
        assert isinstance(before, nn.Conv2d)
        assert isinstance(after, nn.BatchNorm2d)
        folded = fuse_conv_bn_eval(before, after)
        network.set_submodule(convolution, folded)
        network.set_submodule(norm, nn.Identity())
