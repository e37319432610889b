"""Masks: where each frame is to be dreamed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice, repeat
from typing import Protocol

import numpy as np

from dreamvideo.errors import DreamVideoWarning, InputError, UsageError
from dreamvideo.media.formats import MediaKind
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source
from dreamvideo.media.read.contents import contents_of
from dreamvideo.settings import Settings
from dreamvideo.types import LUMA_BT709, FloatArray, Frame, VideoInfo

# Values this near to black or white become black or white: encoding shifts them by a step or two.
SNAP_DISTANCE = 2.5 / 255
# By how much the aspect ratios of a mask and its frame may differ: both sizes were rounded.
ASPECT_TOLERANCE = 0.02


class MaskedFrames(Protocol):
    """The frames that masks belong to: a source, or a single frame."""

    @property
    def info(self) -> VideoInfo:
        """What is known before the first frame."""
        ...

    @property
    def frames_lost(self) -> int:
        """How many frames were broken or missing so far, and left out."""
        ...


class Masks:
    """The masks of a sequence of frames, one after another."""

    def __init__(self, name: str, masks: Iterator[FloatArray], frames: MaskedFrames | None) -> None:
        """Args:
        name: of the mask, for messages.
        masks: one for each frame.
        frames: the frames that have one mask each; None if all share one.
        """
        self._name = name
        self._masks = masks
        self._frames = frames

    def of(self, frame: Frame) -> FloatArray:
        """The mask (rows, columns) in [0, 1] of the next frame, in the frame's aspect ratio.

        Raises:
            InputError: there are no more masks, the aspect ratio is another one, or frames were
                lost, so that it is unknown which mask belongs to which frame.
        """
        if self._frames is not None and self._frames.frames_lost:
            raise InputError(
                f"frames of the source are broken or missing, so that the masks of {self._name} "
                "would go with other frames; repair the source first, or give one image as mask"
            )
        mask = next(self._masks, None)
        if mask is None:
            raise InputError(
                f"the mask {self._name} ends before frame {frame.index}; give one image, or as "
                "many masks as there are frames"
            )
        height, width = frame.image.shape[:2]
        ratio = mask.shape[1] * height / (mask.shape[0] * width)
        # One pixel more is a large share of few.
        tolerance = ASPECT_TOLERANCE + 1 / min(*mask.shape, height, width)
        if not 1 / (1 + tolerance) <= ratio <= 1 + tolerance:
            raise InputError(
                f"the mask {self._name} has {mask.shape[1]}x{mask.shape[0]} pixels and the frame "
                f"{width}x{height}; give a mask of the frame's aspect ratio, in any size"
            )
        return mask

    def end(self) -> None:
        """Warn if there are more masks than frames."""
        if self._frames is not None and next(self._masks, None) is not None:
            warnings.warn(
                f"the mask {self._name} has more frames than the source; the rest is not used",
                DreamVideoWarning,
                stacklevel=2,
            )


@contextmanager
def open_masks(
    settings: Settings, frames: MaskedFrames, first_index: int = 0, *, is_video: bool = False
) -> Iterator[Masks | None]:
    """The masks of `--mask`, from a frame on; None without that option.

    Args:
        settings: the name of the mask, and which part of a video is dreamed.
        frames: the frames that are dreamed.
        first_index: of the first frame that is dreamed.
        is_video: whether the frames are those of a video. A mask that is a video too is then cut
            and resampled in the same way; otherwise each frame takes the next mask.

    Raises:
        InputError: the mask cannot be read, or has another number of frames.
        UsageError: the mask is a stream.
    """
    if settings.mask is None:
        yield None
        return
    location = Location(settings.mask, settings.allow_network)
    kind = contents_of(location).kind
    if kind is MediaKind.STREAM:
        raise UsageError(
            "the mask cannot be a stream: allowed is the name of an image, a video or a folder"
        )
    mask_settings = replace(settings, size=None, independent=kind is MediaKind.FOLDER)
    if kind is not MediaKind.VIDEO or not is_video:
        mask_settings = replace(mask_settings, start=None, end=None, every=1, fps=None)
    with open_source(location, mask_settings) as source:
        if kind is MediaKind.STILL:
            (frame,) = source
            yield Masks(settings.mask, repeat(_mask_of(frame)), None)
            return
        count, frame_count = source.info.frame_count, frames.info.frame_count
        if None not in (count, frame_count) and count != frame_count:
            raise InputError(
                f"the mask {settings.mask} has {count} frames and the source {frame_count}; give "
                "one image, or as many masks as there are frames"
            )
        yield Masks(settings.mask, islice(map(_mask_of, source), first_index, None), frames)


def _mask_of(frame: Frame) -> FloatArray:
    """The luma of a frame; black where it is transparent."""
    luma = frame.image @ np.array(LUMA_BT709, dtype=np.float32)
    mask = luma if frame.alpha is None else luma * frame.alpha
    mask[mask < SNAP_DISTANCE] = 0
    mask[mask > 1 - SNAP_DISTANCE] = 1
    return np.ascontiguousarray(mask)
