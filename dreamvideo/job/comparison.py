"""A source and its dream, frame beside frame, for the figures of how good the dream is.

Refuses to know how figures come about and how they are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest

from dreamvideo.errors import UsageError
from dreamvideo.job.image import make_dreamer
from dreamvideo.media.formats import MediaKind, input_kind
from dreamvideo.media.opening import Location
from dreamvideo.media.read import Source, open_source
from dreamvideo.metrics.perceptual import load_lpips
from dreamvideo.metrics.video import FrameMetrics, FramePair, VideoMetrics, measure_frames
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.runtime.devices import pick_device
from dreamvideo.runtime.threads import leave_core_free, prefetch
from dreamvideo.settings import Settings
from dreamvideo.settings.dream_options import OUTPUT_LAYER
from dreamvideo.settings.keyframes import Schedule
from dreamvideo.types import Frame, VideoInfo, on_black

# Frames that are decoded in advance.
QUEUE_FRAMES = 4

# Told how many frames are done, of how many, and the last one's figures.
FrameCallback = Callable[[int, int | None, FrameMetrics], None]


@dataclass(frozen=True)
class Comparison:
    """The figures of a dream beside its source, and what they were taken with."""

    width_px: int
    height_px: int
    model: str
    layer: str
    """Whose energy is the dream's: its full name, or as the settings have it if it changes."""
    measured: VideoMetrics


def compare_videos(
    source: str,
    dream: str,
    settings: Settings | None = None,
    on_frame: FrameCallback | None = None,
    *,
    with_lpips: bool = False,
) -> Comparison:
    """Measure a dream against its source: two films or folders of frames, whoever made them.

    Args:
        source: the name of what was dreamed of; it is read in the dream's size.
        dream: the name of what became of it.
        settings: which part of the source the dream is of (`start`, `end`, `every`, `fps`), and the
            network and layers whose energy is the dream's. What does not matter is not looked at.
        on_frame: called after each frame.
        with_lpips: whether to measure how different pictures look, too.

    Raises:
        UsageError: they are not two films of one length and shape, the settings name a network or
            layer that does not exist, or what is needed for LPIPS is not installed.
        InputError: one of them cannot be read.
        WeightsError: the weights of a network are missing.
    """
    settings = replace(settings or Settings(), guide=None, mask=None, strength=1.0)
    for name in (source, dream):
        _check_kind(name)
    device = pick_device(settings.device)
    perceptual = load_lpips(device) if with_lpips else None
    with _open_same_length(source, dream, settings) as (before, after), ExitStack() as stack:
        backbone = load_extractor(settings, device)
        dreamer = make_dreamer(backbone, settings, device)
        stack.enter_context(leave_core_free(device))
        frames = [
            stack.enter_context(closing(prefetch(video, QUEUE_FRAMES, video.stop)))
            for video in (before, after)
        ]
        pairs = (
            FramePair(float(one.time_seconds), on_black(one).image, on_black(other).image)
            for one, other in _paired(source, dream, *frames)
        )
        total = after.info.frame_count
        for done, figures in enumerate(measure_frames(pairs, dreamer, perceptual), start=1):
            if isinstance(figures, VideoMetrics):
                layer = _layer_name(settings, backbone)
                return Comparison(*_size(after.info), settings.model, layer, figures)
            if on_frame is not None:
                on_frame(done, total, figures)
    raise AssertionError("measure_pairs ends with the figures of the film")


def _check_kind(name: str) -> None:
    if not name:
        raise UsageError("the name of a film is empty; give two names: SOURCE DREAM")
    kind = input_kind(name)
    if kind is MediaKind.STREAM:
        raise UsageError(
            f"{name} is a stream, and films are measured as files; write it to one first"
        )
    if kind is MediaKind.STILL:
        raise UsageError(
            f"{name} is taken for a still, by its name; films and folders of frames are measured"
        )


@contextmanager
def _open_same_length(
    source: str, dream: str, settings: Settings
) -> Iterator[tuple[Source, Source]]:
    """Both films, in the dream's size; those of different lengths are refused before long work.

    Raises: see `compare_films`.
    """
    with _open_pair(source, dream, settings) as videos:
        said = [video.info.frame_count for video in videos]
        if None not in said and said[0] == said[1]:
            yield videos
            return
        # What a file says of its length may be a frame off, so that only counting tells.
        before, after = (sum(1 for _ in video) for video in videos)
    if before != after:
        raise _different_lengths(source, dream, before, after)
    with _open_pair(source, dream, settings) as videos:
        yield videos


def _paired(
    source: str, dream: str, before: Iterator[Frame], after: Iterator[Frame]
) -> Iterator[tuple[Frame, Frame]]:
    for done, (one, other) in enumerate(zip_longest(before, after)):
        if one is None or other is None:
            more = done + 1 + sum(1 for _ in (before if other is None else after))
            counts = (more, done) if other is None else (done, more)
            raise _different_lengths(source, dream, *counts)
        yield one, other


def _different_lengths(source: str, dream: str, before: int, after: int) -> UsageError:
    return UsageError(
        f"{source} has {before} frames and {dream} has {after}; two films of the same length are "
        "measured: --start, --end, --every and --fps say which part of the source the dream is of"
    )


@contextmanager
def _open_pair(source: str, dream: str, settings: Settings) -> Iterator[tuple[Source, Source]]:
    """Both films, in the dream's size.

    Raises:
        UsageError: they have different shapes.
        InputError: one of them cannot be read.
    """
    whole = replace(settings, start=None, end=None, every=1, fps=None, size=None)
    with (
        open_source(Location(dream, settings.allow_network), whole) as after,
        _open_like(after.info, source, settings) as before,
    ):
        yield before, after


@contextmanager
def _open_like(wanted: VideoInfo, source: str, settings: Settings) -> Iterator[Source]:
    """The source in the size of the dream."""
    location, size = Location(source, settings.allow_network), _size(wanted)
    own = replace(settings, size=None)
    # A source of the dream's size stays as it is, and may have odd sides.
    with open_source(location, own, max_px=max(size)) as video:
        found = _size(video.info)
        if found == size:
            yield video
            return
    if max(found) < max(size):
        with open_source(location, replace(settings, size=max(size))) as video:
            found = _size(video.info)
            if found == size:
                yield video
                return
    raise UsageError(
        f"{source} has {found[0]}x{found[1]} pixels where its dream has {size[0]}x{size[1]}; two "
        "films of the same shape are measured: crop or scale one of them first"
    )


def _size(info: VideoInfo) -> tuple[int, int]:
    return info.width_px, info.height_px


def _layer_name(settings: Settings, backbone: FeatureExtractor) -> str:
    if settings.class_ is not None:
        return OUTPUT_LAYER
    if isinstance(settings.layer, Schedule) or len(settings.layers) > 1:
        return str(settings.layer)
    return backbone.layer(settings.layers[0]).name
