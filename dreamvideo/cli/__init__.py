"""The command line: says what the user asked in settings, shows progress, puts errors in a line.

Refuses to know how anything is done.
"""

from dreamvideo.cli.command import main

__all__ = ["main"]
