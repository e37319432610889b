"""Motion between source frames, or of a camera, and what it does to pictures.

The only room that knows OpenCV. Refuses to know how pictures are dreamed.
"""

from dreamvideo.motion.camera import Camera, Move
from dreamvideo.motion.carry import Path, carry, path_of
from dreamvideo.motion.flow import FlowEstimator, open_flow
from dreamvideo.motion.matching import match
from dreamvideo.motion.view import Area, moved, places

__all__ = [
    "Area",
    "Camera",
    "FlowEstimator",
    "Move",
    "Path",
    "carry",
    "match",
    "moved",
    "open_flow",
    "path_of",
    "places",
]
