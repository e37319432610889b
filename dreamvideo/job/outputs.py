"""Writers of a run's output: a video in segments and a folder of images, which survive a crash, and
a single image.
"""

from __future__ import annotations

import math
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from dreamvideo.errors import DreamVideoWarning, UsageError
from dreamvideo.job.output_paths import atomic_output
from dreamvideo.job.work_folder import Segment, WorkFolder, segment_name
from dreamvideo.media.formats import IMAGE_SUFFIXES, MediaKind, has_suffix, output_format
from dreamvideo.media.opening import Location
from dreamvideo.media.pixels import OpaqueOnBlack
from dreamvideo.media.write import FrameWriter
from dreamvideo.media.write.animation import warn_of_fast_frames, write_animation
from dreamvideo.media.write.encoder import (
    Encoding,
    FrameEncoder,
    choose_encoding,
    translate_write_errors,
)
from dreamvideo.media.write.files import check_free_space
from dreamvideo.media.write.image import ImageWriter, write_image
from dreamvideo.media.write.join import join
from dreamvideo.media.write.track_plan import plan_tracks
from dreamvideo.settings import Settings
from dreamvideo.settings.files import settings_as_json
from dreamvideo.types import (
    DreamedFrame,
    Frame,
    TemporalState,
    VideoInfo,
)


class ResumableWriter(FrameWriter, Protocol):
    """Keeps finished frames in a work folder, so that another run can resume after them."""

    def finish(self) -> None:
        """Complete the result and publish it under the output's name.

        Raises:
            OutputError: it cannot be written.
        """
        ...

    def keep_partial(self, path: Path) -> None:
        """Write the finished frames to another path.

        Raises:
            OutputError: they cannot be written.
        """
        ...

    def close(self) -> None:
        """Close all files; unfinished frames are lost."""
        ...


@contextmanager
def open_resumable_writer(
    work: WorkFolder,
    kind: MediaKind,
    info: VideoInfo,
    settings: Settings,
    tracks_from: Location | None,
    image_names: Sequence[str],
) -> Iterator[ResumableWriter]:
    """A writer of a video or a folder of images, which continues after the finished frames.

    Args:
        work: keeps finished frames, and has the path of the output.
        kind: a video or a folder.
        info: size, length and timing of the frames.
        settings: how to encode.
        tracks_from: the video whose sound, subtitles and so on are copied.
        image_names: of a folder's images; none to number them.

    Raises:
        UsageError: the settings and the output do not go together.
        OutputError: the output cannot be written, or the disk is too full.
    """
    if kind is MediaKind.FOLDER:
        yield FrameFolderWriter(work, info, settings, image_names)
        return
    with closing(SegmentedVideoWriter(work, info, settings, tracks_from)) as video:
        yield video


@contextmanager
def open_image_writer(path: Path, settings: Settings, overwrite: bool) -> Iterator[FrameWriter]:
    """A writer of one still image, which appears under `path` only when it is complete.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is false.
        OutputError: it cannot be written.
    """
    with atomic_output(path, overwrite) as part:
        yield ImageWriter(part, path, settings)


# A crash loses at most one segment: two seconds of the video, but no fewer than this many frames.
# A segment starts with a key frame, so shorter ones would make the file larger.
SEGMENT_SECONDS = 2
MIN_SEGMENT_FRAMES = 50
# A container that takes any codec, and that plays as far as it was written. It rounds times, which
# does not matter: the work folder keeps the exact ones.
SEGMENT_SUFFIX = ".mkv"
# Makes decoding times ascend, and precede all presentation times.
DECODE_OFFSET_TICKS = 1 << 40


