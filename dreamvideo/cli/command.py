"""Runs one command line: progress, the closing line, errors and the exit status."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from types import TracebackType

from tqdm import tqdm

from dreamvideo import __version__
from dreamvideo.cli.arguments import Command, parse
from dreamvideo.cli.process import keep_freed_memory
from dreamvideo.errors import DreamVideoError, UsageError
from dreamvideo.frames import Progress, Summary

EXIT_FAILURE = 1
EXIT_USAGE = 2
# What shells report of a program that was interrupted: 128 + SIGINT.
EXIT_INTERRUPTED = 130
DEBUG_FLAG = "--debug"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0, 1 for a failure, 2 for a wrong usage."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    # A polite kill cleans up like Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(parse(words, __version__))
    except KeyboardInterrupt:
        return _fail("interrupted; no output was written", EXIT_INTERRUPTED, words)
    except UsageError as error:
        return _fail(str(error), EXIT_USAGE, words)
    except DreamVideoError as error:
        return _fail(str(error), EXIT_FAILURE, words)
    except MemoryError:
        return _fail("out of memory; use a smaller --size", EXIT_FAILURE, words)
    except Exception as error:
        if "out of memory" in str(error).lower():  # torch's own error types for this are private
            return _fail("out of memory; use a smaller --size", EXIT_FAILURE, words)
        summary = f"{type(error).__name__}: {error}".splitlines()[0]
        return _fail(f"internal error: {summary}; please report it with --debug", EXIT_FAILURE, words)
    return 0


def _run(command: Command) -> None:
    # Imported late: torch takes seconds, and a wrong option should be told at once.
    from dreamvideo.pipeline import dream_video

    keep_freed_memory()
    with _Bar(command.quiet) as bar:
        summary = dream_video(
            command.input,
            command.output,
            command.settings,
            on_progress=bar.show,
            overwrite=command.overwrite,
        )
    if not command.quiet:
        print(_closing_line(summary))


def _closing_line(summary: Summary) -> str:
    noun = "frame" if summary.frames == 1 else "frames"
    return (
        f"{summary.path}: {summary.frames} {noun} in {summary.elapsed_seconds:.1f} s "
        f"({summary.frames_per_second:.1f} frames per second)"
    )


def _fail(message: str, status: int, words: Sequence[str]) -> int:
    if DEBUG_FLAG in words:
        traceback.print_exc()
    print(f"dreamvideo: {' '.join(message.split())}", file=sys.stderr)
    return status


class _Bar:
    """Draws progress on standard error: frames, rate, time left and dream gain."""

    def __init__(self, quiet: bool) -> None:
        self._bar = tqdm(unit="frame", disable=quiet, leave=False, dynamic_ncols=True)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def show(self, progress: Progress) -> None:
        """Draw one state."""
        self._bar.total = progress.frame_count
        self._bar.set_postfix_str(f"dream gain {progress.dream_gain:.2f}", refresh=False)
        self._bar.update(progress.frames_done - self._bar.n)
