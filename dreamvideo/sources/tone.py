"""Brings high dynamic range to what every screen shows. Refuses to know about files."""

from __future__ import annotations

import numpy as np

from dreamvideo.frames import FloatArray

# Code points of ITU-T H.273 for the transfer of HDR: SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG).
PQ = 16
HLG = 18
HDR_TRANSFERS = (PQ, HLG)
# White of SDR, to which 1.0 of linear light refers here, and the peak that PQ can express.
SDR_WHITE_NITS = 100.0
PQ_PEAK_NITS = 10000.0
# The display that HLG is mastered for, and its system gamma (BT.2100, table 5).
HLG_PEAK_NITS = 1000.0
HLG_GAMMA = 1.2
# What screens do with values of BT.709 (BT.1886, annex 1).
DISPLAY_GAMMA = 2.4
# The light that becomes white, times SDR's: what FFmpeg's tonemap filter takes where a film says
# nothing.
PEAK = 10.0
# Linear BT.2020 to linear BT.709 (ITU-R BT.2087, inverse of its equation 2).
BT2020_TO_BT709 = np.array(
    [
        [1.660491, -0.587641, -0.072850],
        [-0.124550, 1.132900, -0.008349],
        [-0.018151, -0.100579, 1.118730],
    ],
    np.float32,
)
LUMA_BT2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)
SMALLEST_LIGHT = 1e-6


def to_standard_range(image: FloatArray, transfer: int) -> FloatArray:
    """An image of BT.2020 with a transfer of HDR as one of BT.709.

    Args:
        image: (height, width, 3) in [0, 1], as decoded.
        transfer: `PQ` or `HLG`.
    """
    light = _light_of_pq(image) if transfer == PQ else _light_of_hlg(image)
    light = np.maximum(light @ BT2020_TO_BT709.T, np.float32(0))
    brightest = np.maximum(light.max(axis=2, keepdims=True), SMALLEST_LIGHT)
    light *= _filmic(brightest) / (_filmic(np.full(1, PEAK, np.float32)) * brightest)
    shown: FloatArray = np.clip(light, 0, 1) ** np.float32(1 / DISPLAY_GAMMA)
    return shown


def _light_of_pq(image: FloatArray) -> FloatArray:
    """SMPTE ST 2084, equation 4.1; 1 is the white of SDR."""
    m1, m2 = np.float32(2610 / 16384), np.float32(2523 / 4096 * 128)
    c1, c2, c3 = (np.float32(c) for c in (3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32))
    power: FloatArray = image ** (1 / m2)
    light = (np.maximum(power - c1, np.float32(0)) / (c2 - c3 * power)) ** (1 / m1)
    return np.asarray(light * (PQ_PEAK_NITS / SDR_WHITE_NITS), np.float32)


def _light_of_hlg(image: FloatArray) -> FloatArray:
    """ITU-R BT.2100, table 5: inverse OETF, then the OOTF of its display."""
    a, b, c = (np.float32(value) for value in (0.17883277, 0.28466892, 0.55991073))
    scene = np.where(image <= 0.5, image**2 / 3, (np.exp((image - c) / a) + b) / 12)
    luma = np.maximum(scene @ LUMA_BT2020, SMALLEST_LIGHT)[..., None]
    display = scene * luma ** (HLG_GAMMA - 1) * (HLG_PEAK_NITS / SDR_WHITE_NITS)
    return np.asarray(display, np.float32)


def _filmic(light: FloatArray) -> FloatArray:
    """John Hable, Filmic Tonemapping with Piecewise Power Curves' forerunner (GDC 2010)."""
    a, b, c, d, e, f = (np.float32(value) for value in (0.15, 0.50, 0.10, 0.20, 0.02, 0.30))
    curve = (light * (light * a + b * c) + d * e) / (light * (light * a + b) + d * f) - e / f
    return np.asarray(curve, np.float32)
