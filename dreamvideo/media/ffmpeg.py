"""Small helpers for FFmpeg through PyAV: colour matrices, ratios, filter chains."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, TypeAlias, cast

import av
from av.container import InputContainer
from av.filter import Graph
from av.stream import Stream

# Code points of the matrices of ITU-T H.273 that a conversion from YUV can use, by the names of
# FFmpeg's scale filter. Others (unspecified, RGB, rare ones) say nothing that it could use.
MATRIX_RGB = 0
MATRIX_BT709 = 1
MATRIX_BT601 = 6
MATRIX_NAMES = {
    MATRIX_BT709: "bt709",
    4: "fcc",
    5: "bt601",
    MATRIX_BT601: "bt601",
    7: "smpte240m",
    9: "bt2020",
}
# Films that do not say which matrix they use are BT.709 from this height up: the convention of
# HDTV, and of players.
MIN_BT709_HEIGHT_PX = 720
# The default flags of every FFmpeg library shift colours by up to 1.5 of 255 and smear chroma;
# these three together are exact to rounding, there and back.
SCALE_FLAGS = "bicubic+accurate_rnd+full_chroma_int"


def effective_matrix(matrix: int, height_px: int) -> int:
    """The matrix that a film means: its own, or by its height where it does not say."""
    if matrix in MATRIX_NAMES:
        return matrix
    return MATRIX_BT709 if height_px >= MIN_BT709_HEIGHT_PX else MATRIX_BT601


class Ratio(Protocol):
    """What PyAV's ratios have in common: Fraction before version 19, a type of its own since."""

    @property
    def numerator(self) -> int:
        """Above the line."""
        ...

    @property
    def denominator(self) -> int:
        """Below it."""
        ...


def as_fraction(ratio: Ratio) -> Fraction:
    """The same ratio, to calculate with."""
    return Fraction(ratio.numerator, ratio.denominator)


def filter_chain(
    size: tuple[int, int],
    picture_format: av.VideoFormat,
    tick_seconds: Fraction,
    steps: Sequence[tuple[str, str]],
) -> Graph:
    """A graph that takes pictures and hands them through filters, one after the other.

    Args:
        size: (width, height) of what comes in.
        picture_format: its pixel format.
        tick_seconds: its time base.
        steps: name and options of each filter.
    """
    graph = Graph()
    source = graph.add_buffer(
        width=size[0], height=size[1], format=picture_format, time_base=tick_seconds
    )
    filters = [graph.add(name, options) for name, options in steps]
    graph.link_nodes(source, *filters, graph.add("buffersink")).configure()
    return graph


AnyPacket: TypeAlias = "av.Packet[Any]"


@dataclass(frozen=True)
class Track:
    """One stream on its way: packets as they come, and what writes one."""

    packets: Iterator[AnyPacket]
    write: Callable[[AnyPacket], None]


def packets_in_order(
    tracks: list[Track],
) -> Iterator[tuple[AnyPacket, Callable[[AnyPacket], None]]]:
    """The packets of all tracks by the time at which they begin, each with what writes it."""

    def timed(number: int, track: Track) -> Iterator[tuple[Fraction, int, AnyPacket]]:
        for packet in track.packets:
            yield start_seconds(packet), number, packet

    merged = heapq.merge(
        *(timed(number, track) for number, track in enumerate(tracks)),
        key=lambda entry: entry[:2],
    )
    for _, number, packet in merged:
        yield packet, tracks[number].write


def packets_of(container: InputContainer, streams: list[Stream]) -> Iterator[AnyPacket]:
    """What some streams of a container hold, as far as it can be read."""
    with suppress(av.FFmpegError):  # where the source is damaged, its tracks end
        for packet in container.demux(cast(Any, streams)):
            if packet.dts is not None and packet.time_base is not None and packet.size:
                yield packet


def start_seconds(packet: AnyPacket) -> Fraction:
    """When a packet is to be decoded, in seconds."""
    assert packet.dts is not None  # packets_of lets only such through
    return packet.dts * as_fraction(packet.time_base)
