"""Chains of FFmpeg's filters. Refuses to know what they are for."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
from av.filter import Graph


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
