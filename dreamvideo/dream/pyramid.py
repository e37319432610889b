"""A picture at the sizes at which it is dreamed. Refuses to know what is done at each size."""

from __future__ import annotations

from torch import Tensor, nn

# Below this the layers of the default network hold too few cells to show a figure.
SMALLEST_SIDE_PX = 48

Size = tuple[int, int]


def octave_sizes(height_px: int, width_px: int, octaves: int, octave_scale: float) -> list[Size]:
    """(height, width) of each octave, smallest first, the picture itself last.

    Each octave is `octave_scale` times smaller than the next (Mordvintsev et al. 2015). Octaves
    with a side under `SMALLEST_SIDE_PX` are left out; the full size always remains.
    """
    sizes = [(height_px, width_px)]
    for step in range(1, octaves):
        shrink = octave_scale**step
        height, width = round(height_px / shrink), round(width_px / shrink)
        if min(height, width) < SMALLEST_SIDE_PX:
            break
        sizes.append((height, width))
    return sizes[::-1]


def resize(picture: Tensor, size: Size) -> Tensor:
    """(N, C, H, W) to (N, C, *size), band-limited so that shrinking makes no moiré."""
    if tuple(picture.shape[-2:]) == size:
        return picture
    return nn.functional.interpolate(picture, size=size, mode="bicubic", antialias=True)


def resize_smooth(picture: Tensor, size: Size) -> Tensor:
    """(N, C, H, W) to (N, C, *size), bilinearly: a third of the cost, for what is smooth anyway.

    What a dream adds to a picture is made of smoothed steps; shrunk by the scale of octaves, it
    still has nothing finer than two pixels.
    """
    if tuple(picture.shape[-2:]) == size:
        return picture
    return nn.functional.interpolate(picture, size=size, mode="bilinear")


def at_most(picture: Tensor, most_px: int) -> Tensor:
    """(N, C, H, W), shrunk so that its longest side is no longer than `most_px`."""
    return resize(picture, size_at_most((picture.shape[-2], picture.shape[-1]), most_px))


def size_at_most(size: Size, most_px: int) -> Size:
    """A size of the same shape whose longest side is no longer than `most_px`."""
    height, width = size
    shrink = min(1.0, most_px / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))
