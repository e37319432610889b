"""A video as frames with exact times and true colours."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from dreamvideo.errors import DreamVideoWarning, InputError
from dreamvideo.media.opening import Location
from dreamvideo.media.pixels import effective_matrix
from dreamvideo.media.read.animation import AnimationDecoder
from dreamvideo.media.read.conversion import (
    HDR_TRANSFERS,
    Scaler,
    Size,
    bits_of,
    fitted_size,
    is_full_range,
    orientation_of,
    scale_filter_colour,
    scaled_size,
    to_standard_range,
    with_bars,
)
from dreamvideo.media.read.decoding import Decoder, FrameDecoder
from dreamvideo.media.read.picture_formats import Reader
from dreamvideo.media.read.timeline import (
    DEFAULT_RATE,
    StreamScan,
    TimedFrame,
    at_rate,
    every_nth,
    exact_rate,
    exact_seconds,
    trimmed,
)
from dreamvideo.settings import Settings
from dreamvideo.types import BT709, ColourTags, FloatArray, Frame, FramePosition, VideoInfo


class VideoSource:
    """The frames of a video or an animation: upright, scaled, in order."""

    def __init__(
        self,
        location: Location,
        settings: Settings,
        resume_at: FramePosition | None,
        max_px: int | None = None,
        scan: StreamScan | None = None,
        reader: Reader = Reader.FFMPEG,
    ) -> None:
        """Open the video; scan it for its length and completeness, and decode its first frame.

        Args:
            location: what to read.
            settings: which part of it, in which size, and its limits.
            resume_at: a frame that is dreamed already, which becomes the first one.
            max_px: the longest side, unless the settings give a size.
            scan: of the same file, if it was scanned before.
            reader: the library that reads the file, see `contents_of`.

        Raises:
            InputError: it cannot be read as a video, or it ends before its declared end.
        """
        self._location = location
        self._settings = settings
        self._resume_at = resume_at
        self._max_px = max_px
        self.scan = scan
        self._shortfall = 0
        self._has_bars = False
        self._scalers: dict[tuple[object, ...], Scaler] = {}
        self._decoder = _open_decoder(location, settings, reader)
        try:
            if scan is None and location.is_file:
                self.scan = self._decoder.scan(settings.max_broken)
            self._decode_first()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()

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
        self._source_rate = decoder.frame_rate
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
        orientation = orientation_of(first, self._decoder.codec)
        upright = (first.width, first.height)
        aspect = decoder.pixel_aspect
        if orientation.transposed:
            upright, aspect = upright[::-1], 1 / aspect
        self._upright_size = upright
        width, height = scaled_size(*upright, settings.size, self._max_px)
        rate, tick_seconds = self._source_rate / settings.every, decoder.tick_seconds
        if settings.fps is not None:
            rate = exact_rate(settings.fps)
            tick_seconds = 1 / rate
        self._transfer = decoder.transfer
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
            self._decoder.primaries,
            self._transfer,
            effective_matrix(int(first.colorspace), first.height),
            is_full_range(first) and not first.format.is_rgb,
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
        orientation = orientation_of(decoded, self._decoder.codec)
        whole = (self.info.width_px, self.info.height_px)
        size = self._size_in(whole, decoded, orientation.transposed)
        stored_size = size[::-1] if orientation.transposed else size
        colour_options = scale_filter_colour(decoded, self._decoder.codec)
        # A video may change its size or pixel format midway.
        key = (decoded.width, decoded.height, decoded.format.name, stored_size, colour_options)
        if key not in self._scalers:
            self._scalers = {key: Scaler(decoded, stored_size, colour_options)}
        values = orientation.upright(self._scalers[key](decoded))
        alpha = values[..., 3] if values.shape[2] == 4 else None
        values = values[..., :3]
        if self._transfer in HDR_TRANSFERS:
            values = to_standard_range(values, self._transfer)
        if size != whole:
            values = with_bars(values, whole)
            alpha = None if alpha is None else with_bars(alpha[..., None], whole)[..., 0]
        if alpha is None or alpha.min() == 1:
            return np.ascontiguousarray(values), None
        return np.ascontiguousarray(values), np.ascontiguousarray(alpha)

    def _size_in(self, whole: Size, decoded: av.VideoFrame, is_transposed: bool) -> Size:
        """The size at which a frame fits into the size of the video; warns once about bars."""
        stored = (decoded.width, decoded.height)
        upright = stored[::-1] if is_transposed else stored
        if upright == self._upright_size:
            return whole
        size = fitted_size(upright, whole)
        if size != whole and not self._has_bars:
            self._has_bars = True
            before, after = (f"{width}x{height}" for width, height in (self._upright_size, upright))
            warnings.warn(
                f"{self._location.name} changes from {before} to {after} pixels; frames of another "
                "shape than the first get black bars",
                DreamVideoWarning,
                stacklevel=2,
            )
        return size


def _open_decoder(location: Location, settings: Settings, reader: Reader) -> FrameDecoder:
    if reader is Reader.FFMPEG:
        return Decoder(location, settings.max_pixels)
    page_rate = exact_rate(settings.fps) if settings.fps else DEFAULT_RATE
    return AnimationDecoder(location, settings.max_pixels, page_rate)


def _from_time(timed_frames: Iterator[TimedFrame], start_seconds: Fraction) -> Iterator[TimedFrame]:
    return itertools.dropwhile(
        lambda timed_frame: timed_frame.time_seconds < start_seconds, timed_frames
    )
