"""Settings in files: TOML files, the looks that come with the package, and video metadata.

A settings file says what is dreamed and how it is encoded. It cannot run code, and cannot lift a
safety limit: such options are taken from the command line only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from dreamvideo.errors import SettingsError
from dreamvideo.settings import Settings
from dreamvideo.settings.keyframes import Schedule
from dreamvideo.settings.options import Option, option_key, option_values, options_of, parse_value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOOK_SUFFIX = ".toml"
# The line with which a look describes itself; it is not an option.
DESCRIPTION_KEY = "about"


def read_settings(path: Path, overridden: Collection[str] = ()) -> dict[str, Any]:
    """The options in a TOML file, by field name.

    Args:
        path: of the file.
        overridden: field names of options to leave out, unchecked.

    Raises:
        SettingsError: the file cannot be read, or has an option or value that is not allowed.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise SettingsError(
            f"cannot read the settings {path}: {error}; give a TOML file such as --save-settings "
            "writes"
        ) from error
    return _parse_toml(text, str(path), overridden)


def look_names() -> list[str]:
    """The names of the looks that come with the package."""
    names = (entry.name for entry in _looks().iterdir())
    return sorted(name.removesuffix(LOOK_SUFFIX) for name in names if name.endswith(LOOK_SUFFIX))


def read_look(name: str) -> dict[str, Any]:
    """The options of a look, by field name.

    Raises:
        SettingsError: no look has that name.
    """
    return _parse_toml(_look_text(name), f"look {name}", ())


def look_description(name: str) -> str:
    """A look's one-line description of itself."""
    return str(tomllib.loads(_look_text(name)).get(DESCRIPTION_KEY, ""))


def settings_as_toml(settings: Settings) -> str:
    """The options that settings files can hold, as text that `read_settings` reads."""
    lines = ["# Settings of dreamvideo, for --settings. Options that are missing have defaults."]
    group = ""
    for option, value in _file_options(settings):
        if option.group != group:
            group = option.group
            lines += ["", f"# {group}"]
        lines.append(f"{option.key} = {_as_toml(value)}")
    return "\n".join(lines) + "\n"


def settings_as_json(settings: Settings) -> str:
    """The same options as one line of JSON, which `read_settings_json` reads."""
    values = {
        option.key: str(value) if isinstance(value, Schedule) else value
        for option, value in _file_options(settings)
    }
    return json.dumps(values)


def read_settings_json(line: str, origin: str, overridden: Collection[str] = ()) -> dict[str, Any]:
    """The options in a line that `settings_as_json` wrote, by field name.

    Args:
        line: JSON.
        origin: what error messages call the source of the line.
        overridden: field names of options to leave out, unchecked.

    Raises:
        SettingsError: the line is not JSON, or has an option or value that is not allowed.
    """
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"cannot read the settings in {origin}: {error}") from error
    return dict(_checked_options(content, origin, overridden))


def _parse_toml(text: str, origin: str, overridden: Collection[str]) -> dict[str, Any]:
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        raise SettingsError(
            f"cannot read {origin}: {error}; write lines such as 'octaves = 4'"
        ) from error
    content.pop(DESCRIPTION_KEY, None)
    return dict(_checked_options(content, origin, overridden))


def _checked_options(
    content: Mapping[str, Any], origin: str, overridden: Collection[str]
) -> Iterator[tuple[str, Any]]:
    """The field name and value of each entry."""
    options = {option.key: option for option in options_of(Settings).values()}
    for entry, value in content.items():
        key = option_key(entry)
        if key not in options:
            raise SettingsError(
                f"{origin} has {entry!r}, which is not an option; 'dreamvideo --help' lists them"
            )
        option = options[key]
        if option.name in overridden:
            continue
        if not option.in_settings_files:
            raise SettingsError(
                f"{origin} has {entry!r}, which settings files cannot set; give {option.flag} on "
                "the command line"
            )
        if option.names_code is not None and option.names_code(str(value)):
            raise SettingsError(
                f"{origin} has the {key} {value!r}, which would run code; give {option.flag} on "
                "the command line if you trust it"
            )
        yield option.name, _from_text(value, option, origin)


def _from_text(value: Any, option: Option, origin: str) -> Any:
    """The value of a text such as "0:1.0, 3:1.4"; other values as they are."""
    if not isinstance(value, str):
        return value
    try:
        return parse_value(value, option)
    except SettingsError as error:
        raise SettingsError(f"{option.key} cannot be {value!r} in {origin}: {error}") from None
    except ValueError:
        raise SettingsError(
            f"{option.key} cannot be {value!r} in {origin}: allowed is {option.allowed}"
        ) from None


def _file_options(settings: Settings) -> Iterator[tuple[Option, Any]]:
    """The options that settings files can hold, with their values other than None."""
    for option, value in option_values(settings):
        if option.in_settings_files and value is not None:
            yield option, value


def _as_toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_as_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    # JSON strings are TOML strings, except that TOML does not allow DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _looks() -> Any:
    return files("dreamvideo.settings") / "looks"


def _look_text(name: str) -> str:
    if name not in look_names():
        raise SettingsError(
            f"there is no look {name!r}: allowed is {', '.join(look_names())}; 'dreamvideo looks' "
            "describes them"
        )
    return str((_looks() / f"{name}{LOOK_SUFFIX}").read_text(encoding="utf-8"))
