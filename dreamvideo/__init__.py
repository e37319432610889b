"""DeepDream for films and stills: `dream_video`, `dream_image`, `Settings` and what makes them.

Nothing heavy is imported before it is used, so that `dreamvideo --help` answers at once.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from dreamvideo.errors import DreamVideoError
from dreamvideo.settings import Settings
from dreamvideo.settings.files import read_look, read_settings
from dreamvideo.settings.keyframes import keyframes
from dreamvideo.types import Progress, Summary

if TYPE_CHECKING:
    from dreamvideo.job.image import dream_image
    from dreamvideo.job.run import dream_video

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
    if name == "dream_image":
        from dreamvideo.job.image import dream_image

        return dream_image
    if name == "dream_video":
        from dreamvideo.job.run import dream_video

        return dream_video
    raise AttributeError(f"module 'dreamvideo' has no attribute {name!r}")
