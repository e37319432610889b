"""The main loop: frames walk from the source through motion and dream to the sink.

Refuses to know file formats, networks and how progress is shown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing

from dreamvideo.dream import Dreamer
from dreamvideo.frames import Dreamed, Frame, Memory, Motion, Progress
from dreamvideo.motion import FlowEstimator, carry, match
from dreamvideo.pipeline.threads import ahead, behind, parallel_map
from dreamvideo.sinks import Sink
from dreamvideo.sources import Masks, Source

OnProgress = Callable[[Progress], None]

# Frames that wait between two stages: enough to even out their speeds, few enough for 8K.
QUEUE_FRAMES = 4
# Pairs of frames whose motion is measured at once: more than this and flow waits for the decoder.
MOST_FLOW_THREADS = 4
# The gain costs two passes through the network: about 2 % of the time at this interval.
GAIN_EVERY_FRAMES = 10


def dream_frames(
    source: Source,
    sink: Sink,
    dreamer: Dreamer,
    flow: FlowEstimator | None,
    on_progress: OnProgress | None = None,
    memory: Memory | None = None,
    frames_before: int = 0,
    masks: Masks | None = None,
) -> int:
    """Dream every frame of `source` into `sink`; returns how many there are.

    Decoding, motion and encoding run in threads of their own, a few frames ahead and behind.

    Args:
        source: the frames; when a run goes on, from the last one that was dreamed.
        sink: where they go.
        dreamer: dreams one picture, as its settings say.
        flow: measures motion; None dreams every frame on its own.
        on_progress: called after each frame.
        memory: what the last dreamed frame left, when a run goes on.
        frames_before: how many were dreamed before, when a run goes on.
        masks: where to show the dream, from the first frame that is dreamed on; None everywhere.
    """
    memory = memory or Memory()
    done, gain = frames_before, 1.0
    with (
        closing(ahead(source, QUEUE_FRAMES, source.stop)) as frames,
        closing(_with_motion(frames, flow, frames_before > 0)) as moving_frames,
        behind(sink.write, QUEUE_FRAMES) as write,
    ):
        for done, (frame, motion) in enumerate(moving_frames, start=frames_before + 1):
            picture = dreamer.upload(frame.image)
            time_seconds, carried = float(frame.time_seconds), None
            if motion is not None and memory.carried is not None:
                persistence = dreamer.settings.at(time_seconds).persistence
                carried = carry(memory.carried, motion, persistence)
            residual = dreamer.dream(picture, frame.index, carried, time_seconds=time_seconds)
            if flow is not None:
                memory = Memory(residual)
            mask = None if masks is None else masks.of(frame)
            shown = dreamer.shown(picture, residual, mask, time_seconds)
            write(Dreamed(frame.with_image(shown), memory))
            if on_progress is not None:
                if frame.index % GAIN_EVERY_FRAMES == 0:
                    gain = dreamer.gain(picture, picture + residual, time_seconds)
                on_progress(Progress(done, source.footage.frame_count, gain))
    if masks is not None:
        masks.end()
    return done


def _with_motion(
    frames: Iterable[Frame], flow: FlowEstimator | None, is_resumed: bool
) -> Generator[tuple[Frame, Motion | None]]:
    """Each frame with the motion since the one before; None for the first frame of a shot.

    When a run goes on, the first frame is there for the sake of the second's motion only.
    """

    def measure(pair: tuple[Frame | None, Frame]) -> tuple[Frame, Motion | None]:
        previous, frame = pair
        if previous is None or flow is None:
            return frame, None
        return frame, match(previous, frame, flow)

    workers = max(1, min(MOST_FLOW_THREADS, (os.cpu_count() or 1) // 2))
    return parallel_map(measure, _pairs(frames, is_resumed), workers, depth=workers + 1)


def _pairs(frames: Iterable[Frame], is_resumed: bool) -> Iterator[tuple[Frame | None, Frame]]:
    frames = iter(frames)
    previous = next(frames, None) if is_resumed else None
    for frame in frames:
        yield previous, frame
        previous = frame
