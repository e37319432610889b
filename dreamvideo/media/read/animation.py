"""The frames of an animated WebP or AVIF, and the pages of a TIFF, read with Pillow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

from PIL import Image

from dreamvideo.media.opening import Location
from dreamvideo.media.read.ffmpeg_image import check_pixels
from dreamvideo.media.read.image import bits_of_page, frame_of, read_page
from dreamvideo.media.read.picture_formats import picture_format
from dreamvideo.media.read.pillow_file import frame_numbers, open_pillow, reading_image
from dreamvideo.media.read.timeline import StreamScan, TimedFrame
from dreamvideo.types import UNSPECIFIED

MILLISECOND = Fraction(1, 1000)
# How long browsers show a frame that declares no time.
DEFAULT_SECONDS = Fraction(1, 10)


class AnimationDecoder:
    """See `FrameDecoder`; the frames of an animation that FFmpeg does not read."""

    frames_lost = 0
    start_seconds = Fraction(0)
    pixel_aspect = Fraction(1)
    primaries = UNSPECIFIED
    transfer = UNSPECIFIED
    codec = ""

    def __init__(self, location: Location, max_pixels: int, page_rate: Fraction) -> None:
        """Read through the file once, since only its frames say how long they are shown.

        Args:
            location: the file.
            max_pixels: larger frames are refused.
            page_rate: pages per second of a TIFF, which has no times.

        Raises:
            InputError: it cannot be read.
        """
        self._location = location
        self._path = Path(location.name)
        self._max_pixels = max_pixels
        with reading_image(self._path):
            image, self._numbers = self._open()
            with image:
                is_timed = image.format != "TIFF"
                durations = (
                    _durations_seconds(image, self._numbers)
                    if is_timed
                    else [1 / page_rate] * len(self._numbers)
                )
        self.tick_seconds = MILLISECOND if is_timed else 1 / page_rate
        times = [Fraction(0), *accumulate(durations)]
        self._spans = list(zip(times, durations, strict=False))
        self.frame_rate = len(durations) / times[-1]

    def scan(self, max_broken: float) -> StreamScan:
        """See `FrameDecoder`."""
        return StreamScan([time_seconds for time_seconds, _ in self._spans], missing=0)

    def timed_frames(
        self, from_seconds: Fraction | None, max_broken: float
    ) -> Iterator[TimedFrame]:
        """See `FrameDecoder`; always from the first, since frames are drawn over one another."""
        with reading_image(self._path):
            image, _ = self._open()
        with image:
            for number, (time_seconds, duration_seconds) in zip(
                self._numbers, self._spans, strict=True
            ):
                with reading_image(self._path):
                    image.seek(number)
                    check_pixels(self._path, *image.size, self._max_pixels)
                    pixels = read_page(image, self._path, bits_of_page(image, self._path))
                yield TimedFrame(time_seconds, frame_of(pixels), duration_seconds)

    def close(self) -> None:
        """See `FrameDecoder`; the file is closed after its last frame."""

    def _open(self) -> tuple[Image.Image, Sequence[int]]:
        """The file, opened by Pillow, and Pillow's numbers of its frames."""
        row = picture_format(self._path)
        image = None if row is None else open_pillow(self._path, row)
        if row is None or image is None:
            raise ValueError("it has changed")
        check_pixels(self._path, *image.size, self._max_pixels)
        return image, frame_numbers(image, row)


def _durations_seconds(image: Image.Image, numbers: Sequence[int]) -> list[Fraction]:
    """How long each frame is shown."""
    spans_ms: list[tuple[int, int]] = []
    for number in numbers:
        image.seek(number)
        image.load()
        spans_ms.append((image.info["timestamp"], image.info["duration"]))
    starts_ms = [start_ms for start_ms, _ in spans_ms]
    # Each start is rounded by itself, so that durations do not add up to them.
    ends_ms = [*starts_ms[1:], sum(spans_ms[-1])]
    return [
        (end_ms - start_ms) * MILLISECOND if end_ms > start_ms else DEFAULT_SECONDS
        for start_ms, end_ms in zip(starts_ms, ends_ms, strict=True)
    ]
