"""Masks: where each frame is to be dreamed. Refuses to know how they are used."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice, repeat
from typing import Protocol

import numpy as np

from dreamvideo.errors import DreamVideoWarning, InputError, UsageError
from dreamvideo.media.formats import MediaKind, input_kind
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source
from dreamvideo.settings import Settings
from dreamvideo.types import LUMA_BT709, FloatArray, Frame, VideoInfo

# What is so near to black or white is meant to be: encoded films come back a step or two off.
SNAP_DISTANCE = 2.5 / 255
# By how much the shapes of a mask and its frame may differ, as a ratio: both were rounded.
SHAPE_TOLERANCE = 0.02


class MaskedFrames(Protocol):
    """What masks go with: a source, or the like."""

    @property
    def info(self) -> VideoInfo:
        """What is known before the first frame."""
        ...

    @property
    def frames_lost(self) -> int:
        """Frames that were broken or missing so far, and left out."""
        ...


class Masks:
    """The masks of a film's frames, one after another."""

    def __init__(self, name: str, masks: Iterator[FloatArray], frames: MaskedFrames | None) -> None:
        """Args:
        name: of the mask, for messages.
        masks: one for each frame.
        frames: that have a mask each; None where all have the same.
        """
        self._name = name
        self._masks = masks
        self._frames = frames

    def of(self, frame: Frame) -> FloatArray:
        """The mask (rows, columns) in [0, 1] of the next frame, in the frame's shape.

        Raises:
            InputError: there are no more, it has another shape, or frames are missing, so that
                nobody can tell whose it is.
        """
        if self._frames is not None and self._frames.frames_lost:
            raise InputError(
                f"frames of the source are broken or missing, so that the masks of {self._name} "
                "would go with others; mend the source first, or give one picture as mask"
            )
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

    def end(self) -> None:
        """Say so if there are more masks than frames."""
        if self._frames is not None and next(self._masks, None) is not None:
            warnings.warn(
                f"the mask {self._name} has more frames than the source; the rest of it was not "
                "used",
                DreamVideoWarning,
                stacklevel=2,
            )


@contextmanager
def open_masks(
    settings: Settings, frames: MaskedFrames, first_index: int = 0, *, is_video: bool = False
) -> Iterator[Masks | None]:
    """The masks that the settings name, from a frame on; None where they name none.

    Args:
        settings: name the mask, and which part of a film is taken.
        frames: what is dreamed.
        first_index: of the first frame that is dreamed.
        is_film: whether the frames are a film's. A mask that is a film, too, goes by the same
            clock; else the masks are taken as they are, one for each frame.

    Raises:
        InputError: the mask cannot be read, or has another number of frames.
        UsageError: it is a stream.
    """
    if settings.mask is None:
        yield None
        return
    kind = input_kind(settings.mask)
    if kind is MediaKind.STREAM:
        raise UsageError(
            "the mask cannot be a stream: allowed is the name of a picture, a film or a folder"
        )
    location = Location(settings.mask, settings.allow_network)
    alike = replace(settings, size=None, independent=kind is MediaKind.FOLDER)
    if kind is not MediaKind.VIDEO or not is_video:
        alike = replace(alike, start=None, end=None, every=1, fps=None)
    with open_source(location, alike) as source:
        if kind is MediaKind.STILL:
            (frame,) = source
            yield Masks(settings.mask, repeat(_mask_of(frame)), None)
            return
        count, wanted = source.info.frame_count, frames.info.frame_count
        if None not in (count, wanted) and count != wanted:
            raise InputError(
                f"the mask {settings.mask} has {count} frames and the source {wanted}; give a "
                "picture, or as many masks as there are frames"
            )
        yield Masks(settings.mask, islice(map(_mask_of, source), first_index, None), frames)


def _mask_of(frame: Frame) -> FloatArray:
    """Its brightness; what is transparent is black."""
    luma = frame.image @ np.array(LUMA_BT709, dtype=np.float32)
    mask = luma if frame.alpha is None else luma * frame.alpha
    mask[mask < SNAP_DISTANCE] = 0
    mask[mask > 1 - SNAP_DISTANCE] = 1
    return np.ascontiguousarray(mask)