class SegmentedVideoWriter:
    """Encodes frames into segments, and joins the segments at the end."""

    def __init__(
        self,
        work: WorkFolder,
        info: VideoInfo,
        settings: Settings,
        tracks_from: Location | None,
    ) -> None:
        """Start the segment after the finished frames.

        Args:
            work: keeps the segments; the suffix of its output decides the container.
            info: size, length and timing of the frames.
            settings: how to encode.
            tracks_from: the video whose sound, subtitles and so on are copied.

        Raises:
            SettingsError: the encoder does not go with the container, its quality or the colours.
            OutputError: the encoder does not start, or the disk is too full.
            InputError: the source cannot be read.
        """
        self._work = work
        self._info = info
        self._quality = settings.quality
        self._settings_line = settings_as_json(settings)
        row = output_format(work.output)
        self._encoding = choose_encoding(row, settings, info)
        self._is_animation = row.animation is not None
        if self._is_animation:
            warn_of_fast_frames(info)
        self._plan = plan_tracks(None if self._is_animation else tracks_from, row, info)
        self._on_black = OpaqueOnBlack()
        self._segment_length = segment_length(info, settings)
        # At the end the segments and the joined video exist at the same time.
        bytes_per_pixel = 2 * self._encoding.encoder.bytes_per_pixel
        check_free_space(work.path, info, work.frames_done, bytes_per_pixel)
        self._segment: _OpenSegment | None = None
        with translate_write_errors(work.output):
            self._segment = self._start_segment(work.frames_done)

    def write(self, dreamed: DreamedFrame) -> None:
        """See `FrameWriter`."""
        with translate_write_errors(self._work.output):
            if self._segment is None:
                self._segment = self._start_segment(dreamed.frame.index)
            self._segment.write(self._on_black(dreamed.frame))
            if self._segment.frame_count == self._segment_length:
                self._commit(dreamed.state)

    def finish(self) -> None:
        """See `ResumableWriter`."""
        with translate_write_errors(self._work.output):
            if self._segment is not None and self._segment.frame_count:
                self._commit(None)
            self.close()
            self._join_segments(self._work.result)
            self._work.publish()

    def keep_partial(self, path: Path) -> None:
        """See `ResumableWriter`."""
        with translate_write_errors(path):
            self._join_segments(self._work.result)
            self._work.result.replace(path)

    def close(self) -> None:
        """See `ResumableWriter`."""
        if self._segment is not None:
            self._segment.drop()

    def _start_segment(self, first_frame: int) -> _OpenSegment:
        file = self._work.path / f"{segment_name(first_frame)}{SEGMENT_SUFFIX}"
        return _OpenSegment(file, first_frame, self._encoding, self._info)

    def _commit(self, state: TemporalState | None) -> None:
        assert self._segment is not None
        finished = self._segment.finish()
        self._work.commit(finished, [self._segment.file], state)
        self._segment = None

    def _join_segments(self, path: Path) -> None:
        segments = [self._work.path / f"{s.name}{SEGMENT_SUFFIX}" for s in self._work.segments]
        packets = [segment.packets for segment in self._work.segments]
        if self._is_animation:
            write_animation(path, segments, packets, self._info, self._quality)
        else:
            join(
                path,
                segments,
                packets,
                self._encoding,
                self._info,
                self._plan,
                self._settings_line,
            )


class _OpenSegment:
    """A segment that is being written."""

    def __init__(self, file: Path, first_frame: int, encoding: Encoding, info: VideoInfo) -> None:
        self.file = file
        self.frame_count = 0
        self._first_frame = first_frame
        self._packets: list[list[int]] = []
        with ExitStack() as opened:
            self._container: OutputContainer = opened.enter_context(av.open(str(file), "w"))
            self._encoder = FrameEncoder(self._container, encoding, info)
            self._opened = opened.pop_all()

    def write(self, frame: Frame) -> None:
        """Add one frame."""
        self._mux(self._encoder.encode(frame))
        self._last_time_seconds = frame.time_seconds
        self.frame_count += 1

    def finish(self) -> Segment:
        """Encode the remaining packets and close the file."""
        self._mux(self._encoder.encode(None))
        self._opened.close()
        last_time_seconds = str(self._last_time_seconds)
        return Segment(self._first_frame, self.frame_count, last_time_seconds, self._packets)

    def drop(self) -> None:
        """Close the file as it is; no error matters any more."""
        with suppress(av.FFmpegError, OSError):
            self._opened.close()

    def _mux(self, packets: Sequence[av.Packet[VideoStream]]) -> None:
        for packet in packets:
            assert packet.pts is not None  # every frame has a time
            # `join` sets these again; x265 gives wrong ones for very short segments.
            packet.dts = len(self._packets) - DECODE_OFFSET_TICKS
            self._packets.append([packet.pts, packet.duration or 0])
            self._container.mux(packet)


