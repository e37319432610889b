"""Which network dreams, and what of it. Refuses to know which networks there are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from dreamvideo.options import colour_of, indices_of, option, varying
from dreamvideo.settings.layers import AUTO_LAYER, joined


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
        parse=colour_of,
        length=3,
    )
    std: tuple[float, float, float] | None = option(
        None,
        "standard deviation of these pictures (default: comes with the weights)",
        group="network",
        minimum=0.001,
        maximum=10.0,
        parse=colour_of,
        length=3,
    )
    layer: str = varying(
        AUTO_LAYER,
        "layer of the network whose answer is strengthened: early layers give strokes, middle ones "
        "eyes, late ones animals; 'dreamvideo layers MODEL' lists them. NAME=WEIGHT, given several "
        "times or with + between, mixes; a negative weight pushes away. auto is the network's "
        "usual one",
        group="network",
        join=joined,
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
        parse=indices_of,
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
class BlendSettings:
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
