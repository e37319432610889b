"""A still image or noise as a source, and the still images of a zoom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from dreamvideo.errors import InputError, UsageError
from dreamvideo.media.formats import is_noise, noise_size
from dreamvideo.media.opening import Location, check_location
from dreamvideo.media.read.conversion import Size, scaled_size
from dreamvideo.media.read.image import read_header, read_image, upright_size
from dreamvideo.media.read.timeline import exact_rate, exact_seconds
from dreamvideo.settings import Settings
from dreamvideo.types import (
    NATURAL_COVARIANCE_ROOT,
    FloatArray,
    Frame,
    OpaqueOnBlack,
    VideoInfo,
    on_black,
)

# Standard deviation of each channel: strong enough for a dream to find hold, and with hardly a
# value that would have to be cut off at black or white.
NOISE_STD = 0.15
MIDDLE_GREY = 0.5


def natural_noise(width_px: int, height_px: int, seed: tuple[int, int]) -> FloatArray:
    """(height, width, 3) in [0, 1]: noise with the spectrum and the colours of natural pictures.

    Amplitudes fall with the frequency f as 1/f (Field 1987); the channels are mixed as they are
    over ImageNet. Without edges: it goes on from its right to its left, and from top to bottom.
    """
    generator = np.random.default_rng([*seed, width_px, height_px])
    down = np.fft.fftfreq(height_px)[:, None]
    across = np.fft.rfftfreq(width_px)[None]
    frequency = np.maximum(np.hypot(down, across), 1 / max(width_px, height_px))
    mixed: FloatArray = np.zeros((height_px, width_px, 3), np.float32)
    for weights in np.transpose(NATURAL_COVARIANCE_ROOT):  # one by one: they are large
        spectrum = np.fft.rfft2(generator.standard_normal((height_px, width_px))) / frequency
        spectrum[0, 0] = 0  # the mean is set below
        channel = np.fft.irfft2(spectrum, s=(height_px, width_px)).astype(np.float32)
        for index, weight in enumerate(weights):
            mixed[..., index] += channel * np.float32(weight)
    std = mixed.std(dtype=np.float64) or 1.0  # a single pixel has none
    mixed *= np.float32(NOISE_STD / std)
    mixed += np.float32(MIDDLE_GREY)
    return mixed.clip(0, 1, out=mixed)


# How long a journey is, unless asked otherwise.
DEFAULT_DURATION_SECONDS = 10.0


class StillSource:
    """One picture, upright, in RGB and, where it has it, alpha."""

    frames_lost = 0

    def __init__(self, location: Location, settings: Settings) -> None:
        """Read the picture.

        Raises:
            InputError: the file is not a picture that can be read.
        """
        size = scaled_size(*_still_size(location, settings), settings.size)
        self._frame = _read_still(location, settings, size)
        metadata = self._frame.metadata
        self.info = VideoInfo(*size, bits=metadata.bits if metadata else 8)

    def stop(self) -> None:
        """See `Source`; reading a file waits for nobody."""

    def __iter__(self) -> Iterator[Frame]:
        """The one frame."""
        yield self._frame


class StillImages:
    """The stills that a journey passes, all of the first one's size."""

    frames_lost = 0

    def __init__(
        self, locations: Sequence[Location], settings: Settings, rate: float, max_px: int | None
    ) -> None:
        """Read each picture once, so that a broken one does not end a long run.

        Args:
            locations: of the pictures, in their order.
            settings: how long the journey is, and its size.
            rate: frames per second, unless the settings say.
            most_px: the longest side, unless the settings say; None keeps the first one's.

        Raises:
            UsageError: noise of no size, or more stills than frames.
            InputError: a picture is missing, cannot be read to its end, or is too large.
        """
        (width, height), *_ = [_still_size(location, settings) for location in locations]
        # Films want even sides.
        size_px = settings.size or min(max(width, height), max_px or max(width, height))
        size = scaled_size(width, height, size_px)
        frame_rate = exact_rate(settings.fps or rate)
        asked_seconds = exact_seconds(settings.duration or DEFAULT_DURATION_SECONDS) or Fraction(0)
        frames = max(1, round(asked_seconds * frame_rate))
        self.duration_seconds = frames / frame_rate
        self.info = VideoInfo(
            *size,
            frame_count=frames,
            frame_rate=frame_rate,
            time_base_seconds=1 / frame_rate,
        )
        self._locations, self._settings, self._size = locations, settings, size
        self._on_black = OpaqueOnBlack()
        if len(locations) > frames:
            raise UsageError(
                f"{len(locations)} stills do not fit in {frames} frames; give a longer --duration, "
                "or fewer"
            )
        for index in range(1, len(locations)):
            self[index]

    def __len__(self) -> int:
        return len(self._locations)

    def __getitem__(self, index: int) -> FloatArray:
        """A still (height, width, 3), on black where it is transparent."""
        frame = _read_still(self._locations[index], self._settings, self._size, index)
        return self._on_black(frame).image


def read_still(location: Location, settings: Settings) -> FloatArray:
    """A still (height, width, 3) in its own size, on black where it is transparent.

    Raises:
        InputError: it is missing, cannot be read, or is too large.
    """
    return on_black(_read_still(location, settings, _still_size(location, settings))).image


def _still_size(location: Location, settings: Settings) -> Size:
    if not is_noise(location.name):
        check_location(location)
        return upright_size(read_header(Path(location.name), settings.max_pixels))
    width, height = noise_size(location.name)
    if width * height > settings.max_pixels:
        raise InputError(
            f"{location.name} has more than {settings.max_pixels:,} pixels; allow that with "
            f"--max-pixels {width * height}"
        )
    return width, height


def _read_still(location: Location, settings: Settings, size: Size, index: int = 0) -> Frame:
    """A picture, scaled to (width, height); noise is made of that size, another for each index."""
    if is_noise(location.name):
        return Frame(0, Fraction(0), natural_noise(*size, (settings.at(0).seed, index)))
    image, alpha, metadata = read_image(Path(location.name), size, settings.max_pixels)
    return Frame(0, Fraction(0), image, alpha=alpha, metadata=metadata)
