"""The options of the network, the objective, the ascent and temporal coherence."""

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
from dreamvideo.settings.options import option, parse_indices, parse_triple, varying

# The layer that each network is usually dreamed with.
AUTO_LAYER = "auto"
# The network as a whole: its scores for classes.
OUTPUT_LAYER = "output"
LAYER_SEPARATOR = "+"

LayerWeights = tuple[tuple[str, float], ...]


def parse_layer_weights(text: str) -> LayerWeights:
    """Names of layers with their shares, whose sizes add up to 1; negative ones push away.

    Args:
        text: `NAME`, `NAME=WEIGHT`, or several of these with `+` between.

    Raises:
        SettingsError: it is none of these; names the place.
    """
    weights: dict[str, float] = {}
    for part in text.split(LAYER_SEPARATOR):
        name, _, number = (word.strip() for word in part.partition("="))
        if not name:
            raise SettingsError(f"layer cannot be {text!r}: a name is missing; {_EXAMPLE}")
        try:
            weight = float(number) if "=" in part else 1.0
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight):
            raise SettingsError(
                f"layer cannot be {text!r}: the weight of {name} is {number!r}, which is no "
                f"number; {_EXAMPLE}"
            )
        weights[name] = weights.get(name, 0.0) + weight
    total = sum(map(abs, weights.values()))
    if total == 0:
        raise SettingsError(f"layer cannot be {text!r}: its weights are all 0; {_EXAMPLE}")
    return tuple((name, weight / total) for name, weight in weights.items())


_EXAMPLE = "write NAME, NAME=WEIGHT, or several with + between, such as blocks.8=1+blocks.4=0.3"


def blend_layer_weights(mixture: Sequence[tuple[str, float]]) -> LayerWeights:
    """The shares of a mixture of texts, each with its own share."""
    shares: dict[str, float] = {}
    for text, part in mixture:
        for name, share in parse_layer_weights(text):
            shares[name] = shares.get(name, 0.0) + part * share
    return tuple(shares.items())


def join_layers(given: Sequence[Any]) -> Any:
    """Several layers that were given one by one, as one text.

    Raises:
        SettingsError: they change over time, so that it is unclear how they go together.
    """
    if len(given) == 1:
        return given[0]
    if any(isinstance(one, Schedule) for one in given):
        raise SettingsError(
            "several --layer cannot be keyframes: give one, with + between the layers of a time, "
            'such as "0:blocks.8+blocks.4=0.3, 5:blocks.10"'
        )
    return LAYER_SEPARATOR.join(given)


@dataclass(frozen=True)
class NetworkSettings:
    """Options of the network."""

    model: str = option(
        "efficientnet_lite0",
        "the network that dreams: 'dreamvideo models' lists them; also timm:NAME, and "
        "package.module:factory for any callable that returns a torch.nn.Module",
        group="network",
    )
    weights: str | None = option(
        None,
        "a file with the network's weights, .pth or .safetensors, or random for none (default: "
        "those that were published with it, downloaded on first use where they do not come along)",
        group="network",
    )
    mean: tuple[float, float, float] | None = option(
        None,
        "mean R,G,B of the pictures that the network was trained on, black 0 and white 1 "
        "(default: comes with the weights)",
        group="network",
        minimum=-1.0,
        maximum=2.0,
        parse=parse_triple,
        length=3,
    )
    std: tuple[float, float, float] | None = option(
        None,
        "standard deviation of these pictures (default: comes with the weights)",
        group="network",
        minimum=0.001,
        maximum=10.0,
        parse=parse_triple,
        length=3,
    )
    layer: str = varying(
        AUTO_LAYER,
        "layer of the network whose answer is strengthened: early layers give strokes, middle ones "
        "eyes, late ones animals; 'dreamvideo layers MODEL' lists them. NAME=WEIGHT, given several "
        "times or with + between, mixes; a negative weight pushes away. auto is the network's "
        "usual one",
        group="network",
        join=join_layers,
    )


@dataclass(frozen=True)
class ObjectiveSettings:
    """Options of what is raised."""

    objective: str = option(
        "l2",
        "what of a layer's answer is raised: l2, its mean square, which strengthens whatever it "
        "sees; mean, which strengthens what it looks for",
        group="objective",
        choices=("l2", "mean"),
    )
    channel: tuple[int, ...] = option(
        (),
        "raise only these channels of the layer; may be given several times (default: all)",
        group="objective",
        minimum=0,
        parse=parse_indices,
        length=None,
        item=int,
        join=lambda given: tuple(chain(*given)),
    )
    strongest: int | None = option(
        None,
        "raise only so many channels, those that answer most to each frame",
        group="objective",
        minimum=1,
    )
    weakest: int | None = option(
        None,
        "raise only so many channels, those that answer least to each frame",
        group="objective",
        minimum=1,
    )
    guide: str | None = option(
        None,
        "a picture: draw what the layer sees toward what it sees in that one",
        group="objective",
    )
    class_: str | None = option(
        None,
        "dream of a class, by its name (such as 'tabby') or number, through the network's output",
        group="objective",
    )


