"""Pictures as a moved camera sees them. Refuses to know why it moves.

A picture covers a rectangle around the frame; what lies outside of it is its mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dreamvideo.motion.camera import Move

# Pictures that shrink below this are made smaller without moiré before they are sampled; from one
# frame to the next nothing shrinks so much, and a picture that is never made smaller stays sharp.
SMALLEST_PLAIN_SCALE = 0.9


@dataclass(frozen=True)
class Area:
    """A rectangle of pixels, and the frame in it."""

    width_px: int
    height_px: int
    """Of the frame."""
    left_px: int = 0
    right_px: int = 0
    top_px: int = 0
    bottom_px: int = 0
    """How far the rectangle reaches beyond the frame."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the rectangle in px."""
        return (
            self.top_px + self.height_px + self.bottom_px,
            self.left_px + self.width_px + self.right_px,
        )

    @property
    def frame(self) -> Area:
        """The frame alone."""
        return Area(self.width_px, self.height_px)

    def cut(self, picture: Tensor) -> Tensor:
        """The frame out of a picture (N, C, *size) of the rectangle."""
        bottom, right = self.top_px + self.height_px, self.left_px + self.width_px
        return picture[..., self.top_px : bottom, self.left_px : right]

    def to_unit(self) -> npt.NDArray[np.float64]:
        """(3, 3): from places, in frame widths from the middle of the frame, to [-1, 1]."""
        height, width = self.size
        across, down = 2 * self.width_px / width, 2 * self.width_px / height
        x = (2 * self.left_px + self.width_px) / width - 1
        y = (2 * self.top_px + self.height_px) / height - 1
        return np.array([[across, 0, x], [0, down, y], [0, 0, 1]])


def moved(picture: Tensor, area: Area, move: Move, seen: Area | None = None) -> Tensor:
    """A picture after a move, in [0, 1].

    What comes into view is mirrored at the edge. From frame to frame that is a line or two, which
    the dream takes up at once; whole mirror images, from mirrors farther inside, stay to be seen.

    Args:
        picture: (1, C, H, W) in [0, 1], of `area`; any size of the same shape.
        area: what it covers.
        move: what happened to every place.
        seen: what the result covers, (1, C, *seen.size); None is `area`.
    """
    seen = seen or area
    if move.scale < SMALLEST_PLAIN_SCALE:
        smaller = [max(1, round(side * move.scale)) for side in picture.shape[-2:]]
        picture = nn.functional.interpolate(picture, size=smaller, mode="bicubic", antialias=True)
    return _sampled(picture, places(area, move, seen, picture.device)).clamp(0, 1)


def _sampled(picture: Tensor, grid: Tensor) -> Tensor:
    """Cubic convolution (Keys 1981, a = −1/2) of a picture at places in [-1, 1].

    PyTorch's own bicubic sampling has a = −3/4: in the middle of a zoom, where a frame's step is a
    fraction of a pixel, it moves things half as far again as they should, so that a zoom is faster
    the more frames it has. With −1/2 slopes are exact. The four samples of an axis are taken as
    three, the middle two in one by linear interpolation (Sigg and Hadwiger 2005, "Fast third-order
    texture filtering").
    """
    columns, rows = (
        _taps(grid[..., axis], size)
        for axis, size in ((0, picture.shape[3]), (1, picture.shape[2]))
    )
    total = torch.zeros((), device=picture.device)
    for y, weight_y in rows:
        for x, weight_x in columns:
            sample = nn.functional.grid_sample(
                picture,
                torch.stack([x, y], dim=-1),
                mode="bilinear",
                padding_mode="reflection",
                align_corners=False,
            )
            total = torch.addcmul(total, sample, (weight_x * weight_y)[:, None])
    return total


def _taps(position: Tensor, size_px: int) -> list[tuple[Tensor, Tensor]]:
    """Three places along an axis, in [-1, 1], and the weights of what is found there."""
    pixel = ((position + 1) * size_px - 1) / 2
    first = pixel.floor()
    t = pixel - first
    before = t * (-0.5 + t * (1 - 0.5 * t))
    second = t * (0.5 + t * (2 - 1.5 * t))
    after = t * t * (0.5 * t - 0.5)
    middle = 1 - before - after
    return [
        (((place + 0.5) * 2 / size_px) - 1, weight)
        for place, weight in (
            (first - 1, before),
            (first + second / middle, middle),
            (first + 2, after),
        )
    ]


def places(area: Area, move: Move, seen: Area, device: torch.device) -> Tensor:
    """(1, H, W, 2): where each pixel of `seen` was before a move, `area` being [-1, 1]."""
    back = move.inverse()
    turn, offset = back.factor, back.offset
    before = np.array(
        [
            [turn.real, -turn.imag, offset.real],
            [turn.imag, turn.real, offset.imag],
            [0, 0, 1],
        ]
    )
    matrix = area.to_unit() @ before @ np.linalg.inv(seen.to_unit())
    theta = torch.tensor(matrix[None, :2], dtype=torch.float32, device=device)
    return nn.functional.affine_grid(theta, [1, 1, *seen.size], align_corners=False)
