"""Keyframes: interpolation, notation, and the one-line error for a malformed one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dreamvideo import Settings, keyframes
from dreamvideo.cli.arguments import parse
from dreamvideo.errors import SettingsError, UsageError
from dreamvideo.settings.dream_options import ASCENT, COHERENCE
from dreamvideo.settings.keyframes import EASINGS, Key, Schedule
from dreamvideo.settings.options import options_of
from dreamvideo.settings.video_options import CAMERA

ZOOM = "0:1.0, 3:1.4 smooth, 8:1.1 hold, 10:2"


def settings_of(*words: str) -> Settings:
    return parse(["in.png", "out.mp4", *words], "").settings


@pytest.mark.parametrize(
    ("seconds", "value"),
    [
        (0, 1.0),
        (1.5, 1.2),
        (3, 1.4),
        (4.25, 1.4 - 0.3 * 0.15625),  # a quarter of the way, eased: 3/16 - 2/64
        (5.5, 1.25),
        (8, 1.1),
        (9.999, 1.1),
        (10, 2.0),
        (1000, 2.0),
    ],
)
def test_value_between_keys(seconds: float, value: float) -> None:
    settings = settings_of("--zoom", ZOOM)
    assert settings.at(seconds).zoom == pytest.approx(value)
    assert isinstance(settings.zoom, Schedule)
    assert str(settings.zoom) == "0:1.0, 3:1.4 smooth, 8:1.1 hold, 10:2.0"


def test_before_the_first_key_the_value_is_constant() -> None:
    assert settings_of("--strength", "2:0.5, 4:1").at(0).strength == 0.5


def test_lists_and_calls_equal_typed_keyframes() -> None:
    typed = settings_of("--zoom", ZOOM, "--centre", "0:0.5,0.5, 2:0.2,0.7", "--octaves", "0:2, 1:4")
    listed = Settings(
        zoom=[[0, 1.0], [3, 1.4, "smooth"], [8, 1.1, "hold"], [10, 2.0]],  # type: ignore[arg-type]
        centre=[[0, [0.5, 0.5]], [2, [0.2, 0.7]]],  # type: ignore[arg-type]
        octaves=keyframes((0, 2), (1, 4)),
    )
    assert typed == listed
    assert typed.at(1).centre == pytest.approx((0.35, 0.6))
    assert typed.at(0.5).octaves == 3
    assert type(typed.at(0.2).octaves) is int
    assert Settings(centre=[0.2, 0.3]).centre == (0.2, 0.3)  # type: ignore[arg-type]


def test_layers_are_blended_between_keys() -> None:
    settings = settings_of("--layer", "0:blocks.5.expand, 4:blocks.10.expand hold, 6:stem")
    assert settings.layers_at(1) == (("blocks.5.expand", 0.75), ("blocks.10.expand", 0.25))
    assert settings.layers_at(5) == (("blocks.10.expand", 1.0),)
    assert settings.layers_at(9) == (("stem", 1.0),)
    assert settings.layers == ("blocks.5.expand", "blocks.10.expand", "stem")
    assert Settings().layers_at(3) == ((Settings().layer, 1.0),)


GROUPS_THAT_VARY = (ASCENT, CAMERA, COHERENCE)
# These hold for the whole video.
CONSTANT = ("duration", "evolve", "passes")


def test_every_number_of_the_dream_and_the_camera_takes_keyframes() -> None:
    for name, option in options_of(Settings).items():
        kind = option.value_type
        is_number = kind in (int, float, tuple) and option.group in GROUPS_THAT_VARY
        varies = (is_number and name not in CONSTANT) or name in ("layer", "mix")
        assert option.varies == varies, name
        if option.varies and kind is not str:
            assert option.minimum is not None
            bounds = [option.minimum, option.minimum if option.maximum is None else option.maximum]
            for number in bounds:
                bound: Any = (number, number) if kind is tuple else kind(number)
                values: dict[str, Any] = {name: [(0, bound), (3, bound)]}
                settings = Settings(**values)
                for time in (0.1, 0.7, 1.1, 2.9):  # rounding does not lead beyond the bounds
                    assert getattr(settings.at(time), name) == bound
            assert option.default is None or getattr(Settings(), name) == option.default


def test_easings_rise_from_0_to_1() -> None:
    shares = np.linspace(0, 1, 101)
    for name, easing in EASINGS.items():
        eased = easing(shares)
        assert eased[0] == 0
        assert (np.diff(eased) >= 0).all()
        assert eased[-1] == (0 if name == "hold" else 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0:1.0, 3;1.4, 8:1.1", ['pair 2 of 3, "3;1.4"', "no colon"]),
        ("0:1.0, 3:fast", ['pair 2 of 2, "3:fast"', "'fast'"]),
        ("0:1, 2:1.2 smoth", ["'smoth'", "linear, smooth, hold"]),
        ("2:1, 1:2", ['pair 2 of 2, "1:2"', "not later than 2 s"]),
        ("0:1, 0:2", ["not later than 0 s"]),
        ("a:1", ["'a'", "not a number of seconds"]),
        ("-1:1, 2:2", ["-1 s", "before the start"]),
        ("nan:1", ["nan s"]),
        ("0:1,", ['pair 2 of 2, ""']),
        ("0:1, 3:50", ["50", "at 3 s", "0.1 to 10"]),
    ],
)
def test_the_error_for_a_malformed_schedule_names_the_pair(text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        settings_of(f"--zoom={text}")
    message = str(caught.value)
    assert "zoom" in message
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"zoom": []}, ["zoom", "no keys"]),
        ({"zoom": [(0,)]}, ["zoom", "pair 1 of 1", "(seconds, value)"]),
        ({"zoom": [(0, 1), (1, "a")]}, ["zoom", "'a' at 1 s"]),
        ({"zoom": [(0, 1), ("a", 1)]}, ["zoom", "pair 2 of 2", "'a'"]),
        ({"zoom": [1, 2]}, ["zoom", "[1, 2]"]),
        ({"zoom": [(0, 1, "soft")]}, ["zoom", "'soft'", "linear"]),
        ({"zoom": [(0, 1.0, ["smooth"])]}, ["zoom", "['smooth']"]),
        ({"seed": [(0, 1), (1, 10**400)]}, ["seed", "at 1 s"]),
        ({"octaves": [(0, 2), (3, 4.5)]}, ["octaves", "4.5 at 3 s"]),
        ({"centre": [(0, (0.5, 0.5)), (1, 0.5)]}, ["centre", "0.5 at 1 s"]),
        ({"centre": (0.5, 0.5, 0.5)}, ["centre", "a list of two numbers"]),
        ({"layer": [(0, "stem"), (1, 3)]}, ["layer", "3 at 1 s"]),
        ({"size": [(0, 100), (1, 200)]}, ["size"]),
        ({"flow": [(0, "dis")]}, ["flow"]),
    ],
)
def test_bad_lists_are_refused(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**values)
    for word in words:
        assert word in str(caught.value)


def test_schedules_are_equal_if_their_numbers_are() -> None:
    one, other = (Settings(zoom=keyframes((0, 1), (t, 1.5))) for t in (1234.567, 1234.571))
    assert str(one.zoom) != str(other.zoom)
    assert Settings(zoom=keyframes((0, 1), (2, 2))) == Settings(zoom=keyframes((0, 1.0), (2, 2.0)))
    assert str(Settings(zoom=keyframes((0, 1))).zoom) == "0:1.0"


def test_keys_of_one_value_have_no_mixture() -> None:
    schedule = Schedule((Key(0, "stem"), Key(2, "stem")))
    assert schedule.mixture(1) == (("stem", 1.0),)
