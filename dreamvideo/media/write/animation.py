"""Writes a GIF, WebP or APNG, which loop, from encoded segments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TypeAlias, cast

import av
from av.codec.context import Flags
from av.filter import Graph
from av.video.stream import VideoStream

from dreamvideo.media.formats import output_format
from dreamvideo.media.pixels import filter_chain
from dreamvideo.types import VideoInfo

OpenFrames: TypeAlias = Callable[[], Iterator[av.VideoFrame]]

# The pixel format of images with a palette of 256 colours.
PALETTE_FORMAT = "pal8"
# The filters only need times that increase.
ANY_TIME_BASE = Fraction(1, 100)
# One palette for the whole video; ordered dithering that does not change where the image does not,
# so that it neither flickers nor makes the file larger.
PALETTEGEN = "stats_mode=full"
PALETTEUSE = "dither=bayer:bayer_scale=3:diff_mode=rectangle"


def quantize_to_palette(open_frames: OpenFrames) -> Iterator[av.VideoFrame]:
    """The frames in the 256 colours that suit all of them best, in two passes.

    Args:
        open_frames: opens the frames anew for each pass.
    """
    palette = _palette(open_frames)
    graph = Graph()
    first = next(open_frames())
    frames_in, palette_in = (
        graph.add_buffer(
            width=like.width, height=like.height, format=like.format, time_base=ANY_TIME_BASE
        )
        for like in (first, palette)
    )
    paletteuse = graph.add("paletteuse", PALETTEUSE)
    sink = graph.add("buffersink")
    frames_in.link_to(paletteuse, 0, 0)
    palette_in.link_to(paletteuse, 0, 1)
    paletteuse.link_to(sink)
    graph.configure()
    palette.pts = 0
    palette.time_base = ANY_TIME_BASE
    palette_in.push(palette)
    palette_in.push(None)
    for frame in chain(_numbered(open_frames), [None]):
        frames_in.push(frame)
        while True:
            try:
                yield cast(av.VideoFrame, sink.pull())
            except (av.BlockingIOError, av.EOFError):
                break


def _palette(open_frames: OpenFrames) -> av.VideoFrame:
    """The 256 colours that suit all frames best, as an image."""
    graph: Graph | None = None
    for frame in _numbered(open_frames):
        if graph is None:
            graph = filter_chain(
                (frame.width, frame.height),
                frame.format,
                ANY_TIME_BASE,
                [("palettegen", PALETTEGEN)],
            )
        graph.vpush(frame)
    assert graph is not None  # a video has at least one frame
    graph.vpush(None)
    return graph.vpull()


def _numbered(open_frames: OpenFrames) -> Iterator[av.VideoFrame]:
    for index, frame in enumerate(open_frames()):
        frame.time_base = ANY_TIME_BASE
        frame.pts = index
        yield frame


def write_animation(
    path: Path,
    segments: Sequence[Path],
    packets: Sequence[Sequence[Sequence[int]]],
    info: VideoInfo,
    quality: int | None,
) -> None:
    """Write an image file that moves and loops.

    Args:
        path: of the file; its suffix decides the format.
        segments: files with one video stream each.
        packets: (time, duration) in ticks of each of their packets; they are in order, since the
            intermediate encoder does not reorder frames.
        info: the frames' size and the length of a tick.
        quality: of a .webp, from 1 to 100; None takes the default.
    """
    row = output_format(path)
    animation = row.animation
    assert animation is not None

    def open_frames() -> Iterator[av.VideoFrame]:
        return chain.from_iterable(map(_decode_segment, segments))

    has_palette = animation.pixel_format == PALETTE_FORMAT
    frames = quantize_to_palette(open_frames) if has_palette else open_frames()
    with av.open(
        str(path.absolute()), "w", format=row.muxer, container_options=dict(row.muxer_options)
    ) as container:
        stream = cast(VideoStream, container.add_stream(animation.encoder, rate=info.frame_rate))
        stream.width, stream.height = info.width_px, info.height_px
        stream.pix_fmt = animation.pixel_format
        stream.codec_context.time_base = animation.tick_seconds
        stream.codec_context.flags |= Flags.frame_duration
        if animation.quality_option:
            stream.codec_context.options = {
                animation.quality_option: str(
                    animation.default_quality if quality is None else quality
                )
            }
        times = _display_ticks(packets, info, animation.tick_seconds)
        for frame, (start_tick, end_tick) in zip(frames, times, strict=True):
            frame.time_base = animation.tick_seconds
            frame.pts, frame.duration = start_tick, end_tick - start_tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _decode_segment(segment: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(segment)) as container:
        yield from container.decode(video=0)


def _display_ticks(
    packets: Iterable[Sequence[Sequence[int]]], info: VideoInfo, tick_seconds: Fraction
) -> Iterator[tuple[int, int]]:
    """Start and end of each frame in ticks of the file, each at least one tick long."""
    shown = list(chain.from_iterable(packets))
    scale = info.time_base_seconds / tick_seconds
    rounded = [round((pts - shown[0][0]) * scale) for pts, _ in shown]
    rounded.append(rounded[-1] + round((shown[-1][1] or 1) * scale))
    start_tick = 0
    for rounded_end in rounded[1:]:
        end_tick = max(rounded_end, start_tick + 1)
        yield start_tick, end_tick
        start_tick = end_tick
