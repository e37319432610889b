"""The path of a camera that zooms, rotates and pans, and images as it sees them.

Positions are complex numbers: x + iy, in frame widths, from the centre of the frame, x to the right
and y down, so that multiplying by e^(iω) rotates clockwise by ω.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dreamvideo.motion.warp import sample_cubic
from dreamvideo.settings import Settings
from dreamvideo.settings.keyframes import Schedule

# Scale per second unless the settings say otherwise: fast enough to feel like falling, slow enough
# to see what one falls into.
DEFAULT_ZOOM = 1.2
# Steps in which changing rates are integrated. With a twentieth of this, ten seconds of the example
# in the help end within 0.001 frame widths of where they end with ten times this.
STEPS_PER_SECOND = 240
# Times between two keyframes at which the speed at the edges is evaluated.
SAMPLES_PER_PIECE = 33
# Images that shrink below this scale are downsampled with a filter before they are sampled. From
# one frame to the next nothing shrinks so much, and an image that is never downsampled stays sharp.
MIN_UNFILTERED_SCALE = 0.9


@dataclass(frozen=True)
class Similarity:
    """A zoom, rotation and shift: a position is multiplied by `factor`, then moved by `offset`."""

    factor: complex = 1.0
    offset: complex = 0.0

    def __call__(self, position: complex) -> complex:
        """The transformed position."""
        return self.factor * position + self.offset

    def inverse(self) -> Similarity:
        """The similarity that undoes this one."""
        return Similarity(1 / self.factor, -self.offset / self.factor)

    @property
    def scale(self) -> float:
        """How many times larger things become."""
        return abs(self.factor)


class Camera:
    """The camera path that the settings describe."""

    def __init__(self, settings: Settings, width_px: int, height_px: int) -> None:
        """Prepare for frames of one size."""
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
        """The motion between two times.

        A position q moves by q' = a·(q − c) − p, with a = ln(zoom) + i·rotation, c the centre and p
        the pan, each per second. Where the rates are constant from s to t, the solution is
        q(t) = e^(a(t−s))·q(s) + (e^(a(t−s)) − 1)/a · (−a·c − p); where they change, it is applied
        in short steps, each with the rates of its middle. Frames play no part in it: the camera
        takes the same path at any frame rate.
        """
        edges = self._step_edges(begin_seconds, end_seconds)
        lengths = np.diff(edges)
        growths, drifts = self._rates_at((edges[:-1] + edges[1:]) / 2)
        log_factors = growths * lengths
        offsets = drifts * lengths * _expm1_ratio(log_factors)
        # The offset of one step is scaled by all later steps.
        later = np.cumsum(log_factors[::-1])[::-1] - log_factors
        factor, offset = np.exp(log_factors.sum()), (np.exp(later) * offsets).sum()
        return Similarity(complex(factor), complex(offset))

    def log_growth(self, begin_seconds: float, end_seconds: float) -> float:
        """The logarithm of the scale between two times.

        Over a long time the scale itself may overflow or underflow.
        """
        edges = self._step_edges(begin_seconds, end_seconds)
        growths, _ = self._rates_at((edges[:-1] + edges[1:]) / 2)
        return float((growths.real * np.diff(edges)).sum())

    def largest_step(self, end_seconds: float, step_seconds: float) -> float:
        """The largest absolute log growth in one step, up to a time."""
        return max(
            abs(self.log_growth(max(0.0, time - step_seconds / 2), time + step_seconds / 2))
            for time in self._sample_times(end_seconds)
        )

    def inflow(self, end_seconds: float) -> dict[str, float]:
        """How fast things come into view at the edges of the frame, in frame widths per second.

        Returns:
            The maximum up to a time at each of `left`, `right`, `top` and `bottom`; 0 where nothing
            comes in.
        """
        growths, drifts = self._rates_at(self._sample_times(end_seconds))
        half = complex(0.5, self._height_widths / 2)
        corners = np.array([-half, half.conjugate(), half, -half.conjugate()])
        # Motion is affine, so that along an edge it is fastest at one of the corners.
        motion = growths[:, None] * corners + drifts[:, None]
        inward = {
            "left": motion.real[:, [0, 3]],
            "right": -motion.real[:, [1, 2]],
            "top": motion.imag[:, [0, 1]],
            "bottom": -motion.imag[:, [2, 3]],
        }
        return {edge: max(0.0, float(speeds.max())) for edge, speeds in inward.items()}

    def _key_times(self, begin_seconds: float, end_seconds: float) -> list[float]:
        """Two times, and those of all keyframes between them."""
        schedules = [rate for rate in self._rates if isinstance(rate, Schedule)]
        keys = {time for schedule in schedules for time in schedule.times_seconds}
        inside = [time for time in sorted(keys) if begin_seconds < time < end_seconds]
        return [begin_seconds, *inside, end_seconds]

    def _sample_times(self, end_seconds: float) -> npt.NDArray[np.float64]:
        """Times dense enough to include the extremes of the rates, or nearly."""
        pieces = pairwise(self._key_times(0.0, end_seconds))
        return np.concatenate(
            [
                np.linspace(begin, np.nextafter(end, begin), SAMPLES_PER_PIECE)
                for begin, end in pieces
            ]
        )

    def _step_edges(self, begin_seconds: float, end_seconds: float) -> npt.NDArray[np.float64]:
        """The bounds of steps within which the rates hardly change."""
        pieces = []
        for begin, end in pairwise(self._key_times(begin_seconds, end_seconds)):
            steps = max(1, math.ceil((end - begin) * STEPS_PER_SECOND))
            if self._is_constant(begin, float(np.nextafter(end, begin))):
                steps = 1
            pieces.append(np.linspace(begin, end, steps + 1)[:-1])
        return np.concatenate([*pieces, [end_seconds]])

    def _is_constant(self, begin_seconds: float, end_seconds: float) -> bool:
        """Whether no rate changes between two times that have no keyframe between them."""
        return all(
            np.ptp(rate.interpolate(np.array([begin_seconds, end_seconds])), axis=0).max() == 0
            for rate in self._rates
            if isinstance(rate, Schedule)
        )

    def _rates_at(
        self, times_seconds: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.complex128]]:
        """a and −a·c − p of `between`, per second, at some times."""
        zoom, rotate, pan_x, pan_y, centre = (
            rate.interpolate(times_seconds)
            if isinstance(rate, Schedule)
            else np.broadcast_to(rate, times_seconds.shape + np.shape(rate))
            for rate in self._rates
        )
        growths = np.log(zoom) + 1j * np.radians(rotate)
        middle = (centre[..., 0] - 0.5) + 1j * (centre[..., 1] - 0.5) * self._height_widths
        return growths, -growths * middle - (pan_x + 1j * pan_y)


@dataclass(frozen=True)
class Canvas:
    """A rectangle of pixels around the frame: what is dreamed, of which the frame is shown."""

    width_px: int
    height_px: int
    """Of the frame."""
    left_px: int = 0
    right_px: int = 0
    top_px: int = 0
    bottom_px: int = 0
    """How far the rectangle extends beyond the frame."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the rectangle in px."""
        return (
            self.top_px + self.height_px + self.bottom_px,
            self.left_px + self.width_px + self.right_px,
        )

    @property
    def frame(self) -> Canvas:
        """The frame without a margin."""
        return Canvas(self.width_px, self.height_px)

    def crop(self, image: Tensor) -> Tensor:
        """The frame out of an image (N, C, *size) of the rectangle."""
        bottom, right = self.top_px + self.height_px, self.left_px + self.width_px
        return image[..., self.top_px : bottom, self.left_px : right]

    def to_unit(self) -> npt.NDArray[np.float64]:
        """(3, 3): from positions, in frame widths from the centre of the frame, to [-1, 1]."""
        height, width = self.size
        across, down = 2 * self.width_px / width, 2 * self.width_px / height
        x = (2 * self.left_px + self.width_px) / width - 1
        y = (2 * self.top_px + self.height_px) / height - 1
        return np.array([[across, 0, x], [0, down, y], [0, 0, 1]])


