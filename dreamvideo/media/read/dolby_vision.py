"""Finds videos whose colours only a decoder of Dolby Vision shows rightly."""

from __future__ import annotations

import io
import re
from contextlib import suppress

import av
from av.video.stream import VideoStream

from dreamvideo.errors import InputError
from dreamvideo.media.opening import Location

# The codecs that the profiles below are for, by FFmpeg's names.
CODECS = ("hevc", "av1")
# The configuration record of Dolby Vision in an MP4: after its name and two bytes of version, seven
# bits of profile; four bits of compatibility begin two bytes later (Dolby Vision Streams Within the
# ISO Base Media File Format, 3.2).
RECORD = re.compile(rb"dv[cvw]C..(.).(.)", re.DOTALL)
# Those whose picture is in Dolby's own colours (IPT), unless it is compatible with something.
OWN_COLOUR_PROFILES = (5, 10, 20)


def check_dolby_vision(stream: VideoStream, location: Location) -> None:
    """Refuse a video that would be read with green and purple colours.

    Raises:
        InputError: it has a profile of Dolby Vision that is compatible with nothing else.
    """
    if stream.codec_context.codec.canonical_name not in CODECS:
        return
    record = RECORD.search(_mp4_header(stream))
    if record is None:
        return
    profile, compatibility = record[1][0] >> 1, record[2][0] >> 4
    if profile in OWN_COLOUR_PROFILES and compatibility == 0:
        raise InputError(
            f"{location.name} is Dolby Vision of profile {profile}, whose colours are not those of "
            "other videos and cannot be read; convert it to HDR10 or BT.709 first"
        )


def _mp4_header(stream: VideoStream) -> bytes:
    """The header of an MP4 with such a stream; empty if there can be none.

    PyAV does not tell what FFmpeg knows of Dolby Vision, whichever the container is, but FFmpeg
    writes it into this header.
    """
    header = io.BytesIO()
    options = {"movflags": "empty_moov", "strict": "unofficial"}
    with suppress(av.FFmpegError, ValueError), av.open(header, "w", "mp4", options) as target:
        target.add_stream_from_template(stream, opaque=True)
        target.start_encoding()
    return header.getvalue()
