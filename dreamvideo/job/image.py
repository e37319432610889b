"""Dreams one image; makes a dreamer from settings."""

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
from dreamvideo.runtime.devices import memory_budget_bytes, pick_device
from dreamvideo.settings import Settings
from dreamvideo.types import FloatArray, Frame, VideoInfo


def load_dreamer(settings: Settings, device: torch.device) -> Dreamer:
    """A dreamer with the network, the layers, and the guide or class that the settings name.

    Raises:
        UsageError: there is no such network, layer, channel or class.
        WeightsError: the network's weights are missing or do not fit.
        InputError: the guide cannot be read.
    """
    return make_dreamer(load_extractor(settings, device), settings, device)


def make_dreamer(backbone: FeatureExtractor, settings: Settings, device: torch.device) -> Dreamer:
    """A dreamer with a network that is loaded already, for the settings' layers at least.

    Raises: see `open_dreamer`.
    """
    guide = None
    if settings.guide is not None:
        location = Location(settings.guide, settings.allow_network)
        image = torch.from_numpy(read_still(location, settings))
        guide = image.to(device).permute(2, 0, 1)[None]
    channel = None if settings.class_ is None else backbone.class_index(settings.class_)
    return Dreamer(
        backbone, settings, device, guide, channel, _make_evaluator(backbone, settings, device)
    )


def _make_evaluator(
    backbone: FeatureExtractor, settings: Settings, device: torch.device
) -> Evaluator:
    """How pictures go through the network: the settings say whether in tiles."""
    if settings.tile == "none":
        return Evaluator(lambda layers: None)

    def find_reach(layers: Sequence[str]) -> ReceptiveField | None:
        found = backbone.reach(layers)
        return None if found is None else ReceptiveField(*found)

    evaluation = Evaluator(find_reach, settings.tile_px, memory_budget_bytes(device))
    evaluation.check(settings.layers)
    return evaluation


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
    dreamer = load_dreamer(settings, device)
    dreamed = dream_single(Frame(0, Fraction(0), picture_in_range), dreamer)
    if np.issubdtype(image.dtype, np.integer):
        return np.rint(dreamed.astype(np.float64) * np.iinfo(image.dtype).max).astype(image.dtype)
    return dreamed.astype(image.dtype)


def dream_single(frame: Frame, dreamer: Dreamer) -> FloatArray:
    """What is shown of the dream of one frame, (height, width, 3), its mask regarded.

    Raises:
        InputError: the mask cannot be read, or does not fit.
    """
    picture = dreamer.upload(frame.image)
    with open_masks(dreamer.settings, _SingleFrame(frame)) as masks:
        mask = None if masks is None else masks.of(frame)
    return dreamer.shown(picture, dreamer.dream(picture, frame.index), mask, 0.0)


class _SingleFrame:
    """One frame, as masks want to know it."""

    frames_lost = 0

    def __init__(self, frame: Frame) -> None:
        self.info = VideoInfo(*frame.image.shape[1::-1])


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
