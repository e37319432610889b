"""A still picture as a film of one frame, and any number of them for a journey.

Refuses to know what becomes of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from dreamvideo.errors import InputError, UsageError
from dreamvideo.frames import FloatArray, Footage, Frame
from dreamvideo.media.kinds import is_noise, noise_size
from dreamvideo.media.opaque import OnBlack, on_black
from dreamvideo.media.opening import Location, check_location
from dreamvideo.settings import Settings
from dreamvideo.sources.noise import natural_noise
from dreamvideo.sources.picture_file import read_facts, read_picture, upright_size
from dreamvideo.sources.scaling import Size, scaled_size
from dreamvideo.sources.timeline import exact_rate, exact_seconds

# How long a journey is, unless asked otherwise.
DURATION_SECONDS = 10.0


class StillSource:
    """One picture, upright, in RGB and, where it has it, alpha."""

    frames_lost = 0

    def __init__(self, location: Location, settings: Settings) -> None:
        """Read the picture.

        Raises:
            InputError: the file is not a picture that can be read.
        """
        size = scaled_size(*_size_of(location, settings), settings.size)
        self._frame = _read(location, settings, size)
        facts = self._frame.facts
        self.footage = Footage(*size, bits=facts.bits if facts else 8)

    def stop(self) -> None:
        """See `Source`; reading a file waits for nobody."""

    def __iter__(self) -> Iterator[Frame]:
        """The one frame."""
        yield self._frame


class Stills:
    """The stills that a journey passes, all of the first one's size."""

    frames_lost = 0

    def __init__(
        self, locations: Sequence[Location], settings: Settings, rate: float, most_px: int | None
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
        (width, height), *_ = [_size_of(location, settings) for location in locations]
        # Films want even sides.
        size_px = settings.size or min(max(width, height), most_px or max(width, height))
        size = scaled_size(width, height, size_px)
        frame_rate = exact_rate(settings.fps or rate)
        asked_seconds = exact_seconds(settings.duration or DURATION_SECONDS) or Fraction(0)
        frames = max(1, round(asked_seconds * frame_rate))
        self.duration_seconds = frames / frame_rate
        self.footage = Footage(
            *size,
            frame_count=frames,
            frame_rate=frame_rate,
            time_base_seconds=1 / frame_rate,
        )
        self._locations, self._settings, self._size = locations, settings, size
        self._on_black = OnBlack()
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
        frame = _read(self._locations[index], self._settings, self._size, index)
        return self._on_black(frame).image


def still_image(location: Location, settings: Settings) -> FloatArray:
    """A still (height, width, 3) in its own size, on black where it is transparent.

    Raises:
        InputError: it is missing, cannot be read, or is too large.
    """
    return on_black(_read(location, settings, _size_of(location, settings))).image


def _size_of(location: Location, settings: Settings) -> Size:
    if not is_noise(location.name):
        check_location(location)
        return upright_size(read_facts(Path(location.name), settings.max_pixels))
    width, height = noise_size(location.name)
    if width * height > settings.max_pixels:
        raise InputError(
            f"{location.name} has more than {settings.max_pixels:,} pixels; allow that with "
            f"--max-pixels {width * height}"
        )
    return width, height


def _read(location: Location, settings: Settings, size: Size, index: int = 0) -> Frame:
    """A picture, scaled to (width, height); noise is made of that size, another for each index."""
    if is_noise(location.name):
        return Frame(0, Fraction(0), natural_noise(*size, (settings.at(0).seed, index)))
    image, alpha, facts = read_picture(Path(location.name), size, settings.max_pixels)
    return Frame(0, Fraction(0), image, alpha=alpha, facts=facts)
