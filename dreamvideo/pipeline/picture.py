"""Dreams one picture that is already in memory. Refuses to know files."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamvideo.dream import Dreamer
from dreamvideo.errors import InputError
from dreamvideo.frames import FloatArray, Footage, Frame
from dreamvideo.networks import pick_device
from dreamvideo.pipeline.dreaming import open_dreamer
from dreamvideo.settings import Settings
from dreamvideo.sources import open_masks


def dream_image(image: npt.NDArray[Any], settings: Settings | None = None) -> npt.NDArray[Any]:
    """The dream of one picture, in the shape, type and range that came in.

    Args:
        image: (height, width, 3), RGB: uint8 or uint16 over the type's whole range, or floats in
            [0, 1].
        settings: how to dream; None takes the defaults. Options of films have no effect.

    Raises:
        InputError: the array is not such a picture.
        UsageError: the layer or the device does not exist.
    """
    settings = settings or Settings()
    image = np.asarray(image)
    picture_in_range = _to_unit_range(image)
    if settings.strength == 0:
        return image.copy()
    device = pick_device(settings.device)
    dreamer = open_dreamer(settings, device)
    dreamed = dream_alone(Frame(0, Fraction(0), picture_in_range), dreamer)
    if np.issubdtype(image.dtype, np.integer):
        return np.rint(dreamed.astype(np.float64) * np.iinfo(image.dtype).max).astype(image.dtype)
    return dreamed.astype(image.dtype)


def dream_alone(frame: Frame, dreamer: Dreamer) -> FloatArray:
    """What is shown of the dream of one frame, (height, width, 3), its mask regarded.

    Raises:
        InputError: the mask cannot be read, or does not fit.
    """
    picture = dreamer.upload(frame.image)
    with open_masks(dreamer.settings, _Alone(frame)) as masks:
        mask = None if masks is None else masks.of(frame)
    return dreamer.shown(picture, dreamer.dream(picture, frame.index), mask, 0.0)


class _Alone:
    """One frame, as masks want to know it."""

    frames_lost = 0

    def __init__(self, frame: Frame) -> None:
        self.footage = Footage(*frame.image.shape[1::-1])


def _to_unit_range(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"a picture is an array of shape (height, width, 3), not {image.shape}")
    if image.dtype in (np.uint8, np.uint16):
        unit = image / np.iinfo(image.dtype).max
    elif np.issubdtype(image.dtype, np.floating):
        unit = image
    else:
        raise InputError(
            f"a picture holds uint8, uint16 or floats, not {image.dtype}; "
            "convert it with astype('uint8') or to floats in [0, 1]"
        )
    result = np.array(unit, dtype=np.float32, order="C")
    if not (result.min() >= 0 and result.max() <= 1):
        raise InputError(
            f"the floats of a picture lie in [0, 1], not in [{result.min():g}, {result.max():g}]; "
            "scale them first"
        )
    return result
