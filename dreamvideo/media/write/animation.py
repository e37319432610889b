"""Writes a GIF, WebP or APNG, which loop, from encoded segments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TypeAlias, cast

import av
from av.codec.context import Flags
from av.filter import Graph
from av.video.stream import VideoStream

from dreamvideo.media.ffmpeg import filter_chain
from dreamvideo.types import VideoInfo

OpenFrames: TypeAlias = Callable[[], Iterator[av.VideoFrame]]

# The filters only want times that rise.
ANY_TIME_BASE = Fraction(1, 100)
# One set of colours for the whole film, chosen from what moves; error diffusion that stays where
# it is from frame to frame, so that it neither flickers nor swells the file.
PALETTE = "stats_mode=full"
DITHER = "dither=bayer:bayer_scale=3:diff_mode=rectangle"


def quantize_to_palette(pictures: OpenFrames) -> Iterator[av.VideoFrame]:
    """The pictures in the 256 colours that suit all of them best, in two passes over them.

    Args:
        pictures: gives them from their beginning, each time.
    """
    palette = _palette(pictures)
    graph = Graph()
    first = next(pictures())
    pictures_in, palette_in = (
        graph.add_buffer(
            width=like.width, height=like.height, format=like.format, time_base=ANY_TIME_BASE
        )
        for like in (first, palette)
    )
    paletteuse = graph.add("paletteuse", DITHER)
    sink = graph.add("buffersink")
    pictures_in.link_to(paletteuse, 0, 0)
    palette_in.link_to(paletteuse, 0, 1)
    paletteuse.link_to(sink)
    graph.configure()
    palette.pts = 0
    palette.time_base = ANY_TIME_BASE
    palette_in.push(palette)
    palette_in.push(None)
    for picture in chain(_numbered(pictures), [None]):
        pictures_in.push(picture)
        while True:
            try:
                yield cast(av.VideoFrame, sink.pull())
            except (av.BlockingIOError, av.EOFError):
                break


def _palette(pictures: OpenFrames) -> av.VideoFrame:
    """The 256 colours that suit all pictures best."""
    graph: Graph | None = None
    for picture in _numbered(pictures):
        if graph is None:
            graph = filter_chain(
                (picture.width, picture.height),
                picture.format,
                ANY_TIME_BASE,
                [("palettegen", PALETTE)],
            )
        graph.vpush(picture)
    assert graph is not None  # a film has a frame
    graph.vpush(None)
    return graph.vpull()


def _numbered(pictures: OpenFrames) -> Iterator[av.VideoFrame]:
    for index, picture in enumerate(pictures()):
        picture.time_base = ANY_TIME_BASE
        picture.pts = index
        yield picture


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
    info: VideoInfo,
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
        return chain.from_iterable(map(_decode_segment, segments))

    shown = quantize_to_palette(pictures) if animation.pixel_format == "pal8" else pictures()
    with av.open(
        str(path.absolute()),
        "w",
        format=animation.format,
        container_options=dict(animation.format_options),
    ) as container:
        added = container.add_stream(animation.encoder, rate=info.frame_rate)
        stream = cast(VideoStream, added)
        stream.width, stream.height = info.width_px, info.height_px
        stream.pix_fmt = animation.pixel_format
        stream.codec_context.time_base = animation.tick_seconds
        stream.codec_context.flags |= Flags.frame_duration
        if animation.quality_option:
            stream.codec_context.options = {
                animation.quality_option: str(WEBP_QUALITY if quality is None else quality)
            }
        times = _display_ticks(packets, info, animation.tick_seconds)
        for picture, (begin, end) in zip(shown, times, strict=True):
            picture.time_base = animation.tick_seconds
            picture.pts, picture.duration = begin, end - begin
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _decode_segment(segment: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(segment)) as container:
        yield from container.decode(video=0)


def _display_ticks(
    packets: Iterable[Sequence[Sequence[int]]], info: VideoInfo, tick_seconds: Fraction
) -> Iterator[tuple[int, int]]:
    """Beginning and end of each picture on the file's clock, each at least a tick long."""
    shown = list(chain.from_iterable(packets))
    scale = info.time_base_seconds / tick_seconds
    times = [round((pts - shown[0][0]) * scale) for pts, _ in shown]
    times.append(times[-1] + round((shown[-1][1] or 1) * scale))
    begin = 0
    for rounded in times[1:]:
        end = max(rounded, begin + 1)
        yield begin, end
        begin = end
