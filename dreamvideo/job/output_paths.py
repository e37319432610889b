"""Checks of output paths, and writing of a single file atomically."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dreamvideo.errors import OutputError, OutputExistsError

# File systems commonly allow names of 255 bytes, and a character takes up to four.
MAX_STEM_CHARACTERS = 50


@contextmanager
def atomic_output(path: Path, overwrite: bool) -> Iterator[Path]:
    """A new empty file that replaces `path` at the end of the `with` block.

    If the body fails or is interrupted, the file is removed and `path` stays as it was.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is false.
        OutputError: `path` is a folder, or its folder does not exist or is read-only.
    """
    check_output(path, overwrite)
    path = path.resolve()  # a link stays a link, to the new file
    part = path.with_name(f".{path.stem[:MAX_STEM_CHARACTERS]}.{secrets.token_hex(4)}.part")
    try:
        part.open("xb").close()
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield part
        # Another program may have written the output in the meantime.
        check_output(path, overwrite)
        try:
            part.replace(path)
        except OSError as error:
            raise cannot_write(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str, overwrite: bool) -> None:
    """Write a text file atomically, in UTF-8.

    Raises:
        OutputExistsError, OutputError: as in `atomic_output`.
    """
    with atomic_output(path, overwrite) as part:
        part.write_text(text, encoding="utf-8", errors="surrogateescape")


def check_output(path: Path, overwrite: bool, is_folder: bool = False) -> None:
    """Refuse an output path that exists or that cannot be written.

    Args:
        path: of a file, or of a folder, which may exist if it is empty.
        overwrite: whether it may exist in any case.
        is_folder: whether a folder is to be written.

    Raises:
        OutputExistsError: it exists and `overwrite` is false.
        OutputError: as in `check_output_kind`.
    """
    check_output_kind(path, is_folder)
    if path.exists() and not overwrite and not (is_folder and not any(path.iterdir())):
        raise OutputExistsError(
            f"{path} already exists; choose another name or add --overwrite to replace it"
        )


def check_output_kind(path: Path, is_folder: bool = False) -> None:
    """Refuse an output path where neither a new nor an existing output can be.

    Raises:
        OutputError: there is a folder where a file is to be written or the other way round, or the
            folder around it does not exist.
    """
    try:
        is_dir, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise cannot_write(path, error) from error
    if is_dir and not is_folder:
        raise OutputError(f"{path} is a folder; choose the name of a file")
    if is_file and is_folder:
        raise OutputError(
            f"{path} is a file; choose the name of a folder, or one with the suffix of a video or "
            "an image"
        )
    if not path.parent.is_dir():
        raise OutputError(f"the folder {path.parent} does not exist; create it first")


def check_not_input(source: str, output: str, is_zoom: bool = False) -> None:
    """Refuse an output that is the input, or that could replace it.

    Args:
        source: the name of an input.
        output: the name of the output.
        is_zoom: whether the input is one of the still images of a zoom, whose numbered frames could
            replace it in an output folder.

    Raises:
        OutputError: the output is the input, or its folder, or its name cannot be looked up.
    """
    if not Path(source).exists():
        return
    try:
        if not Path(output).exists():
            return
    except OSError as error:
        raise cannot_write(Path(output), error) from error
    if Path(source).samefile(output):
        raise OutputError(f"{output} is the input itself; choose another name for the output")
    if is_zoom and Path(output).is_dir() and Path(source).absolute().parent.samefile(output):
        raise OutputError(
            f"{output} contains the input {source}, which a frame could replace; choose another "
            "folder for the output"
        )


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The error for a path at which the system creates or replaces no file."""
    remedy = (
        "choose a shorter name"
        if error.errno == errno.ENAMETOOLONG
        else "choose a folder that you may write to"
    )
    return OutputError(f"cannot write {path}: {error.strerror}; {remedy}")
