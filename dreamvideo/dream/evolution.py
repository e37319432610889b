"""Which channels a dream that evolves is after at a time. Refuses to know what they see."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# κ: a ninth of the channels is heard at a time. Half of them see the same figures as the other
# half; with 16 the dream gets weaker.
CONCENTRATION = 8.0


def emphasis(
    answer: Tensor, rate: float, time_seconds: float, seed: int, chosen: Tensor | None = None
) -> Tensor:
    """The weights of an answer's channels, of mean 1 over time.

    e^(κ cos(2π(rate · t + φ))) / I₀(κ), as von Mises' distribution, each channel with a phase φ of
    its own: what is raised passes from some channels to others, and is back after 1 / rate seconds.

    Args:
        answer: (1, channels, …).
        rate: cycles per second.
        time_seconds: t.
        seed: decides about the phases.
        chosen: numbers of the channels that are raised, whose weights are made to be of mean 1 at
            every time; None for all.

    Returns:
        (1, chosen channels, 1, …), to be multiplied with what the chosen ones answer.
    """
    channels = answer.shape[1]
    phases = np.random.default_rng([seed, channels]).random(channels)
    angles = 2 * np.pi * (rate * time_seconds + phases)
    weights = np.exp(CONCENTRATION * np.cos(angles)) / np.i0(CONCENTRATION)
    if chosen is not None:
        weights = weights[chosen.cpu().numpy()]
        weights = weights / weights.mean()
    shape = (1, len(weights), *[1] * (answer.dim() - 2))
    return torch.from_numpy(weights.astype(np.float32)).to(answer.device).view(shape)
