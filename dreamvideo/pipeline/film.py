"""The main loop: frames walk from the source through motion and dream to the sink.

Refuses to know file formats, networks and how progress is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from torch import Tensor

from dreamvideo.dream import Dreamer
from dreamvideo.frames import Dreamed, Frame, Memory, Progress
from dreamvideo.motion import FlowEstimator
from dreamvideo.pipeline.ready import Left, made_ready
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
    memory, steady = memory or Memory(), Steady(dreamer, is_carried=flow is not None)
    done, gain = frames_before, 1.0
    with (
        closing(ahead(source, QUEUE_FRAMES, source.stop)) as frames,
        closing(made_ready(frames, dreamer, steady, flow, frames_before > 0, left)) as ready_frames,
        behind(_showing(sink, dreamer, masks), QUEUE_FRAMES) as write,
    ):
        for done, ready in enumerate(ready_frames, start=frames_before + 1):
            index, time_seconds = ready.frame.index, float(ready.frame.time_seconds)
            picture = ready.prepared.picture
            residual, hold = steady.dream(ready.prepared, index, time_seconds, memory, ready.path)
            if flow is not None:
                memory = Memory(residual, hold)
            write(ready.frame, picture, residual, memory)
            if on_progress is not None:
                if index % GAIN_EVERY_FRAMES == 0:
                    gain = dreamer.gain(picture, picture + residual, time_seconds)
                on_progress(Progress(done, source.footage.frame_count, gain))
    if masks is not None:
        masks.end()
    return done


def _showing(
    sink: Sink, dreamer: Dreamer, masks: Masks | None
) -> Callable[[Frame, Tensor, Tensor, Memory], None]:
    """What becomes of a frame, given its picture, its residual and what the next one needs."""

    def show(frame: Frame, picture: Tensor, residual: Tensor, memory: Memory) -> None:
        mask = None if masks is None else masks.of(frame)
        shown = dreamer.shown(picture, residual, mask, float(frame.time_seconds))
        sink.write(Dreamed(frame.with_image(shown), memory))

    return show
