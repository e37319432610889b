"""Noise that looks like a picture from afar. Refuses to know what grows out of it."""

from __future__ import annotations

import numpy as np

from dreamvideo.colour import NATURAL_COVARIANCE_ROOT
from dreamvideo.frames import FloatArray

# Standard deviation of each channel: strong enough for a dream to find hold, and with hardly a
# value that would have to be cut off at black or white.
DEVIATION = 0.15
MIDDLE_GREY = 0.5


def natural_noise(width_px: int, height_px: int, seed: tuple[int, int]) -> FloatArray:
    """(height, width, 3) in [0, 1]: noise with the spectrum and the colours of natural pictures.

    Amplitudes fall with the frequency f as 1/f (Field 1987); the channels are mixed as they are
    over ImageNet. Without edges: it goes on from its right to its left, and from top to bottom.
    """
    generator = np.random.default_rng([*seed, width_px, height_px])
    down = np.fft.fftfreq(height_px)[:, None]
    across = np.fft.rfftfreq(width_px)[None]
    frequency = np.maximum(np.hypot(down, across), 1 / max(width_px, height_px))
    white = generator.standard_normal((3, height_px, width_px))
    spectrum = np.fft.rfft2(white) / frequency
    spectrum[:, 0, 0] = 0  # the mean is set below
    channels = np.fft.irfft2(spectrum, s=(height_px, width_px))
    mixed = np.tensordot(channels, np.array(NATURAL_COVARIANCE_ROOT), axes=(0, 1))
    deviation = mixed.std() or 1.0  # a single pixel has none
    image: FloatArray = (MIDDLE_GREY + mixed * (DEVIATION / deviation)).clip(0, 1)
    return image.astype(np.float32)
