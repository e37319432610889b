"""How strongly parts of a film are dreamed, by how long ago they came into view.

Refuses to know how motion is measured and which network looks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dreamvideo.dream import Places

# What came into view up to so many frames ago is new.
NEW_FRAMES = 5
# Ages up to this are told apart; all older ones are the next.
OLDEST_FRAMES = 8
OLDER = OLDEST_FRAMES + 1
# A part that is seen by fewer places of a layer, in all frames together, tells nothing.
FEWEST_PLACES = 4.0


class Regions:
    """Sums of energies, over frames, of what came into view at the same age."""

    def __init__(self) -> None:
        self._frames = 0
        self._shares: Counter[str] = Counter()
        # Of each layer: for each age a row with the sums of the dream, the source and the places.
        self._sums: dict[str, Tensor] = {}

    def add(self, layers: Sequence[str], source: Places, dream: Places, ages: Tensor) -> None:
        """Count a frame in.

        Args:
            layers: names of the layers, which may change from frame to frame.
            source: energies of the source.
            dream: energies of the dream.
            ages: (H, W), frames since each pixel came into view.
        """
        self._frames += 1
        whose = [*(ages == age for age in range(OLDER)), ages > OLDEST_FRAMES]
        masks = torch.stack(whose).float()
        for layer, (share, before), (_, after) in zip(layers, source, dream, strict=True):
            self._shares[layer] += share  # type: ignore[assignment]  # counters count anything
            # The share of each place's pixels that are of each age.
            size = (before.shape[0], before.shape[1])
            shares = nn.functional.adaptive_avg_pool2d(masks, size).to(before.device)
            sums = [(values * shares).sum((1, 2)) for values in (after, before)]
            rows = torch.stack([*sums, shares.sum((1, 2))], dim=1).double().cpu()
            self._sums[layer] = self._sums.get(layer, torch.zeros_like(rows)) + rows

    def gain(self, ages: Sequence[int]) -> float | None:
        """The dream gain of what is of one of the ages; None where there is too little of it.

        Π over layers of (Σ energies of the dream / Σ energies of the source) ^ share, the sums over
        all places and frames, each place weighted by the share of its pixels that is of the age;
        the share of a layer that comes and goes is the mean of that in all frames.
        """
        gain = 0.0
        for layer, rows in self._sums.items():
            dream, source, places = rows[list(ages)].sum(0).tolist()
            if places < FEWEST_PLACES or dream <= 0 or source <= 0:
                return None
            gain += self._shares[layer] / self._frames * (math.log(dream) - math.log(source))
        return math.exp(gain) if self._sums else None

    def gains_by_age(self) -> list[float | None]:
        """Dream gains of what came into view 0, 1, … frames ago."""
        return [self.gain([age]) for age in range(OLDER)]

    def new_to_rest(self) -> float | None:
        """The dream gain of what came into view within five frames, by that of all the rest."""
        new = self.gain(range(NEW_FRAMES + 1))
        rest = self.gain(range(NEW_FRAMES + 1, OLDER + 1))
        return None if new is None or rest is None else new / rest


def gain_of(source: Places, dream: Places) -> float:
    """The dream gain of a frame: Π over layers of (mean energy after / before) ^ share."""
    tiny = torch.finfo(torch.float32).tiny
    return math.exp(
        sum(
            share * float((after.mean().clamp(min=tiny) / before.mean().clamp(min=tiny)).log())
            for (share, before), (_, after) in zip(source, dream, strict=True)
        )
    )
