"""Brings subtitles into a form that a container holds. Refuses to know of anything else.

PyAV cannot do that in all versions; the ffmpeg that comes with imageio-ffmpeg can.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import imageio_ffmpeg
from av.container import InputContainer

from dreamvideo.errors import OutputError
from dreamvideo.media.opening import LOCAL_ONLY, Location

# What the containers hold, by FFmpeg's names of formats and codecs.
SUBTITLE_CODECS = {
    "mp4": {"mov_text"},
    "mov": {"mov_text"},
    "matroska": {
        *("subrip", "ass", "webvtt", "dvd_subtitle", "hdmv_pgs_subtitle", "dvb_subtitle"),
        "text",
    },
    "webm": {"webvtt"},
}
# What is text, and what text is converted to.
TEXT_CODECS = {"subrip", "ass", "ssa", "webvtt", "text", "mov_text"}
CONVERTED_CODECS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
SUFFIXES = {"mov_text": ".mp4", "subrip": ".mkv", "webvtt": ".mkv"}


@contextmanager
def converted(source: Location, stream_index: int, codec: str) -> Iterator[InputContainer]:
    """A container with one stream, the subtitles of `source` as another codec, at their times.

    Raises:
        OutputError: they cannot be converted.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"subtitles{SUFFIXES[codec]}"
        command = [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin"),
            *("-protocol_whitelist", LOCAL_ONLY["protocol_whitelist"], "-copyts"),
            *("-i", str(Path(source.name).absolute()), "-map", f"0:{stream_index}"),
            *("-map_chapters", "-1", "-c:s", codec, "-avoid_negative_ts", "disabled", str(path)),
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or ["no reason given"]
            raise OutputError(
                f"cannot convert the subtitles of stream {stream_index} of {source.name} to "
                f"{codec}: {said[-1]}; write .mkv, which holds them as they are"
            )
        with av.open(str(path)) as container:
            yield container
