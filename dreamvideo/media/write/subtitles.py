"""Converts text subtitles with the ffmpeg program; PyAV encodes no subtitles."""

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
from dreamvideo.media.formats import OUTPUT_FORMATS
from dreamvideo.media.opening import LOCAL_ONLY, Location

# Codecs of text, which can be converted into one another.
TEXT_CODECS = {"subrip", "ass", "ssa", "webvtt", "text", "mov_text"}


@contextmanager
def convert_subtitles(source: Location, stream_index: int, codec: str) -> Iterator[InputContainer]:
    """A container whose only stream is that of the source in another codec, at the same times.

    Raises:
        OutputError: FFmpeg cannot convert it.
    """
    suffix = next(row.suffix for row in OUTPUT_FORMATS.values() if codec in row.subtitle_codecs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"subtitles{suffix}"
        command = [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin"),
            *("-protocol_whitelist", LOCAL_ONLY["protocol_whitelist"], "-copyts"),
            *("-i", str(Path(source.name).absolute()), "-map", f"0:{stream_index}"),
            *("-map_chapters", "-1", "-c:s", codec, "-avoid_negative_ts", "disabled", str(path)),
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise OutputError(
                f"cannot convert the subtitles of stream {stream_index} of {source.name} to "
                f"{codec}: {lines[-1]}; write .mkv, which holds them as they are"
            )
        with av.open(str(path)) as container:
            yield container