def transform_image(
    image: Tensor, canvas: Canvas, motion: Similarity, target: Canvas | None = None
) -> Tensor:
    """An image after a motion of the camera, in [0, 1].

    What comes into view is mirrored at the edge. From frame to frame that is a line or two, which
    the dream takes up at once; large mirror images would stay visible.

    Args:
        image: (1, C, H, W) in [0, 1], of `canvas`; any size with the same aspect ratio.
        canvas: what it covers.
        motion: applied to every position.
        target: what the result covers, (1, C, *target.size); None is `canvas`.
    """
    target = target or canvas
    if motion.scale < MIN_UNFILTERED_SCALE:
        smaller = [max(1, round(side * motion.scale)) for side in image.shape[-2:]]
        image = nn.functional.interpolate(image, size=smaller, mode="bicubic", antialias=True)
    return sample_cubic(image, sampling_grid(canvas, motion, target, image.device)).clamp(0, 1)


def sampling_grid(
    canvas: Canvas, motion: Similarity, target: Canvas, device: torch.device
) -> Tensor:
    """(1, H, W, 2): where each pixel of `target` was before a motion; `canvas` is [-1, 1]."""
    back = motion.inverse()
    factor, offset = back.factor, back.offset
    before = np.array(
        [
            [factor.real, -factor.imag, offset.real],
            [factor.imag, factor.real, offset.imag],
            [0, 0, 1],
        ]
    )
    matrix = canvas.to_unit() @ before @ np.linalg.inv(target.to_unit())
    theta = torch.tensor(matrix[None, :2], dtype=torch.float32, device=device)
    return nn.functional.affine_grid(theta, [1, 1, *target.size], align_corners=False)


def _expm1_ratio(exponent: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
    """(e^x − 1) / x, which is 1 at 0."""
    small = np.abs(exponent) < 1e-6
    safe = np.where(small, 1, exponent)
    return np.where(small, 1 + exponent / 2, np.expm1(safe) / safe)
