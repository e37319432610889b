"""Dreams one picture, cold or warm. Refuses to know what came before it and where it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from dreamvideo.dream.ascent import Shift, ascend
from dreamvideo.dream.conditioning import Conditioning
from dreamvideo.dream.objective import l2_energy
from dreamvideo.dream.pyramid import octave_sizes, resize
from dreamvideo.dream.texture import texture
from dreamvideo.frames import FloatArray
from dreamvideo.settings import Settings


class Dreamer:
    """A network and settings, ready to dream any number of pictures."""

    def __init__(
        self, features: Callable[[Tensor], Tensor], settings: Settings, device: torch.device
    ) -> None:
        """Args:
        features: from images (1, 3, H, W) in [0, 1] to the activations to strengthen.
        settings: how to dream.
        device: where `features` is.
        """
        self._features = features
        self._settings = settings
        self._device = device
        self._conditioning = Conditioning(settings.smoothing, settings.natural_colour).to(device)

    def upload(self, image: FloatArray) -> Tensor:
        """An image (H, W, 3) as (1, 3, H, W) on the device, channels last in memory."""
        return torch.from_numpy(image).to(self._device).permute(2, 0, 1)[None]

    def download(self, picture: Tensor) -> FloatArray:
        """(1, 3, H, W) on the device as an image (H, W, 3) in [0, 1]."""
        image: FloatArray = picture[0].permute(1, 2, 0).clamp(0, 1).contiguous().cpu().numpy()
        return image

    def dream(self, source: Tensor, frame_index: int, carried: Tensor | None = None) -> Tensor:
        """The residual, dream minus source, that a dream of `source` ends with.

        A cold dream climbs the whole pyramid. A warm one, with a residual `carried` from the
        frame before, refreshes it with a short climb of the largest octaves.

        Args:
            source: (1, 3, H, W), RGB in [0, 1].
            frame_index: with the seed, determines the jitter.
            carried: (1, 3, H, W), the residual to start from; None dreams cold.
        """
        settings = self._settings
        if settings.strength == 0:
            return torch.zeros_like(source)
        height, width = source.shape[-2:]
        sizes = octave_sizes(height, width, settings.octaves, settings.octave_scale)
        first, iterations = 0, settings.iterations
        if carried is not None:
            first = max(0, len(sizes) - settings.warm_octaves)
            iterations = settings.warm_iterations
        start = source if carried is None else (source + carried).clamp(0, 1)
        with torch.no_grad():
            change = torch.zeros_like(resize(start, sizes[first]))
            for octave in range(first, len(sizes)):
                # Bicubic resizing overshoots at edges.
                base = resize(start, sizes[octave]).clamp(0, 1)
                image = ascend(
                    (base + resize(change, sizes[octave])).clamp(0, 1),
                    self._features,
                    self._conditioning,
                    texture(resize(source, sizes[octave])),
                    self._shifts(frame_index, octave, iterations),
                    settings.step_size * settings.strength,
                )
                change = image - base
        return start + change - source

    def gain(self, source: Tensor, residual: Tensor) -> float:
        """Energy of the layer on the dream over that on the source, both (1, 3, H, W)."""
        if self._settings.strength == 0:
            return 1.0
        with torch.no_grad():
            before = l2_energy(self._features(source))
            after = l2_energy(self._features((source + residual).clamp(0, 1)))
        return float(after / before) if float(before) > 0 else 1.0

    def _shifts(self, frame_index: int, octave: int, iterations: int) -> Iterator[Shift]:
        """One jitter per iteration, each from a generator of its own.

        Seeding by place makes every frame the same in whatever order frames are dreamed.
        """
        reach = self._settings.jitter
        for iteration in range(iterations):
            place = [self._settings.seed, frame_index, octave, iteration]
            down, right = np.random.default_rng(place).integers(-reach, reach, 2, endpoint=True)
            yield int(down), int(right)
