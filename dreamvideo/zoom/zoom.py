"""The journey: a film that falls into stills. Each frame is the one before, moved and dreamed on.

Refuses to know file formats, networks and how progress is shown.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

from dreamvideo.dream.dreamer import Dreamer, Level
from dreamvideo.dream.pyramid import Octave
from dreamvideo.errors import SettingsError
from dreamvideo.media.read.still import StillImages
from dreamvideo.media.write import FrameWriter
from dreamvideo.runtime.threads import QUEUE_FRAMES, write_behind
from dreamvideo.settings import Settings
from dreamvideo.types import (
    GAIN_INTERVAL_FRAMES,
    DreamedFrame,
    Frame,
    Progress,
    ProgressCallback,
    TemporalState,
)
from dreamvideo.zoom.camera import Camera, Canvas, transform_picture
from dreamvideo.zoom.reference import ColourStatistics, StillReference, match_colours
from dreamvideo.zoom.stages import Stage, blend_arriving_still, stage_at

# Gradients are smoothed less than in a clip, whose source is sharp in every frame: here all detail
# has to be dreamed, and resampling keeps taking some away. Measured on the sample with the default
# camera, energy above half the Nyquist frequency after 9 s, of that after 2 s: 1.19; 1 px gives a
# stipple, and clips' 2 px leave a quarter.
ZOOM_SMOOTHING_PX = 1.1
# Frames after which the smaller octaves are dreamed on, too: large figures change slowly.
SMALL_OCTAVES_INTERVAL = 2
# The frame rate at which a frame gets the usual ascent; at others it gets more or less, so that a
# second of the film is dreamed as much.
REFERENCE_RATE = 30
# What comes into view at an edge is dreamed for so long before it does.
LEAD_SECONDS = 0.8
# But not farther outside than this, in frame widths: it costs time and memory.
MAX_MARGIN = 0.2
# Of the stills the one that is left, the one that is neared, and the first, to which a loop comes
# back, are at hand.
CACHED_STILLS = 3
# The most that a picture may grow or shrink from one frame to the next: beyond, nothing is left.
MAX_GROWTH_PER_FRAME = 100


def zoom_settings(settings: Settings) -> Settings:
    """Settings with what is usual in a journey where they do not say."""
    if settings.smoothing is not None:
        return settings
    return replace(settings, smoothing=ZOOM_SMOOTHING_PX)


def dream_zoom(
    stills: StillImages,
    writer: FrameWriter,
    dreamer: Dreamer,
    on_progress: ProgressCallback | None = None,
    state: TemporalState | None = None,
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
    zoom = _Zoom(stills, dreamer)
    carried, gain = (state or TemporalState()).carried, 1.0
    count = stills.info.frame_count or 1
    with write_behind(writer.write, QUEUE_FRAMES) as write:
        for index in range(frames_before, count):
            carried = zoom.frame(index, carried)
            shown = zoom.area.cut(carried)
            time_seconds = index * zoom.frame_seconds
            image = dreamer.download(shown)
            frame = Frame(index, time_seconds, image, duration_seconds=zoom.frame_seconds)
            write(DreamedFrame(frame, TemporalState(carried)))
            if on_progress is not None:
                if index % GAIN_INTERVAL_FRAMES == 0:
                    gain = zoom.gain(shown, time_seconds)
                on_progress(Progress(index + 1, count, gain))
    return count


class _Zoom:
    """Makes each picture out of the one before."""

    def __init__(self, stills: StillImages, dreamer: Dreamer) -> None:
        info, settings = stills.info, dreamer.settings
        self.frame_seconds: Fraction = info.time_base_seconds
        self._stills, self._dreamer, self._settings = stills, dreamer, settings
        self._camera = Camera(settings, info.width_px, info.height_px)
        duration_seconds = float(stills.duration_seconds)
        self._check_step(self._camera, duration_seconds)
        margins = {
            f"{edge}_px": math.ceil(min(speed * LEAD_SECONDS, MAX_MARGIN) * info.width_px)
            for edge, speed in self._camera.inflow(duration_seconds).items()
        }
        self.area = Canvas(info.width_px, info.height_px, **margins)
        self._reference = lru_cache(maxsize=CACHED_STILLS)(
            lambda index: StillReference(dreamer, dreamer.upload(stills[index]))
        )

    def frame(self, index: int, previous: Tensor | None) -> Tensor:
        """The picture (1, 3, *area.size) of a frame, out of the one before."""
        frame_seconds = self.frame_seconds
        time, before = index * frame_seconds, (index - 1) * frame_seconds
        stage = self._stage(time)
        if previous is None or self._stage(before).current_still != stage.current_still:
            # Every stage begins with its still as it is, however few frames it has.
            since = self._camera.between(float(stage.begin_seconds), float(time))
            return transform_picture(
                self._reference(stage.current_still).still, self.area.frame, since, self.area
            )
        now = self._settings.at(float(time))
        picture = transform_picture(
            previous, self.area, self._camera.between(float(before), float(time))
        )
        picture = self._anchored(picture, stage, time, now)
        picture = picture + self._dreamer.dream(
            picture,
            index,
            is_warm=True,
            every_octave=index % SMALL_OCTAVES_INTERVAL == 0,
            time_seconds=float(time),
            effort=stage.dream_share(time) * float(frame_seconds) * REFERENCE_RATE,
            level=self._level(stage, time, now.strength),
            subject=self._reference(stage.current_still).still,
        )
        if stage.next_still is not None:
            still = self._reference(stage.next_still).still
            picture = blend_arriving_still(
                picture, still, stage, time, frame_seconds, self._camera, self.area
            )
        # One layout in memory whether it was just made or read back.
        return picture.clamp(0, 1).contiguous(memory_format=torch.channels_last)

    def _anchored(
        self, picture: Tensor, stage: Stage, time_seconds: Fraction, now: Settings
    ) -> Tensor:
        """A picture drawn to the colours of the stills, as far as it is dreamed."""
        dreamed_share = stage.dream_share(time_seconds) * min(1.0, now.strength)
        share = (1 - (1 - now.colour_anchor) ** float(self.frame_seconds)) * dreamed_share
        references, shares = zip(*self._mixture(stage, time_seconds), strict=True)
        wanted = ColourStatistics.mixed([reference.palette for reference in references], shares)
        return match_colours(picture, ColourStatistics.of(self.area.cut(picture)), wanted, share)

    def gain(self, shown: Tensor, time_seconds: Fraction) -> float:
        """See `Dreamer.gain`: of a frame, against the still that it has left."""
        still = self._reference(self._stage(time_seconds).current_still).still
        return self._dreamer.gain(still, shown, float(time_seconds))

    def _check_step(self, camera: Camera, duration_seconds: float) -> None:
        """Refuse a camera that leaves nothing of one frame in the next."""
        growth = camera.largest_step(duration_seconds, float(self.frame_seconds))
        if growth > math.log(MAX_GROWTH_PER_FRAME):
            raise SettingsError(
                f"zoom cannot change a picture {math.exp(min(growth, 99)):.3g} times in a frame: "
                f"allowed is up to {MAX_GROWTH_PER_FRAME} times; give a --zoom nearer to 1 "
                "or more --fps"
            )

    def _stage(self, time_seconds: Fraction) -> Stage:
        return stage_at(
            time_seconds, len(self._stills), self._stills.duration_seconds, self._settings.loop
        )

    def _mixture(self, stage: Stage, time_seconds: Fraction) -> list[tuple[StillReference, float]]:
        """What the dream is held to: the still that is left, the one that is neared, or both."""
        share = stage.next_still_share(time_seconds)
        current_still = (self._reference(stage.current_still), 1 - share)
        if stage.next_still is None or stage.next_still == stage.current_still:
            return [(current_still[0], 1.0)]
        return [current_still, (self._reference(stage.next_still), share)]

    def _level(self, stage: Stage, time_seconds: Fraction, strength: float) -> Level:
        layers = self._settings.layers_at(float(time_seconds))
        strength = strength * stage.dream_share(time_seconds)
        mixture = self._mixture(stage, time_seconds)

        def level(octave: Octave) -> Tensor:
            size_share = octave.size[0] / self.area.size[0]
            levels = [
                share * reference.level(size_share, layers, strength, float(time_seconds))
                for reference, share in mixture
            ]
            return torch.stack(levels).sum()

        return level
