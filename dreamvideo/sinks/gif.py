"""Makes a GIF of encoded pictures. Refuses to know of sound: a GIF has none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import av
from av.codec.context import Flags
from av.filter import Graph

from dreamvideo.frames import Footage
from dreamvideo.media.filters import filter_chain

# What a GIF counts time in.
TICK_SECONDS = Fraction(1, 100)
# One set of colours for the whole film, chosen from what moves; error diffusion that stays where
# it is from frame to frame, so that it neither flickers nor swells the file.
PALETTE = "stats_mode=full"
DITHER = "dither=bayer:bayer_scale=3:diff_mode=rectangle"


def write_gif(
    path: Path,
    segments: Sequence[Path],
    packets: Sequence[Sequence[Sequence[int]]],
    footage: Footage,
) -> None:
    """Write a GIF that loops, in two passes over the pictures.

    Args:
        path: of the GIF.
        segments: files with one video stream each.
        packets: (time, duration) in ticks of each of their packets; they are in order, since the
            intermediate encoder has no frames that are shown earlier than they are decoded.
        footage: the pictures' size and what a tick is.
    """
    palette = _palette(segments)
    with av.open(str(path), "w", format="gif") as container:
        stream = container.add_stream("gif", rate=round(1 / TICK_SECONDS))
        stream.width, stream.height = footage.width_px, footage.height_px
        stream.pix_fmt = "pal8"
        stream.codec_context.time_base = TICK_SECONDS
        stream.codec_context.flags |= Flags.frame_duration
        for picture, (begin, end) in zip(
            _mapped(segments, palette), _ticks(packets, footage), strict=True
        ):
            picture.time_base = TICK_SECONDS
            picture.pts, picture.duration = begin, end - begin
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _ticks(
    packets: Sequence[Sequence[Sequence[int]]], footage: Footage
) -> Iterator[tuple[int, int]]:
    """Beginning and end of each picture on the GIF's clock, each at least a tick long."""
    shown = list(chain.from_iterable(packets))
    scale = footage.time_base_seconds / TICK_SECONDS
    times = [round((pts - shown[0][0]) * scale) for pts, _ in shown]
    times.append(times[-1] + round((shown[-1][1] or 1) * scale))
    begin = 0
    for rounded in times[1:]:
        end = max(rounded, begin + 1)
        yield begin, end
        begin = end


def _pictures(segments: Sequence[Path]) -> Iterator[av.VideoFrame]:
    for index, picture in enumerate(chain.from_iterable(map(_decoded, segments))):
        picture.time_base = TICK_SECONDS
        picture.pts = index
        yield picture


def _decoded(segment: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(segment)) as container:
        yield from container.decode(video=0)


def _palette(segments: Sequence[Path]) -> av.VideoFrame:
    """The 256 colours that suit all pictures best."""
    graph: Graph | None = None
    for picture in _pictures(segments):
        if graph is None:
            graph = filter_chain(
                (picture.width, picture.height),
                picture.format,
                TICK_SECONDS,
                [("palettegen", PALETTE)],
            )
        graph.vpush(picture)
    assert graph is not None  # a film has a frame
    graph.vpush(None)
    return graph.vpull()


def _mapped(segments: Sequence[Path], palette: av.VideoFrame) -> Iterator[av.VideoFrame]:
    """The pictures in the colours of the palette."""
    graph = Graph()
    first = next(_pictures(segments))
    pictures_in, palette_in = (
        graph.add_buffer(
            width=like.width, height=like.height, format=like.format, time_base=TICK_SECONDS
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
    palette.time_base = TICK_SECONDS
    palette_in.push(palette)
    palette_in.push(None)
    for picture in chain(_pictures(segments), [None]):
        pictures_in.push(picture)
        while True:
            try:
                yield cast(av.VideoFrame, sink.pull())
            except (av.BlockingIOError, av.EOFError):
                break
