"""What a still and its dream are like, for a dream that goes on for ever to be held to.

Refuses to know what is held to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.objective import log_energy
from dreamvideo.dream.palette import Palette
from dreamvideo.dream.pyramid import resize

# The gain of a dream hardly depends on its size, and a cold dream takes long: for it, longest sides
# are made this long.
DREAM_MOST_PX = 384


class Reference:
    """A still, its colours, and how strongly the layers answer to it and to its dream."""

    def __init__(self, dreamer: Dreamer, still: Tensor) -> None:
        """Args:
        dreamer: dreams the still as at the beginning of the film, with a strength of 1.
        still: (1, 3, H, W).
        """
        self.still = still
        self.palette = Palette.of(still)
        self._dreamer = dreamer
        self._log_gain = cache(self._dream)
        self._answer = cache(self._measure)

    def level(
        self, size_share: float, layers: Sequence[tuple[str, float]], strength: float
    ) -> Tensor:
        """The objective of a dream as strong as asked for, a scalar.

        That of the still, and the gain of its dream to the power of the strength.

        Args:
            size_share: size of the picture that is measured, as a share of the still's.
            layers: names and shares of the layers.
            strength: 0 for the still, 1 for its dream.
        """
        levels = [share * self._answer(layer, size_share) for layer, share in layers]
        if strength > 0:
            levels += [share * strength * self._log_gain(layer) for layer, share in layers]
        return torch.stack(levels).sum()

    def _measure(self, layer: str, size_share: float) -> Tensor:
        height, width = self.still.shape[-2:]
        size = (max(1, round(height * size_share)), max(1, round(width * size_share)))
        with torch.no_grad():
            return log_energy(self._dreamer.features(resize(self.still, size), [layer]), [1.0])

    def _dream(self, layer: str) -> Tensor:
        """The logarithm of the gain of a cold dream."""
        settings = replace(self._dreamer.settings.at(0), strength=1.0, layer=layer)
        dreamer = Dreamer(self._dreamer.features, settings, self._dreamer.device)
        height, width = self.still.shape[-2:]
        shrink = min(1.0, DREAM_MOST_PX / max(height, width))
        still = resize(self.still, (max(1, round(height * shrink)), max(1, round(width * shrink))))
        dream = still + dreamer.dream(still, frame_index=0)
        objective = dreamer.objective(0)
        with torch.no_grad():
            return objective(dream.clamp(0, 1)) - objective(still)
