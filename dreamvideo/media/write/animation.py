"""Writes a GIF, WebP or APNG, which loop, from encoded segments."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import TypeAlias, cast

import av
from av.codec.context import Flags
from av.filter import Graph
from av.video.stream import VideoStream

from dreamvideo.errors import DreamVideoWarning
from dreamvideo.media.formats import output_format
from dreamvideo.media.pixels import filter_chain
from dreamvideo.types import VideoInfo

# Browsers show a frame that is to last 10 ms or less for 100 ms, some viewers on phones any of less
# than 20 ms.
MAX_RATE = 50
MIN_FRAME_SECONDS = Fraction(1, MAX_RATE)

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
        for frame, shown in zip(frames, times, strict=True):
            if shown is not None:
                frame.time_base = animation.tick_seconds
                frame.pts, frame.duration = shown.start, len(shown)
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    left_out = times.count(None)
    if left_out and info.frame_rate <= MAX_RATE:  # `warn_of_fast_frames` said nothing
        _warn_left_out(f"{left_out} of {len(times)} frames are")


def warn_of_fast_frames(info: VideoInfo) -> None:
    """Say before a run that an animation is to have more frames than viewers show in time."""
    if info.frame_rate > MAX_RATE:
        _warn_left_out(f"the source has {float(info.frame_rate):g} frames a second: some are")


def _warn_left_out(what: str) -> None:
    warnings.warn(
        f"{what} left out, since browsers slow down images with more than {MAX_RATE} frames a "
        f"second; --fps {MAX_RATE} dreams only frames that are shown, and .mp4 holds all",
        DreamVideoWarning,
        stacklevel=3,
    )


def _decode_segment(segment: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(segment)) as container:
        yield from container.decode(video=0)


def _display_ticks(
    packets: Iterable[Sequence[Sequence[int]]], info: VideoInfo, tick_seconds: Fraction
) -> list[range | None]:
    """The ticks of the file at which each frame is shown; None for frames that are left out.

    Each is shown as long as viewers allow, at least. It is left out if the next one is due by the
    time at which it could be shown.
    """
    shown = list(chain.from_iterable(packets))
    scale = info.time_base_seconds / tick_seconds
    due = [round((pts - shown[0][0]) * scale) for pts, _ in shown]
    due.append(due[-1] + round((shown[-1][1] or 1) * scale))
    min_ticks = math.ceil(MIN_FRAME_SECONDS / tick_seconds)
    starts: list[int | None] = []
    free_tick = 0
    for own, following in pairwise(due):
        start = max(own, free_tick)
        is_only_one_left = len(starts) == len(shown) - 1 and free_tick == 0
        starts.append(start if start < following or is_only_one_left else None)
        if starts[-1] is not None:
            free_tick = start + min_ticks
    ends = [start for start in starts if start is not None][1:]
    ends.append(max(due[-1], free_tick))
    next_end = iter(ends)
    return [None if start is None else range(start, next(next_end)) for start in starts]