def segment_length(info: VideoInfo, settings: Settings) -> int:
    """How many frames a full segment has."""
    if settings.segment_frames is not None:
        return settings.segment_frames
    return max(MIN_SEGMENT_FRAMES, math.ceil(SEGMENT_SECONDS * info.frame_rate))


DEFAULT_IMAGE_SUFFIX = ".png"
MIN_DIGITS = 6
# Of dreamed frames as PNG, measured on the sample clip; other formats need less.
IMAGE_BYTES_PER_PIXEL = 2.0


class FrameFolderWriter:
    """Writes each frame as an image file, under the name of its source or numbered."""

    def __init__(
        self, work: WorkFolder, info: VideoInfo, settings: Settings, image_names: Sequence[str]
    ) -> None:
        """Continue after the finished frames.

        Args:
            work: keeps the images until all of them are written.
            info: size, length and timing of the frames.
            settings: format and quality of the images.
            image_names: of the source's images; none to number them.

        Raises:
            UsageError: two images would have the same name.
            OutputError: the disk is too full.
        """
        self._work = work
        self._settings = settings
        self._segment_length = segment_length(info, settings)
        self._digits = max(MIN_DIGITS, len(str(info.frame_count or 0)))
        self._check_names(image_names)
        self._report_other_formats(image_names)
        check_free_space(work.path, info, work.frames_done, IMAGE_BYTES_PER_PIXEL)
        work.result.mkdir(exist_ok=True)
        self._files: list[Path] = []

    def write(self, dreamed: DreamedFrame) -> None:
        """See `FrameWriter`."""
        frame = dreamed.frame
        name = frame.metadata.name if frame.metadata else f"{frame.index + 1:0{self._digits}d}"
        file = self._work.result / self._output_name(name)
        new = self._work.path / "image.new"  # so that every image in the result is complete
        write_image(frame, new, self._work.output / file.name, self._settings.quality)
        self._files.append(file)
        self._last_time_seconds = str(frame.time_seconds)
        with translate_write_errors(self._work.output):
            new.replace(file)
            if len(self._files) == self._segment_length:
                self._commit(dreamed.state)

    def finish(self) -> None:
        """See `ResumableWriter`."""
        with translate_write_errors(self._work.output):
            if self._files:
                self._commit(None)
            self._work.publish()

    def keep_partial(self, path: Path) -> None:
        """See `ResumableWriter`; also copies the complete images of an unfinished segment."""
        with translate_write_errors(path):
            path.mkdir(exist_ok=True)
            for file in self._work.result.iterdir():
                shutil.copyfile(file, path / file.name)

    def close(self) -> None:
        """See `ResumableWriter`; no file is open between two images."""

    def _commit(self, state: TemporalState | None) -> None:
        segment = Segment(self._work.frames_done, len(self._files), self._last_time_seconds)
        self._work.commit(segment, [*self._files, self._work.result], state)
        self._files = []

    def _output_name(self, name: str) -> str:
        """The file name in the output of the image that has `name` in the source."""
        if self._settings.picture_format is not None:
            return f"{Path(name).stem}.{self._settings.picture_format}"
        if has_suffix(name, IMAGE_SUFFIXES):
            return name
        # The number of a frame, or the name of an image whose format is only read.
        has_number = Path(name).suffix[1:].isdecimal()  # as in frame.0001
        return (name if has_number else Path(name).stem) + DEFAULT_IMAGE_SUFFIX

    def _report_other_formats(self, image_names: Sequence[str]) -> None:
        """A warning about images whose format is read and not written."""
        if self._settings.picture_format is None:
            suffixes = {Path(name).suffix.lower() for name in image_names} - set(IMAGE_SUFFIXES)
            if suffixes:
                names = ", ".join(sorted(suffix or "images without suffix" for suffix in suffixes))
                warnings.warn(
                    f"{names}: written as {DEFAULT_IMAGE_SUFFIX}; choose another format with "
                    "--picture-format",
                    DreamVideoWarning,
                    stacklevel=2,
                )

    def _check_names(self, image_names: Sequence[str]) -> None:
        # Some file systems ignore the case of names.
        counts = Counter(self._output_name(name).casefold() for name in image_names)
        for name in image_names:
            output_name = self._output_name(name)
            if (count := counts[output_name.casefold()]) > 1:
                raise UsageError(
                    f"{count} images, {name} among them, would be called {output_name}; rename "
                    "them, or leave --picture-format out"
                )
