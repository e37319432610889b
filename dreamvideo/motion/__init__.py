"""Motion between source frames, or of a camera, and what it does to pictures.

The only room that knows OpenCV. Refuses to know how pictures are dreamed.
"""

from dreamvideo.motion.camera import Camera, Move
from dreamvideo.motion.carry import Path, carry, path_of, warp
from dreamvideo.motion.flow import FarnebackFlow, FlowEstimator, open_flow
from dreamvideo.motion.matching import FRAMES_FOLLOWING, begins_shot, match, motion_between
from dreamvideo.motion.reliability import BoolArray, positions, reliability, uncovered
from dreamvideo.motion.view import Area, moved, places

__all__ = [
    "FRAMES_FOLLOWING",
    "Area",
    "BoolArray",
    "Camera",
    "FarnebackFlow",
    "FlowEstimator",
    "Move",
    "Path",
    "begins_shot",
    "carry",
    "match",
    "motion_between",
    "moved",
    "open_flow",
    "path_of",
    "places",
    "positions",
    "reliability",
    "uncovered",
    "warp",
]
