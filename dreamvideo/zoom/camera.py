"""The path of a camera that zooms, rotates and pans, and pictures as it sees them.

Positions are complex numbers: x + iy, in frame widths, from the centre of the frame, x to the right
and y down, so that multiplying by e^(iω) rotates clockwise by ω."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dreamvideo.settings import Settings
from dreamvideo.settings.keyframes import Schedule

# How much larger things grow in a second, where nothing else is asked for: fast enough to fall,
# slow enough to see what one falls into.
DEFAULT_ZOOM = 1.2
# Steps in which rates that change are added up. At a twentieth of this, ten seconds of the example
# in the help end within 0.001 frame widths of where they end at ten times this.
STEPS_PER_SECOND = 240
# Times between two keys at which the camera is asked how fast things come into view.
SAMPLES_PER_PIECE = 33


@dataclass(frozen=True)
class Similarity:
    """What happened to every place: it was multiplied by `factor`, then moved by `offset`."""

    factor: complex = 1.0
    offset: complex = 0.0

    def __call__(self, place: complex) -> complex:
        """Where a place has got to."""
        return self.factor * place + self.offset

    def inverse(self) -> Similarity:
        """What undoes it."""
        return Similarity(1 / self.factor, -self.offset / self.factor)

    @property
    def scale(self) -> float:
        """How many times larger things have grown."""
        return abs(self.factor)


class Camera:
    """The path of the camera that the settings describe."""

    def __init__(self, settings: Settings, width_px: int, height_px: int) -> None:
        """For a frame of a size."""
        zoom = DEFAULT_ZOOM if settings.zoom is None else settings.zoom
        self._rates: tuple[Any, ...] = (
            zoom,
            settings.rotate,
            settings.pan_x,
            settings.pan_y,
            settings.centre,
        )
        self._height_widths = height_px / width_px

    def between(self, begin_seconds: float, end_seconds: float) -> Similarity:
        """What happens between two times.

        A place q moves by q' = a·(q − c) − p, with a = ln(zoom) + i·rotation, c the centre and p
        the pan, each per second. Where they stay the same from s to t, that is solved by
        q(t) = e^(a(t−s))·q(s) + (e^(a(t−s)) − 1)/a · (−a·c − p); where they change, by doing so in
        short steps, each with the rates of its middle. Frames have no part in it: at any frame
        rate the camera takes the same path.
        """
        edges = self._edges(begin_seconds, end_seconds)
        lengths = np.diff(edges)
        turns, drifts = self._flow((edges[:-1] + edges[1:]) / 2)
        grown = turns * lengths
        offsets = drifts * lengths * _expm1_ratio(grown)
        # What is added in a step grows through all later ones.
        later = np.cumsum(grown[::-1])[::-1] - grown
        return Similarity(complex(np.exp(grown.sum())), complex((np.exp(later) * offsets).sum()))

    def log_growth(self, begin_seconds: float, end_seconds: float) -> float:
        """The logarithm of how many times larger things grow between two times.

        Over a long time the number itself may be too large, or too small, to be one.
        """
        edges = self._edges(begin_seconds, end_seconds)
        turns, _ = self._flow((edges[:-1] + edges[1:]) / 2)
        return float((turns.real * np.diff(edges)).sum())

    def largest_step(self, end_seconds: float, step_seconds: float) -> float:
        """The logarithm of the most that things grow or shrink in a step, up to a time."""
        return max(
            abs(self.log_growth(max(0.0, time - step_seconds / 2), time + step_seconds / 2))
            for time in self._telling_times(end_seconds)
        )

    def inflow(self, end_seconds: float) -> dict[str, float]:
        """How fast things come into view at the edges of the frame, in frame widths per second.

        Returns:
            The fastest up to a time at each of `left`, `right`, `top` and `bottom`; 0 where nothing
            comes in.
        """
        turns, drifts = self._flow(self._telling_times(end_seconds))
        half = complex(0.5, self._height_widths / 2)
        corners = np.array([-half, half.conjugate(), half, -half.conjugate()])
        # Motion is affine, so that along an edge it is fastest at one of the corners.
        motion = turns[:, None] * corners + drifts[:, None]
        inward = {
            "left": motion.real[:, [0, 3]],
            "right": -motion.real[:, [1, 2]],
            "top": motion.imag[:, [0, 1]],
            "bottom": -motion.imag[:, [2, 3]],
        }
        return {edge: max(0.0, float(speeds.max())) for edge, speeds in inward.items()}

    def _bounds(self, begin_seconds: float, end_seconds: float) -> list[float]:
        """Two times, and those of all keys between them."""
        schedules = [rate for rate in self._rates if isinstance(rate, Schedule)]
        keys = {time for schedule in schedules for time in schedule.times_seconds}
        inside = [time for time in sorted(keys) if begin_seconds < time < end_seconds]
        return [begin_seconds, *inside, end_seconds]

    def _telling_times(self, end_seconds: float) -> npt.NDArray[np.float64]:
        """Times at which the rates are what they are at their fastest, or nearly."""
        pieces = pairwise(self._bounds(0.0, end_seconds))
        return np.concatenate(
            [np.linspace(one, np.nextafter(other, one), SAMPLES_PER_PIECE) for one, other in pieces]
        )

    def _edges(self, begin_seconds: float, end_seconds: float) -> npt.NDArray[np.float64]:
        """The ends of steps in which the rates stay as good as the same."""
        pieces = []
        for one, other in pairwise(self._bounds(begin_seconds, end_seconds)):
            steps = max(1, math.ceil((other - one) * STEPS_PER_SECOND))
            if self._is_constant(one, float(np.nextafter(other, one))):
                steps = 1
            pieces.append(np.linspace(one, other, steps + 1)[:-1])
        return np.concatenate([*pieces, [end_seconds]])

    def _is_constant(self, begin_seconds: float, end_seconds: float) -> bool:
        """Whether no rate changes between two times that have no key between them."""
        return all(
            np.ptp(rate.numbers(np.array([begin_seconds, end_seconds])), axis=0).max() == 0
            for rate in self._rates
            if isinstance(rate, Schedule)
        )

    def _flow(
        self, times_seconds: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.complex128]]:
        """a and −a·c − p of `between`, per second, at some times."""
        zoom, rotate, pan_x, pan_y, centre = (
            rate.numbers(times_seconds)
            if isinstance(rate, Schedule)
            else np.broadcast_to(rate, times_seconds.shape + np.shape(rate))
            for rate in self._rates
        )
        turns = np.log(zoom) + 1j * np.radians(rotate)
        middle = (centre[..., 0] - 0.5) + 1j * (centre[..., 1] - 0.5) * self._height_widths
        return turns, -turns * middle - (pan_x + 1j * pan_y)


def _expm1_ratio(grown: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
    """(e^x − 1) / x, which is 1 at 0."""
    small = np.abs(grown) < 1e-6
    safe = np.where(small, 1, grown)
    return np.where(small, 1 + grown / 2, np.expm1(safe) / safe)


# Pictures that shrink below this are made smaller without moiré before they are sampled; from one
# frame to the next nothing shrinks so much, and a picture that is never made smaller stays sharp.
MIN_UNFILTERED_SCALE = 0.9


@dataclass(frozen=True)
class Canvas:
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
    def frame(self) -> Canvas:
        """The frame alone."""
        return Canvas(self.width_px, self.height_px)

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


def transform_picture(
    picture: Tensor, area: Canvas, move: Similarity, seen: Canvas | None = None
) -> Tensor:
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
    if move.scale < MIN_UNFILTERED_SCALE:
        smaller = [max(1, round(side * move.scale)) for side in picture.shape[-2:]]
        picture = nn.functional.interpolate(picture, size=smaller, mode="bicubic", antialias=True)
    return _sample_cubic(picture, sampling_grid(area, move, seen, picture.device)).clamp(0, 1)


def _sample_cubic(picture: Tensor, grid: Tensor) -> Tensor:
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


def sampling_grid(area: Canvas, move: Similarity, seen: Canvas, device: torch.device) -> Tensor:
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
