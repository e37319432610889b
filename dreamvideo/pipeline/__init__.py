"""From a source through motion and dream to a sink. Refuses to know file formats and networks."""

from dreamvideo.pipeline.comparison import Comparison, compare_films
from dreamvideo.pipeline.picture import dream_image
from dreamvideo.pipeline.request import check_is_not_input
from dreamvideo.pipeline.run import dream_video
from dreamvideo.pipeline.sheet import Tile, dream_sheet

__all__ = [
    "Comparison",
    "Tile",
    "check_is_not_input",
    "compare_films",
    "dream_image",
    "dream_sheet",
    "dream_video",
]
