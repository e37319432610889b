"""Masks: where each frame is to be dreamed. Refuses to know how they are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice, repeat

import numpy as np

from dreamvideo.colour import LUMA_BT709
from dreamvideo.errors import InputError, UsageError
from dreamvideo.frames import FloatArray, Footage, Frame
from dreamvideo.media.kinds import Kind, input_kind
from dreamvideo.media.opening import Location
from dreamvideo.settings import Settings
from dreamvideo.sources.opening import open_source

# What is so near to black or white is meant to be: encoded films come back a step or two off.
NEARLY = 2.5 / 255
# By how much the shapes of a mask and its frame may differ, as a ratio: both were rounded.
SHAPE_TOLERANCE = 0.02


class Masks:
    """The masks of a film's frames, one after another."""

    def __init__(self, name: str, masks: Iterator[FloatArray]) -> None:
        self._name = name
        self._masks = masks

    def of(self, frame: Frame) -> FloatArray:
        """The mask (rows, columns) in [0, 1] of the next frame, in the frame's shape.

        Raises:
            InputError: there are no more, or it has another shape.
        """
        mask = next(self._masks, None)
        if mask is None:
            raise InputError(
                f"the mask {self._name} ends before frame {frame.index}; give a picture, or as "
                "many masks as there are frames"
            )
        height, width = frame.image.shape[:2]
        ratio = mask.shape[1] * height / (mask.shape[0] * width)
        # Of few pixels, one more is a large share.
        tolerance = SHAPE_TOLERANCE + 1 / min(*mask.shape, height, width)
        if not 1 / (1 + tolerance) <= ratio <= 1 + tolerance:
            raise InputError(
                f"the mask {self._name} has {mask.shape[1]}x{mask.shape[0]} pixels and the frame "
                f"{width}x{height}; give a mask of the frame's shape, in any size"
            )
        return mask


@contextmanager
def open_masks(settings: Settings, footage: Footage, first_index: int) -> Iterator[Masks | None]:
    """The masks that the settings name, from a frame on; None where they name none.

    Args:
        settings: the mask, and which part of the source it goes with.
        footage: of the frames.
        first_index: of the first frame that is dreamed.

    Raises:
        InputError: the mask cannot be read, or has another number of frames.
        UsageError: it is a stream.
    """
    if settings.mask is None:
        yield None
        return
    kind = input_kind(settings.mask)
    if kind is Kind.STREAM:
        raise UsageError(
            "the mask cannot be a stream: allowed is the name of a picture, a film or a folder"
        )
    location = Location(settings.mask, settings.allow_network)
    alike = replace(settings, size=None, independent=kind is Kind.FOLDER)
    with open_source(location, alike) as source:
        if kind is Kind.STILL:
            (frame,) = source
            yield Masks(settings.mask, repeat(_mask_of(frame)))
            return
        count, wanted = source.footage.frame_count, footage.frame_count
        if None not in (count, wanted) and count != wanted:
            raise InputError(
                f"the mask {settings.mask} has {count} frames and the source {wanted}; give a "
                "picture, or as many masks as there are frames"
            )
        yield Masks(settings.mask, islice(map(_mask_of, source), first_index, None))


def _mask_of(frame: Frame) -> FloatArray:
    """Its brightness; what is transparent is black."""
    luma = frame.image @ np.array(LUMA_BT709, dtype=np.float32)
    mask = luma if frame.alpha is None else luma * frame.alpha
    mask[mask < NEARLY] = 0
    mask[mask > 1 - NEARLY] = 1
    return np.ascontiguousarray(mask)