@dataclass(frozen=True)
class CompositingSettings:
    """Options of where the dream is shown over its source."""

    mask: str | None = option(
        None,
        "where to dream: a picture, for films also a film of the same length, or a folder with a "
        "picture for each frame that is made; white dreams, black stays as it is",
        group="blend",
    )
    mix: float = varying(
        1.0,
        "how much of the dream is blended over the source",
        group="blend",
        minimum=0.0,
        maximum=1.0,
    )
    keep_colour: bool = option(
        False,
        "take the brightness of the dream and the colour of the source",
        group="blend",
    )


# Seconds, 1:30 or 0:01:30.5.
TIME = re.compile(r"(?:(?:\d{1,9}:)?\d{1,9}:)?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})", re.ASCII)


@dataclass(frozen=True)
class DreamSettings:
    """Options of the ascent."""

    octaves: int = varying(
        4, "sizes of the picture that are dreamed on", group="dream", minimum=1, maximum=12
    )
    octave_scale: float = varying(
        1.4, "ratio of one octave's size to the next", group="dream", minimum=1.05, maximum=4.0
    )
    iterations: int = varying(
        10, "steps of ascent per octave in a cold dream", group="dream", minimum=1, maximum=1000
    )
    step_size: float = varying(
        0.015,
        "root mean square change of one step, of the range from black to white",
        group="dream",
        minimum=0.0,
        maximum=1.0,
    )
    strength: float = varying(
        1.0,
        "scales the whole ascent; 0 leaves the picture exactly as it is",
        group="dream",
        minimum=0.0,
        maximum=10.0,
    )
    jitter: int = varying(
        16,
        "largest random shift before each step",
        group="dream",
        unit="px",
        minimum=0,
        maximum=512,
    )
    smoothing: float | None = varying(
        None,
        "standard deviation of the blur on the gradient; less gives finer strokes and more noise "
        "(default: 2; 1.1 for films made of stills, which would lose their sharpness)",
        group="dream",
        unit="px",
        minimum=0.0,
        maximum=32.0,
    )
    natural_colour: float = varying(
        0.8,
        "how far the dream's colours follow those of natural pictures: 0 is neon, 1 muted",
        group="dream",
        minimum=0.0,
        maximum=1.0,
    )
    seed: int = varying(
        0,
        "start of the random numbers; the same seed gives the same frames",
        group="dream",
        minimum=0,
        maximum=2**53,  # the largest that keyframes can tell from its neighbours
    )


@dataclass(frozen=True)
class CoherenceSettings:
    """Options of what one frame leaves to the next."""

    flow: str = option(
        "dis",
        "how motion is measured: dis (fast), raft (a network, downloaded on first use), "
        "none (every frame is dreamed on its own and flickers)",
        group="coherence",
        choices=("dis", "raft", "none"),
    )
    persistence: float = varying(
        0.97,
        "share of the last frame's dream that is carried along the motion",
        group="coherence",
        minimum=0.0,
        maximum=1.0,
    )
    warm_iterations: int = varying(
        1,
        "steps of ascent per octave that refresh a carried dream",
        group="coherence",
        minimum=0,
        maximum=1000,
    )
    warm_octaves: int = varying(
        2,
        "octaves, counted from the largest, that refresh a carried dream: the largest in every "
        "frame, the others in every eighth",
        group="coherence",
        minimum=1,
        maximum=12,
    )
    evolve: float = option(
        0.0,
        "how fast figures turn into others, also where nothing moves: 0.1 comes round in 10 "
        "seconds, 0 lets them stay what they are",
        group="coherence",
        unit="per second",
        minimum=0.0,
        maximum=10.0,
    )
    passes: int = option(
        1,
        "how often films are dreamed: 2 dreams each shot backward first, so that what comes into "
        "view is dreamed already; takes twice the time, and room on the disk",
        group="coherence",
        minimum=1,
        maximum=2,
    )
    cuts: str = option(
        "auto",
        "where new shots begin, and their dreams anew: auto (found by colour; fades and flashes "
        "are none), none, or times of the film in seconds or as mm:ss, with commas between",
        group="coherence",
        join=",".join,
    )

    @property
    def cut_times_seconds(self) -> tuple[Fraction, ...] | None:
        """The times that `cuts` names, none for `none`; None if they are to be found.

        Raises:
            SettingsError: it is none of these.
        """
        if self.cuts in ("auto", "none"):
            return None if self.cuts == "auto" else ()
        texts = [text.strip() for text in self.cuts.split(",")]
        if not all(map(TIME.fullmatch, texts)):
            raise SettingsError(
                f"cuts cannot be {self.cuts!r}: allowed is auto or none, or times of the film in "
                "seconds or as mm:ss, with commas between, such as 3.2,0:15 (default auto)"
            )
        return tuple(map(_exact_seconds, texts))


def _exact_seconds(text: str) -> Fraction:
    """The decimal number that was typed, not the binary one that is nearest to it."""
    total = Fraction(0)
    for part in text.split(":"):
        total = total * 60 + Fraction(part)
    return total
