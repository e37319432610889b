"""What a run is asked to do: from which sources to which output, with which settings."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from dreamvideo.errors import UsageError
from dreamvideo.job.output_paths import check_not_input
from dreamvideo.media.formats import (
    ANIMATED_SUFFIXES,
    IMAGE_SUFFIXES,
    STREAM_NAME,
    VIDEO_SUFFIXES,
    MediaKind,
    OutputFormat,
    has_suffix,
    output_format,
    output_kind,
)
from dreamvideo.media.opening import Location, Spool, is_address
from dreamvideo.media.read.contents import contents_of
from dreamvideo.media.read.frame_folder import images_in, stills_in
from dreamvideo.media.read.picture_formats import Reader
from dreamvideo.settings import Settings
from dreamvideo.settings.options import JobKind, job_names, options_set

# The longest side of zooms and their frames per second, where neither the settings nor the format
# of the output decide.
ZOOM_MAX_PX = 1280
ZOOM_RATE = 30


@dataclass(frozen=True)
class Request:
    """Sources and an output of kinds that a run can satisfy."""

    sources: tuple[Location, ...]
    """One, or the still images of a zoom."""
    source_kind: MediaKind
    output: Path
    output_kind: MediaKind
    is_zoom: bool
    """Whether frames are made by zooming into still images."""

    @property
    def source(self) -> Location:
        """The first source; all but zooms have only one."""
        return self.sources[0]

    @property
    def still_images(self) -> tuple[Location, ...]:
        """The still images of a zoom."""
        if self.source_kind is not MediaKind.FOLDER:
            return self.sources
        return tuple(Location(str(path)) for path in stills_in(Path(self.source.name)))

    @property
    def tracks_from(self) -> Location | None:
        """The video whose sound, subtitles and so on are copied to the output."""
        if self.is_zoom or self.source_kind is MediaKind.FOLDER:
            return None
        return self.source if contents_of(self.source).reader is Reader.FFMPEG else None

    @property
    def image_names(self) -> list[str]:
        """File names of the frames, where they come from a folder."""
        if self.is_zoom or self.source_kind is not MediaKind.FOLDER:
            return []
        return [path.name for path in images_in(Path(self.source.name))]

    @property
    def max_px(self) -> int | None:
        """The longest side of the frames where the settings do not decide; None for any."""
        row = self._output_format
        if row is not None and row.max_size_px is not None:
            return row.max_size_px
        return ZOOM_MAX_PX if self.is_zoom else None

    @property
    def rate(self) -> int:
        """Frames per second of a zoom where the settings do not decide."""
        row = self._output_format
        return ZOOM_RATE if row is None or row.zoom_frame_rate is None else row.zoom_frame_rate

    @property
    def _output_format(self) -> OutputFormat | None:
        """The row of a video file in the table of formats; None for other outputs."""
        return output_format(self.output) if self.output_kind is MediaKind.VIDEO else None


@contextmanager
def open_request(inputs: Sequence[str], output: str, settings: Settings) -> Iterator[Request]:
    """The request that input and output names make together with the settings.

    Args:
        inputs: names as the user wrote them; several are the still images of a zoom.
        output: the name of the output.
        settings: decide, with the names, whether this is a zoom.

    Raises:
        UsageError: no run could satisfy them.
        OutputError: the output is an input, or could replace it.
    """
    if not inputs or not all(inputs) or not output:
        raise UsageError(
            "the name of the input or of the output is empty; give two names: INPUT OUTPUT"
        )
    source_kind, result_kind = _media_kinds(inputs, output, settings)
    is_zoom = result_kind is not MediaKind.STILL and (
        source_kind is MediaKind.STILL
        or (source_kind is MediaKind.FOLDER and settings.zoom is not None)
    )
    for input in inputs:
        check_not_input(input, output, is_zoom)
    _check_settings(inputs[0], source_kind, result_kind, is_zoom, settings)
    if inputs[0] != STREAM_NAME:
        sources = tuple(
            Location(input, settings.allow_network, stream=settings.stream) for input in inputs
        )
        yield Request(sources, source_kind, Path(output), result_kind, is_zoom)
        return
    # In the output's folder, where there is room, and without a name, so that no file is left.
    folder = Path(output).absolute().parent if output != STREAM_NAME else None
    with tempfile.TemporaryFile(dir=folder if folder and folder.is_dir() else None) as store:
        spool = Spool(cast(BufferedIOBase, sys.stdin.buffer), store)
        source = Location("standard input", settings.allow_network, spool, settings.stream)
        yield Request((source,), source_kind, Path(output), result_kind, is_zoom)


def _media_kinds(
    inputs: Sequence[str], output: str, settings: Settings
) -> tuple[MediaKind, MediaKind]:
    """Kinds of the inputs and of the output, if the ones can become the other."""
    contents = [contents_of(Location(input, settings.allow_network)) for input in inputs]
    source_kind, result_kind = contents[0].kind, output_kind(output)
    for input, found in zip(inputs, contents, strict=True):
        if len(inputs) > 1 and found.kind is not MediaKind.STILL:
            raise UsageError(
                f"{input} is {found.kind.value}; several inputs have to be still images, for a "
                "zoom: give a video or a folder alone"
            )
    if result_kind is None:
        raise UsageError(
            f"cannot write {output}: the name has to end in {', '.join(VIDEO_SUFFIXES)} for a "
            f"video, {', '.join(IMAGE_SUFFIXES)} for a still image, / for a folder of images"
        )
    is_one_still = source_kind is MediaKind.STILL and len(inputs) == 1
    has_camera = any(option.applies_to == JobKind.ZOOM for option in options_set(settings))
    moves = has_camera or settings.fps is not None
    if has_suffix(output, ANIMATED_SUFFIXES) and not (is_one_still and not moves):
        result_kind = MediaKind.VIDEO
    # That an input cannot be read is reported first, and not what it could not become.
    if result_kind is MediaKind.STILL and not is_one_still and contents[0].is_known:
        sources = f"{inputs[0]}, {source_kind.value}," if len(inputs) == 1 else " and ".join(inputs)
        raise UsageError(
            f"{sources} cannot become {output}, {result_kind.value} by its name; only one still "
            "image becomes a still image, everything else a video or a folder (animated images are "
            f"{', '.join(ANIMATED_SUFFIXES)})"
        )
    return source_kind, result_kind


def _job_kind(
    source_name: str, source_kind: MediaKind, result_kind: MediaKind, is_zoom: bool
) -> JobKind:
    if is_zoom:
        return JobKind.ZOOM
    if MediaKind.STREAM in (source_kind, result_kind) or is_address(source_name):
        return JobKind.STREAM
    if result_kind is MediaKind.STILL:
        return JobKind.STILL
    is_folder = source_kind is MediaKind.FOLDER and result_kind is MediaKind.FOLDER
    return JobKind.FOLDER if is_folder else JobKind.VIDEO


def _check_settings(
    source_name: str,
    source_kind: MediaKind,
    result_kind: MediaKind,
    is_zoom: bool,
    settings: Settings,
) -> None:
    """Refuse options that do not apply to these kinds of input and output."""
    job = _job_kind(source_name, source_kind, result_kind, is_zoom)
    for option in options_set(settings):
        # A still image ignores options of videos, so that one settings file serves both.
        is_ignored = job is JobKind.STILL and JobKind.VIDEO in option.applies_to
        if job in option.applies_to or is_ignored:
            continue
        remedy = "leave it out"
        if option.applies_to == JobKind.ZOOM and source_kind is MediaKind.FOLDER:
            remedy += ", or add --zoom"
        elif job is JobKind.STREAM:
            remedy += ", or use files: streams and addresses are read only once"
        elif job is JobKind.ZOOM:
            remedy += " (--duration sets the length of a zoom)"
        raise UsageError(
            f"{option.flag} is for {job_names(option.applies_to)}, not for {source_kind.value} "
            f"that becomes {result_kind.value}{' by a zoom' if is_zoom else ''}; {remedy}"
        )
