"""Options of the network, its layers, and what is maximized of them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from dreamvideo.errors import SettingsError
from dreamvideo.settings.keyframes import Schedule
from dreamvideo.settings.options import (
    Selection,
    option,
    varying,
)
from dreamvideo.settings.parsing import parse_indices, parse_triple

# The value of `layer` that stands for the network's default layer.
AUTO_LAYER = "auto"
# The layer name of the network's final output, its class scores.
OUTPUT_LAYER = "output"
LAYER_SEPARATOR = "+"
# Models whose names have this prefix are looked up by timm; any other colon names Python code.
TIMM_PREFIX = "timm:"

# Layer names with their weights.
LayerWeights = tuple[tuple[str, float], ...]


def parse_layer_weights(text: str) -> LayerWeights:
    """Layer names with weights whose absolute values add up to 1; negative ones suppress a layer.

    Args:
        text: `NAME`, `NAME=WEIGHT`, or several of these joined by `+`.

    Raises:
        SettingsError: the text is malformed; the message names the part.
    """
    weights: dict[str, float] = {}
    for part in text.split(LAYER_SEPARATOR):
        name, _, number = (word.strip() for word in part.partition("="))
        if not name:
            raise SettingsError(f"layer cannot be {text!r}: a layer name is missing; {_EXAMPLE}")
        try:
            weight = float(number) if "=" in part else 1.0
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight):
            raise SettingsError(
                f"layer cannot be {text!r}: the weight of {name}, {number!r}, is not a finite "
                f"number; {_EXAMPLE}"
            )
        weights[name] = weights.get(name, 0.0) + weight
    total = sum(map(abs, weights.values()))
    if total == 0:
        raise SettingsError(f"layer cannot be {text!r}: all weights are 0; {_EXAMPLE}")
    return tuple((name, weight / total) for name, weight in weights.items())


_EXAMPLE = "write NAME, NAME=WEIGHT, or several joined by +, such as blocks.8=1+blocks.4=0.3"


def blend_layer_weights(mixture: Sequence[tuple[str, float]]) -> LayerWeights:
    """The layer weights of a weighted mixture of layer texts."""
    weights: dict[str, float] = {}
    for text, text_weight in mixture:
        for name, weight in parse_layer_weights(text):
            weights[name] = weights.get(name, 0.0) + text_weight * weight
    return tuple(weights.items())


def join_layers(given: Sequence[Any]) -> Any:
    """Several --layer options as one text.

    Raises:
        SettingsError: one of them has keyframes, so that it is unclear which go together.
    """
    if len(given) == 1:
        return given[0]
    if any(isinstance(layer, Schedule) for layer in given):
        raise SettingsError(
            "several --layer options cannot have keyframes: give one --layer, with + between the "
            'layers of each time, such as "0:blocks.8+blocks.4=0.3, 5:blocks.10"'
        )
    return LAYER_SEPARATOR.join(given)


NETWORK = "network"


@dataclass(frozen=True)
class NetworkSettings:
    """Options of the network."""

    model: str = option(
        "efficientnet_lite0",
        "network to dream with ('dreamvideo models' lists them), timm:NAME, or "
        "package.module:factory for a callable that returns a torch.nn.Module",
        group=NETWORK,
        names_code=lambda name: ":" in name and not name.startswith(TIMM_PREFIX),
        selects=Selection.NETWORK,
    )
    weights: str | None = option(
        None,
        "file with the network's weights (.pth or .safetensors); only what the layer needs has to "
        "fit; or random for untrained ones",
        group=NETWORK,
        default_text="the published weights, downloaded on first use if they are not installed",
        names_file=True,
        selects=Selection.NETWORK,
    )
    mean: tuple[float, float, float] | None = option(
        None,
        "mean of the images that the network was trained on, with black 0 and white 1",
        group=NETWORK,
        default_text="as the weights require",
        minimum=-1.0,
        maximum=2.0,
        parse=parse_triple,
        length=3,
        selects=Selection.NETWORK,
    )
    std: tuple[float, float, float] | None = option(
        None,
        "standard deviation of these images",
        group=NETWORK,
        default_text="as the weights require",
        minimum=0.001,
        maximum=10.0,
        parse=parse_triple,
        length=3,
        selects=Selection.NETWORK,
    )
    network_size: str | None = option(
        None,
        "size of the images that the network takes, such as 64 or 160x80, if it takes one size "
        "only; at every octave, the image is scaled to it for layers that need it",
        group=NETWORK,
        default_text="found by trial",
        unit="px",
        selects=Selection.NETWORK,
    )
    class_names: str | None = option(
        None,
        "file with the names of the network's classes, for --class: one per line, in their order, "
        "or each with its number, as Places365 has them",
        group=NETWORK,
        default_text="the names of ImageNet, if the network has a thousand classes",
        names_file=True,
        selects=Selection.NETWORK,
    )
    layer: str = varying(
        AUTO_LAYER,
        "layer whose activations are amplified: early layers give strokes, middle ones eyes, late "
        "ones animals ('dreamvideo layers MODEL' lists them); NAME=WEIGHT, repeated or joined by "
        "+, mixes layers, and a negative weight suppresses one; auto is the network's default "
        "layer",
        group=NETWORK,
        conflicts_with=("class_",),
        join=join_layers,
        affects_level=True,
        affects_cold_gain=False,  # the gain is measured for each layer by itself
        selects=Selection.LAYER,
    )

    @property
    def network_size_px(self) -> tuple[int, int] | None:
        """(height, width) that `network_size` names.

        Raises:
            SettingsError: `network_size` is malformed.
        """
        if self.network_size is None:
            return None
        sides = _NETWORK_SIZE.fullmatch(self.network_size)
        if sides is None:
            raise SettingsError(
                f"network-size cannot be {self.network_size!r}: allowed is the side of a square, "
                "or WIDTHxHEIGHT, in px, such as 64 or 160x80"
            )
        return int(sides["height"] or sides["width"]), int(sides["width"])


# A side, or width and height.
_NETWORK_SIZE = re.compile(r"(?P<width>[1-9]\d{0,4})(?:x(?P<height>[1-9]\d{0,4}))?", re.ASCII)

OBJECTIVE = "objective"


@dataclass(frozen=True)
class ObjectiveSettings:
    """Options of what the gradient ascent maximizes."""

    objective: str = option(
        "l2",
        "what is maximized: l2, the layer's mean squared activation, which amplifies what is in "
        "the image; mean, its mean activation, which draws what the channels detect",
        group=OBJECTIVE,
        conflicts_with=("class_",),
        choices=("l2", "mean"),
    )
    channel: tuple[int, ...] = option(
        (),
        "amplify only this channel of the layer; N,N… or repeating the option gives several",
        group=OBJECTIVE,
        default_text="all channels",
        conflicts_with=("class_",),
        minimum=0,
        parse=parse_indices,
        item_type=int,
        join=lambda given: tuple(chain(*given)),
        selects=Selection.LAYER,
    )
    strongest: int | None = option(
        None,
        "amplify only the N channels with the largest activations in each frame",
        group=OBJECTIVE,
        conflicts_with=("class_", "channel"),
        minimum=1,
        selects=Selection.LAYER,
    )
    weakest: int | None = option(
        None,
        "amplify only the N channels with the smallest activations in each frame",
        group=OBJECTIVE,
        conflicts_with=("class_", "channel", "strongest"),
        minimum=1,
        selects=Selection.LAYER,
    )
    guide: str | None = option(
        None,
        "guide image: make the layer's activations more like those of this image",
        group=OBJECTIVE,
        conflicts_with=("class_", "objective"),
        names_file=True,
    )
    class_: str | None = option(
        None,
        "amplify the network's score for a class, given by name, such as tabby, or by number",
        group=OBJECTIVE,
        selects=Selection.LAYER,
    )
