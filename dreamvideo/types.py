"""The values that pass between rooms.

An image is an array (height, width, 3) of float32, RGB in [0, 1]. On a device it is a tensor
(1, 3, height, width) with the same values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor


FloatArray: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ImageMetadata:
    """What an image file holds besides its pixels; the dreamed file gets the same."""

    name: str
    """File name without its folder."""
    bits: int = 8
    """Bits per channel: 8 or 16."""
    colour_profile: bytes | None = None
    """ICC profile of the RGB values."""
    exif: bytes | None = None
    """EXIF block (camera, date, …), with its orientation set to upright."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a video and its position in time.

    Raises:
        ValueError: the image is not a (height, width, 3) array of float32.
    """

    index: int
    """Number of the frame, from 0."""
    time_seconds: Fraction
    """Exact presentation time."""
    image: FloatArray
    """(height, width, 3), RGB in [0, 1]."""
    alpha: FloatArray | None = None
    """(height, width), opacity in [0, 1]; None if the image is opaque."""
    duration_seconds: Fraction | None = None
    """How long the frame is shown; None if the source does not declare it."""
    metadata: ImageMetadata | None = None
    """Metadata of the frame's own file; None for a frame of a video."""

    def __post_init__(self) -> None:
        if self.image.dtype != np.float32 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise ValueError(
                f"an image is a float32 array of shape (height, width, 3), "
                f"not {self.image.dtype} {self.image.shape}"
            )

    def with_image(self, image: FloatArray) -> Frame:
        """A copy of this frame with another image (height, width, 3)."""
        return replace(self, image=image)


# The code point of ITU-T H.273 for primaries, transfer and matrix that a file does not declare.
UNSPECIFIED = 2


@dataclass(frozen=True)
class ColourTags:
    """How the numbers of a video stream map to colours: code points of ITU-T H.273."""

    primaries: int
    transfer: int
    matrix: int
    full_range: bool = False
    """Whether 8-bit black and white are 0 and 255, not 16 and 235."""


BT709 = ColourTags(primaries=1, transfer=1, matrix=1)


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a source that are known before its first frame is decoded."""

    width_px: int
    height_px: int
    frame_count: int | None = 1
    """None if it is unknown, as of a stream."""
    frame_rate: Fraction = Fraction(25)
    """Mean number of frames per second: a hint for the encoder, never used for timing."""
    time_base_seconds: Fraction = Fraction(1, 25)
    """Unit of time: the time of every frame is a multiple of it."""
    pixel_aspect: Fraction = Fraction(1)
    """Width of a pixel divided by its height, as displayed."""
    colour: ColourTags = BT709
    bits: int = 8
    """Bits per channel of the source."""
    origin_seconds: Fraction = Fraction(0)
    """Time in the source file that is time zero here."""
    begin_seconds: Fraction | None = None
    """Time in the source file at which the frames begin; None if nothing was cut off the
    beginning."""
    end_seconds: Fraction | None = None
    """Time in the source file at which the frames end; None if nothing was cut off the end."""


@dataclass(frozen=True)
class FramePosition:
    """The last frame that is already dreamed; a resumed run continues after it."""

    index: int
    """Number of the frame, from 0."""
    time_seconds: Fraction
    """Its exact presentation time."""


@dataclass(frozen=True, eq=False)
class Motion:
    """Motion since the previous frame, at the size of the frame or a smaller one."""

    flow_to_previous: FloatArray
    """(rows, columns, 2), x then y, in pixels of the full frame: the vector from each position to
    its match in the previous frame."""
    confidence: FloatArray
    """(rows, columns) in [0, 1]: how far that match can be trusted."""
    fade_factor: float = 1.0
    """Share of the residual to keep, in [0, 1]: below 1 while the shot fades to one colour."""


@dataclass(frozen=True)
class TargetLevel:
    """How strongly the frames of a shot are dreamed: as strongly as a cold dream of the shot.

    It is measured at the first frame of the shot that has texture.
    """

    gains: tuple[float, ...]
    """Objective of that cold dream minus objective of its source, at each octave from the largest
    down. Empty if the dream raised none of them: then the level of the shot is not controlled."""
    source_values: tuple[float, ...]
    """Objective of the source at the same octaves, each from the last frame that remeasured it."""
    typical_log_gain: float | None
    """Logarithm of the dream gain, averaged over the positions of the cold dream. None where no
    local boost is possible: an objective without positions, or a dream that gained too little."""


@dataclass(frozen=True, eq=False)
class TemporalState:
    """What the dream of the next frame needs of all frames before it."""

    carried: Tensor | None = None
    """(1, 3, height, width). Video: the residual, dream minus source. Zoom: the dreamed canvas,
    which is larger than the frame. None before the first frame."""
    target_level: TargetLevel | None = None
    """Target of level control; None before it is measured, without level control, and for zooms."""
    freshness: Tensor | None = None
    """(1, 1, height, width) in [0, 1]: how recently each pixel of a video came into view. None
    after frames of which little is new, and for zooms."""


@dataclass(frozen=True, eq=False)
class DreamedFrame:
    """A finished frame and the state that the next frame continues from."""

    frame: Frame
    state: TemporalState = TemporalState()


@dataclass(frozen=True)
class Progress:
    """Argument of the progress callback, which is called after each frame."""

    frames_done: int
    frame_count: int | None
    """Number of all frames; None if it is unknown, as of a stream."""
    dream_gain: float
    """Energy of the layers on the dream divided by that on the source, at the last frame that
    measured it (one in `GAIN_INTERVAL_FRAMES`)."""


@dataclass(frozen=True)
class Summary:
    """Result of a finished run."""

    path: Path
    """The output."""
    frames: int
    """Number of frames in the output."""
    elapsed_seconds: float
    """Duration of this run."""
    frames_resumed: int = 0
    """Number of frames taken over from an interrupted run."""
    frames_lost: int = 0
    """Number of frames of the source that were skipped because they were damaged or missing."""

    @property
    def frames_per_second(self) -> float:
        """Frames dreamed per second of this run."""
        return (self.frames - self.frames_resumed) / self.elapsed_seconds


# Weights of red, green and blue in luma (ITU-R BT.709, section 3.2).
LUMA_BT709 = (0.2126, 0.7152, 0.0722)
# Square root of the covariance of RGB over ImageNet, as published with lucid (color.py). Its
# columns are roughly brightness, blue-yellow and red-green.
NATURAL_COVARIANCE_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


ProgressCallback = Callable[[Progress], None]
# Frames between two measurements of `Progress.dream_gain`. Each is two forward passes through the
# network: at this interval about 2 % of the time.
GAIN_INTERVAL_FRAMES = 25
