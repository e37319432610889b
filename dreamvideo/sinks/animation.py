"""Makes a GIF, WebP or APNG, which loop, of encoded pictures.

Refuses to know of sound: they have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import av
from av.codec.context import Flags
from av.video.stream import VideoStream

from dreamvideo.frames import Footage
from dreamvideo.sinks.gif import paletted


@dataclass(frozen=True)
class Animation:
    """How FFmpeg writes a file of pictures that loops."""

    format: str
    encoder: str
    pixel_format: str
    tick_seconds: Fraction
    """What its times are counted in."""
    format_options: tuple[tuple[str, str], ...] = ()
    quality_option: str = ""
    """FFmpeg's name for the quality; empty where nothing is lost."""


ANIMATIONS = {
    ".gif": Animation("gif", "gif", "pal8", Fraction(1, 100)),
    ".webp": Animation(
        "webp", "libwebp_anim", "bgra", Fraction(1, 1000), (("loop", "0"),), "quality"
    ),
    ".apng": Animation("apng", "apng", "rgb24", Fraction(1, 1000), (("plays", "0"),)),
}
# Of a .webp: sharp to the eye, at a third of the size of the quality of single pictures.
WEBP_QUALITY = 80


def write_animation(
    path: Path,
    segments: Sequence[Path],
    packets: Sequence[Sequence[Sequence[int]]],
    footage: Footage,
    quality: int | None,
) -> None:
    """Write a file that loops.

    Args:
        path: of the file; its suffix says which.
        segments: files with one video stream each.
        packets: (time, duration) in ticks of each of their packets; they are in order, since the
            intermediate encoder has no frames that are shown earlier than they are decoded.
        footage: the pictures' size and what a tick is.
        quality: of a .webp, from 1 to 100.
    """
    animation = ANIMATIONS[path.suffix.lower()]

    def pictures() -> Iterator[av.VideoFrame]:
        return chain.from_iterable(map(_decoded, segments))

    shown = paletted(pictures) if animation.pixel_format == "pal8" else pictures()
    with av.open(
        str(path.absolute()),
        "w",
        format=animation.format,
        container_options=dict(animation.format_options),
    ) as container:
        added = container.add_stream(animation.encoder, rate=footage.frame_rate)
        stream = cast(VideoStream, added)
        stream.width, stream.height = footage.width_px, footage.height_px
        stream.pix_fmt = animation.pixel_format
        stream.codec_context.time_base = animation.tick_seconds
        stream.codec_context.flags |= Flags.frame_duration
        if animation.quality_option:
            stream.codec_context.options = {
                animation.quality_option: str(WEBP_QUALITY if quality is None else quality)
            }
        times = _ticks(packets, footage, animation.tick_seconds)
        for picture, (begin, end) in zip(shown, times, strict=True):
            picture.time_base = animation.tick_seconds
            picture.pts, picture.duration = begin, end - begin
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _decoded(segment: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(segment)) as container:
        yield from container.decode(video=0)


def _ticks(
    packets: Iterable[Sequence[Sequence[int]]], footage: Footage, tick_seconds: Fraction
) -> Iterator[tuple[int, int]]:
    """Beginning and end of each picture on the file's clock, each at least a tick long."""
    shown = list(chain.from_iterable(packets))
    scale = footage.time_base_seconds / tick_seconds
    times = [round((pts - shown[0][0]) * scale) for pts, _ in shown]
    times.append(times[-1] + round((shown[-1][1] or 1) * scale))
    begin = 0
    for rounded in times[1:]:
        end = max(rounded, begin + 1)
        yield begin, end
        begin = end
