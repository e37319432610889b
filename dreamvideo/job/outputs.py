"""Outputs that survive a crash: a video in segments, a folder of images; and a single image."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from dreamvideo.errors import UsageError
from dreamvideo.job.output_paths import atomic_output
from dreamvideo.job.work_folder import Segment, WorkFolder
from dreamvideo.media.formats import MediaKind
from dreamvideo.media.opening import Location
from dreamvideo.media.write import FrameWriter
from dreamvideo.media.write.animation import ANIMATIONS, write_animation
from dreamvideo.media.write.encoder import (
    Encoding,
    FrameEncoder,
    choose_encoding,
    translate_write_errors,
)
from dreamvideo.media.write.files import check_free_space
from dreamvideo.media.write.image import ImageWriter, write_image
from dreamvideo.media.write.join import join
from dreamvideo.settings import Settings
from dreamvideo.settings.files import settings_as_json
from dreamvideo.types import (
    DreamedFrame,
    FloatArray,
    Frame,
    OpaqueOnBlack,
    TemporalState,
    VideoInfo,
)


class ResumableWriter(FrameWriter, Protocol):
    """Keeps its work in a folder, so that another run can go on with it."""

    def finish(self) -> None:
        """Put the result in its place."""
        ...

    def keep_partial(self, path: Path) -> None:
        """Put what there is under another name.

        Raises:
            OutputError: it cannot be written.
        """
        ...

    def close(self) -> None:
        """Give up what is open."""
        ...


@contextmanager
def open_resumable_writer(
    work: WorkFolder,
    kind: MediaKind,
    info: VideoInfo,
    settings: Settings,
    tracks_from: Location | None,
    names: Sequence[str],
) -> Iterator[ResumableWriter]:
    """A film or a folder of pictures, that goes on where the work folder ends.

    Args:
        work: where the work is kept, and what it is to become.
        kind: a film or a folder.
        footage: what is known of the frames.
        settings: how to encode.
        tracks_from: the film whose sound, subtitles and so on are carried over.
        names: of a folder's pictures; none to number them.

    Raises:
        UsageError: the settings do not go with the output.
        OutputError: nothing can be written there.
    """
    if kind is MediaKind.FOLDER:
        yield FrameFolderWriter(work, info, settings, names)
        return
    with closing(SegmentedVideoWriter(work, info, settings, tracks_from)) as video:
        yield video


@contextmanager
def open_image_writer(path: Path, settings: Settings, overwrite: bool) -> Iterator[FrameWriter]:
    """A still that appears under `path` only when it is whole.

    Raises:
        OutputExistsError: there is already a file and `overwrite` is false.
        OutputError: nothing can be written there.
    """
    with atomic_output(path, overwrite) as part:
        yield ImageWriter(part, path, settings)


# What a crash may cost: two seconds of the film, and at least so many frames. A segment begins
# with a key frame, so that shorter ones would make the file larger.
SEGMENT_SECONDS = 2
MIN_SEGMENT_FRAMES = 50
# A container that any codec fits in, and that plays as far as it was written. Its rounded times
# do not matter: the exact ones are kept beside it.
SEGMENT_SUFFIX = ".mkv"
# Decoding times that are in order, and before any time at which a frame is shown.
DECODE_OFFSET_TICKS = 1 << 40


class SegmentedVideoWriter:
    """Encodes frames into segments as they come, and joins these at the end."""

    def __init__(
        self,
        work: WorkFolder,
        info: VideoInfo,
        settings: Settings,
        tracks_from: Location | None,
    ) -> None:
        """Go on where the work folder ends.

        Args:
            work: keeps the segments; its output's suffix says what the film is to be.
            footage: what is known of the frames.
            settings: how to encode.
            tracks_from: the film whose sound, subtitles and so on are carried over.

        Raises:
            SettingsError: the encoder cannot be had so.
            OutputError: the encoder does not start, or there is no room.
        """
        self._work = work
        self._footage = info
        self._tracks_from = tracks_from
        self._quality = settings.quality
        self._settings_line = settings_as_json(settings)
        self._encoding = choose_encoding(work.output.suffix.lower(), settings, info)
        self._on_black = OpaqueOnBlack()
        self._frames_each = segment_length(info, settings)
        # The segments and the joined film lie side by side for a moment.
        bytes_per_pixel = 2 * self._encoding.facts.bytes_per_pixel
        check_free_space(work.path, info, work.frames_done, bytes_per_pixel)
        self._open: _OpenSegment | None = None
        with translate_write_errors(work.output):
            self._open = self._begin(work.frames_done)

    def write(self, dreamed: DreamedFrame) -> None:
        """See `Sink`."""
        with translate_write_errors(self._work.output):
            if self._open is None:
                self._open = self._begin(dreamed.frame.index)
            self._open.write(self._on_black(dreamed.frame))
            if self._open.frames == self._frames_each:
                self._commit(dreamed.state)

    def finish(self) -> None:
        """Join the segments and put the film in its place.

        Raises:
            OutputError: as in `write`.
        """
        with translate_write_errors(self._work.output):
            if self._open is not None and self._open.frames:
                self._commit(TemporalState())
            self.close()
            self._make_film(self._work.result)
            self._work.publish()

    def keep_partial(self, path: Path) -> None:
        """See `ResumableSink`; what there is are the whole segments."""
        with translate_write_errors(path):
            self._make_film(self._work.result)
            self._work.result.replace(path)

    def close(self) -> None:
        """Close what is open. Without `finish` no error matters any more."""
        if self._open is not None:
            self._open.drop()

    def _begin(self, first: int) -> _OpenSegment:
        file = self._work.path / f"{first:06d}{SEGMENT_SUFFIX}"
        return _OpenSegment(file, first, self._encoding, self._footage)

    def _commit(self, state: TemporalState) -> None:
        assert self._open is not None
        segment = self._open.finish()
        self._work.commit(segment, [self._open.file], carried_array(state), state.target_level)
        self._open = None

    def _make_film(self, path: Path) -> None:
        segments = [self._work.path / f"{s.name}{SEGMENT_SUFFIX}" for s in self._work.segments]
        packets = [segment.packets for segment in self._work.segments]
        if self._work.output.suffix.lower() in ANIMATIONS:
            write_animation(path, segments, packets, self._footage, self._quality)
        else:
            join(
                path,
                segments,
                packets,
                self._encoding,
                self._footage,
                self._tracks_from,
                self._settings_line,
            )


class _OpenSegment:
    """A segment that is being written."""

    def __init__(self, file: Path, first: int, encoding: Encoding, info: VideoInfo) -> None:
        self.file = file
        self.frames = 0
        self._first = first
        self._packets: list[list[int]] = []
        with ExitStack() as opened:
            self._container: OutputContainer = opened.enter_context(av.open(str(file), "w"))
            self._encoder = FrameEncoder(self._container, encoding, info)
            self._opened = opened.pop_all()

    def write(self, frame: Frame) -> None:
        """Add one frame."""
        self._mux(self._encoder.encode(frame))
        self._last_time = frame.time_seconds
        self.frames += 1

    def finish(self) -> Segment:
        """Close the file; what is to be known of it."""
        self._mux(self._encoder.encode(None))
        self._opened.close()
        return Segment(self._first, self.frames, str(self._last_time), self._packets)

    def drop(self) -> None:
        """Close the file as it is."""
        with suppress(av.FFmpegError, OSError):
            self._opened.close()

    def _mux(self, packets: Sequence[av.Packet[VideoStream]]) -> None:
        for packet in packets:
            assert packet.pts is not None  # every frame has a time
            # The join sets these anew; of very short segments x265's are garbage.
            packet.dts = len(self._packets) - DECODE_OFFSET_TICKS
            self._packets.append([packet.pts, packet.duration or 0])
            self._container.mux(packet)


def segment_length(info: VideoInfo, settings: Settings) -> int:
    """How many frames a segment has."""
    if settings.segment_frames is not None:
        return settings.segment_frames
    return max(MIN_SEGMENT_FRAMES, math.ceil(SEGMENT_SECONDS * info.frame_rate))


def carried_array(state: TemporalState) -> FloatArray | None:
    """(height, width, 3), to be written down."""
    if state.carried is None:
        return None
    carried: FloatArray = state.carried[0].permute(1, 2, 0).contiguous().cpu().numpy()
    return carried


DEFAULT_IMAGE_SUFFIX = ".png"
MIN_DIGITS = 6
# Of a dream in PNG, measured on the sample; other formats need less.
IMAGE_BYTES_PER_PIXEL = 2.0


class FrameFolderWriter:
    """Writes each frame as a picture, under the name that its source had, or numbered."""

    def __init__(
        self, work: WorkFolder, info: VideoInfo, settings: Settings, names: Sequence[str]
    ) -> None:
        """Go on where the work folder ends.

        Args:
            work: keeps the pictures until all are there.
            footage: what is known of the frames.
            settings: the pictures' format and quality.
            names: of the source's pictures; none to number them.

        Raises:
            UsageError: two pictures would have the same name.
            OutputError: there is no room.
        """
        self._work = work
        self._settings = settings
        self._segment_frames = segment_length(info, settings)
        self._digits = max(MIN_DIGITS, len(str(info.frame_count or 0)))
        self._check_names(names)
        check_free_space(work.path, info, work.frames_done, IMAGE_BYTES_PER_PIXEL)
        work.result.mkdir(exist_ok=True)
        self._files: list[Path] = []

    def write(self, dreamed: DreamedFrame) -> None:
        """See `Sink`."""
        frame = dreamed.frame
        name = frame.metadata.name if frame.metadata else f"{frame.index + 1:0{self._digits}d}"
        file = self._work.result / self._renamed(name)
        new = self._work.path / "picture.new"  # so that every picture in the result is whole
        write_image(frame, new, self._work.output / file.name, self._settings.quality)
        self._files.append(file)
        self._last_time = str(frame.time_seconds)
        with translate_write_errors(self._work.output):
            new.replace(file)
            if len(self._files) == self._segment_frames:
                self._commit(dreamed.state)

    def finish(self) -> None:
        """Put the folder in its place."""
        with translate_write_errors(self._work.output):
            if self._files:
                self._commit(TemporalState())
            self._work.publish()

    def keep_partial(self, path: Path) -> None:
        """See `ResumableSink`; the pictures are copied, all of which are whole."""
        with translate_write_errors(path):
            path.mkdir(exist_ok=True)
            for file in self._work.result.iterdir():
                shutil.copyfile(file, path / file.name)

    def close(self) -> None:
        """Nothing is open between two pictures."""

    def _commit(self, state: TemporalState) -> None:
        segment = Segment(self._work.frames_done, len(self._files), self._last_time)
        files = [*self._files, self._work.result]
        self._work.commit(segment, files, carried_array(state), state.target_level)
        self._files = []

    def _renamed(self, name: str) -> str:
        if self._settings.picture_format is not None:
            return f"{Path(name).stem}.{self._settings.picture_format}"
        return name if Path(name).suffix else name + DEFAULT_IMAGE_SUFFIX

    def _check_names(self, names: Sequence[str]) -> None:
        # Some systems do not tell capital letters from small ones.
        counts = Counter(self._renamed(name).casefold() for name in names)
        for name in names:
            if counts[self._renamed(name).casefold()] > 1:
                raise UsageError(
                    f"{counts[self._renamed(name).casefold()]} pictures would be called "
                    f"{self._renamed(name)}, {name} among them; rename them, or leave "
                    "--picture-format out"
                )
