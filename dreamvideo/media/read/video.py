"""A film as frames with exact times and true colours. Refuses to know what becomes of them."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from fractions import Fraction

import av

from dreamvideo.errors import DreamVideoWarning, InputError
from dreamvideo.media.ffmpeg import MATRIX_NAMES, effective_matrix
from dreamvideo.media.opening import Location
from dreamvideo.media.read.conversion import (
    HDR_TRANSFERS,
    Scaler,
    bits_of,
    orientation_of,
    scaled_size,
    to_standard_range,
)
from dreamvideo.media.read.decoding import Decoder
from dreamvideo.media.read.timeline import (
    StreamScan,
    TimedFrame,
    as_exact,
    at_rate,
    every_nth,
    exact_rate,
    exact_seconds,
    frame_rate,
    scan_video,
    trimmed,
)
from dreamvideo.settings import Settings
from dreamvideo.types import BT709, ColourTags, FloatArray, Frame, FramePosition, VideoInfo

# Code point of FFmpeg's AVColorRange.
FULL_RANGE = 2


class VideoSource:
    """The pictures of a film's first video stream, upright, scaled, in order."""

    def __init__(
        self,
        location: Location,
        settings: Settings,
        resume_at: FramePosition | None,
        max_px: int | None = None,
        found: StreamScan | None = None,
    ) -> None:
        """Open the film and read through it once, to know its length and that it is whole.

        `found` is what that told when the film was opened before.

        Raises:
            InputError: not a film that can be read, or it ends before its declared end.
        """
        self._location = location
        self._settings = settings
        self._resume_at = resume_at
        self._most_px = max_px
        self.scan = found
        if found is None and location.is_file:
            self.scan = scan_video(location, settings.max_broken)
        self._shortfall = 0
        self._scalers: dict[tuple[object, ...], Scaler] = {}
        self._decoder = Decoder(location, settings.max_pixels)
        try:
            self._begin()
        except InputError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._decoder.container.close()

    def stop(self) -> None:
        """See `Source`."""
        if self._location.spool is not None:
            self._location.spool.stop()

    @property
    def frames_lost(self) -> int:
        """See `Source`; where some are broken, others may be missing without a word."""
        if self.scan is None or not (self._decoder.lost or self.scan.missing):
            return self._decoder.lost
        return max(self._decoder.lost, self._shortfall) + self.scan.missing + self.scan.gaps

    def __iter__(self) -> Iterator[Frame]:
        """See `Source`."""
        timed_frames = trimmed(self._moments, *self._window)
        first_index = self._resume_at.index if self._resume_at else 0
        if self._settings.fps is not None:
            rate = exact_rate(self._settings.fps)
            tick = round(self._first_seconds * rate) + first_index
            timed_frames = every_nth(timed_frames, self._settings.every)
            timed_frames = at_rate(timed_frames, rate, tick, 1 / self._source_rate)
        else:
            if self._resume_at is not None:
                earlier = self._resume_at.time_seconds
                timed_frames = itertools.dropwhile(
                    lambda timed_frame: timed_frame.time_seconds < earlier, timed_frames
                )
            timed_frames = every_nth(timed_frames, self._settings.every)
        done = first_index
        for index, timed_frame in enumerate(timed_frames, start=first_index):
            picture, alpha = self._picture(timed_frame.picture)
            yield Frame(
                index, timed_frame.time_seconds, picture, alpha, timed_frame.duration_seconds
            )
            done = index + 1
        # Not every packet is a picture that is shown: only where some are broken is this a loss.
        if self.info.frame_count is not None:
            self._shortfall = self.info.frame_count - done

    def _begin(self) -> None:
        """Decode the first picture that is wanted: it tells what the container may not."""
        settings, decoder = self._settings, self._decoder
        clock = decoder.start_seconds
        start, end = exact_seconds(settings.start), exact_seconds(settings.end)
        begin_seconds = None if start is None else clock + start
        end_seconds = None if end is None else clock + end
        timed_frames = decoder.timed_frames(begin_seconds, settings.max_broken)
        if begin_seconds is not None:
            wanted = begin_seconds
            timed_frames = itertools.dropwhile(
                lambda timed_frame: timed_frame.time_seconds < wanted, timed_frames
            )
        first = next(timed_frames, None)
        if first is None or (end_seconds is not None and first.time_seconds >= end_seconds):
            raise InputError(self._nothing_there(start))
        # The film begins with its first picture, not up to a frame's length before it.
        self._window = (None if start is None else first.time_seconds, end_seconds)
        self._first_seconds = Fraction(0) if start is not None else first.time_seconds
        self._source_rate = frame_rate(decoder.stream)
        self.info = self._footage(first.picture)
        self._moments: Iterator[TimedFrame] = itertools.chain([first], timed_frames)
        if self._resume_at is not None:
            earlier: Fraction | None = self._resume_at.time_seconds + (self._window[0] or 0)
            if settings.fps is not None and settings.every > 1:
                earlier = None  # which of the frames are taken is counted from the first
            self._moments = decoder.timed_frames(earlier, settings.max_broken)

    def _nothing_there(self, start: Fraction | None) -> str:
        if start is None and self._settings.end is None:
            return f"{self._location.name} holds no picture; is the film whole?"
        length = ""
        if self.scan is not None and self.scan.times_seconds:
            last = self.scan.times_seconds[-1] - self._decoder.start_seconds
            length = f"; its last frame is at {float(last):.2f} s"
        return (
            f"{self._location.name} has no frame between --start {self._settings.start or 0:g} and "
            f"--end {self._settings.end or 'its end'}{length}"
        )

    def _footage(self, first: av.VideoFrame) -> VideoInfo:
        decoder, settings = self._decoder, self._settings
        orientation = orientation_of(first)
        upright = (first.width, first.height)
        aspect = as_exact(decoder.stream.sample_aspect_ratio, Fraction(1)) or Fraction(1)
        if orientation.transposed:
            upright, aspect = upright[::-1], 1 / aspect
        width, height = scaled_size(*upright, settings.size, self._most_px)
        rate, tick_seconds = self._source_rate / settings.every, decoder.tick_seconds
        if settings.fps is not None:
            rate = exact_rate(settings.fps)
            tick_seconds = 1 / rate
        self._transfer = int(decoder.stream.codec_context.color_trc)
        return VideoInfo(
            width_px=width,
            height_px=height,
            frame_count=self._frame_count(self.scan, rate),
            frame_rate=rate,
            time_base_seconds=tick_seconds,
            pixel_aspect=aspect,
            colour=self._colour(first),
            bits=bits_of(first),
            begin_seconds=self._window[0],
            end_seconds=self._window[1],
        )

    def _colour(self, first: av.VideoFrame) -> ColourTags:
        if self._transfer in HDR_TRANSFERS:
            warnings.warn(
                f"{self._location.name} has a high dynamic range, which is brought down to that of "
                "ordinary screens (BT.709)",
                DreamVideoWarning,
                stacklevel=2,
            )
            return BT709
        return ColourTags(
            int(self._decoder.stream.codec_context.color_primaries),
            self._transfer,
            effective_matrix(int(first.colorspace), first.height),
            _is_full_range(first) and not first.format.is_rgb,
        )

    def _frame_count(self, found: StreamScan | None, rate: Fraction) -> int | None:
        if found is None:
            return None
        count = found.count(*self._window)
        if self._settings.fps is not None and found.times_seconds:
            last = found.times_seconds[-1] + 1 / self._source_rate
            end = min(last, self._window[1]) if self._window[1] is not None else last
            begin = self._window[0] or self._first_seconds
            return max(1, round((end - begin) * rate))
        return -(-count // self._settings.every)

    def _picture(self, decoded: av.VideoFrame) -> tuple[FloatArray, FloatArray | None]:
        """The image and, where it is transparent in places, its alpha."""
        orientation = orientation_of(decoded)
        size = (self.info.width_px, self.info.height_px)
        size = size[::-1] if orientation.transposed else size
        facts = _scale_filter_colour(decoded, self._decoder.stream.codec_context.name)
        # A film may change its size or format on the way.
        kind = (decoded.width, decoded.height, decoded.format.name, size, facts)
        if kind not in self._scalers:
            self._scalers = {kind: Scaler(decoded, size, facts)}
        values = self._scalers[kind](decoded)
        alpha = values[..., 3:] if values.shape[2] == 4 else None
        values = values[..., :3]
        if self._transfer in HDR_TRANSFERS:
            values = to_standard_range(values, self._transfer)
        if alpha is None or alpha.min() == 1:
            return orientation.upright(values), None
        return orientation.upright(values), orientation.upright(alpha)[..., 0]


def _is_full_range(decoded: av.VideoFrame) -> bool:
    return decoded.color_range == FULL_RANGE or "yuvj" in decoded.format.name


def _scale_filter_colour(decoded: av.VideoFrame, codec: str) -> str:
    """What FFmpeg's scale filter must be told of the colours of a picture, as its options."""
    if decoded.format.is_rgb:
        return ""
    matrix = MATRIX_NAMES[effective_matrix(int(decoded.colorspace), decoded.height)]
    # Left is what films mean where they do not say, and FFmpeg takes that for centre.
    chroma = "center" if codec == "mjpeg" else "left"
    return (
        f":in_color_matrix={matrix}:in_range={'pc' if _is_full_range(decoded) else 'tv'}"
        f":in_chroma_loc={chroma}"
    )
