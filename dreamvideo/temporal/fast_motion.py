"""How frames are refreshed of which much has just come into view.

In fast motion most of the dream is young, and grows best from large figures to small ones: every
octave is dreamed in every frame. What is fresh gets long steps; what is settled gets short ones, so
that it stays steady. This takes the place of the local boost.

Measured by `scripts/coherence.py` on its fast clip, relative to every frame dreamed on its own: the
dream gain of the last third rises from 0.92 to 0.96, while the warping error falls.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dreamvideo.dream.pyramid import Octave

# Frames of fast motion refresh so many times as many octaves as others: all four by default.
OCTAVES_FACTOR = 2
# Fresh pixels get steps of so many times the length of a usual refresh; settled pixels get shorter
# ones, at the largest octave and at the others.
FRESH_WEIGHT = 1.5
SETTLED_WEIGHT_LARGEST, SETTLED_WEIGHT = 0.7, 0.4


def step_weights(freshness: Tensor, octaves: Sequence[Octave]) -> list[Tensor]:
    """By what the steps of each octave are multiplied: (1, 1, H, W) each, smallest octave first.

    Args:
        freshness: (1, 1, H, W) in [0, 1]: 1 for what has just come into view.
        octaves: the octaves that are refreshed, smallest first.
    """
    settled = [SETTLED_WEIGHT] * (len(octaves) - 1) + [SETTLED_WEIGHT_LARGEST]
    return [weight + (FRESH_WEIGHT - weight) * freshness for weight in settled]
