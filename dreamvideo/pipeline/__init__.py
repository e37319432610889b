"""From a source through motion and dream to a sink. Refuses to know file formats and networks."""

from dreamvideo.pipeline.film import dream_video
from dreamvideo.pipeline.picture import dream_image

__all__ = ["dream_image", "dream_video"]
