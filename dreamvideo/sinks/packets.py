"""Packets of several tracks in the order in which they begin. Refuses to know what is in them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias, cast

import av
from av.container import InputContainer
from av.stream import Stream

from dreamvideo.media.ratios import as_fraction

AnyPacket: TypeAlias = "av.Packet[Any]"


@dataclass(frozen=True)
class Track:
    """One stream on its way: packets as they come, and what writes one."""

    packets: Iterator[AnyPacket]
    write: Callable[[AnyPacket], None]


def in_order(
    tracks: list[Track],
) -> Iterator[tuple[AnyPacket, Callable[[AnyPacket], None]]]:
    """The packets of all tracks by the time at which they begin, each with what writes it."""

    def timed(number: int, track: Track) -> Iterator[tuple[Fraction, int, AnyPacket]]:
        for packet in track.packets:
            yield starts(packet), number, packet

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


def starts(packet: AnyPacket) -> Fraction:
    """When a packet is to be decoded, in seconds."""
    assert packet.dts is not None  # packets_of lets only such through
    return packet.dts * as_fraction(packet.time_base)
