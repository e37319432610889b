"""Frames in. One of the rooms that know file formats; refuses to know what frames are for."""

from dreamvideo.sources.folder import pictures_in, stills_in
from dreamvideo.sources.masks import Masks, open_masks
from dreamvideo.sources.opening import Source, open_source
from dreamvideo.sources.still import Stills, still_image

__all__ = [
    "Masks",
    "Source",
    "Stills",
    "open_masks",
    "open_source",
    "pictures_in",
    "still_image",
    "stills_in",
]
