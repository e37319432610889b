"""Images whose motion is known exactly, for several test files."""

from __future__ import annotations

from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import numpy.typing as npt

from dreamvideo.motion.confidence import BoolArray
from dreamvideo.types import FloatArray

Matrix = npt.NDArray[np.float64]

# A part of a photograph as a frame, and what surrounds it, for motions of the camera.
PHOTO_SIZE = PHOTO_WIDTH, PHOTO_HEIGHT = 192, 108
PHOTO_MARGIN_PX = 64


def eight_bit(image: FloatArray) -> FloatArray:
    """The image rounded as in an 8-bit file."""
    return np.asarray(np.rint(image.clip(0, 1) * 255) / 255, np.float32)


def blobs(seed: int = 0, height: int = 120, width: int = 160) -> FloatArray:
    """Soft coloured blobs at several scales, which optical flow can follow everywhere."""
    random = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.float32)
    for blur_px in (2, 6, 16):
        noise = random.standard_normal((height, width, 3)).astype(np.float32)
        layer = cv2.GaussianBlur(noise, (0, 0), blur_px)
        image += layer / layer.std()
    image -= image.min()
    image /= image.max()
    return image


def shifted(image: FloatArray, right: float, down: float) -> FloatArray:
    """The image shifted by that many pixels, its edge repeated."""
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    size = image.shape[1::-1]
    result = cv2.warpAffine(
        image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(result.clip(0, 1), np.float32)


def gaussian_noise(image: FloatArray, std: float, seed: int) -> FloatArray:
    """Noise of the shape of an image."""
    return np.random.default_rng(seed).normal(0, std, image.shape).astype(np.float32)


def photograph(still: Path) -> FloatArray:
    """A still image with a margin around the frame of `photo_frame`."""
    size = (PHOTO_WIDTH + 2 * PHOTO_MARGIN_PX, PHOTO_HEIGHT + 2 * PHOTO_MARGIN_PX)
    pixels = (iio.imread(still)[..., :3] / 255).astype(np.float32)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def photo_frame(photo: FloatArray, motion: Matrix) -> FloatArray:
    """An 8-bit frame of a `photograph` after a motion of its content."""
    centred = motion @ pan(-PHOTO_MARGIN_PX, -PHOTO_MARGIN_PX)
    return eight_bit(
        np.asarray(cv2.warpAffine(photo, centred[:2], PHOTO_SIZE, flags=cv2.INTER_CUBIC))
    )


def pan(right: float, down: float = 0) -> Matrix:
    """(3, 3): a motion, from positions in the previous frame to positions in the current one."""
    return np.array([[1, 0, right], [0, 1, down], [0, 0, 1]], np.float64)


def rotation(degrees: float = 0, zoom: float = 1) -> Matrix:
    """(3, 3): a motion about the centre of a `photo_frame`."""
    centre = (PHOTO_WIDTH / 2, PHOTO_HEIGHT / 2)
    return np.vstack([cv2.getRotationMatrix2D(centre, degrees, zoom), (0, 0, 1)])


def true_flow(motion: Matrix) -> tuple[FloatArray, BoolArray]:
    """The flow to the previous `photo_frame`, and which pixels were inside of it."""
    positions = np.dstack(np.meshgrid(np.arange(PHOTO_WIDTH), np.arange(PHOTO_HEIGHT)))
    matches = cv2.transform(positions.astype(np.float64), np.linalg.inv(motion)[:2])
    last = (PHOTO_WIDTH - 1, PHOTO_HEIGHT - 1)
    inside = (matches >= 0).all(axis=2) & (matches <= last).all(axis=2)
    return (matches - positions).astype(np.float32), np.asarray(inside)


def disc(x: float, y: float, radius: float) -> FloatArray:
    """(H, W, 1): 1 within a disc in a `photo_frame`."""
    across, down = np.meshgrid(np.arange(PHOTO_WIDTH) - x, np.arange(PHOTO_HEIGHT) - y)
    covered = (radius - np.hypot(across, down) + 0.5).clip(0, 1)
    return np.asarray(covered[..., None], np.float32)


def panned_still(still: Path, step_px: int, frames: int) -> list[FloatArray]:
    """A window of 192×108 pixels that moves to the right over a still image."""
    pixels = (iio.imread(still)[..., :3] / np.float32(255)).astype(np.float32)
    lefts = range(0, step_px * frames, step_px)
    return [np.array(pixels[100 : 100 + PHOTO_HEIGHT, left : left + PHOTO_WIDTH]) for left in lefts]


def flash(image: FloatArray, light: str) -> FloatArray:
    """A frame of a flash: a factor of brightness, `nearly white` or `white`."""
    if light == "white":
        return np.ones_like(image)
    if light == "nearly white":
        return eight_bit(image * np.float32(0.05) + np.float32(0.95))
    return eight_bit(image * np.float32(light))
