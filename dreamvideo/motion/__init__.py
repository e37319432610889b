"""Motion between source frames, and what it does to a residual.

The only room that knows OpenCV. Refuses to know how pictures are dreamed.
"""

from dreamvideo.motion.carry import carry
from dreamvideo.motion.flow import FlowEstimator, open_flow
from dreamvideo.motion.matching import match

__all__ = ["FlowEstimator", "carry", "match", "open_flow"]
