"""The work folder beside an output: what an unfinished run has made, so that it can go on.

Refuses to know what is in the files and how they are made.
"""

from dreamvideo.work.folder import WorkFolder, open_work
from dreamvideo.work.identity import Identity, fingerprint
from dreamvideo.work.spill import Spill
from dreamvideo.work.state import (
    Segment,
    is_finished,
    partial_output,
    resumable_back_frames,
    resumable_frames,
    work_path,
)

__all__ = [
    "Identity",
    "Segment",
    "Spill",
    "WorkFolder",
    "fingerprint",
    "is_finished",
    "open_work",
    "partial_output",
    "resumable_back_frames",
    "resumable_frames",
    "work_path",
]
