"""Each objective does what it says, on the real default network: guide, channels, class, layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from torch import Tensor

from dreamvideo import Settings, dream_image
from dreamvideo.cli.main import main
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.objectives import (
    channels_by_energy,
    guided_similarity,
    l2_energy,
    log_probability,
    mean_activation,
)
from dreamvideo.errors import InputError, SettingsError, UnknownLayerError
from dreamvideo.job.image import load_dreamer
from dreamvideo.media.opening import Location
from dreamvideo.media.read.still import read_still
from dreamvideo.networks.extractor import FeatureExtractor

CPU = torch.device("cpu")
LAYER = "blocks.10.expand"
MakeDreamer = Callable[..., Dreamer]


@pytest.fixture(scope="module")
def cat(sample_still: Path) -> Tensor:
    pixels = iio.imread(sample_still)[60:216, 100:308].astype(np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def meadow() -> Tensor:
    """Something that is no cat."""
    image = read_still(Location("noise:208x156"), Settings())
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def dreamed(dreamer: Dreamer, source: Tensor) -> Tensor:
    return (source + dreamer.dream(source, 0)).clamp(0, 1)


def energies(backbone: FeatureExtractor, picture: Tensor, layer: str = LAYER) -> Tensor:
    """Mean square of each channel."""
    with torch.no_grad():
        (activation,) = backbone(picture, [layer])
    return activation[0].flatten(1).square().mean(1)


def seen(backbone: FeatureExtractor, picture: Tensor) -> Tensor:
    """The mean answer of each channel, which tells what is seen but not where."""
    with torch.no_grad():
        (activation,) = backbone(picture, [LAYER])
    return activation[0].flatten(1).mean(1)


def alike(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1])


@pytest.mark.parametrize("channels", [(40,), (40, 100)])
def test_channels_rise_by_themselves(
    channels: tuple[int, ...], cat: Tensor, backbone: FeatureExtractor, make_dreamer: MakeDreamer
) -> None:
    before = energies(backbone, cat)
    after = energies(backbone, dreamed(make_dreamer(channel=channels, iterations=5), cat))
    gains = after / before.clamp(min=1e-6)
    for channel in channels:
        assert gains[channel] > 3
        assert gains[channel] > gains.quantile(0.9)
    whole = energies(backbone, dreamed(make_dreamer(iterations=5), cat))
    assert all(after[channel] > 1.5 * whole[channel] for channel in channels)


@pytest.mark.parametrize("which", ["strongest", "weakest"])
def test_the_strongest_or_weakest_channels_of_the_frame_rise(
    which: str, cat: Tensor, backbone: FeatureExtractor, make_dreamer: MakeDreamer
) -> None:
    before = energies(backbone, cat)
    with torch.no_grad():
        order = channels_by_energy(backbone(cat, [LAYER])[0])
    chosen = order[:8] if which == "strongest" else order[-8:]
    after = energies(backbone, dreamed(make_dreamer(iterations=5, **{which: 8}), cat))
    rise = after[chosen].sum() / before[chosen].sum()
    others = torch.ones_like(before, dtype=torch.bool)
    others[chosen] = False
    assert rise > 1.5 * after[others].sum() / before[others].sum()
    assert rise > 1.8


def test_the_strongest_are_those_of_each_frame(
    cat: Tensor, meadow: Tensor, backbone: FeatureExtractor, make_dreamer: MakeDreamer
) -> None:
    dreamer = make_dreamer(iterations=4, strongest=8)
    for picture in (cat, meadow):
        with torch.no_grad():
            order = channels_by_energy(backbone(picture, [LAYER])[0])
        before, after = energies(backbone, picture), energies(backbone, dreamed(dreamer, picture))
        rise = after[order[:8]].sum() / before[order[:8]].sum()
        assert rise > 1.3 * after[order[8:]].sum() / before[order[8:]].sum()


def test_channels_that_sleep_are_not_chosen() -> None:
    activation = torch.zeros(1, 4, 3, 3)
    activation[0, 1], activation[0, 3] = 2, 1
    assert channels_by_energy(activation).tolist() == [1, 3]


@pytest.mark.parametrize("options", [{"strongest": 5}, {"weakest": 5}, {"objective": "mean"}])
@pytest.mark.parametrize("colour", [0.0, 1.0])
def test_frames_in_which_nothing_is_seen(options: dict[str, Any], colour: float) -> None:
    def blind(image: Tensor, layers: Sequence[str]) -> list[Tensor]:
        return [(image - image).relu() for _ in layers]

    dreamer = Dreamer(blind, Settings(iterations=1, octaves=1, **options), CPU)
    picture = torch.full((1, 3, 48, 64), colour)
    assert dreamed(dreamer, picture).equal(picture)


def test_mean_raises_the_mean(
    cat: Tensor, backbone: FeatureExtractor, make_dreamer: MakeDreamer
) -> None:
    mean = seen(backbone, dreamed(make_dreamer(objective="mean", iterations=4), cat)).mean()
    assert mean > 1.1 * seen(backbone, cat).mean()
    # The square favours what is strong already; the mean what is weak, too.
    square = energies(backbone, dreamed(make_dreamer(iterations=4), cat)).mean()
    other = energies(backbone, dreamed(make_dreamer(objective="mean", iterations=4), cat)).mean()
    assert square > other


def test_a_guide_of_fur_raises_the_features_of_fur(
    sample_still: Path,
    cat: Tensor,
    meadow: Tensor,
    backbone: FeatureExtractor,
    make_dreamer: MakeDreamer,
) -> None:
    guided = dreamed(load_dreamer(Settings(guide=str(sample_still)), CPU), meadow)
    plain = dreamed(make_dreamer(), meadow)
    begin, fur, with_guide, without = (
        seen(backbone, picture) for picture in (meadow, cat, guided, plain)
    )
    # What the cat has and the noise has not.
    features_of_fur = (fur - begin).topk(30).indices
    rise, usual_rise = (
        float((picture - begin)[features_of_fur].mean()) for picture in (with_guide, without)
    )
    assert rise > 0.25 * float((fur - begin)[features_of_fur].mean())
    assert rise > 0.9 * usual_rise
    assert alike(with_guide, fur) > alike(begin, fur) + 0.1
    assert alike(with_guide, fur) > alike(without, fur) + 0.03


def test_another_guide_gives_another_dream(meadow: Tensor, tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "flat.png", np.full((64, 64, 3), 128, np.uint8))
    one, other = (
        dreamed(load_dreamer(Settings(guide=guide, iterations=1, octaves=1), CPU), meadow)
        for guide in (str(tmp_path / "flat.png"), "noise:64x64")
    )
    assert not torch.allclose(one, other, atol=0.01)


@pytest.mark.parametrize(("wanted", "index"), [("goldfish", 1), ("volcano", 980), ("84", 84)])
def test_a_dream_of_a_class_is_taken_for_it(
    wanted: str, index: int, sample_still: Path, backbone: FeatureExtractor
) -> None:
    picture = iio.imread(sample_still)[40:264, 80:304]
    dream = dream_image(picture, Settings(class_=wanted, iterations=8))
    with torch.no_grad():
        scores = load_dreamer(Settings(class_=wanted), CPU)._features(
            torch.from_numpy(dream / 255).float().permute(2, 0, 1)[None], ["output"]
        )
    assert scores[0].argmax() == index
    assert scores[0].softmax(1)[0, index] > 0.5


def test_a_negative_weight_pushes_away(cat: Tensor, backbone: FeatureExtractor) -> None:
    def rise(layer: str) -> tuple[float, float]:
        dreamer = Dreamer(backbone, Settings(layer=layer, iterations=4), CPU)
        picture = dreamed(dreamer, cat)
        one, other = (
            float(energies(backbone, picture, name).mean() / energies(backbone, cat, name).mean())
            for name in (LAYER, "blocks.5.expand")
        )
        return one, other

    alone, away = rise(LAYER), rise(f"{LAYER}=1+blocks.5.expand=-1")
    assert away[0] > 1.1
    assert away[1] < 0.97
    assert alone[1] > away[1]


def test_weights_decide_between_layers(cat: Tensor, backbone: FeatureExtractor) -> None:
    def rise(weight: float) -> float:
        layer = f"{LAYER}=1+blocks.5.expand={weight}"
        picture = dreamed(Dreamer(backbone, Settings(layer=layer, iterations=3), CPU), cat)
        return float(energies(backbone, picture, "blocks.5.expand").mean())

    rises = [rise(weight) for weight in (0, 0.3, 1, 3)]
    assert rises == sorted(rises)


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "mean"},
        {"channel": 40},
        {"strongest": 20},
        {"weakest": 20},
        {"layer": "blocks.10.expand=1+blocks.5.expand=-0.3"},
    ],
    ids=str,
)
def test_three_steps_raise_every_objective(
    options: dict[str, Any], cat: Tensor, make_dreamer: MakeDreamer
) -> None:
    dreamer = make_dreamer(iterations=3, octaves=1, **options)
    objective = dreamer.objectives.objective(0.0, cat)
    assert objective(dreamed(dreamer, cat)) > objective(cat)


def test_formulas() -> None:
    activation = torch.tensor([[[1.0, 2.0], [0.0, -4.0]]])  # two channels, two places
    assert l2_energy(activation) == 21 / 4
    assert mean_activation(activation, torch.tensor(2.0)) == -1 / 8
    guide = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # sees the first, and the second channel
    # Best match of the first place is the first one of the guide, of the second place too.
    assert guided_similarity(activation, guide, torch.tensor(1.0)) == (1 + 2) / 4
    scores = torch.tensor([[0.0, np.log(3.0)]], dtype=torch.float32)
    torch.testing.assert_close(log_probability(scores, 1).exp(), torch.tensor(0.75))


def test_matches_in_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    activation, guide = torch.rand(1, 5, 9, 7), torch.rand(5, 11)
    whole = guided_similarity(activation, guide, torch.tensor(1.0))
    monkeypatch.setattr("dreamvideo.dream.objectives.MATCH_CHUNK", 4)
    assert guided_similarity(activation, guide, torch.tensor(1.0)) == whole


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"layer": "a=b"}, ["'b'", "no number", "+"]),
        ({"layer": "a++b"}, ["a name is missing"]),
        ({"layer": "=1"}, ["a name is missing"]),
        ({"layer": "a=0"}, ["all 0"]),
        ({"layer": "a=nan"}, ["no number"]),
        ({"layer": [(0, "a"), (2, "b=x")]}, ["'x'"]),
        ({"channel": 3, "strongest": 2}, ["--channel and --strongest"]),
        ({"strongest": 3, "weakest": 2}, ["--strongest and --weakest"]),
        ({"guide": "x.png", "objective": "mean"}, ["--objective and --guide"]),
        ({"class_": "tabby", "layer": "stem"}, ["--class and --layer"]),
        ({"class_": "tabby", "guide": "x.png"}, ["--class and --guide"]),
        ({"strongest": 0}, ["strongest", "from 1"]),
        ({"channel": (-1,)}, ["channel", "-1"]),
        ({"channel": ("a",)}, ["channel", "'a'"]),
        ({"mean": (0.5, 0.5)}, ["mean", "three numbers"]),
        ({"std": (0, 1, 1)}, ["std", "0.001"]),
        ({"objective": "l1"}, ["objective", "l2, mean"]),
        ({"mix": 1.1}, ["mix", "0 to 1"]),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any], words: Sequence[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**values)
    for word in words:
        assert word in str(caught.value)


def test_layers_are_given_in_many_ways() -> None:
    expected = (("a", 0.75), ("b", -0.25))
    for layer in ("a=3+b=-1", " a = 3 + b=-1 ", ["a=3", "b=-1"], "a+a+a+b=-1"):
        assert Settings(layer=layer).layers_at(0.0) == expected  # type: ignore[arg-type]
    halfway = Settings(layer=[(0, "a+b"), (2, "b")]).layers_at(1.0)  # type: ignore[arg-type]
    assert dict(halfway) == {"a": 0.25, "b": 0.75}


def test_a_channel_that_is_none_is_refused(sample_still: Path) -> None:
    with pytest.raises(UnknownLayerError, match=r"no channel 672: allowed is 0 to 671"):
        load_dreamer(Settings(channel=672), CPU)  # type: ignore[arg-type]


def test_a_guide_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.png does not exist"):
        load_dreamer(Settings(guide=str(tmp_path / "nothing.png")), CPU)


def test_flags_reach_the_dream(sample_still: Path, tmp_path: Path) -> None:
    words = [str(sample_still), "--size", "96", "--octaves", "1", "--iterations", "1", "--quiet"]
    made = {}
    for name, flags in {
        "plain": [],
        "channels": ["--channel", "12", "--channel", "40,41"],
        "layers": ["--layer", "blocks.9.expand=1", "--layer", "blocks.4=0.3"],
        "alias": ["--layer", "fur"],
        "weakest": ["--weakest", "5"],
        "guide": ["--guide", "noise:64x64"],
        "class": ["--class", "goldfish"],
        "mean": ["--objective", "mean"],
    }.items():
        out = tmp_path / f"{name}.png"
        assert main([*words[:1], str(out), *words[1:], *flags]) == 0
        made[name] = iio.imread(out).tobytes()
    assert len(set(made.values())) == len(made)
