"""The line in which a film says how it was dreamed. Refuses to know what it says."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from dreamvideo.errors import SettingsError
from dreamvideo.media.opening import Location, check_location, open_film

# The tag that every container keeps, and that may hold something of the source's already.
TAG = "comment"
SIGNATURE = re.compile(r"^dreamvideo \S+ (\{.*\})$", re.MULTILINE)


def signed(comment: str, settings_line: str) -> str:
    """A film's comment with the line added, in place of an earlier one.

    Args:
        comment: what it says already, perhaps nothing.
        settings_line: JSON of the settings.
    """
    kept = SIGNATURE.sub("", comment).strip()
    line = f"dreamvideo {version('dreamvideo')} {settings_line}"
    return f"{kept}\n{line}" if kept else line


def signature_of(path: Path) -> str:
    """JSON of the settings that a film was dreamed with.

    Raises:
        InputError: it is no film that can be read.
        SettingsError: it does not say.
    """
    location = Location(str(path))
    check_location(location)
    with open_film(location) as film:
        comments = [value for name, value in film.metadata.items() if name.lower() == TAG]
    found = SIGNATURE.search("\n".join(comments))
    if found is None:
        raise SettingsError(
            f"{path} does not say how it was dreamed; films that dreamvideo wrote as .mp4, .mov, "
            ".mkv or .webm do, and TOML files are read, too"
        )
    return found[1]
