"""A still image or noise as a source; the still images of a zoom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from dreamvideo.errors import InputError, UsageError
from dreamvideo.media.opening import Location, check_location, is_noise, noise_size
from dreamvideo.media.pixels import OpaqueOnBlack, on_black
from dreamvideo.media.read.conversion import Size, scaled_size
from dreamvideo.media.read.image import read_header, read_image
from dreamvideo.media.read.timeline import exact_rate, exact_seconds
from dreamvideo.settings import Settings
from dreamvideo.types import NATURAL_COVARIANCE_ROOT, FloatArray, Frame, VideoInfo

# Standard deviation of the values: strong enough for the gradient ascent to start from, and hardly
# any value has to be clipped at black or white.
NOISE_STD = 0.15
MIDDLE_GREY = 0.5


def natural_noise(width_px: int, height_px: int, seed: tuple[int, int]) -> FloatArray:
    """(height, width, 3) in [0, 1]: noise with the spectrum and the colours of natural images.

    Amplitudes fall with the frequency f as 1/f (Field 1987); the channels are correlated as they
    are over ImageNet. The noise wraps around, from right to left and from bottom to top.
    """
    generator = np.random.default_rng([*seed, width_px, height_px])
    down = np.fft.fftfreq(height_px)[:, None]
    across = np.fft.rfftfreq(width_px)[None]
    frequency = np.maximum(np.hypot(down, across), 1 / max(width_px, height_px))
    mixed: FloatArray = np.zeros((height_px, width_px, 3), np.float32)
    for weights in np.transpose(NATURAL_COVARIANCE_ROOT):  # one by one: they take much memory
        spectrum = np.fft.rfft2(generator.standard_normal((height_px, width_px))) / frequency
        spectrum[0, 0] = 0  # the mean is set below
        channel = np.fft.irfft2(spectrum, s=(height_px, width_px)).astype(np.float32)
        for index, weight in enumerate(weights):
            mixed[..., index] += channel * np.float32(weight)
    std = mixed.std(dtype=np.float64) or 1.0  # a single pixel has none
    mixed *= np.float32(NOISE_STD / std)
    mixed += np.float32(MIDDLE_GREY)
    return mixed.clip(0, 1, out=mixed)


DEFAULT_DURATION_SECONDS = 10.0


class StillSource:
    """A still image as a source of one frame."""

    frames_lost = 0

    def __init__(self, location: Location, settings: Settings) -> None:
        """Read the image.

        Raises:
            InputError: the file cannot be read as an image.
        """
        size = scaled_size(*_still_size(location, settings), settings.size)
        self._frame = _read_still(location, settings, size)
        metadata = self._frame.metadata
        self.info = VideoInfo(*size, bits=metadata.bits if metadata else 8)

    def stop(self) -> None:
        """See `Source`; files are read without waiting."""

    def __iter__(self) -> Iterator[Frame]:
        """The one frame."""
        yield self._frame


class StillImages:
    """The still images that a zoom passes through, all in the size of the first."""

    frames_lost = 0

    def __init__(
        self, locations: Sequence[Location], settings: Settings, rate: float, max_px: int | None
    ) -> None:
        """Read each image once, so that a broken one does not end a long run.

        Args:
            locations: of the images, in their order.
            settings: duration and size of the zoom.
            rate: frames per second, unless the settings give a rate.
            max_px: the longest side, unless the settings give a size; None keeps the first
                image's.

        Raises:
            UsageError: noise without a size, or more images than frames.
            InputError: an image does not exist, is incomplete, or is too large.
        """
        (width, height), *_ = [_still_size(location, settings) for location in locations]
        # Video formats require even sides.
        size_px = settings.size or min(max(width, height), max_px or max(width, height))
        size = scaled_size(width, height, size_px)
        frame_rate = exact_rate(settings.fps or rate)
        target_seconds = exact_seconds(settings.duration or DEFAULT_DURATION_SECONDS) or Fraction(0)
        frame_count = max(1, round(target_seconds * frame_rate))
        self.duration_seconds = frame_count / frame_rate
        self.info = VideoInfo(
            *size,
            frame_count=frame_count,
            frame_rate=frame_rate,
            time_base_seconds=1 / frame_rate,
        )
        self._locations, self._settings, self._size = locations, settings, size
        self._on_black = OpaqueOnBlack()
        if len(locations) > frame_count:
            raise UsageError(
                f"{len(locations)} still images do not fit in {frame_count} frames; give a longer "
                "--duration, or fewer images"
            )
        for index in range(1, len(locations)):
            self[index]

    def __len__(self) -> int:
        return len(self._locations)

    def __getitem__(self, index: int) -> FloatArray:
        """An image (height, width, 3) in [0, 1], on black where it is transparent."""
        frame = _read_still(self._locations[index], self._settings, self._size, index)
        return self._on_black(frame).image


def read_still(location: Location, settings: Settings) -> FloatArray:
    """An image (height, width, 3) in [0, 1] in its own size, on black where it is transparent.

    Raises:
        InputError: it does not exist, cannot be read, or is too large.
    """
    return on_black(_read_still(location, settings, _still_size(location, settings))).image


def _still_size(location: Location, settings: Settings) -> Size:
    if not is_noise(location.name):
        check_location(location)
        return read_header(Path(location.name), settings.max_pixels).size
    width, height = noise_size(location.name)
    if width * height > settings.max_pixels:
        raise InputError(
            f"{location.name} has more than {settings.max_pixels:,} pixels; allow that with "
            f"--max-pixels {width * height}"
        )
    return width, height


def _read_still(location: Location, settings: Settings, size: Size, index: int = 0) -> Frame:
    """An image scaled to (width, height) in px; noise is made in that size, anew for each index."""
    if is_noise(location.name):
        return Frame(0, Fraction(0), natural_noise(*size, (settings.at(0).seed, index)))
    image, alpha, metadata = read_image(Path(location.name), size, settings.max_pixels)
    return Frame(0, Fraction(0), image, alpha=alpha, metadata=metadata)
