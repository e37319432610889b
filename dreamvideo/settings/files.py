"""Settings in files: TOML that people write, and looks that come along.

A file says what is dreamed and made. It names no code and opens no door: the options of the machine
and of safety, and networks that are callables, are for the command line alone.
Refuses to know who asks.
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
from dreamvideo.settings.options import Option, flag_name, options_of, parse_value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOOK_SUFFIX = ".toml"
# What a look may say of itself, beside its settings.
DESCRIPTION_KEY = "about"
# The one kind of name of a network with a colon that names no code.
TIMM_PREFIX = "timm:"


def read_settings(path: Path, without: Collection[str] = ()) -> dict[str, Any]:
    """The options that a file gives, by their fields' names, but for some that are overridden.

    Raises:
        SettingsError: it is no such file, or an option or value in it is not allowed.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise SettingsError(
            f"cannot read the settings {path}: {error}; give a TOML file, such as --save-settings "
            "writes"
        ) from error
    return _parse_toml(text, str(path), without)


def look_names() -> list[str]:
    """The looks that come along."""
    names = (entry.name for entry in _looks().iterdir())
    return sorted(name.removesuffix(LOOK_SUFFIX) for name in names if name.endswith(LOOK_SUFFIX))


def read_look(name: str) -> dict[str, Any]:
    """The options that a look gives, by their fields' names.

    Raises:
        SettingsError: there is no look of that name.
    """
    return _parse_toml(_look_text(name), f"look {name}", ())


def look_description(name: str) -> str:
    """What a look says of itself, in a line."""
    return str(tomllib.loads(_look_text(name)).get(DESCRIPTION_KEY, ""))


def settings_as_toml(settings: Settings) -> str:
    """All options that decide what is made, as text that `read_settings` understands."""
    lines = ["# Settings of dreamvideo; give them with --settings. Other options stay as usual."]
    group = ""
    for word, spec, value in _file_options(settings):
        if spec.group != group:
            group = spec.group
            lines += ["", f"# {group}"]
        lines.append(f"{word} = {_as_toml(value)}")
    return "\n".join(lines) + "\n"


def settings_as_json(settings: Settings) -> str:
    """All options that decide what is made, as one line of JSON."""
    values = {
        word: str(value) if isinstance(value, Schedule) else value
        for word, _, value in _file_options(settings)
    }
    return json.dumps(values)


def read_settings_json(line: str, origin: str, without: Collection[str] = ()) -> dict[str, Any]:
    """The options that a line of `settings_as_line` gives, as `read_settings` does.

    Raises:
        SettingsError: an option or value in it is not allowed.
    """
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"cannot read the settings in {origin}: {error}") from error
    return dict(_interpret(content, origin, without))


def _parse_toml(text: str, origin: str, without: Collection[str]) -> dict[str, Any]:
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of which TOML's own is one
        raise SettingsError(
            f"cannot read {origin}: {error}; lines such as 'octaves = 4' are wanted"
        ) from error
    content.pop(DESCRIPTION_KEY, None)
    return dict(_interpret(content, origin, without))


def _interpret(
    content: Mapping[str, Any], origin: str, without: Collection[str]
) -> Iterator[tuple[str, Any]]:
    fields = {flag_name(name): name for name in options_of(Settings)}
    for key, value in content.items():
        word = flag_name(key)
        if word not in fields:
            raise SettingsError(
                f"{origin} has {key!r}, which is no option; 'dreamvideo --help' lists them"
            )
        if fields[word] in without:
            continue
        _, spec, kind = options_of(Settings)[fields[word]]
        if not _is_file_option(spec):
            raise SettingsError(
                f"{origin} has {key!r}, which is not for files: give --{word} on the command line"
            )
        if word == "model" and ":" in str(value) and not str(value).startswith(TIMM_PREFIX):
            raise SettingsError(
                f"{origin} has the model {value!r}, which would run code: give --model on the "
                "command line if you trust it"
            )
        yield fields[word], _value(value, spec, kind, origin, word)


def _value(value: Any, spec: Option, kind: type, origin: str, word: str) -> Any:
    """What is written as text, such as keyframes, in its own type."""
    if not isinstance(value, str):
        return value
    try:
        return parse_value(value, spec, kind)
    except (ValueError, SettingsError) as error:
        raise SettingsError(
            f"{word} cannot be {value!r} in {origin}: {error}; allowed is {spec.allowed(kind)}"
        ) from None


def _file_options(settings: Settings) -> Iterator[tuple[str, Option, Any]]:
    """The word, the description and the value of each option that a file holds and that has one."""
    for name, (_, spec, _) in options_of(Settings).items():
        value = getattr(settings, name)
        if _is_file_option(spec) and value is not None:
            yield flag_name(name), spec, value


def _is_file_option(spec: Option) -> bool:
    return spec.decides_result and spec.group not in ("machine", "safety", "run")


def _as_toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_as_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    # Texts of JSON are texts of TOML, but for one character.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _looks() -> Any:
    return files("dreamvideo.settings") / "looks"


def _look_text(name: str) -> str:
    if name not in look_names():
        raise SettingsError(
            f"there is no look {name!r}: allowed is {', '.join(look_names())}; 'dreamvideo looks' "
            "tells what each is like"
        )
    return str((_looks() / f"{name}{LOOK_SUFFIX}").read_text(encoding="utf-8"))
