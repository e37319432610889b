"""The journey: a film that falls into stills. Each frame is the one before, moved and dreamed on.

Refuses to know file formats, networks and how progress is shown.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from dreamvideo.dream import Dreamer, Level, Palette, Reference, drawn_to
from dreamvideo.frames import Dreamed, Frame, Memory, Progress
from dreamvideo.motion import Area, Camera, Move, moved
from dreamvideo.pipeline.arrival import with_arriving
from dreamvideo.pipeline.film import GAIN_EVERY_FRAMES, QUEUE_FRAMES, OnProgress
from dreamvideo.pipeline.stages import Stage, stage_at
from dreamvideo.pipeline.threads import behind
from dreamvideo.settings import Settings
from dreamvideo.sinks import Sink
from dreamvideo.sources import Stills

# Gradients are smoothed less than in a clip, whose source is sharp in every frame: here all detail
# has to be dreamed, and resampling keeps taking some away. Measured on the sample with the default
# camera, energy above half the Nyquist frequency after 2 s and 9 s: 18 and 17; 1.25 px gives 9, and
# 1 px gives 30, but as a stipple.
JOURNEY_SMOOTHING_PX = 1.1
# The frame rate at which a frame gets the usual ascent; at others it gets more or less, so that a
# second of the film is dreamed as much.
USUAL_RATE = 30
# What comes into view at an edge is dreamed for so long before it does.
LEAD_SECONDS = 0.8
# But not farther outside than this, in frame widths: it costs time and memory.
LARGEST_MARGIN = 0.2
# Times at which the camera is asked how fast things come into view.
INFLOW_SAMPLES = 256
STILLS_AT_HAND = 3


def dream_journey(
    stills: Stills,
    sink: Sink,
    dreamer: Dreamer,
    on_progress: OnProgress | None = None,
    memory: Memory | None = None,
    frames_before: int = 0,
) -> int:
    """Dream a journey through `stills` into `sink`; returns how many frames it has.

    Args:
        stills: one or more, of one size.
        sink: where the frames go; it works in a thread of its own, a few frames behind.
        dreamer: dreams one picture, as its settings say.
        on_progress: called after each frame.
        memory: what the last dreamed frame left, when a run goes on.
        frames_before: how many were dreamed before, when a run goes on.
    """
    journey = _Journey(stills, dreamer)
    carried, gain = (memory or Memory()).carried, 1.0
    count = stills.footage.frame_count or 1
    with behind(sink.write, QUEUE_FRAMES) as write:
        for index in range(frames_before, count):
            carried = journey.frame(index, carried)
            shown = journey.area.cut(carried)
            time_seconds = index * journey.frame_seconds
            image = dreamer.download(shown)
            frame = Frame(index, time_seconds, image, duration_seconds=journey.frame_seconds)
            write(Dreamed(frame, Memory(carried)))
            if on_progress is not None:
                if index % GAIN_EVERY_FRAMES == 0:
                    gain = journey.gain(shown, float(time_seconds))
                on_progress(Progress(index + 1, count, gain))
    return count


class _Journey:
    """Makes each picture out of the one before."""

    def __init__(self, stills: Stills, dreamer: Dreamer) -> None:
        footage, settings = stills.footage, dreamer.settings
        self.frame_seconds: Fraction = footage.time_base_seconds
        self._stills, self._dreamer, self._settings = stills, dreamer, settings
        self._camera = Camera(settings, footage.width_px, footage.height_px)
        times = np.linspace(0, stills.duration_seconds, INFLOW_SAMPLES)
        margins = {
            f"{edge}_px": math.ceil(min(speed * LEAD_SECONDS, LARGEST_MARGIN) * footage.width_px)
            for edge, speed in self._camera.inflow(times).items()
        }
        self.area = Area(footage.width_px, footage.height_px, **margins)
        self._reference = lru_cache(maxsize=STILLS_AT_HAND)(
            lambda index: Reference(dreamer, dreamer.upload(stills[index]))
        )

    def frame(self, index: int, previous: Tensor | None) -> Tensor:
        """The picture (1, 3, *area.size) of a frame, out of the one before."""
        if previous is None:
            return moved(self._reference(0).still, self.area.frame, Move(), self.area)
        step_seconds = float(self.frame_seconds)
        time_seconds = float(index * self.frame_seconds)
        now, stage = self._settings.at(time_seconds), self._stage(time_seconds)
        move = self._camera.between(float((index - 1) * self.frame_seconds), time_seconds)
        picture = moved(previous, self.area, move)
        picture = self._anchored(picture, stage, time_seconds, now)
        picture = picture + self._dreamer.dream(
            picture,
            index,
            is_warm=True,
            time_seconds=time_seconds,
            effort=stage.dream_share(time_seconds) * step_seconds * USUAL_RATE,
            level=self._level(stage, time_seconds, now.strength),
        )
        if stage.nearing is not None:
            still = self._reference(stage.nearing).still
            picture = with_arriving(
                picture, still, stage, time_seconds, step_seconds, self._camera, self.area
            )
        # One layout in memory whether it was just made or read back.
        return picture.clamp(0, 1).contiguous(memory_format=torch.channels_last)

    def _anchored(
        self, picture: Tensor, stage: Stage, time_seconds: float, now: Settings
    ) -> Tensor:
        """A picture drawn to the colours of the stills, as far as it is dreamed."""
        dreamed_share = stage.dream_share(time_seconds) * min(1.0, now.strength)
        share = (1 - (1 - now.colour_anchor) ** float(self.frame_seconds)) * dreamed_share
        references, shares = zip(*self._mixture(stage, time_seconds), strict=True)
        wanted = Palette.mixed([reference.palette for reference in references], shares)
        return drawn_to(picture, Palette.of(self.area.cut(picture)), wanted, share)

    def gain(self, shown: Tensor, time_seconds: float) -> float:
        """Energy of the layer on a frame over that on the still that it has left."""
        if self._settings.strength == 0:
            return 1.0
        layers = self._settings.layers_at(time_seconds)
        before = self._reference(self._stage(time_seconds).leaving).level(1.0, layers, 0.0)
        with torch.no_grad():
            after = self._dreamer.objective(time_seconds)(shown)
        return float((after - before).exp())

    def _stage(self, time_seconds: float) -> Stage:
        return stage_at(
            time_seconds, len(self._stills), self._stills.duration_seconds, self._settings.loop
        )

    def _mixture(self, stage: Stage, time_seconds: float) -> list[tuple[Reference, float]]:
        """What the dream is held to: the still that is left, the one that is neared, or both."""
        share = stage.nearing_share(time_seconds)
        leaving = (self._reference(stage.leaving), 1 - share)
        if stage.nearing is None or stage.nearing == stage.leaving:
            return [(leaving[0], 1.0)]
        return [leaving, (self._reference(stage.nearing), share)]

    def _level(self, stage: Stage, time_seconds: float, strength: float) -> Level:
        layers = self._settings.layers_at(time_seconds)
        strength = strength * stage.dream_share(time_seconds)
        mixture = self._mixture(stage, time_seconds)

        def level(size_share: float) -> Tensor:
            levels = [
                share * reference.level(size_share, layers, strength)
                for reference, share in mixture
            ]
            return torch.stack(levels).sum()

        return level
