"""The size that a picture gets, and the filter that takes it there. Refuses to open files."""

from __future__ import annotations

from av.video.reformatter import Interpolation

# The default flags of every FFmpeg library shift colours by up to 1.5 of 255 and smear chroma;
# these three together are exact to rounding.
SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
EVEN_PX = 2


def scaled_size(width_px: int, height_px: int, size_px: int | None) -> tuple[int, int]:
    """(width, height) with `size_px` as the longest side and the shape kept.

    A scaled size is even on both sides, since film formats want that. Without `size_px` the size
    stays as it is.
    """
    if size_px is None:
        return width_px, height_px
    scale = size_px / max(width_px, height_px)
    width, height = (
        max(EVEN_PX, round(side * scale / EVEN_PX) * EVEN_PX) for side in (width_px, height_px)
    )
    return width, height
