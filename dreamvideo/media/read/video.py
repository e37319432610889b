"""A video as frames with exact times and true colours."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from fractions import Fraction

import av

from dreamvideo.errors import DreamVideoWarning, InputError
from dreamvideo.media.opening import Location
from dreamvideo.media.pixels import FULL_RANGE, MATRIX_NAMES, effective_matrix
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


class VideoSource:
    """The frames of a video's first video stream: upright, scaled, in order."""

    def __init__(
        self,
        location: Location,
        settings: Settings,
        resume_at: FramePosition | None,
        max_px: int | None = None,
        scan: StreamScan | None = None,
    ) -> None:
        """Open the video; scan it for its length and completeness, and decode its first frame.

        Args:
            location: what to read.
            settings: which part of it, in which size, and its limits.
            resume_at: a frame that is dreamed already, which becomes the first one.
            max_px: the longest side, unless the settings give a size.
            scan: of the same file, if it was scanned before.

        Raises:
            InputError: it cannot be read as a video, or it ends before its declared end.
        """
        self._location = location
        self._settings = settings
        self._resume_at = resume_at
        self._max_px = max_px
        self.scan = scan
        if scan is None and location.is_file:
            self.scan = scan_video(location, settings.max_broken)
        self._shortfall = 0
        self._scalers: dict[tuple[object, ...], Scaler] = {}
        self._decoder = Decoder(location, settings.max_pixels)
        try:
            self._decode_first()
        except BaseException:
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
        """See `Source`; where some frames are broken, others may be missing without an error."""
        lost = self._decoder.frames_lost
        if self.scan is None or not (lost or self.scan.missing):
            return lost
        return max(lost, self._shortfall) + self.scan.missing + self.scan.gaps

    def __iter__(self) -> Iterator[Frame]:
        """See `Source`."""
        timed_frames = trimmed(self._timed_frames, *self._window_seconds, self._origin_seconds)
        first_index = self._resume_at.index if self._resume_at else 0
        if self._settings.fps is not None:
            rate = exact_rate(self._settings.fps)
            tick = round(self._first_seconds * rate) + first_index
            timed_frames = every_nth(timed_frames, self._settings.every)
            timed_frames = at_rate(timed_frames, rate, tick, 1 / self._source_rate)
        else:
            if self._resume_at is not None:
                timed_frames = _from_time(timed_frames, self._resume_at.time_seconds)
            timed_frames = every_nth(timed_frames, self._settings.every)
        end_index = first_index
        for index, timed_frame in enumerate(timed_frames, start=first_index):
            image, alpha = self._convert(timed_frame.frame)
            yield Frame(index, timed_frame.time_seconds, image, alpha, timed_frame.duration_seconds)
            end_index = index + 1
        # Not every packet becomes a frame: fewer frames are a loss only where some are broken.
        if self.info.frame_count is not None:
            self._shortfall = self.info.frame_count - end_index

    def _decode_first(self) -> None:
        """Decode the first frame in the window, which has what the container may not declare."""
        settings, decoder = self._settings, self._decoder
        file_seconds = decoder.start_seconds
        start, end = exact_seconds(settings.start), exact_seconds(settings.end)
        start_seconds = None if start is None else file_seconds + start
        end_seconds = None if end is None else file_seconds + end
        timed_frames = decoder.timed_frames(start_seconds, settings.max_broken)
        if start_seconds is not None:
            timed_frames = _from_time(timed_frames, start_seconds)
        first = next(timed_frames, None)
        if first is None or (end_seconds is not None and first.time_seconds >= end_seconds):
            raise InputError(self._no_frame_message(start))
        # A part starts with its first frame, not up to a frame's duration before it.
        self._window_seconds = (None if start is None else first.time_seconds, end_seconds)
        self._origin_seconds = (
            min(file_seconds, first.time_seconds) if start is None else first.time_seconds
        )
        self._first_seconds = first.time_seconds - self._origin_seconds
        self._source_rate = frame_rate(decoder.stream)
        self.info = self._video_info(first.frame)
        self._timed_frames: Iterator[TimedFrame] = itertools.chain([first], timed_frames)
        if self._resume_at is not None:
            resume_seconds: Fraction | None = self._resume_at.time_seconds + self._origin_seconds
            if settings.fps is not None and settings.every > 1:
                resume_seconds = None  # every Nth frame is counted from the first
            self._timed_frames = decoder.timed_frames(resume_seconds, settings.max_broken)

    def _no_frame_message(self, start: Fraction | None) -> str:
        if start is None and self._settings.end is None:
            return f"{self._location.name} contains no frame; is the video complete?"
        length = ""
        if self.scan is not None and self.scan.times_seconds:
            last_seconds = self.scan.times_seconds[-1] - self._decoder.start_seconds
            length = f"; its last frame is at {float(last_seconds):.2f} s"
        return (
            f"{self._location.name} has no frame between --start {self._settings.start or 0:g} and "
            f"--end {self._settings.end or 'its end'}{length}"
        )

    def _video_info(self, first: av.VideoFrame) -> VideoInfo:
        decoder, settings = self._decoder, self._settings
        orientation = orientation_of(first)
        upright = (first.width, first.height)
        aspect = as_exact(decoder.stream.sample_aspect_ratio, Fraction(1)) or Fraction(1)
        if orientation.transposed:
            upright, aspect = upright[::-1], 1 / aspect
        width, height = scaled_size(*upright, settings.size, self._max_px)
        rate, tick_seconds = self._source_rate / settings.every, decoder.tick_seconds
        if settings.fps is not None:
            rate = exact_rate(settings.fps)
            tick_seconds = 1 / rate
        self._transfer = int(decoder.stream.codec_context.color_trc)
        return VideoInfo(
            width_px=width,
            height_px=height,
            frame_count=self._frame_count(rate),
            frame_rate=rate,
            time_base_seconds=tick_seconds,
            pixel_aspect=aspect,
            colour=self._colour_tags(first),
            bits=bits_of(first),
            origin_seconds=self._origin_seconds,
            begin_seconds=self._window_seconds[0],
            end_seconds=self._window_seconds[1],
        )

    def _colour_tags(self, first: av.VideoFrame) -> ColourTags:
        if self._transfer in HDR_TRANSFERS:
            warnings.warn(
                f"{self._location.name} has a high dynamic range, which is tone mapped to that of "
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

    def _frame_count(self, rate: Fraction) -> int | None:
        """How many frames the window has at a rate; None if the video was not scanned."""
        if self.scan is None:
            return None
        start_seconds, end_seconds = self._window_seconds
        if self._settings.fps is not None and self.scan.times_seconds:
            last_seconds = self.scan.times_seconds[-1] + 1 / self._source_rate
            if end_seconds is not None:
                last_seconds = min(last_seconds, end_seconds)
            first_seconds = self._origin_seconds + self._first_seconds
            return max(1, round((last_seconds - first_seconds) * rate))
        count = self.scan.count(start_seconds, end_seconds)
        return -(-count // self._settings.every)

    def _convert(self, decoded: av.VideoFrame) -> tuple[FloatArray, FloatArray | None]:
        """The image and, where it is transparent in places, its alpha."""
        orientation = orientation_of(decoded)
        size = (self.info.width_px, self.info.height_px)
        size = size[::-1] if orientation.transposed else size
        colour_options = _scale_filter_colour(decoded, self._decoder.stream.codec_context.name)
        # A video may change its size or pixel format midway.
        key = (decoded.width, decoded.height, decoded.format.name, size, colour_options)
        if key not in self._scalers:
            self._scalers = {key: Scaler(decoded, size, colour_options)}
        values = self._scalers[key](decoded)
        alpha = values[..., 3:] if values.shape[2] == 4 else None
        values = values[..., :3]
        if self._transfer in HDR_TRANSFERS:
            values = to_standard_range(values, self._transfer)
        if alpha is None or alpha.min() == 1:
            return orientation.upright(values), None
        return orientation.upright(values), orientation.upright(alpha)[..., 0]


def _from_time(timed_frames: Iterator[TimedFrame], start_seconds: Fraction) -> Iterator[TimedFrame]:
    return itertools.dropwhile(
        lambda timed_frame: timed_frame.time_seconds < start_seconds, timed_frames
    )


def _is_full_range(decoded: av.VideoFrame) -> bool:
    return decoded.color_range == FULL_RANGE or "yuvj" in decoded.format.name


def _scale_filter_colour(decoded: av.VideoFrame, codec: str) -> str:
    """The options of FFmpeg's scale filter for the colours of a frame."""
    if decoded.format.is_rgb:
        return ""
    matrix = MATRIX_NAMES[effective_matrix(int(decoded.colorspace), decoded.height)]
    # Where a video declares no chroma location it is left, but FFmpeg assumes centre.
    chroma = "center" if codec == "mjpeg" else "left"
    return (
        f":in_color_matrix={matrix}:in_range={'pc' if _is_full_range(decoded) else 'tv'}"
        f":in_chroma_loc={chroma}"
    )
