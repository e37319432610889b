"""Dreams one picture that is already in memory. Refuses to know files."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from dreamvideo.errors import InputError
from dreamvideo.frames import Footage, Frame
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
    frame = Frame(0, Fraction(0), picture_in_range)
    with open_masks(settings, Footage(*image.shape[1::-1]), 0) as masks:
        mask = None if masks is None else masks.of(frame)
    picture = dreamer.upload(picture_in_range)
    dreamed = dreamer.shown(picture, dreamer.dream(picture, frame_index=0), mask, 0.0)
    if np.issubdtype(image.dtype, np.integer):
        return np.rint(dreamed.astype(np.float64) * np.iinfo(image.dtype).max).astype(image.dtype)
    return dreamed.astype(image.dtype)


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
