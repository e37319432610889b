"""The main loop: frames walk from the source through motion and dream to the sink.

Refuses to know file formats, networks and how progress is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from torch import Tensor

from dreamvideo.dream import Dreamer
from dreamvideo.frames import Dreamed, Frame, Memory, Progress
from dreamvideo.motion import FlowEstimator
from dreamvideo.pipeline.ready import Left, Ready, made_ready
from dreamvideo.pipeline.steady import Steady
from dreamvideo.pipeline.threads import ahead, behind
from dreamvideo.sinks import Sink
from dreamvideo.sources import Masks, Source

OnProgress = Callable[[Progress], None]

# Frames that wait between two stages: enough to even out their speeds, few enough for 8K.
QUEUE_FRAMES = 4
# The gain costs two passes through the network: about 2 % of the time at this interval.
GAIN_EVERY_FRAMES = 25


def dream_frames(
    source: Source,
    sink: Sink,
    dreamer: Dreamer,
    flow: FlowEstimator | None,
    on_progress: OnProgress | None = None,
    memory: Memory | None = None,
    frames_before: int = 0,
    masks: Masks | None = None,
    left: Left | None = None,
) -> int:
    """Dream every frame of `source` into `sink`; returns how many there are.

    What does not need the dream before runs in threads of its own, a few frames ahead and behind.

    Args:
        source: the frames; when a run goes on, from the last one that was dreamed.
        sink: where they go.
        dreamer: dreams one picture, as its settings say.
        flow: measures motion; None dreams every frame on its own.
        on_progress: called after each frame.
        memory: what the last dreamed frame left, when a run goes on.
        frames_before: how many were dreamed before, when a run goes on.
        masks: where to show the dream, from the first frame that is dreamed on; None everywhere.
        left: what a backward pass left, for what comes into view.
    """
    steady, done = Steady(dreamer, is_carried=flow is not None), frames_before
    with (
        closing(ahead(source, QUEUE_FRAMES, source.stop)) as frames,
        closing(made_ready(frames, dreamer, steady, flow, frames_before > 0, left)) as ready_frames,
        behind(_showing(sink, dreamer, masks), QUEUE_FRAMES) as write,
    ):
        is_watched = on_progress is not None
        finished = dreams_of(ready_frames, dreamer, steady, memory, is_watched=is_watched)
        for done, dream in enumerate(finished, start=frames_before + 1):
            write(dream)
            if on_progress is not None:
                on_progress(Progress(done, source.footage.frame_count, dream.gain))
    if masks is not None:
        masks.end()
    return done


@dataclass(frozen=True, eq=False)
class Dream:
    """A frame's dream, and what it leaves to the next one's."""

    frame: Frame
    picture: Tensor
    """(1, 3, H, W) in [0, 1], the source."""
    residual: Tensor
    """(1, 3, H, W), dream minus source."""
    memory: Memory
    gain: float
    """The dream gain, as it was last measured."""


def dreams_of(
    ready_frames: Iterable[Ready],
    dreamer: Dreamer,
    steady: Steady,
    memory: Memory | None,
    *,
    is_watched: bool,
    gain: float = 1.0,
) -> Iterator[Dream]:
    """Dream frame after frame.

    Args:
        ready_frames: in the order in which they are dreamed.
        dreamer: tells the gain.
        steady: dreams them.
        memory: what the frame before them left.
        is_watched: whether anybody is told the gain.
        gain: as it was measured before.
    """
    memory = memory or Memory()
    for ready in ready_frames:
        index, time_seconds = ready.frame.index, float(ready.frame.time_seconds)
        picture = ready.prepared.picture
        residual, memory = steady.dream(ready.prepared, index, time_seconds, memory, ready.path)
        if is_watched and index % GAIN_EVERY_FRAMES == 0:
            gain = dreamer.gain(picture, picture + residual, time_seconds)
        yield Dream(ready.frame, picture, residual, memory, gain)


def _showing(sink: Sink, dreamer: Dreamer, masks: Masks | None) -> Callable[[Dream], None]:
    """What becomes of a dream."""

    def show(dream: Dream) -> None:
        frame = dream.frame
        mask = None if masks is None else masks.of(frame)
        shown = dreamer.shown(dream.picture, dream.residual, mask, float(frame.time_seconds))
        sink.write(Dreamed(frame.with_image(shown), dream.memory))

    return show
