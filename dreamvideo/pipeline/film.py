"""The main loop: frames walk from the source through motion and dream to the sink.

Refuses to know file formats, networks and how progress is shown.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from dreamvideo.dream import Dreamer
from dreamvideo.errors import OutputError, UsageError
from dreamvideo.frames import Frame, Memory, Motion, Progress, Summary
from dreamvideo.media import FILM_SUFFIXES, STILL_SUFFIXES, is_film, is_still
from dreamvideo.motion import FlowEstimator, carry, match, open_flow
from dreamvideo.networks import load_features, pick_device
from dreamvideo.pipeline.threads import ahead, behind, parallel_map
from dreamvideo.settings import Settings
from dreamvideo.sinks import Sink, check_output, open_sink
from dreamvideo.sources import Source, open_source

OnProgress = Callable[[Progress], None]

# Frames that wait between two stages: enough to even out their speeds, few enough for 8K.
QUEUE_FRAMES = 4
# Pairs of frames whose motion is measured at once: more than this and flow waits for the decoder.
MOST_FLOW_THREADS = 4
# The gain costs two passes through the network: about 2 % of the time at this interval.
GAIN_EVERY_FRAMES = 10


def dream_video(
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    settings: Settings | None = None,
    on_progress: OnProgress | None = None,
    *,
    overwrite: bool = False,
) -> Summary:
    """Dream a film into a film, or a still into a still.

    Args:
        input: a film that FFmpeg reads, or a still.
        output: `.mp4`, `.mkv` or `.mov` for a film; a still's suffix for a still. It appears under
            this name only when it is whole.
        settings: how to dream; None takes the defaults.
        on_progress: called after each frame.
        overwrite: whether an existing output is replaced.

    Raises:
        UsageError: the settings, the device or the pair of names cannot be met.
        InputError: the input is missing, damaged or not whole.
        OutputError: the output cannot be written.
    """
    settings = settings or Settings()
    source_path, output_path = Path(input), Path(output)
    _check_kinds(source_path, output_path)
    started = time.perf_counter()
    check_output(output_path, overwrite)
    device = pick_device(settings.device)
    dreamer = Dreamer(load_features(settings.layer, device), settings, device)
    with (
        open_source(source_path, settings.size) as source,
        open_sink(output_path, source.footage, settings, overwrite) as sink,
    ):
        flow = open_flow(settings.flow, device)
        frames = dream_frames(source, sink, dreamer, flow, settings, on_progress)
    return Summary(output_path, frames, time.perf_counter() - started)


def dream_frames(
    source: Source,
    sink: Sink,
    dreamer: Dreamer,
    flow: FlowEstimator | None,
    settings: Settings,
    on_progress: OnProgress | None = None,
) -> int:
    """Dream every frame of `source` into `sink`; returns their number.

    Decoding, motion and encoding run in threads of their own, a few frames ahead and behind.
    """
    memory = Memory()
    done, gain = 0, 1.0
    with (
        closing(ahead(source, QUEUE_FRAMES)) as frames,
        closing(_with_motion(frames, flow)) as moving_frames,
        behind(sink.write, QUEUE_FRAMES) as write,
    ):
        for done, (frame, motion) in enumerate(moving_frames, start=1):
            picture = dreamer.upload(frame.image)
            carried = None
            if motion is not None and memory.residual is not None:
                carried = carry(memory.residual, motion, settings.persistence)
            residual = dreamer.dream(picture, frame.index, carried)
            write(frame.with_image(dreamer.download(picture + residual)))
            memory = Memory(residual)
            if on_progress is not None:
                if frame.index % GAIN_EVERY_FRAMES == 0:
                    gain = dreamer.gain(picture, residual)
                on_progress(Progress(done, source.footage.frame_count, gain))
    return done


def _with_motion(
    frames: Iterable[Frame], flow: FlowEstimator | None
) -> Generator[tuple[Frame, Motion | None]]:
    """Each frame with the motion since the one before; None for the first frame of a shot."""

    def measure(pair: tuple[Frame | None, Frame]) -> tuple[Frame, Motion | None]:
        previous, frame = pair
        if previous is None or flow is None:
            return frame, None
        return frame, match(previous, frame, flow)

    workers = max(1, min(MOST_FLOW_THREADS, (os.cpu_count() or 1) // 2))
    return parallel_map(measure, _pairs(frames), workers, depth=workers + 1)


def _pairs(frames: Iterable[Frame]) -> Iterator[tuple[Frame | None, Frame]]:
    previous: Frame | None = None
    for frame in frames:
        yield previous, frame
        previous = frame


def _check_kinds(source: Path, output: Path) -> None:
    """Refuse pairs of names that no run could satisfy, before anything is opened."""
    if not is_still(output) and not is_film(output):
        raise UsageError(
            f"cannot write {output}: the name has to end in one of "
            f"{', '.join(FILM_SUFFIXES)} for a film, {', '.join(STILL_SUFFIXES)} for a still"
        )
    if source.exists() and output.exists() and source.samefile(output):
        raise OutputError(f"{output} is the input itself; choose another name for the output")
    if source.exists() and is_still(source) != is_still(output):
        kinds = {True: "a still", False: "a film"}
        raise UsageError(
            f"{source} is taken for {kinds[is_still(source)]} and {output} for "
            f"{kinds[is_still(output)]}, by their names; a still gives a still and a film a film "
            f"(stills are {', '.join(STILL_SUFFIXES)})"
        )
