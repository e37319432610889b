"""Runs one command line: dispatch, the summary line, errors and exit status."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import (
    ExitStack,
    closing,
    contextmanager,
    nullcontext,
    redirect_stderr,
    suppress,
)
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from dreamvideo import __version__
from dreamvideo.cli.arguments import Command, parse
from dreamvideo.cli.progress import ProgressDisplay, print_note
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
from dreamvideo.settings.options import option_values
from dreamvideo.types import Summary

EXIT_FAILURE = 1
EXIT_USAGE = 2
# What shells report for a program that was interrupted: 128 + SIGINT.
EXIT_INTERRUPTED = 130
DEBUG_FLAG, QUIET_FLAG = "--debug", "--quiet"


def run_process() -> NoReturn:
    """The program `dreamvideo`: run the process's command line, and exit with its status."""
    status = main()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe has gone. Python would flush once more at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line in this process.

    Warning filters, signal handlers, the environment and the standard streams are put back
    afterwards. What `runtime.process` sets stays.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        The exit status: 0, 1 for a failure, 2 for a command line that cannot be met, 130 for an
        interruption.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    limit_openmp_spinning()
    with (
        _interrupt_on_signals(),
        _escape_unencodable(sys.stdout),
        _escape_unencodable(sys.stderr),
        _quiet_encoders(),
        _show_warnings(is_quiet=QUIET_FLAG in words),
    ):
        try:
            with redirect_stderr(io.StringIO()) if QUIET_FLAG in words else nullcontext():
                if words and words[0] in SUBCOMMANDS:
                    # The reader of a pipe may go away, as `head` does: it has read enough.
                    with suppress(BrokenPipeError):
                        SUBCOMMANDS[words[0]](words[1:])
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


def _run_dream(command: Command) -> None:
    # Imported here because torch takes seconds to load: a wrong option is reported before.
    from dreamvideo.job.output_paths import check_not_input, check_output, write_text
    from dreamvideo.job.run import dream_video

    run, settings_path = command.run, Path(command.run.save_settings or "")
    if run.save_settings is not None:
        check_output(settings_path, run.overwrite)
        files = [
            value
            for option, value in option_values(command.settings)
            if option.names_file and value is not None
        ]
        for name in (*command.inputs, *files):
            check_not_input(name, str(settings_path))
    keep_freed_memory()
    with closing(ProgressDisplay("frame", run.quiet)) as display:
        summary = dream_video(
            command.inputs,
            command.output,
            command.settings,
            on_progress=lambda progress: display.update(
                progress.frames_done,
                progress.frame_count,
                f"dream gain {progress.dream_gain:.2f}",
            ),
            overwrite=run.overwrite,
            restart=run.restart,
            keep_partial=run.keep_partial,
        )
    if run.save_settings is not None:
        write_text(settings_path, settings_as_toml(command.settings), run.overwrite)
    if not run.quiet:
        # With "-", the video itself goes to standard output.
        print(_summary_line(summary), file=sys.stderr if command.output == "-" else sys.stdout)


def _summary_line(summary: Summary) -> str:
    noun = "frame" if summary.frames == 1 else "frames"
    line = (
        f"{summary.path}: {summary.frames} {noun} in {summary.elapsed_seconds:.1f} s "
        f"({summary.frames_per_second:.1f} frames per second)"
    )
    if summary.frames_resumed:
        line += f"; {summary.frames_resumed} of them are from an earlier run"
    if summary.frames_lost:
        line += f"; {summary.frames_lost} broken or missing frames of the source were skipped"
    return line


def _message_and_status(error: BaseException) -> tuple[str, int]:
    """The message for an error, and the exit status."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; no output was written", EXIT_INTERRUPTED
    if isinstance(error, DreamVideoError):
        return str(error), EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILURE
    # torch raises one of several private types when memory runs out.
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "out of memory; use a smaller --size", EXIT_FAILURE
    if isinstance(error, OSError):
        return f"{error}; check the file names", EXIT_FAILURE
    kind = type(error).__name__
    return f"internal error, please report it with --debug: {kind}: {error}", EXIT_FAILURE


def _resume_hint(error: BaseException, words: Sequence[str]) -> str:
    """How much of a stopped run is kept, and that the same command resumes it; empty if none."""
    is_stopped = isinstance(error, (KeyboardInterrupt, InputError, OutputError))
    is_subcommand = bool(words) and words[0] in SUBCOMMANDS
    if not is_stopped or isinstance(error, OutputBusyError) or is_subcommand:
        return ""
    from dreamvideo.job.work_folder import (
        partial_output,
        resumable_backward_frames,
        resumable_frames,
    )

    # If the names themselves are the error, there is nothing to add.
    with suppress(DreamVideoError, OSError, ValueError, RuntimeError):
        command = parse(words, __version__)
        output, partial = Path(command.output), partial_output(Path(command.output))
        if frames := resumable_frames(output):
            has_partial = command.run.keep_partial and partial.exists()
            saved = f"; they are in {partial}" if has_partial else ""
            return f" ({frames} frames are kept: the same command resumes from them{saved})"
        if frames := resumable_backward_frames(output):
            return (
                f" ({frames} frames of the backward pass are kept: the same command resumes from "
                "them)"
            )
    return ""


@contextmanager
def _interrupt_on_signals() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and a closed terminal raise KeyboardInterrupt, which cleans up.

    A second signal ends the process at once. That is as safe as a power failure: saved work is
    kept.
    """
    was_interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal was_interrupted
        if was_interrupted:
            os._exit(EXIT_INTERRUPTED)
        was_interrupted = True
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return
    with ExitStack() as stack:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            previous = None if number is None else signal.getsignal(number)
            # A process in the background ignores SIGINT, and has to keep ignoring it. None is a
            # handler that was not set by Python, and could not be put back.
            if number is not None and previous not in (signal.SIG_IGN, None):
                signal.signal(number, interrupt)
                stack.callback(signal.signal, number, previous)
        yield


@contextmanager
def _escape_unencodable(stream: TextIO) -> Iterator[None]:
    """Escape characters that a stream's encoding lacks, as in file names, instead of failing."""
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    previous = stream.errors
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        with suppress(BrokenPipeError, ValueError):  # reconfiguring flushes; it may be closed
            stream.reconfigure(errors=previous)


@contextmanager
def _quiet_encoders() -> Iterator[None]:
    """Keep SVT-AV1 from printing its version for every segment."""
    name = "SVT_LOG"
    if name in os.environ:
        yield
        return
    os.environ[name] = "1"  # errors only
    try:
        yield
    finally:
        os.environ.pop(name, None)


@contextmanager
def _show_warnings(is_quiet: bool) -> Iterator[None]:
    """Show dreamvideo's warnings as lines on standard error, and no others."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if isinstance(message, DreamVideoWarning):
            print_note(" ".join(str(message).split()))

    with warnings.catch_warnings():
        warnings.showwarning = show
        warnings.simplefilter("ignore" if is_quiet else "always", DreamVideoWarning)
        yield
