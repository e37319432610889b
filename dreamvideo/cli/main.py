"""Runs one command line: process settings, progress, the summary line, errors and exit status."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import closing, nullcontext, redirect_stderr, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from tqdm import tqdm

from dreamvideo import __version__
from dreamvideo.cli.arguments import Command, parse
from dreamvideo.cli.progress import ProgressBar
from dreamvideo.cli.subcommands import SUBCOMMANDS
from dreamvideo.errors import (
    DreamVideoError,
    DreamVideoWarning,
    InputError,
    OutputBusyError,
    OutputError,
    UsageError,
)
from dreamvideo.runtime.process import keep_freed_memory, limit_openmp_spinning
from dreamvideo.settings.files import settings_as_toml
from dreamvideo.types import Summary


def silence_encoders() -> None:
    """Keep SVT-AV1 from introducing itself for every segment."""
    os.environ.setdefault("SVT_LOG", "1")  # errors only


def interrupt_on_signals() -> None:
    """Clean up after Ctrl-C, a polite kill, and when the terminal is closed.

    Whoever asks twice does not want to wait: the second one ends the process at once. That is as
    safe as a power cut, for which all work is kept.
    """
    seen = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        if seen:
            os._exit(128 + signal.SIGINT)
        seen = True
        raise KeyboardInterrupt

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        # Windows has no SIGHUP; a process in the background ignores SIGINT, and goes on doing so.
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) != signal.SIG_IGN:
            signal.signal(getattr(signal, name), interrupt)


def escape_unencodable(stream: TextIO) -> None:
    """Let a stream take names that its encoding cannot express, instead of failing at the end."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")


EXIT_FAILURE = 1
EXIT_USAGE = 2
# What shells report of a program that was interrupted: 128 + SIGINT.
EXIT_INTERRUPTED = 130
DEBUG_FLAG, QUIET_FLAG = "--debug", "--quiet"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 for a failure, 2 for a wrong usage."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    interrupt_on_signals()
    escape_unencodable(sys.stdout)
    escape_unencodable(sys.stderr)
    limit_openmp_spinning()
    silence_encoders()
    warnings.showwarning = _show_warning
    warnings.simplefilter("ignore" if QUIET_FLAG in words else "always", DreamVideoWarning)
    try:
        with redirect_stderr(io.StringIO()) if QUIET_FLAG in words else nullcontext():
            if words and words[0] in SUBCOMMANDS:
                _run_subcommand(words)
            else:
                _run_dream(parse(words, __version__))
    except (Exception, KeyboardInterrupt) as error:
        if DEBUG_FLAG in words:
            traceback.print_exc()
        message, status = _message_and_status(error)
        message = " ".join(message.split()) + _resume_hint(error, words)
        print(f"dreamvideo: {message}", file=sys.stderr)
        return status
    return 0


def _run_subcommand(words: Sequence[str]) -> None:
    """Run a command that is a word, for as long as anyone reads what it prints."""
    try:
        SUBCOMMANDS[words[0]](words[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Or Python would complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _message_and_status(error: BaseException) -> tuple[str, int]:
    """One line for a person, and the exit status."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; no output was written", EXIT_INTERRUPTED
    if isinstance(error, DreamVideoError):
        return str(error), EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILURE
    # torch raises several private types where memory runs out.
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "out of memory; use a smaller --size", EXIT_FAILURE
    if isinstance(error, OSError):
        return f"{error}; check the names that you gave", EXIT_FAILURE
    kind = type(error).__name__
    return f"internal error, please report it with --debug: {kind}: {error}", EXIT_FAILURE


def _resume_hint(error: BaseException, words: Sequence[str]) -> str:
    """What a run that stopped on its way leaves to go on with, if anything."""
    stopped = isinstance(error, (KeyboardInterrupt, InputError, OutputError))
    if not stopped or isinstance(error, OutputBusyError) or (words[:1] and words[0] in SUBCOMMANDS):
        return ""
    from dreamvideo.job.work_folder import (
        partial_output,
        resumable_backward_frames,
        resumable_frames,
    )

    # Names that cannot be are the error itself: nothing more is to be said of them.
    with suppress(DreamVideoError, OSError, ValueError, RuntimeError):
        command = parse(words, __version__)
        output, partial = Path(command.output), partial_output(Path(command.output))
        if frames := resumable_frames(output):
            also = (
                f", {partial} holds them" if command.run.keep_partial and partial.exists() else ""
            )
            return f" ({frames} frames are kept: the same command goes on with them{also})"
        if frames := resumable_backward_frames(output):
            return (
                f" ({frames} frames of the backward pass are kept: the same command goes on with "
                "them)"
            )
    return ""


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    if isinstance(message, DreamVideoWarning):
        tqdm.write(f"dreamvideo: note: {' '.join(str(message).split())}", file=sys.stderr)


def _run_dream(command: Command) -> None:
    # Imported late: torch takes seconds, and a wrong option should be told at once.
    from dreamvideo.job.output_paths import check_not_input, check_output, write_text
    from dreamvideo.job.run import dream_video

    run, saved = command.run, Path(command.run.save_settings or "")
    if run.save_settings is not None:
        check_output(saved, run.overwrite)
        given = command.settings
        for name in filter(None, (*command.inputs, given.guide, given.mask, given.weights)):
            check_not_input(name, str(saved))
    keep_freed_memory()
    with closing(ProgressBar("frame", run.quiet)) as bar:
        summary = dream_video(
            command.inputs,
            command.output,
            command.settings,
            on_progress=lambda progress: bar.show(
                progress.frames_done,
                progress.frame_count,
                f"dream gain {progress.dream_gain:.2f}",
            ),
            overwrite=run.overwrite,
            restart=run.restart,
            keep_partial=run.keep_partial,
        )
    if run.save_settings is not None:
        write_text(saved, settings_as_toml(command.settings), run.overwrite)
    if not run.quiet:
        # Standard output may be the film itself.
        print(_summary_line(summary), file=sys.stderr if command.output == "-" else sys.stdout)


def _summary_line(summary: Summary) -> str:
    noun = "frame" if summary.frames == 1 else "frames"
    line = (
        f"{summary.path}: {summary.frames} {noun} in {summary.elapsed_seconds:.1f} s "
        f"({summary.frames_per_second:.1f} frames per second)"
    )
    if summary.frames_resumed:
        line += f"; {summary.frames_resumed} of them were made before"
    if summary.frames_lost:
        line += f"; {summary.frames_lost} of the source were broken or missing, and left out"
    return line
