"""A zoom: a video made of still images.

Each frame is the previous one, moved by a camera and dreamed. The first frame is the untouched
still. The dream grows out of it in the first second.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

from dreamvideo.dream.ascent import LevelControl
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.pyramid import Octave
from dreamvideo.errors import SettingsError
from dreamvideo.media.read.still import StillImages
from dreamvideo.media.write import FrameWriter
from dreamvideo.runtime.threads import QUEUE_FRAMES, write_behind
from dreamvideo.settings import Settings
from dreamvideo.settings.frame_params import FrameParams, frame_params
from dreamvideo.types import (
    GAIN_INTERVAL_FRAMES,
    DreamedFrame,
    Frame,
    Progress,
    ProgressCallback,
    TemporalState,
)
from dreamvideo.zoom.camera import Camera, Canvas, transform_image
from dreamvideo.zoom.reference import ColourStatistics, StillReference, match_colours
from dreamvideo.zoom.stages import Stage, blend_arriving_still, stage_at

# Gradients are smoothed less than in a clip, whose source is sharp in every frame: here all detail
# has to be dreamed, and resampling keeps removing some. Measured on the sample with the default
# camera, energy above half the Nyquist frequency after 9 s relative to 2 s: 1.19; 1 px gives a
# stipple, and the 2 px of clips leave a quarter.
ZOOM_SMOOTHING_PX = 1.1
# The smaller octaves are dreamed in one frame of so many: large figures change slowly.
SMALL_OCTAVES_INTERVAL = 2
# The frame rate at which a frame gets an effort of 1; at others more or less, so that every second
# of the video is dreamed equally.
REFERENCE_RATE = 30
# What will come into view at an edge is dreamed for so long before it does.
LEAD_SECONDS = 0.8
# But the margin around the frame is at most this, in frame widths: it costs time and memory.
MAX_MARGIN = 0.2
# The current still, the next one, and the first, to which a loop returns.
CACHED_STILLS = 3
# The most that an image may grow or shrink from one frame to the next: beyond, nothing is left of
# it.
MAX_GROWTH_PER_FRAME = 100


def zoom_settings(settings: Settings) -> Settings:
    """The settings with the defaults of zooms where they differ from those of clips."""
    if settings.smoothing is not None:
        return settings
    return replace(settings, smoothing=ZOOM_SMOOTHING_PX)


def dream_zoom(
    stills: StillImages,
    writer: FrameWriter,
    dreamer: Dreamer,
    settings: Settings,
    on_progress: ProgressCallback | None = None,
    state: TemporalState | None = None,
    frames_before: int = 0,
) -> int:
    """Dream a zoom through `stills` into `writer`; returns how many frames it has.

    Args:
        stills: one or more, of one size.
        writer: takes the frames, in a thread, a few frames behind.
        dreamer: dreams one image.
        settings: how to dream, and how the camera moves.
        on_progress: called after each frame.
        state: what the last dreamed frame left, when a run resumes.
        frames_before: how many frames were dreamed before, when a run resumes.
    """
    zoom = _Zoom(stills, dreamer, zoom_settings(settings))
    carried, gain = (state or TemporalState()).carried, 1.0
    count = stills.info.frame_count or 1
    with write_behind(writer.write, QUEUE_FRAMES) as write:
        for index in range(frames_before, count):
            carried = zoom.dream_frame(index, carried)
            shown = zoom.canvas.crop(carried)
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
    """Makes each frame out of the previous one."""

    def __init__(self, stills: StillImages, dreamer: Dreamer, settings: Settings) -> None:
        info = stills.info
        self.frame_seconds: Fraction = info.time_base_seconds
        self._stills, self._dreamer, self._settings = stills, dreamer, settings
        self._camera = Camera(settings, info.width_px, info.height_px)
        duration_seconds = float(stills.duration_seconds)
        self._check_growth(duration_seconds)
        margins = {
            f"{edge}_px": math.ceil(min(speed * LEAD_SECONDS, MAX_MARGIN) * info.width_px)
            for edge, speed in self._camera.inflow(duration_seconds).items()
        }
        self.canvas = Canvas(info.width_px, info.height_px, **margins)
        self._reference = lru_cache(maxsize=CACHED_STILLS)(
            lambda index: StillReference(dreamer, settings, dreamer.upload(stills[index]))
        )

    def dream_frame(self, index: int, previous: Tensor | None) -> Tensor:
        """The image (1, 3, *canvas.size) of a frame, given that of the previous one."""
        time, previous_time = index * self.frame_seconds, (index - 1) * self.frame_seconds
        stage = self._stage(time)
        if previous is None or self._stage(previous_time).current_still != stage.current_still:
            # Every stage begins with its still, however few frames it has.
            since = self._camera.between(float(stage.begin_seconds), float(time))
            still = self._reference(stage.current_still).still
            return transform_image(still, self.canvas.frame, since, self.canvas)
        params = frame_params(self._settings, float(time))
        motion = self._camera.between(float(previous_time), float(time))
        image = transform_image(previous, self.canvas, motion)
        image = self._anchor_colours(image, stage, time, params)
        image = image + self._dreamer.dream(
            image,
            index,
            params,
            is_warm=True,
            every_octave=index % SMALL_OCTAVES_INTERVAL == 0,
            effort=stage.dream_share(time) * float(self.frame_seconds) * REFERENCE_RATE,
            control=self._level_control(stage, time, params),
            subject=self._reference(stage.current_still).still,
        )
        if stage.next_still is not None:
            still = self._reference(stage.next_still).still
            image = blend_arriving_still(
                image, still, stage, time, self.frame_seconds, self._camera, self.canvas
            )
        # One layout in memory whether it was just computed or loaded.
        return image.clamp(0, 1).contiguous(memory_format=torch.channels_last)

    def gain(self, shown: Tensor, time_seconds: Fraction) -> float:
        """The dream gain of a frame relative to its stage's still; see `Dreamer.gain`."""
        still = self._reference(self._stage(time_seconds).current_still).still
        params = frame_params(self._settings, float(time_seconds))
        return self._dreamer.gain(still, shown, params)

    def _anchor_colours(
        self, image: Tensor, stage: Stage, time_seconds: Fraction, params: FrameParams
    ) -> Tensor:
        """An image shifted toward the colours of the stills, as far as it is dreamed."""
        dreamed_share = stage.dream_share(time_seconds) * min(1.0, params.strength)
        per_frame = 1 - (1 - params.colour_anchor) ** float(self.frame_seconds)
        references, shares = zip(*self._weighted_references(stage, time_seconds), strict=True)
        target = ColourStatistics.blend([reference.colours for reference in references], shares)
        present = ColourStatistics.of(self.canvas.crop(image))
        return match_colours(image, present, target, per_frame * dreamed_share)

    def _level_control(
        self, stage: Stage, time_seconds: Fraction, params: FrameParams
    ) -> LevelControl:
        """Shrinks steps where the objective exceeds that of a dream of the stills."""
        strength = params.strength * stage.dream_share(time_seconds)
        references = self._weighted_references(stage, time_seconds)

        def level(octave: Octave) -> Tensor:
            size_share = octave.size[0] / self.canvas.size[0]
            levels = [
                share * reference.level(size_share, params.layers, strength, float(time_seconds))
                for reference, share in references
            ]
            return torch.stack(levels).sum()

        return LevelControl(level)

    def _weighted_references(
        self, stage: Stage, time_seconds: Fraction
    ) -> list[tuple[StillReference, float]]:
        """What the dream is compared with: the current still, the next one, or both."""
        share = stage.next_still_share(time_seconds)
        current = self._reference(stage.current_still)
        if stage.next_still is None or stage.next_still == stage.current_still:
            return [(current, 1.0)]
        return [(current, 1 - share), (self._reference(stage.next_still), share)]

    def _stage(self, time_seconds: Fraction) -> Stage:
        return stage_at(
            time_seconds, len(self._stills), self._stills.duration_seconds, self._settings.loop
        )

    def _check_growth(self, duration_seconds: float) -> None:
        """Refuse a camera that leaves nothing of one frame in the next."""
        growth = self._camera.largest_step(duration_seconds, float(self.frame_seconds))
        if growth > math.log(MAX_GROWTH_PER_FRAME):
            raise SettingsError(
                f"zoom cannot scale an image {math.exp(min(growth, 99)):.3g} times in one frame: "
                f"allowed is up to {MAX_GROWTH_PER_FRAME} times; give a --zoom nearer to 1 "
                "or more --fps"
            )
