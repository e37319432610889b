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
    mixed: FloatArray = np.zeros((height_px, width_px, 3), np.float32)
    for weights in np.transpose(NATURAL_COVARIANCE_ROOT):  # one by one: they are large
        spectrum = np.fft.rfft2(generator.standard_normal((height_px, width_px))) / frequency
        spectrum[0, 0] = 0  # the mean is set below
        channel = np.fft.irfft2(spectrum, s=(height_px, width_px)).astype(np.float32)
        for index, weight in enumerate(weights):
            mixed[..., index] += channel * np.float32(weight)
    deviation = mixed.std(dtype=np.float64) or 1.0  # a single pixel has none
    mixed *= np.float32(DEVIATION / deviation)
    mixed += np.float32(MIDDLE_GREY)
    return mixed.clip(0, 1, out=mixed)
