"""Hands out the default network, ready to run up to any of its layers.

Refuses to know how the network is built and what its activations are wanted for.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dreamvideo.errors import UnknownLayerError
from dreamvideo.networks.efficientnet_lite import EfficientNetLite0

NEAREST_NAMES = 4


class Backbone:
    """A network that answers with the activations of the layers asked for, and stops there."""

    def __init__(
        self, network: EfficientNetLite0, layers: Sequence[str], device: torch.device
    ) -> None:
        """Prepare for some layers; to be made by `load_backbone`."""
        self.network = network
        names = network.layer_names()
        self._depth = {layer: names.index(layer) for layer in layers}
        self._cut = {layer: _on_device(network.up_to(layer), device) for layer in layers}
        self._answers: dict[str, Tensor] = {}
        for layer in layers:
            network.module_of(layer).register_forward_hook(self._keeper(layer))

    def __call__(self, image: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """The activations (N, channels, rows, columns) of each layer, in the order asked for.

        Args:
            image: (N, 3, H, W), RGB in [0, 1]; runs fastest on channels-last images.
            layers: some of those that the network was loaded for.
        """
        deepest = max(layers, key=lambda layer: self._depth[layer])
        self._cut[deepest](image)
        answers = [self._answers[layer] for layer in layers]
        self._answers.clear()
        return answers

    def _keeper(self, layer: str) -> Callable[[nn.Module, object, Tensor], None]:
        def keep(module: nn.Module, inputs: object, answer: Tensor) -> None:
            self._answers[layer] = answer

        return keep


def load_backbone(layers: Sequence[str], device: torch.device) -> Backbone:
    """The default network for some of its layers.

    Raises:
        UnknownLayerError: the network has no such layer; the message names the nearest ones.
        WeightsError: the packaged weights are missing or damaged.
    """
    network = EfficientNetLite0()
    names = network.layer_names()
    for layer in layers:
        if layer not in names:
            nearest = difflib.get_close_matches(layer, names, n=NEAREST_NAMES, cutoff=0.3)
            raise UnknownLayerError(
                f"efficientnet_lite0 has no layer {layer!r}; "
                + (f"nearest are {', '.join(nearest)}; " if nearest else "")
                + f"its {len(names)} layers run from {names[0]} through "
                f"blocks.0 … blocks.15 (each with .expand and .depthwise inside) to {names[-1]}"
            )
    return Backbone(network, layers, device)


def _on_device(module: nn.Module, device: torch.device) -> nn.Module:
    return module.to(device).to(memory_format=torch.channels_last).eval()
