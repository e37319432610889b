"""Settings in TOML files, looks, and the settings in a video's metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import av
import pytest

from dreamvideo import Settings, dream_video, keyframes
from dreamvideo.cli.arguments import parse
from dreamvideo.cli.main import main
from dreamvideo.errors import InputError, SettingsError
from dreamvideo.media.metadata import read_signature, with_signature
from dreamvideo.settings.files import (
    look_description,
    look_names,
    read_look,
    read_settings,
    read_settings_json,
    settings_as_json,
    settings_as_toml,
)
from dreamvideo.settings.options import ALL_JOBS, options_set
from tests.conftest import MakeClip

FAST = ["--octaves", "1", "--iterations", "1", "--size", "64", "--device", "cpu", "--quiet"]
MANY = Settings(
    model="vgg16",
    weights='odd "name" \\ with\ttab \x7f é.pth',
    mean=(0.1, 0.2, 0.3),
    layer=keyframes((0, "a=1+b=-0.5"), (2.5, "c", "hold"), (4, "a")),
    channel=(3, 14),
    octave_scale=1.1,
    zoom=keyframes((0, 1), (3, 1.4, "smooth")),
    centre=keyframes((0, (0.5, 0.5)), (1, (0.25, 0.125))),
    keep_colour=True,
    fps=30000 / 1001,
    crf=0,
)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def settings_of(*words: str) -> Settings:
    return parse(["in.png", "out.png", *words], "").settings


@pytest.mark.parametrize("settings", [Settings(), MANY], ids=["defaults", "many"])
def test_saved_settings_are_read_back(settings: Settings, tmp_path: Path) -> None:
    file = written(tmp_path / "s.toml", settings_as_toml(settings))
    assert Settings(**read_settings(file)) == settings
    assert Settings(**read_settings_json(settings_as_json(settings), "a video")) == settings


def test_a_file_can_be_written_by_hand(tmp_path: Path) -> None:
    text = """
    # my dream
    octaves = 3
    octave-scale = 1.6
    step_size = 0.02
    layer = ["blocks.9.expand=1", "blocks.4=0.3"]
    channel = 12
    zoom = "0:1.0, 3:1.4 smooth"
    centre = [0.5, 0.25]
    class = "tabby"
    """
    options = read_settings(written(tmp_path / "s.toml", text))
    assert options["class_"] == "tabby"
    del options["class_"]
    settings = Settings(**options)
    assert settings.octaves == 3
    assert settings.octave_scale == 1.6
    assert settings.layers == ("blocks.9.expand", "blocks.4")
    assert settings.channel == (12,)
    assert settings.at(3).zoom == 1.4
    assert settings.centre == (0.5, 0.25)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("octavs = 3", ["'octavs'", "not an option", "--help"]),
        ("octaves = 99", ["octaves", "99", "1 to 12"]),
        ("octaves = 'many'", ["octaves", "many", "a whole number from 1 to 12"]),
        ("octaves = ", ["cannot read", "s.toml"]),
        ("zoom = '0:1, 0:2'", ["zoom", "pair 2"]),
        ("device = 'cpu'", ["device", "cannot set", "--device on the command line"]),
        ("allow_network = true", ["allow_network", "command line"]),
        ("max-pixels = 9000000000", ["max-pixels", "command line"]),
        ("model = 'os:getcwd'", ["would run code", "--model"]),
        ("keep_colour = 1", ["keep-colour", "true or false"]),
        ("keep_colour = 'false'", ["keep-colour", "true or false"]),
        ("layer = [1, 2]", ["layer", "[1, 2]"]),
        ("layer = ['stem', {a = 1}]", ["layer"]),
        ("x = " + "[" * 3000 + "]" * 3000, ["s.toml"]),
        ("seed = " + "9" * 5000, ["s.toml"]),
        ("[dream]\noctaves = 3", ["'dream'", "not an option"]),
    ],
    ids=str,
)
def test_mistakes_in_a_file_are_named(
    text: str, words: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "s.toml", text)
    out = tmp_path / "out.png"
    assert main(["in.png", str(out), "--settings", str(file)]) == 2
    message = capsys.readouterr().err
    for word in words:
        assert word in message
    assert message.count("\n") == 1


def test_a_missing_or_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read the settings .*none\.toml"):
        read_settings(tmp_path / "none.toml")
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"x\.toml"):
        read_settings(tmp_path / "x.toml")


def test_the_command_line_overrides_the_file_and_the_file_the_look(tmp_path: Path) -> None:
    file = written(tmp_path / "s.toml", "strength = 0.5\noctaves = 2\nkeep_colour = true")
    look = ["--look", "eyes"]
    assert settings_of(*look).strength == 1.3
    assert settings_of(*look, "--settings", str(file)).strength == 0.5
    settings = settings_of(
        *look, "--settings", str(file), "--strength", "2", "--no-keep-colour", "--octaves", "4"
    )
    assert settings == Settings(layer="blocks.8+blocks.9", strength=2.0)


def test_an_option_overrides_those_it_conflicts_with() -> None:
    assert settings_of("--look", "plaid", "--strongest", "3") == Settings(
        layer="blocks.6.expand", strongest=3
    )
    assert settings_of("--look", "eyes", "--class", "tabby") == Settings(
        class_="tabby", strength=1.3
    )


def test_a_model_that_is_code_is_taken_from_the_command_line_only(tmp_path: Path) -> None:
    model = Settings(model="tests.unknown_networks:Faces", layer="repeat_2")
    file = written(tmp_path / "s.toml", settings_as_toml(model))
    words = ["--settings", str(file)]
    assert settings_of(*words, "--model", "tests.unknown_networks:Faces") == model
    with pytest.raises(SettingsError, match="would run code"):
        settings_of(*words)


def test_saved_settings_never_replace_an_input(sample_still: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(sample_still.read_bytes())
    words = [str(photo), str(tmp_path / "out.png"), *FAST, "--overwrite"]
    assert main([*words, "--save-settings", str(photo)]) == 1
    assert photo.read_bytes() == sample_still.read_bytes()


def test_looks_are_valid_settings_with_a_description() -> None:
    names = look_names()
    assert len(names) >= 6
    assert {"eyes", "cloth", "mosaic", "fur", "strokes", "swirls"} <= set(names)
    looks = [Settings(**read_look(name)) for name in names]
    assert len(set(looks)) == len(looks)
    assert all(look_description(name) for name in names)
    assert all(look != Settings() for look in looks)
    # They suit videos, still images and zooms alike.
    assert all(option.applies_to == ALL_JOBS for look in looks for option in options_set(look))


def test_an_unknown_look() -> None:
    with pytest.raises(SettingsError, match=r"no look 'eye'.*animals, bricks.*dreamvideo looks"):
        settings_of("--look", "eye")


def test_settings_are_saved_after_the_run(sample_still: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "saved.toml", tmp_path / "out.png"
    words = [str(sample_still), str(out), *FAST, "--look", "scales"]
    assert main([*words, "--save-settings", str(file)]) == 0
    again = settings_of("--settings", str(file))
    assert again == Settings(
        layer="blocks.9", channel=(6,), strength=1.3, octaves=1, iterations=1, size=64
    )
    other = [str(sample_still), str(tmp_path / "o.png"), *FAST]
    assert main([*other, "--save-settings", str(file)]) == 2  # it is there already
    assert not (tmp_path / "o.png").exists()
    assert main([*other, "--save-settings", str(file), "--overwrite"]) == 0
    failing = [str(tmp_path / "none.png"), str(tmp_path / "p.png"), *FAST]
    assert main([*failing, "--save-settings", str(tmp_path / "t.toml")]) == 1
    assert not (tmp_path / "t.toml").exists()


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_videos_carry_their_settings(suffix: str, make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip(
        "clip.mp4", "testsrc2=s=64x48:r=25:d=0.2", "-c:v", "libx264", "-metadata",
        "comment=of my own", "-metadata", "title=A title",
    )  # fmt: skip
    settings = Settings(
        strength=0, octaves=3, mix=keyframes((0, 0.5), (1, 1)), layer="blocks.8+stem=2"
    )
    out, twice = tmp_path / f"out{suffix}", tmp_path / f"twice{suffix}"
    dream_video(clip, out, settings)
    assert Settings(**read_settings_json(read_signature(out), "")) == settings
    assert settings_of("--settings", str(out)) == settings
    # A dream of the dream carries its own settings only; the source's other comments stay.
    dream_video(out, twice, Settings(strength=0))
    with av.open(str(twice)) as video:
        tags = {name.lower(): value for name, value in video.metadata.items()}
    assert tags["comment"].startswith("of my own\ndreamvideo ")
    assert tags["comment"].count("dreamvideo") == 1
    assert tags["title"] == "A title"
    assert Settings(**read_settings_json(read_signature(twice), "")) == Settings(strength=0)


def test_other_videos_carry_none(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("clip.mp4", "testsrc2=s=64x48:r=25:d=0.2", "-c:v", "libx264")
    with pytest.raises(SettingsError, match=r"clip\.mp4 has no settings in its metadata"):
        settings_of("--settings", str(clip))
    with pytest.raises(InputError, match="does not exist"):
        settings_of("--settings", str(tmp_path / "none.mp4"))


def test_metadata_cannot_run_code(tmp_path: Path) -> None:
    line = json.dumps({"model": "os:abort"})
    with pytest.raises(SettingsError, match="would run code"):
        read_settings_json(line, "a video")
    with pytest.raises(SettingsError, match="settings files cannot set"):
        read_settings_json(json.dumps({"allow-network": True}), "a video")


def test_a_signature_is_replaced() -> None:
    once = with_signature("hello", '{"octaves": 3}')
    assert with_signature(once, "{}").splitlines()[0] == "hello"
    assert with_signature(once, "{}").count("dreamvideo") == 1
    assert with_signature("", "{}").startswith("dreamvideo ")
