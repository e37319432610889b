"""The work folder beside an output: what an unfinished run has made, so that it can go on.

Refuses to know what is in the files and how they are made.
"""

from dreamvideo.work.folder import (
    Segment,
    WorkFolder,
    is_finished,
    open_work,
    partial_output,
    resumable_frames,
    work_path,
)
from dreamvideo.work.identity import Identity, fingerprint

__all__ = [
    "Identity",
    "Segment",
    "WorkFolder",
    "fingerprint",
    "is_finished",
    "open_work",
    "partial_output",
    "resumable_frames",
    "work_path",
]
