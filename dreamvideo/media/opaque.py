"""Frames as they look on black, for films, which are opaque.

Refuses to know how they are written.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

from dreamvideo.errors import DreamVideoWarning
from dreamvideo.frames import Frame


class OnBlack:
    """Puts the frames of one film on black, and says so once."""

    def __init__(self) -> None:
        self._has_warned = False

    def __call__(self, frame: Frame) -> Frame:
        """The frame without transparency."""
        if frame.alpha is None:
            return frame
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                "the source is transparent in places; films are written opaque, on black",
                DreamVideoWarning,
                stacklevel=2,
            )
        return on_black(frame)


def on_black(frame: Frame) -> Frame:
    """A frame without transparency: what was transparent is black."""
    if frame.alpha is None:
        return frame
    return replace(frame, image=frame.image * frame.alpha[..., None], alpha=None)
