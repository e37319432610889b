"""The values that pass between rooms.

Inside dreamvideo an image is RGB, float32 in [0, 1], of shape (height, width, 3)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from dreamvideo.errors import DreamVideoWarning

if TYPE_CHECKING:
    from torch import Tensor


FloatArray: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ImageMetadata:
    """What a picture's file says beside its pixels, to be said again by the dream's."""

    name: str
    """Of the file, without its folder."""
    bits: int = 8
    """Of each channel: 8 or 16."""
    colour_profile: bytes | None = None
    """ICC profile for the RGB values."""
    exif: bytes | None = None
    """Camera, date and so on; it says that the picture is upright."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture and its place in the film.

    Raises:
        ValueError: the image is not a (height, width, 3) array of float32.
    """

    index: int
    """Counts the frames of the film from 0."""
    time_seconds: Fraction
    """When the picture is first shown, exactly."""
    image: FloatArray
    """(height, width, 3), RGB in [0, 1]."""
    alpha: FloatArray | None = None
    """(height, width) in [0, 1] where the picture has transparency."""
    duration_seconds: Fraction | None = None
    """How long the picture is shown, where the source says so."""
    metadata: ImageMetadata | None = None
    """Where the picture came from a file of its own."""

    def __post_init__(self) -> None:
        if self.image.dtype != np.float32 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise ValueError(
                f"an image is a float32 array of shape (height, width, 3), "
                f"not {self.image.dtype} {self.image.shape}"
            )

    def with_image(self, image: FloatArray) -> Frame:
        """The same place in the film with another picture."""
        return replace(self, image=image)


@dataclass(frozen=True)
class ColourTags:
    """What numbers in a video stream mean, as code points of ITU-T H.273 (2 is unspecified)."""

    primaries: int
    transfer: int
    matrix: int
    full_range: bool = False
    """Whether black and white are 0 and 255 of 8 bits, not 16 and 235."""


BT709 = ColourTags(primaries=1, transfer=1, matrix=1)


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a source before its first frame."""

    width_px: int
    height_px: int
    frame_count: int | None = 1
    """None where nobody can tell."""
    frame_rate: Fraction = Fraction(25)
    """Frames per second, on average: a hint for the encoder, never used for timing."""
    time_base_seconds: Fraction = Fraction(1, 25)
    """Every time of a frame is a whole multiple of this."""
    pixel_aspect: Fraction = Fraction(1)
    """Width over height of one pixel as shown."""
    colour: ColourTags = BT709
    bits: int = 8
    """Of each channel of the source."""
    begin_seconds: Fraction | None = None
    """Where on the source's own clock the film's zero is, if its beginning was left out."""
    end_seconds: Fraction | None = None
    """Where on the source's own clock the film stops, if its end was left out."""


@dataclass(frozen=True)
class FramePosition:
    """A frame that was dreamed already, to go on after it."""

    index: int
    time_seconds: Fraction


@dataclass(frozen=True, eq=False)
class Motion:
    """How the picture moved since the frame before, at the frame's size or a smaller one."""

    flow_to_previous: FloatArray
    """(rows, columns, 2), x then y, in px of the frame: from each place to its match in the
    previous frame."""
    confidence: FloatArray
    """(rows, columns) in [0, 1]: 0 where that match cannot be trusted."""
    fade_factor: float = 1.0
    """The share of the dream that stays where the picture fades away."""


@dataclass(frozen=True)
class TargetLevel:
    """How strongly a shot is dreamed: as by a cold dream of its first frame that is not flat."""

    gains: tuple[float, ...]
    """By how much that raised the objective at each octave, from the largest down; none where it
    did not, so that nothing is held."""
    source: float
    """The objective of the source at full size, when it was last looked at."""
    typical_log_gain: float | None
    """The logarithm of the gain that is usual in a part of the picture, where parts are seen."""


@dataclass(frozen=True, eq=False)
class TemporalState:
    """All that one frame's dream leaves to the next one's."""

    carried: Tensor | None = None
    """(1, 3, height, width): of a clip the residual, dream minus source; of a journey the dreamed
    picture, with what lies around the frame. None before the first frame."""
    target_level: TargetLevel | None = None
    """Of a clip, if its shot is held at a level."""


@dataclass(frozen=True, eq=False)
class DreamedFrame:
    """A finished frame, and what the next one needs of it."""

    frame: Frame
    state: TemporalState = TemporalState()


@dataclass(frozen=True)
class Progress:
    """Handed to the callback after each frame."""

    frames_done: int
    frame_count: int | None
    """None where the source does not tell how long it is."""
    dream_gain: float
    """Energy of the layer on the dream over that on the source, measured now and then."""


@dataclass(frozen=True)
class Summary:
    """What a finished run made."""

    path: Path
    frames: int
    elapsed_seconds: float
    frames_resumed: int = 0
    """How many of the frames an earlier run had made."""
    frames_lost: int = 0
    """How many frames of the source were broken or missing, and left out."""

    @property
    def frames_per_second(self) -> float:
        """Frames made per second of this run."""
        return (self.frames - self.frames_resumed) / self.elapsed_seconds


# Share of red, green and blue in the brightness of a pixel (ITU-R BT.709, 3.2).
LUMA_BT709 = (0.2126, 0.7152, 0.0722)
# Square root of the covariance of RGB over ImageNet, as published with lucid (color.py), columns
# being roughly brightness, blue-yellow and red-green.
NATURAL_COVARIANCE_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


class OpaqueOnBlack:
    """Puts the frames of one film on black, and says so once."""

    def __init__(self) -> None:
        self._has_warned = False

    def __call__(self, frame: Frame) -> Frame:
        """The frame without transparency."""
        if frame.alpha is None:
            return frame
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                "the source is transparent in places; films are written opaque, on black",
                DreamVideoWarning,
                stacklevel=2,
            )
        return on_black(frame)


def on_black(frame: Frame) -> Frame:
    """A frame without transparency: what was transparent is black."""
    if frame.alpha is None:
        return frame
    return replace(frame, image=frame.image * frame.alpha[..., None], alpha=None)


ProgressCallback = Callable[[Progress], None]
# The gain costs two passes through the network: about 2 % of the time at this interval.
GAIN_INTERVAL_FRAMES = 25
