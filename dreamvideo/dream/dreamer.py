"""Dreams one picture, cold or warm. Refuses to know what came before it and where it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from dreamvideo.dream.aim import Aim, Features
from dreamvideo.dream.ascent import Shift, ascend
from dreamvideo.dream.blend import blended
from dreamvideo.dream.conditioning import SMOOTHING_PX, Conditioning
from dreamvideo.dream.pyramid import Size, octave_sizes, resize
from dreamvideo.dream.texture import texture
from dreamvideo.frames import FloatArray
from dreamvideo.settings import Settings

# From the size of an octave, as a share of the whole picture's, to the objective held there.
Level: TypeAlias = Callable[[float], Tensor]


class Dreamer:
    """A network and settings, ready to dream any number of pictures."""

    def __init__(
        self,
        features: Features,
        settings: Settings,
        device: torch.device,
        guide: Tensor | None = None,
        class_channel: int | None = None,
    ) -> None:
        """Args:
        features: the network, for all layers of the settings.
        settings: how to dream.
        device: where `features` is.
        guide: (1, 3, H, W), where the settings name one.
        class_channel: of the network's output, where the settings name a class.
        """
        self.settings = settings
        self.device = device
        self.aim = Aim(features, settings, guide, class_channel)
        self._features, self._guide, self._class_channel = features, guide, class_channel
        self._conditioning = lru_cache(maxsize=1)(
            lambda smoothing_px, natural_colour: Conditioning(
                SMOOTHING_PX if smoothing_px is None else smoothing_px, natural_colour
            ).to(device)
        )

    def with_settings(self, settings: Settings) -> Dreamer:
        """The same network and guide with other settings, for the same layers."""
        return Dreamer(self._features, settings, self.device, self._guide, self._class_channel)

    def upload(self, image: FloatArray) -> Tensor:
        """An image (H, W, 3) as (1, 3, H, W) on the device, channels last in memory."""
        return torch.from_numpy(image).to(self.device).permute(2, 0, 1)[None]

    def download(self, picture: Tensor) -> FloatArray:
        """(1, 3, H, W) on the device as an image (H, W, 3) in [0, 1]."""
        image: FloatArray = picture[0].permute(1, 2, 0).clamp(0, 1).contiguous().cpu().numpy()
        return image

    def dream(
        self,
        source: Tensor,
        frame_index: int,
        carried: Tensor | None = None,
        *,
        is_warm: bool = False,
        every_octave: bool = True,
        time_seconds: float = 0.0,
        effort: float = 1.0,
        level: Level | None = None,
        subject: Tensor | None = None,
    ) -> Tensor:
        """The residual, dream minus source, that a dream of `source` ends with.

        A cold dream climbs the whole pyramid. A warm one, with a residual `carried` from the
        frame before, refreshes it with a short climb of the largest octaves.

        Args:
            source: (1, 3, H, W), RGB in [0, 1].
            frame_index: with the seed, determines the jitter.
            carried: (1, 3, H, W), the residual to start from.
            is_warm: whether to dream warm without a residual, of a source that is a dream itself.
            every_octave: whether a warm dream refreshes all of its octaves, or the largest only.
            time_seconds: of the frame, for settings that change over time.
            effort: how many times as much ascent as usual; a warm dream takes more steps for it.
            level: where the objective is held; None lets it climb on.
            subject: (1, 3, H, W), the picture dreamed of, where it is not `source`.
        """
        now = self.settings.at(time_seconds)
        start = source if carried is None else (source + carried).clamp(0, 1)
        octaves = self._octaves(source, now)
        iterations, step_size = now.iterations, now.step_size * now.strength * effort
        if is_warm or carried is not None:
            octaves = octaves[-now.warm_octaves if every_octave else -1 :]
            iterations, step_size = _warm(now, effort)
        if step_size == 0:
            return start - source
        objective = self.aim.objective(time_seconds, source if subject is None else subject)
        conditioning = self._conditioning(now.smoothing, now.natural_colour)
        with torch.no_grad():
            change = start.new_zeros(1, 3, *octaves[0][1])
            for octave, size in octaves:
                # Bicubic resizing overshoots at edges.
                base = resize(start, size).clamp(0, 1)
                image = ascend(
                    (base + resize(change, size)).clamp(0, 1),
                    objective,
                    conditioning,
                    texture(base if start is source else resize(source, size)),
                    self._shifts(now, frame_index, octave, iterations),
                    step_size,
                    None if level is None else level(size[0] / source.shape[-2]),
                )
                change = image - base
        return start + change - source

    def shown(
        self, source: Tensor, residual: Tensor, mask: FloatArray | None, time_seconds: float
    ) -> FloatArray:
        """The image (H, W, 3) to show of a dream; see `blended`."""
        there = None if mask is None else torch.from_numpy(mask).to(self.device)[None, None]
        return self.download(blended(source, residual, there, self.settings.at(time_seconds)))

    def _octaves(self, source: Tensor, now: Settings) -> list[tuple[int, Size]]:
        height, width = source.shape[-2:]
        return list(enumerate(octave_sizes(height, width, now.octaves, now.octave_scale)))

    def gain(self, before: Tensor, after: Tensor, time_seconds: float = 0.0) -> float:
        """How many times more is seen of what is raised after a dream than before it.

        Energy of the layer in the one picture (1, 3, H, W) over that in the other; of several
        layers, the mean of their gains, weighted by their shares (a geometric one). Of a class,
        its probability.
        """
        if self.settings.strength == 0:
            return 1.0
        strength = self.aim.strength(time_seconds, before)
        with torch.no_grad():
            return float((strength(after.clamp(0, 1)) - strength(before)).exp())

    def _shifts(
        self, now: Settings, frame_index: int, octave: int, iterations: int
    ) -> Iterator[Shift]:
        """One jitter per iteration, each from a generator of its own.

        Seeding by place makes every frame the same in whatever order frames are dreamed.
        """
        for iteration in range(iterations):
            place = [now.seed, frame_index, octave, iteration]
            generator = np.random.default_rng(place)
            down, right = generator.integers(-now.jitter, now.jitter, 2, endpoint=True)
            yield int(down), int(right)


def _warm(now: Settings, effort: float) -> tuple[int, float]:
    """Iterations and step size of a warm dream: more effort takes more steps, not longer ones."""
    iterations = max(1, round(now.warm_iterations * effort))
    return iterations, now.step_size * now.strength * effort * now.warm_iterations / iterations
