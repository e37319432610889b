"""Brings pictures down to the 256 colours of a GIF. Refuses to know how they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain
from typing import TypeAlias, cast

import av
from av.filter import Graph

from dreamvideo.media.filters import filter_chain

Pictures: TypeAlias = Callable[[], Iterator[av.VideoFrame]]

# The filters only want times that rise.
ANY_TIME_BASE = Fraction(1, 100)
# One set of colours for the whole film, chosen from what moves; error diffusion that stays where
# it is from frame to frame, so that it neither flickers nor swells the file.
PALETTE = "stats_mode=full"
DITHER = "dither=bayer:bayer_scale=3:diff_mode=rectangle"


def paletted(pictures: Pictures) -> Iterator[av.VideoFrame]:
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


def _palette(pictures: Pictures) -> av.VideoFrame:
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


def _numbered(pictures: Pictures) -> Iterator[av.VideoFrame]:
    for index, picture in enumerate(pictures()):
        picture.time_base = ANY_TIME_BASE
        picture.pts = index
        yield picture
