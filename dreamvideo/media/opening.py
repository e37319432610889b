"""Opens films: only local files and standard input, unless the network is allowed.

Refuses to know what is in a film.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from dreamvideo.errors import InputError, UsageError
from dreamvideo.media.kinds import Kind, is_address
from dreamvideo.media.spool import Spool, SpoolReader

# FFmpeg's formats that name other files, or hosts, and read those.
REFERRING_FORMATS = {
    *("hls", "dash", "concat", "concatf", "imf", "sdp", "rtsp", "rtp", "image2", "lavfi"),
    *("webm_dash_manifest", "applehttp", "avisynth", "vapoursynth", "sap", "mmst"),
}
# FFmpeg opens nothing but files, neither for itself nor for what a playlist names.
LOCAL_ONLY = {"protocol_whitelist": "file"}
# Tags that are not UTF-8 go through byte by byte. PyAV does so by itself from version 19 on.
KEEP_ODD_TAGS: dict[str, Any] = (
    {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}
)
# Reading is given up where nothing arrives for so long.
NETWORK_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Location:
    """Where a film is to be read from."""

    name: str
    """As the user wrote it, for messages."""
    allow_network: bool = False
    spool: Spool | None = None
    """What standard input gave so far, where that is the source."""

    @property
    def is_file(self) -> bool:
        """Whether this is a file that can be read as often as one likes."""
        return self.spool is None and not is_address(self.name)


def check_location(location: Location) -> None:
    """Refuse what no film can be read from, before anything is opened.

    Raises:
        UsageError: an address, while the network is not allowed.
        InputError: nothing there, or not a file, or empty.
    """
    if location.spool is not None:
        if not location.spool.beginning(1):
            raise InputError("standard input is empty (0 bytes); pipe a film into it")
        return
    if not location.is_file:
        if not location.allow_network:
            raise UsageError(
                f"{location.name} is an address and only local files are read; download it first, "
                "or add --allow-network"
            )
        return
    path = Path(location.name)
    if not path.exists():
        raise InputError(f"{path} does not exist; give an existing picture, film or folder")
    if not path.is_file():
        raise InputError(f"{path} is a pipe or a device; give a file, or - and pipe into it")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read by you; change its permissions, or copy it")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); give a picture or film file")


def pictures_of(container: InputContainer) -> VideoStream | None:
    """The stream that holds a film's pictures; the cover of a song, a still, is none."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic and stream.codec_context:
            return stream
    return None


def open_film(location: Location) -> InputContainer:
    """The container, opened for reading.

    Raises:
        InputError: it is not a film that can be read, or it refers to other files.
    """
    options = {} if location.allow_network else LOCAL_ONLY
    # Absolute, since FFmpeg takes what stands before a colon for a protocol.
    place = str(Path(location.name).absolute()) if location.is_file else location.name
    timeout = None if location.is_file else NETWORK_TIMEOUT_SECONDS
    container: InputContainer
    try:
        if location.spool is not None:
            container = av.open(SpoolReader(location.spool), "r", options=options, **KEEP_ODD_TAGS)
        else:
            container = av.open(place, "r", options=options, timeout=timeout, **KEEP_ODD_TAGS)
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"cannot read {location.name} as {Kind.FILM.value}: {error.strerror}; is it a film, "
            "and whole?"
        ) from error
    formats = set(container.format.name.split(","))
    if not location.allow_network and formats & REFERRING_FORMATS:
        container.close()
        raise InputError(
            f"{location.name} is not a film but a list that names other files "
            f"({container.format.name}), and such are not followed; give the film itself, or add "
            "--allow-network if you trust the list"
        )
    return container
