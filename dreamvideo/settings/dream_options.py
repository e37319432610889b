"""Options of the network, the objective, the gradient ascent and temporal coherence."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

from dreamvideo.errors import SettingsError
from dreamvideo.settings.keyframes import Schedule
from dreamvideo.settings.options import (
    SEQUENCES,
    JobKind,
    Selection,
    option,
    parse_indices,
    parse_triple,
    varying,
)

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


COMPOSITING = "compositing"


@dataclass(frozen=True)
class CompositingSettings:
    """Options of how the dream is blended with its source."""

    mask: str | None = option(
        None,
        "where to dream: white is dreamed, black stays as it is; an image, or for videos also a "
        "video of the same length or a folder with an image for each output frame",
        group=COMPOSITING,
        applies_to=SEQUENCES | JobKind.STILL,
        names_file=True,
    )
    mix: float = varying(
        1.0,
        "opacity of the dream: 0 shows the source, 1 the dream",
        group=COMPOSITING,
        applies_to=SEQUENCES | JobKind.STILL,
        minimum=0.0,
        maximum=1.0,
        affects_level=False,  # blending happens after the dream
        affects_cold_gain=False,
    )
    keep_colour: bool = option(
        False,
        "take the brightness from the dream and the colours from the source",
        group=COMPOSITING,
        applies_to=SEQUENCES | JobKind.STILL,
    )


ASCENT = "gradient ascent"


@dataclass(frozen=True)
class DreamSettings:
    """Options of the gradient ascent."""

    octaves: int = varying(
        4,
        "number of image sizes to dream at, from small to full size",
        group=ASCENT,
        minimum=1,
        maximum=12,
        affects_level=True,
        affects_cold_gain=True,
    )
    octave_scale: float = varying(
        1.4,
        "ratio between the sizes of two successive octaves",
        group=ASCENT,
        minimum=1.05,
        maximum=4.0,
        affects_level=True,
        affects_cold_gain=True,
    )
    iterations: int = varying(
        10,
        "ascent steps per octave, for still images and for the first frame of each shot",
        group=ASCENT,
        minimum=1,
        maximum=1000,
        affects_level=True,
        affects_cold_gain=True,
    )
    step_size: float = varying(
        0.015,
        "RMS change of the image in one step, where the range from black to white is 1",
        group=ASCENT,
        minimum=0.0,
        maximum=1.0,
        affects_level=True,
        affects_cold_gain=True,
    )
    strength: float = varying(
        1.0,
        "factor on every step; 0 leaves the image exactly as it is",
        group=ASCENT,
        minimum=0.0,
        maximum=10.0,
        affects_level=True,
        affects_cold_gain=False,  # the gain is measured at a strength of 1
    )
    jitter: int = varying(
        16,
        "largest random shift of the image before each step",
        group=ASCENT,
        unit="px",
        minimum=0,
        maximum=512,
        affects_level=False,
        affects_cold_gain=True,
    )
    smoothing: float | None = varying(
        None,
        "standard deviation of the blur on the gradient; less gives finer strokes and more noise",
        group=ASCENT,
        default_text="2; 1.1 for zooms, which lose sharpness in every frame",
        unit="px",
        minimum=0.0,
        maximum=32.0,
        affects_level=True,
        affects_cold_gain=True,
    )
    natural_colour: float = varying(
        0.8,
        "how far the dream's colours follow those of natural images: 0 is neon, 1 is muted",
        group=ASCENT,
        minimum=0.0,
        maximum=1.0,
        affects_level=True,
        affects_cold_gain=True,
    )
    seed: int = varying(
        0,
        "random seed; the same seed gives the same frames",
        group=ASCENT,
        minimum=0,
        maximum=2**53,  # float64, in which keyframes are interpolated, is exact up to here
        affects_level=False,
        affects_cold_gain=False,
    )


COHERENCE = "temporal coherence (videos)"


@dataclass(frozen=True)
class CoherenceSettings:
    """Options of how the dream is carried from frame to frame."""

    flow: str = option(
        "dis",
        "optical flow method: dis (fast), raft (a network, downloaded on first use), none (each "
        "frame is dreamed by itself, which flickers)",
        group=COHERENCE,
        applies_to=SEQUENCES,
        choices=("dis", "raft", "none"),
    )
    persistence: float = varying(
        0.97,
        "share of the previous frame's dream that is carried along the motion",
        group=COHERENCE,
        applies_to=SEQUENCES,
        minimum=0.0,
        maximum=1.0,
        affects_level=True,
        affects_cold_gain=False,
    )
    warm_iterations: int = varying(
        1,
        "ascent steps per octave that refresh the carried dream in each frame",
        group=COHERENCE,
        applies_to=SEQUENCES | JobKind.ZOOM,
        minimum=0,
        maximum=1000,
        affects_level=True,
        affects_cold_gain=False,
    )
    warm_octaves: int = varying(
        2,
        "number of octaves that are refreshed, from the largest down: the largest in every frame, "
        "the others in every eighth",
        group=COHERENCE,
        applies_to=SEQUENCES | JobKind.ZOOM,
        minimum=1,
        maximum=12,
        affects_level=True,
        affects_cold_gain=False,
    )
    evolve: float = option(
        0.0,
        "how fast the emphasis moves from channel to channel, so that the dream changes even where "
        "nothing moves; 0 keeps it",
        group=COHERENCE,
        conflicts_with=("class_",),
        applies_to=SEQUENCES,
        unit="cycles per second",
        minimum=0.0,
        maximum=10.0,
    )
    passes: int = option(
        1,
        "passes over the video: 2 dreams each shot backward first, so that areas are already "
        "dreamed when they come into view; takes twice the time, and disk space",
        group=COHERENCE,
        applies_to=JobKind.VIDEO | JobKind.FOLDER,
        minimum=1,
        maximum=2,
    )
    cuts: str = option(
        "auto",
        "where new shots start, each with a new dream: auto (detected by colour; fades and flashes "
        "are not cuts), none, or times of the video in seconds or mm:ss, separated by commas",
        group=COHERENCE,
        applies_to=SEQUENCES,
        join=",".join,
    )

    @property
    def cut_times_seconds(self) -> tuple[Fraction, ...] | None:
        """The times that `cuts` lists, () for `none`; None if cuts are to be detected.

        Raises:
            SettingsError: `cuts` is malformed.
        """
        if self.cuts in ("auto", "none"):
            return None if self.cuts == "auto" else ()
        texts = [text.strip() for text in self.cuts.split(",")]
        if not all(map(_TIME.fullmatch, texts)):
            raise SettingsError(
                f"cuts cannot be {self.cuts!r}: allowed is auto or none, or times of the video in "
                "seconds or mm:ss, separated by commas, such as 3.2,0:15 (default auto)"
            )
        return tuple(map(_exact_seconds, texts))


# Seconds, 1:30 or 0:01:30.5.
_TIME = re.compile(r"(?:(?:\d{1,9}:)?\d{1,9}:)?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})", re.ASCII)


def _exact_seconds(text: str) -> Fraction:
    """The decimal number as typed; a float would round it, and miss a frame at that time."""
    total = Fraction(0)
    for part in text.split(":"):
        total = total * 60 + Fraction(part)
    return total
