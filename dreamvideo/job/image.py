"""Dreams one image, and builds the dreamer that the settings describe."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.tiling import Evaluator, ReceptiveField
from dreamvideo.errors import InputError
from dreamvideo.media.opening import Location
from dreamvideo.media.read.masks import open_masks
from dreamvideo.media.read.still import read_still
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.runtime.devices import memory_budget_bytes, pick_device, upload
from dreamvideo.settings import Settings
from dreamvideo.settings.frame_params import frame_params
from dreamvideo.types import FloatArray, Frame, VideoInfo


def load_dreamer(settings: Settings, device: torch.device) -> Dreamer:
    """Load the network, the layers, and the guide or class that the settings name.

    Raises:
        UsageError: there is no such network, layer, channel or class.
        WeightsError: the network's weights are missing or do not fit.
        InputError: the guide cannot be read.
    """
    return make_dreamer(load_extractor(settings, device), settings, device)


def make_dreamer(extractor: FeatureExtractor, settings: Settings, device: torch.device) -> Dreamer:
    """A dreamer with a network that is loaded already.

    Args:
        extractor: the network, for the layers of the settings at least.
        settings: how to dream.
        device: where the network is.

    Raises:
        UsageError: there is no such class, or a layer does not allow tiles of the given size.
        InputError: the guide cannot be read.
    """
    guide = None
    if settings.guide is not None:
        location = Location(settings.guide, settings.allow_network)
        guide = upload(read_still(location, settings), device)
    channel = None if settings.class_ is None else extractor.class_index(settings.class_)
    evaluator = _make_evaluator(extractor, settings, device)
    return Dreamer(extractor, device, guide, channel, evaluator)


def _make_evaluator(
    extractor: FeatureExtractor, settings: Settings, device: torch.device
) -> Evaluator:
    """Passes whole images or tiles of them through the network, as the settings say."""
    if settings.tile == "none":
        return Evaluator(lambda layers: None)

    def receptive_field(layers: Sequence[str]) -> ReceptiveField | None:
        size_and_stride = extractor.receptive_field(layers)
        return None if size_and_stride is None else ReceptiveField(*size_and_stride)

    evaluator = Evaluator(receptive_field, settings.tile_px, memory_budget_bytes(device))
    evaluator.check(settings.layers)
    return evaluator


def dream_image(image: npt.NDArray[Any], settings: Settings | None = None) -> npt.NDArray[Any]:
    """Dream one image; return it in the shape, type and range of the input.

    Args:
        image: (height, width, 3), RGB: uint8 or uint16 over the type's whole range, or floats in
            [0, 1].
        settings: how to dream; None takes the defaults. Options for videos have no effect.

    Raises:
        InputError: the array is not such an image, or the guide or the mask cannot be read.
        UsageError: there is no such network, layer, channel, class or device.
        WeightsError: the network's weights are missing or do not fit.
    """
    settings = settings or Settings()
    image = np.asarray(image)
    unit_image = _to_unit_range(image)
    if settings.strength == 0:
        return image.copy()
    dreamer = load_dreamer(settings, pick_device(settings.device))
    dreamed = dream_frame(Frame(0, Fraction(0), unit_image), dreamer, settings)
    if np.issubdtype(image.dtype, np.integer):
        return np.rint(dreamed.astype(np.float64) * np.iinfo(image.dtype).max).astype(image.dtype)
    return dreamed.astype(image.dtype)


def dream_frame(frame: Frame, dreamer: Dreamer, settings: Settings) -> FloatArray:
    """Dream one frame cold, and composite it over its source; (height, width, 3) in [0, 1].

    Raises:
        InputError: the mask cannot be read, or does not have the frame's shape.
    """
    source, params = dreamer.upload(frame.image), frame_params(settings, 0.0)
    with open_masks(settings, _SingleFrame(frame)) as masks:
        mask = None if masks is None else masks.of(frame)
    residual = dreamer.dream(source, frame.index, params)
    return dreamer.composite(source, residual, mask, params)


class _SingleFrame:
    """One frame as the source that `open_masks` takes."""

    frames_lost = 0

    def __init__(self, frame: Frame) -> None:
        height_px, width_px = frame.image.shape[:2]
        self.info = VideoInfo(width_px, height_px)


def _to_unit_range(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """A copy of an image as float32 in [0, 1].

    Raises:
        InputError: it has another shape, type or range than `dream_image` takes.
    """
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(
            f"the image has shape {image.shape}, and has to have shape (height, width, 3); "
            "convert it to RGB"
        )
    if image.dtype in (np.uint8, np.uint16):
        unit = image / np.iinfo(image.dtype).max
    elif np.issubdtype(image.dtype, np.floating):
        unit = image
    else:
        raise InputError(
            f"the image has type {image.dtype}, and has to have uint8, uint16 or floats; "
            "convert it with astype('uint8') or to floats in [0, 1]"
        )
    result = np.array(unit, dtype=np.float32, order="C")
    if not (result.min() >= 0 and result.max() <= 1):
        raise InputError(
            f"the image has floats in [{result.min():g}, {result.max():g}], and they have to be "
            "in [0, 1]; scale them first"
        )
    return result
