"""Checks of output paths, and writing a file atomically."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dreamvideo.errors import OutputError, OutputExistsError

# Names of files hold 255 bytes as a rule, and a character up to four of them.
MAX_STEM_CHARACTERS = 50


@contextmanager
def atomic_output(path: Path, overwrite: bool) -> Iterator[Path]:
    """An empty file to write to, which takes the place of `path` if the body succeeds.

    If the body fails, or is interrupted, the file is removed and `path` stays as it was.

    Raises:
        OutputExistsError: `path` is already there and `overwrite` is false.
        OutputError: `path` is a folder, or nothing can be written beside it.
    """
    check_output(path, overwrite)
    path = path.resolve()  # a link stays a link, to the new file
    part = path.with_name(f".{path.stem[:MAX_STEM_CHARACTERS]}.{secrets.token_hex(4)}.part")
    try:
        part.open("xb").close()
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield part
        # Another program may have written the output in the meantime.
        check_output(path, overwrite)
        try:
            part.replace(path)
        except OSError as error:
            raise _cannot_write(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str, overwrite: bool) -> None:
    """Write a text that appears under `path` only when it is whole.

    Raises: see `written_beside`.
    """
    with atomic_output(path, overwrite) as part:
        part.write_text(text, encoding="utf-8", errors="surrogateescape")


def check_output(path: Path, overwrite: bool, is_folder: bool = False) -> None:
    """Refuse a place where nothing may or can be written.

    Raises: see `written_beside`.
    """
    check_output_kind(path, is_folder)
    if path.exists() and not overwrite and not (is_folder and not any(path.iterdir())):
        raise OutputExistsError(
            f"{path} already exists; choose another name or add --overwrite to replace it"
        )


def check_output_kind(path: Path, is_folder: bool = False) -> None:
    """Refuse a place where such a thing cannot be, whether or not it is there already.

    Raises:
        OutputError: see `written_beside`.
    """
    if path.is_dir() and not is_folder:
        raise OutputError(f"{path} is a folder; give the name of a file to write")
    if path.is_file() and is_folder:
        raise OutputError(f"{path} is a file; give the name of a folder, or of a film or still")
    if not path.parent.is_dir():
        raise OutputError(f"the folder {path.parent} does not exist; make it first")


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write {path}: {error.strerror}; choose a place that you may write to"
    )


def check_not_input(source: str, output: str, is_zoom: bool = False) -> None:
    """Refuse an output that is the input, or would replace it.

    Raises:
        OutputError: it would.
    """
    if not Path(source).exists() or not Path(output).exists():
        return
    if Path(source).samefile(output):
        raise OutputError(f"{output} is the input itself; choose another name for the output")
    if is_zoom and Path(output).is_dir() and Path(source).absolute().parent.samefile(output):
        raise OutputError(
            f"{output} holds the input itself, {source}, which a frame might replace; choose "
            "another folder for the output"
        )
