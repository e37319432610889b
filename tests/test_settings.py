"""Settings: every option states its facts once, and values that are not allowed are refused."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest

import dreamvideo
from dreamvideo.errors import SettingsError
from dreamvideo.settings import Settings
from dreamvideo.settings import options as options_module
from dreamvideo.settings.options import (
    ALL_JOBS,
    JobKind,
    Option,
    conflicting_options,
    option,
    options_of,
    varying,
)
from dreamvideo.settings.video_options import CAMERA, HARDWARE, LIMITS

PACKAGE = Path(dreamvideo.__file__).parent
# Where options state which others they conflict with.
DEFINITIONS = set((PACKAGE / "settings").glob("*_options.py"))


def test_defaults_are_valid_and_frozen() -> None:
    settings = Settings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.octaves = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"octaves": 0}, ["octaves", "0", "a whole number from 1 to 12", "default 4"]),
        ({"octaves": 2.0}, ["octaves", "2.0"]),
        ({"octaves": True}, ["octaves", "True"]),
        ({"octave_scale": 1.0}, ["octave-scale", "a number from 1.05"]),
        ({"persistence": 1.01}, ["persistence", "from 0 to 1"]),
        ({"strength": float("nan")}, ["strength", "nan"]),
        ({"step_size": float("inf")}, ["step-size", "inf"]),
        ({"flow": "farneback"}, ["flow", "farneback", "one of dis, raft, none"]),
        ({"encoder": "x264"}, ["encoder", "x264", "libx264, libx265", "default libx264;"]),
        ({"start": 2.0, "end": 2.0}, ["end", "2 s", "later"]),
        ({"size": 3}, ["size", "3", "16"]),
        ({"every": 0}, ["every", "0", "a whole number of at least 1"]),
        ({"layer": 9}, ["layer", "9", "a text"]),
        ({"layer": "blocks.9=x"}, ["layer", "blocks.9", "'x'", "NAME=WEIGHT"]),
        ({"loop": 1}, ["loop", "1", "true or false"]),
        ({"mean": (0.5, 0.5)}, ["mean", "a list of three numbers from -1 to 2"]),
        ({"seed": -1}, ["seed", "-1"]),
        ({"seed": None}, ["seed", "None"]),
        ({"tile": "32"}, ["tile", "'32'", "at least 64"]),
    ],
)
def test_a_bad_value_is_refused_with_the_allowed_ones(
    values: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**values)
    for word in words:
        assert word in str(caught.value)


def test_whole_numbers_are_numbers() -> None:
    assert Settings(strength=0, persistence=1, size=None).strength == 0


class TestFacts:
    """Each fact about an option is stated where the option is defined, and nowhere else."""

    def test_every_field_is_an_option_with_help(self) -> None:
        options = options_of(Settings)
        assert list(options) == [field.name for field in dataclasses.fields(Settings)]
        for name, spec in options.items():
            assert spec.name == name
            assert spec.help and spec.group, name
            assert not spec.help.endswith("."), name

    def test_help_is_in_plain_words(self) -> None:
        for name, spec in options_of(Settings).items():
            for word in ("film", "journey", "picture", "answer", "usual", "wanted"):
                assert word not in f"{spec.help} {spec.default_text}".split(), name

    def test_every_fact_is_documented(self) -> None:
        """Each field of `Option` is followed by a docstring, or shares the one of its block."""
        tree = ast.parse(inspect.getsource(options_module))
        (definition,) = (
            node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Option"
        )
        documented = {
            field.target.id
            for field, doc in zip(definition.body, definition.body[1:], strict=False)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            if isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant)
        }
        fields = {field.name for field in dataclasses.fields(Option)}
        assert fields == documented

    def test_a_varying_option_states_its_effect_on_the_dreams_strength(self) -> None:
        with pytest.raises(TypeError, match="affects_level"):
            varying(1.0, "a made-up option", group="made up")  # type: ignore[call-arg]

    def test_an_option_by_default_is_for_all_jobs_and_decides_the_result(self) -> None:
        """What an option does not state errs on the safe side."""
        spec = option(1, "a made-up option", group="made up").metadata["option"]
        assert spec.applies_to == ALL_JOBS
        assert spec.decides_result and spec.in_settings_files
        assert not (spec.varies or spec.names_file or spec.for_encoder)

    def test_groups_agree_on_what_they_are_for(self) -> None:
        for name, spec in options_of(Settings).items():
            assert (spec.applies_to == JobKind.ZOOM) == (spec.group == CAMERA), name
            is_for_machine = spec.group in (LIMITS, HARDWARE)
            assert is_for_machine != spec.decides_result, name
            # What does not decide the result does not belong to it, and must not be set by it.
            assert spec.decides_result or not spec.in_settings_files, name

    def test_only_texts_name_files_and_code(self) -> None:
        for name, spec in options_of(Settings).items():
            assert spec.value_type is str or not (spec.names_file or spec.names_code), name

    def test_no_list_of_option_names_stands_elsewhere(self) -> None:
        """Such a list silently misses a new option; `option_values` and a fact do not."""
        names = options_of(Settings)
        for module in set(PACKAGE.rglob("*.py")) - DEFINITIONS:
            for node in ast.walk(ast.parse(module.read_text())):
                if not isinstance(node, (ast.Tuple, ast.List, ast.Set)):
                    continue
                texts = [item.value for item in node.elts if isinstance(item, ast.Constant)]
                listed = [
                    text
                    for text in map(str, texts)
                    if text.removeprefix("--").replace("-", "_") in names
                ]
                is_list = len(listed) > 1 and len(listed) == len(texts)
                assert not is_list, f"{module}:{node.lineno}: {listed}"


class TestConflicts:
    def test_each_pair_is_refused(self) -> None:
        values: dict[str, Any] = {
            **{"class_": "tabby", "layer": "stem", "objective": "mean", "channel": (3,)},
            **{"strongest": 3, "weakest": 3, "guide": "cat.png", "evolve": 0.1},
        }
        pairs = conflicting_options(Settings)
        assert len(pairs) == 11
        for one, other in pairs:
            given = {one.name: values[one.name], other.name: values[other.name]}
            with pytest.raises(SettingsError, match=f"{one.flag} and {other.flag} cannot be given"):
                Settings(**given)

    def test_a_class_leaves_no_choice_of_layers_and_channels(self) -> None:
        """Every other option of what is amplified conflicts with it."""
        partners = {
            other.name for one, other in conflicting_options(Settings) if one.name == "class_"
        }
        same_group = {
            name for name, spec in options_of(Settings).items() if spec.group == "objective"
        }
        assert same_group - {"class_"} <= partners
        assert "layer" in partners

    def test_defaults_conflict_with_nothing(self) -> None:
        assert Settings(class_="tabby", channel=(), objective="l2").class_ == "tabby"
