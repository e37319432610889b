"""From a source through motion and dream to a sink. Refuses to know file formats and networks."""

from dreamvideo.pipeline.picture import dream_image
from dreamvideo.pipeline.request import check_is_not_input
from dreamvideo.pipeline.run import dream_video
from dreamvideo.pipeline.sheet import Tile, dream_sheet

__all__ = ["Tile", "check_is_not_input", "dream_image", "dream_sheet", "dream_video"]
