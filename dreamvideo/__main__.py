"""`python -m dreamvideo` is the command `dreamvideo`."""

from dreamvideo.cli.main import run_process

run_process()
