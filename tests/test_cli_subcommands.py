"""The subcommands: models, layers, looks, sheet."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from dreamvideo.cli.main import main
from dreamvideo.settings.files import look_names

FAST = ["--octaves", "1", "--iterations", "1", "--size", "48", "--device", "cpu"]


def test_models_shows_what_is_installed_and_what_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["efficientnet_lite0"].startswith("yes")
    assert "would download 528 MB from https://" in lines["vgg16"] or "downloaded" in lines["vgg16"]
    assert {"googlenet", "vit_b_16", "timm:NAME", "package.module:factory"} <= set(lines)


def test_looks_describes_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["looks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == look_names()
    assert all(len(line.split()) > 2 for line in lines)


def test_layers_shows_shapes_receptive_fields_and_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", "vgg16"]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert lines["features.22"][1:] == ["ReLU", "512x28x28", "92", "90.2%"]
    assert lines["output"][1:] == ["VGG", "1000", "all", "100.0%"]
    assert main(["layers", "efficientnet_lite0"]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert lines["blocks.10.expand"][1:] == ["ConvReLU6", "672x14x14", "275", "58.5%", "animals"]


def test_a_closed_pipe_is_not_an_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "dreamvideo", "looks"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("words", "tiles"),
    [
        (["--layers", "stem,blocks.9,fur"], 3),
        (["--layers", "5"], 5),
        (["--layer", "blocks.9", "--channels", "0-3,7"], 5),
        (["--looks"], len(look_names())),
        (["--model", "squeezenet1_1", "--weights", "random", "--layers", "2"], 2),
        ([], 12),
    ],
    ids=str,
)
def test_a_sheet_has_a_tile_for_each(
    words: list[str],
    tiles: int,
    sample_still: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "sheet.png"
    assert main(["sheet", str(sample_still), str(out), *FAST, *words]) == 0
    assert capsys.readouterr().out == f"{out}: {tiles} tiles\n"
    sheet = iio.imread(out)
    columns = int(np.ceil(np.sqrt(tiles)))
    rows = -(-tiles // columns)
    # 48 x 32 each, with a gap of 1 and a line of 15 for the label.
    assert sheet.shape == (rows * 48 + 1, columns * 49 + 1, 3)
    images = [
        sheet[1 + row * 48 : 33 + row * 48, 1 + column * 49 : 49 + column * 49].tobytes()
        for row in range(rows)
        for column in range(columns)
    ]
    assert len(set(images[:tiles])) == tiles


@pytest.mark.parametrize(
    ("words", "expected", "status"),
    [
        (["layers"], ["MODEL", "dreamvideo layers --help"], 2),
        (["layers", "vgg17"], ["vgg16", "dreamvideo models"], 2),
        (["models", "x"], ["x"], 2),
        (["sheet", "{photo}"], ["SHEET"], 2),
        (["sheet", "{photo}", "{out}", "--layers", "2", "--looks"], ["--layers and --looks"], 2),
        (["sheet", "{photo}", "{out}", "--channels", "a-b"], ["'a-b'", "0-11"], 2),
        (["sheet", "{photo}", "{out}", "--channels", "5-3"], ["'5-3'"], 2),
        (["sheet", "{photo}", "{out}", "--channels", "9999"], ["no channel 9999"], 2),
        (["sheet", "{photo}", "{out}", "--channels", "3,5000"], ["no channel 5000"], 2),
        (["sheet", "{photo}", "{out}", "--layers", "0"], ["cannot be 0"], 2),
        (["sheet", "{photo}", "{out}", "--layers", "blocks.99"], ["blocks.99"], 2),
        (["sheet", "{photo}", "{folder}/x.mp4"], ["a still"], 2),
        (["sheet", "{folder}", "{out}"], ["a folder of images"], 2),
        (["sheet", "{folder}/none.png", "{out}"], ["none.png", "does not exist"], 1),
        (["sheet", "{photo}", "{photo}", "--overwrite"], ["the input itself"], 1),
    ],
    ids=str,
)
def test_mistakes_get_one_line_and_leave_nothing(
    words: Sequence[str],
    expected: Sequence[str],
    status: int,
    sample_still: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"photo": sample_still, "out": tmp_path / "sheet.png", "folder": tmp_path}
    assert main([word.format(**places) for word in words]) == status
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    for word in expected:
        assert word in message
    assert list(tmp_path.iterdir()) == []


def test_a_folder_can_have_the_name_of_a_subcommand(
    sample_still: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sheet").mkdir()
    iio.imwrite(tmp_path / "sheet" / "1.png", iio.imread(sample_still))
    monkeypatch.chdir(tmp_path)
    assert main(["./sheet", "dreams", *FAST, "--quiet"]) == 0
    assert [path.name for path in (tmp_path / "dreams").iterdir()] == ["1.png"]


@pytest.mark.parametrize("word", ["sheet", "layers", "models", "looks"])
def test_each_has_help(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([word, "--help"])
    assert caught.value.code == 0
    assert f"dreamvideo {word}" in capsys.readouterr().out
