"""Compares a dreamed video with its source, frame by frame, and returns the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest

from dreamvideo.errors import UsageError
from dreamvideo.job.image import make_dreamer
from dreamvideo.media.formats import MediaKind
from dreamvideo.media.opening import Location
from dreamvideo.media.pixels import on_black
from dreamvideo.media.read import Source, open_source
from dreamvideo.media.read.contents import contents_of
from dreamvideo.metrics.perceptual import load_lpips
from dreamvideo.metrics.registry import FrameMetrics, FramePair, VideoMetrics
from dreamvideo.metrics.video import measure_frames
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.runtime.devices import pick_device
from dreamvideo.runtime.threads import QUEUE_FRAMES, leave_core_free, prefetch
from dreamvideo.settings import Settings
from dreamvideo.settings.keyframes import Schedule
from dreamvideo.settings.network_options import OUTPUT_LAYER
from dreamvideo.types import Frame, VideoInfo

# Takes the number of frames done, their total if it is known, and the last frame's metrics.
FrameCallback = Callable[[int, int | None, FrameMetrics], None]


@dataclass(frozen=True)
class Comparison:
    """The metrics of a dreamed video, and what they were measured with."""

    width_px: int
    height_px: int
    model: str
    layer: str
    """Full name of the layer whose energy is measured, or its keyframes from the settings."""
    measured: VideoMetrics


def compare_videos(
    source: str,
    dream: str,
    settings: Settings | None = None,
    on_frame: FrameCallback | None = None,
    *,
    with_lpips: bool = False,
) -> Comparison:
    """Measure a dreamed video against its source, whichever program made it.

    Args:
        source: the name of the source, a video or a folder; it is read in the size of the dream.
        dream: the name of the dreamed video or folder.
        settings: which part of the source was dreamed (`stream`, `start`, `end`, `every`, `fps`),
            and the network and layers whose energy is measured. Other settings have no effect.
        on_frame: called after each frame.
        with_lpips: whether to measure the perceptual distance LPIPS as well.

    Raises:
        UsageError: the two differ in length or shape, or are no videos or folders, there is no such
            network or layer, or the package for LPIPS is not installed.
        InputError: one of the two cannot be read.
        WeightsError: the weights of a network are missing or do not fit.
    """
    settings = replace(settings or Settings(), guide=None, mask=None, strength=1.0)
    for name in (source, dream):
        _check_kind(name)
    device = pick_device(settings.device)
    perceptual = load_lpips(device) if with_lpips else None
    with _open_pair(source, dream, settings) as videos, ExitStack() as stack:
        extractor = load_extractor(settings, device)
        dreamer = make_dreamer(extractor, settings, device)
        stack.enter_context(leave_core_free(device))
        frames = [
            stack.enter_context(closing(prefetch(video, QUEUE_FRAMES, video.stop)))
            for video in videos
        ]
        info = videos[1].info
        pairs = (
            FramePair(float(before.time_seconds), on_black(before).image, on_black(after).image)
            for before, after in _paired_frames(source, dream, *frames)
        )
        measured = measure_frames(pairs, dreamer, settings, perceptual)
        for done, metrics in enumerate(measured, start=1):
            if isinstance(metrics, VideoMetrics):
                layer = _layer_name(settings, extractor)
                return Comparison(*_size(info), settings.model, layer, metrics)
            if on_frame is not None:
                on_frame(done, info.frame_count, metrics)
    raise AssertionError("measure_frames ends with the metrics of the video")


def _check_kind(name: str) -> None:
    if not name:
        raise UsageError("the name of a video is empty; give two names: SOURCE DREAM")
    kind = contents_of(Location(name)).kind
    if kind is MediaKind.STREAM:
        raise UsageError(f"{name} is a stream, and only files can be measured; write it to a file")
    if kind is MediaKind.STILL:
        raise UsageError(f"{name} is a still image; give a video or a folder of frames")


@contextmanager
def _open_pair(source: str, dream: str, settings: Settings) -> Iterator[tuple[Source, Source]]:
    """Open source and dream in the size of the dream, after a check of their lengths.

    Raises:
        UsageError: they differ in length or shape.
        InputError: one of them cannot be read.
    """
    with _open_same_shape(source, dream, settings) as videos:
        frame_counts = [video.info.frame_count for video in videos]
        if None not in frame_counts and frame_counts[0] == frame_counts[1]:
            yield videos
            return
        # A file's own frame count may be off by one, so the frames have to be counted.
        before, after = (sum(1 for _ in video) for video in videos)
    if before != after:
        raise _different_lengths(source, dream, before, after)
    with _open_same_shape(source, dream, settings) as videos:
        yield videos


def _paired_frames(
    source: str, dream: str, before: Iterator[Frame], after: Iterator[Frame]
) -> Iterator[tuple[Frame, Frame]]:
    """Frames of source and dream in pairs.

    Raises:
        UsageError: one of the two ends first.
    """
    for done, (source_frame, dreamed_frame) in enumerate(zip_longest(before, after)):
        if dreamed_frame is None:
            raise _different_lengths(source, dream, done + 1 + sum(1 for _ in before), done)
        if source_frame is None:
            raise _different_lengths(source, dream, done, done + 1 + sum(1 for _ in after))
        yield source_frame, dreamed_frame


def _different_lengths(source: str, dream: str, before: int, after: int) -> UsageError:
    return UsageError(
        f"{source} has {before} frames and {dream} has {after}; only videos of the same length can "
        "be compared: select what was dreamed of the source by --start, --end, --every and --fps"
    )


@contextmanager
def _open_same_shape(
    source: str, dream: str, settings: Settings
) -> Iterator[tuple[Source, Source]]:
    """Open source and dream in the size of the dream.

    Raises:
        UsageError: they differ in shape.
        InputError: one of them cannot be read.
    """
    whole = replace(settings, start=None, end=None, every=1, fps=None, size=None)
    with (
        open_source(Location(dream, settings.allow_network), whole) as after,
        _open_in_size(source, _size(after.info), settings) as before,
    ):
        yield before, after


@contextmanager
def _open_in_size(source: str, size: tuple[int, int], settings: Settings) -> Iterator[Source]:
    """Open the source in a size (width, height), scaled up or down if the shape allows it."""
    location = Location(source, settings.allow_network, stream=settings.stream)
    # `max_px` keeps a source that has the size already, even with odd sides; `size` does not.
    with open_source(location, replace(settings, size=None), max_px=max(size)) as video:
        source_size = _size(video.info)
        if source_size == size:
            yield video
            return
    if max(source_size) < max(size):
        with open_source(location, replace(settings, size=max(size))) as video:
            source_size = _size(video.info)
            if source_size == size:
                yield video
                return
    raise UsageError(
        f"{source} has {source_size[0]}x{source_size[1]} pixels and the dream {size[0]}x{size[1]}; "
        "only videos of the same shape can be compared: crop or scale one of them first"
    )


def _size(info: VideoInfo) -> tuple[int, int]:
    return info.width_px, info.height_px


def _layer_name(settings: Settings, extractor: FeatureExtractor) -> str:
    if settings.class_ is not None:
        return OUTPUT_LAYER
    if isinstance(settings.layer, Schedule) or len(settings.layers) > 1:
        return str(settings.layer)
    return extractor.layer(settings.layers[0]).name
