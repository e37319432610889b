"""What is known of colours: how FFmpeg names them, how nature mixes them.

Refuses to convert anything itself.
"""

from __future__ import annotations

# Code points of the matrices of ITU-T H.273 that a conversion from YUV can use, by the names of
# FFmpeg's scale filter. Others (unspecified, RGB, rare ones) say nothing that it could use.
MATRIX_RGB = 0
MATRIX_BT709 = 1
MATRIX_BT601 = 6
MATRIX_NAMES = {
    MATRIX_BT709: "bt709",
    4: "fcc",
    5: "bt601",
    MATRIX_BT601: "bt601",
    7: "smpte240m",
    9: "bt2020",
}
# Films that do not say which matrix they use are BT.709 from this height up: the convention of
# HDTV, and of players.
SMALLEST_BT709_HEIGHT_PX = 720
# The default flags of every FFmpeg library shift colours by up to 1.5 of 255 and smear chroma;
# these three together are exact to rounding, there and back.
SCALE_FLAGS = "bicubic+accurate_rnd+full_chroma_int"
# Share of red, green and blue in the brightness of a pixel (ITU-R BT.709, 3.2).
LUMA_BT709 = (0.2126, 0.7152, 0.0722)
# Square root of the covariance of RGB over ImageNet, as published with lucid (color.py), columns
# being roughly brightness, blue-yellow and red-green.
NATURAL_COVARIANCE_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


def matrix_of(matrix: int, height_px: int) -> int:
    """The matrix that a film means: its own, or by its height where it does not say."""
    if matrix in MATRIX_NAMES:
        return matrix
    return MATRIX_BT709 if height_px >= SMALLEST_BT709_HEIGHT_PX else MATRIX_BT601
