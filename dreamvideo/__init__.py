"""DeepDream for films and stills: `dream_video`, `dream_image`, `Settings` and what makes them.

Nothing heavy is imported before it is used, so that `dreamvideo --help` answers at once.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from dreamvideo.errors import DreamVideoError
from dreamvideo.frames import Progress, Summary
from dreamvideo.schedule import keyframes
from dreamvideo.settings import Settings
from dreamvideo.settings.file import read_look, read_settings

if TYPE_CHECKING:
    from dreamvideo.pipeline import dream_image, dream_video

__version__ = version("dreamvideo")

__all__ = [
    "DreamVideoError",
    "Progress",
    "Settings",
    "Summary",
    "__version__",
    "dream_image",
    "dream_video",
    "keyframes",
    "read_look",
    "read_settings",
]


def __getattr__(name: str) -> object:
    if name in ("dream_image", "dream_video"):
        from dreamvideo import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'dreamvideo' has no attribute {name!r}")
