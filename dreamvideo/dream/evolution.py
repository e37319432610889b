"""Which channels a dream that evolves is after at a time. Refuses to know what they see."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def emphasis(answer: Tensor, rate: float, time_seconds: float, seed: int) -> Tensor:
    """The weights of an answer's channels, in [0, 2], of mean 1 over time.

    1 + cos(2π(rate · t + φ)), each channel with a phase φ of its own: what is raised passes from
    some channels to others, and is back after 1 / rate seconds.

    Args:
        answer: (1, channels, …).
        rate: cycles per second.
        time_seconds: t.
        seed: decides about the phases.

    Returns:
        (1, channels, 1, …), to be multiplied with the answer.
    """
    channels = answer.shape[1]
    phases = np.random.default_rng([seed, channels]).random(channels)
    weights = 1 + np.cos(2 * np.pi * (rate * time_seconds + phases))
    shape = (1, channels, *[1] * (answer.dim() - 2))
    return torch.from_numpy(weights.astype(np.float32)).to(answer.device).view(shape)
