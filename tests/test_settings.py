"""Settings refuse what their options do not allow, and say what is allowed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from dreamvideo.errors import SettingsError
from dreamvideo.settings import Settings
from dreamvideo.settings.options import options_of


def test_defaults_are_valid_and_frozen() -> None:
    settings = Settings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.octaves = 2  # type: ignore[misc]


def test_every_field_is_a_described_option() -> None:
    spec = options_of(Settings)
    assert set(spec) == {field.name for field in dataclasses.fields(Settings)}
    for name, (_, option, _) in spec.items():
        assert option.help and option.group, name


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"octaves": 0}, ["octaves", "0", "whole numbers from 1 to 12", "default 4"]),
        ({"octaves": 2.0}, ["octaves", "2.0"]),
        ({"octaves": True}, ["octaves", "True"]),
        ({"octave_scale": 1.0}, ["octave-scale", "1.05"]),
        ({"persistence": 1.01}, ["persistence", "from 0 to 1"]),
        ({"strength": float("nan")}, ["strength", "nan"]),
        ({"step_size": float("inf")}, ["step-size", "inf"]),
        ({"flow": "farneback"}, ["flow", "farneback", "dis, raft, none"]),
        ({"encoder": "x264"}, ["encoder", "x264", "libx264, libx265"]),
        ({"start": 2.0, "end": 2.0}, ["end", "2 s", "later"]),
        ({"size": 3}, ["size", "3", "16"]),
        ({"layer": 9}, ["layer", "9"]),
        ({"seed": -1}, ["seed", "-1"]),
        ({"seed": None}, ["seed", "None"]),
    ],
)
def test_bad_value_is_refused_with_the_allowed_ones(
    values: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**values)
    for word in words:
        assert word in str(caught.value)


def test_whole_numbers_are_numbers() -> None:
    assert Settings(strength=0, persistence=1, size=None).strength == 0
