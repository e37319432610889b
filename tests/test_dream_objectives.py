"""Objectives on the default network: channels, guide, class, several layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from torch import Tensor

from dreamvideo import Settings, dream_image
from dreamvideo.cli.main import main
from dreamvideo.dream.ascent import ascend, value_and_gradient
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.objective_factory import ObjectiveFactory
from dreamvideo.dream.objectives import (
    OBJECTIVES,
    ClassLogProbability,
    ClassScore,
    GuidedSimilarity,
    L2Energy,
    LayerContext,
    MeanActivation,
    Objective,
    channels_by_energy,
)
from dreamvideo.dream.pyramid import texture_map
from dreamvideo.dream.tiling import Evaluator, ReceptiveField
from dreamvideo.errors import InputError, SettingsError, UnknownLayerError
from dreamvideo.job.image import load_dreamer
from dreamvideo.media.opening import Location
from dreamvideo.media.read.still import read_still
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.settings.frame_params import FrameParams, ObjectiveParams, frame_params
from dreamvideo.settings.options import options_of
from tests.conftest import CPU, params

LAYER = "blocks.10.expand"
# Its receptive field of 67 px leaves room for tiles in the small images of these tests.
EARLY_LAYER = "blocks.5.expand"


@pytest.fixture(scope="module")
def cat(sample_still: Path) -> Tensor:
    pixels = iio.imread(sample_still)[60:216, 100:308].astype(np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def meadow() -> Tensor:
    """Noise without a cat."""
    image = read_still(Location("noise:208x156"), Settings())
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def dreamed(dreamer: Dreamer, source: Tensor, frame: FrameParams) -> Tensor:
    return (source + dreamer.dream(source, 0, frame)).clamp(0, 1)


def energies(backbone: FeatureExtractor, image: Tensor, layer: str = LAYER) -> Tensor:
    """Mean square of each channel."""
    with torch.no_grad():
        (activations,) = backbone(image, [layer])
    return activations[0].flatten(1).square().mean(1)


def channel_means(backbone: FeatureExtractor, image: Tensor) -> Tensor:
    """The mean activation of each channel."""
    with torch.no_grad():
        (activations,) = backbone(image, [LAYER])
    return activations[0].flatten(1).mean(1)


def correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1])


@pytest.mark.parametrize("channels", [(40,), (40, 100)])
def test_chosen_channels_rise_most(
    channels: tuple[int, ...], cat: Tensor, backbone: FeatureExtractor, dreamer: Dreamer
) -> None:
    before = energies(backbone, cat)
    chosen = params(channel=channels, iterations=5)
    after = energies(backbone, dreamed(dreamer, cat, chosen))
    gains = after / before.clamp(min=1e-6)
    for channel in channels:
        assert gains[channel] > 3
        assert gains[channel] > gains.quantile(0.9)
    without_choice = energies(backbone, dreamed(dreamer, cat, params(iterations=5)))
    assert all(after[channel] > 1.5 * without_choice[channel] for channel in channels)


@pytest.mark.parametrize("option", ["strongest", "weakest"])
def test_the_strongest_or_weakest_channels_of_the_source_rise(
    option: str, cat: Tensor, backbone: FeatureExtractor, dreamer: Dreamer
) -> None:
    before = energies(backbone, cat)
    with torch.no_grad():
        order = channels_by_energy(backbone(cat, [LAYER])[0])
    chosen = order[:8] if option == "strongest" else order[-8:]
    after = energies(backbone, dreamed(dreamer, cat, params(iterations=5, **{option: 8})))
    rise = after[chosen].sum() / before[chosen].sum()
    others = torch.ones_like(before, dtype=torch.bool)
    others[chosen] = False
    assert rise > 1.5 * after[others].sum() / before[others].sum()
    assert rise > 1.8


def test_channels_are_ranked_on_each_source(
    cat: Tensor, meadow: Tensor, backbone: FeatureExtractor, dreamer: Dreamer
) -> None:
    strongest = params(iterations=4, strongest=8)
    for image in (cat, meadow):
        with torch.no_grad():
            order = channels_by_energy(backbone(image, [LAYER])[0])
        before = energies(backbone, image)
        after = energies(backbone, dreamed(dreamer, image, strongest))
        rise = after[order[:8]].sum() / before[order[:8]].sum()
        assert rise > 1.3 * after[order[8:]].sum() / before[order[8:]].sum()


def test_inactive_channels_are_not_ranked() -> None:
    activations = torch.zeros(1, 4, 3, 3)
    activations[0, 1], activations[0, 3] = 2, 1
    assert channels_by_energy(activations).tolist() == [1, 3]


@pytest.mark.parametrize("options", [{"strongest": 5}, {"weakest": 5}, {"objective": "mean"}])
@pytest.mark.parametrize("colour", [0.0, 1.0])
def test_a_network_without_activity_changes_nothing(options: dict[str, Any], colour: float) -> None:
    def inactive(image: Tensor, layers: Sequence[str]) -> list[Tensor]:
        return [(image - image).relu() for _ in layers]

    image = torch.full((1, 3, 48, 64), colour)
    frame = params(iterations=1, octaves=1, **options)
    assert dreamed(Dreamer(inactive, CPU), image, frame).equal(image)


def test_the_mean_objective_raises_the_mean(
    cat: Tensor, backbone: FeatureExtractor, dreamer: Dreamer
) -> None:
    by_mean = dreamed(dreamer, cat, params(objective="mean", iterations=4))
    by_energy = dreamed(dreamer, cat, params(iterations=4))
    assert channel_means(backbone, by_mean).mean() > 1.1 * channel_means(backbone, cat).mean()
    # The square favours what is strong already; the mean treats all activations alike.
    assert energies(backbone, by_energy).mean() > energies(backbone, by_mean).mean()


def test_a_guide_of_fur_raises_the_features_of_fur(
    sample_still: Path, cat: Tensor, meadow: Tensor, backbone: FeatureExtractor, dreamer: Dreamer
) -> None:
    settings = Settings(guide=str(sample_still))
    guided = dreamed(load_dreamer(settings, CPU), meadow, frame_params(settings, 0.0))
    unguided = dreamed(dreamer, meadow, params())
    before, fur, with_guide, without_guide = (
        channel_means(backbone, image) for image in (meadow, cat, guided, unguided)
    )
    # The channels that respond to the cat more than to noise.
    fur_channels = (fur - before).topk(30).indices
    rise, unguided_rise = (
        float((means - before)[fur_channels].mean()) for means in (with_guide, without_guide)
    )
    assert rise > 0.25 * float((fur - before)[fur_channels].mean())
    assert rise > 0.9 * unguided_rise
    assert correlation(with_guide, fur) > correlation(before, fur) + 0.1
    assert correlation(with_guide, fur) > correlation(without_guide, fur) + 0.03


def test_another_guide_gives_another_dream(meadow: Tensor, tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "flat.png", np.full((64, 64, 3), 128, np.uint8))
    settings = [
        Settings(guide=guide, iterations=1, octaves=1)
        for guide in (str(tmp_path / "flat.png"), "noise:64x64")
    ]
    one, other = (
        dreamed(load_dreamer(each, CPU), meadow, frame_params(each, 0.0)) for each in settings
    )
    assert not torch.allclose(one, other, atol=0.01)


@pytest.mark.parametrize(("name", "index"), [("goldfish", 1), ("volcano", 980), ("84", 84)])
def test_a_dream_of_a_class_is_classified_as_it(name: str, index: int, sample_still: Path) -> None:
    image = iio.imread(sample_still)[40:264, 80:304]
    settings = Settings(class_=name, iterations=8)
    dream = torch.from_numpy(dream_image(image, settings) / 255).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        (scores,) = load_extractor(settings, CPU)(dream, ["output"])
    assert scores.argmax() == index
    assert scores.softmax(1)[0, index] > 0.5


def test_a_negative_weight_lowers_the_energy_of_a_layer(
    cat: Tensor, backbone: FeatureExtractor, dreamer: Dreamer
) -> None:
    def gains(layer: str) -> tuple[float, float]:
        image = dreamed(dreamer, cat, params(layer=layer, iterations=4))
        late, early = (
            float(energies(backbone, image, name).mean() / energies(backbone, cat, name).mean())
            for name in (LAYER, EARLY_LAYER)
        )
        return late, early

    alone, with_negative = gains(LAYER), gains(f"{LAYER}=1+{EARLY_LAYER}=-1")
    assert with_negative[0] > 1.1
    assert with_negative[1] < 0.97
    assert alone[1] > with_negative[1]


def test_a_larger_weight_raises_a_layer_more(
    cat: Tensor, backbone: FeatureExtractor, dreamer: Dreamer
) -> None:
    def early_energy(weight: float) -> float:
        layers = params(layer=f"{LAYER}=1+{EARLY_LAYER}={weight}", iterations=3)
        return float(energies(backbone, dreamed(dreamer, cat, layers), EARLY_LAYER).mean())

    rising = [early_energy(weight) for weight in (0, 0.3, 1, 3)]
    assert rising == sorted(rising)


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
def test_three_steps_raise_the_objective_of_all_options(
    options: dict[str, Any], cat: Tensor, dreamer: Dreamer
) -> None:
    frame = params(iterations=3, octaves=1, **options)
    objective = dreamer.objectives.build(frame, cat)
    assert objective(dreamed(dreamer, cat, frame)) > objective(cat)


class TestRegistry:
    """The contract of every objective in `OBJECTIVES`."""

    def test_each_can_be_asked_for(self) -> None:
        chosen = options_of(Settings)["objective"].choices
        assert OBJECTIVES.keys() == {*chosen, "guide", "class"}

    @pytest.fixture(params=OBJECTIVES)
    def objective(
        self,
        request: pytest.FixtureRequest,
        cat: Tensor,
        meadow: Tensor,
        backbone: FeatureExtractor,
    ) -> Objective:
        with torch.no_grad():
            order = channels_by_energy(backbone(cat, [EARLY_LAYER])[0])
        factory = ObjectiveFactory(backbone, guide=meadow, class_channel=int(order[10]))
        chosen = replace(params(layer=EARLY_LAYER), objective=ObjectiveParams(request.param))
        return factory.build(chosen, cat)

    def test_three_steps_of_ascent_raise_it(
        self, objective: Objective, cat: Tensor, dreamer: Dreamer
    ) -> None:
        image, values = cat, [float(objective(cat))]
        for _ in range(3):
            image = ascend(
                image,
                partial(value_and_gradient, objective=objective),
                dreamer.conditioning(params()),
                texture_map(cat),
                [(0, 0)],
                params().step_size,
            )
            values.append(float(objective(image)))
        assert values == sorted(set(values))

    def test_tiles_give_its_value_and_gradient(
        self, objective: Objective, cat: Tensor, backbone: FeatureExtractor
    ) -> None:
        field = backbone.receptive_field([EARLY_LAYER])
        assert field is not None
        evaluator = Evaluator(lambda _: ReceptiveField(*field), tile_px=64)
        value, gradient = value_and_gradient(cat, objective)
        tiled_value, tiled_gradient = evaluator.value_and_gradient(cat, objective)
        torch.testing.assert_close(tiled_value, value, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(evaluator.value(cat, objective), value, rtol=1e-4, atol=1e-4)
        # Rounding moves single activations to the other side of the corner of ReLU6.
        assert (tiled_gradient - gradient).norm() < 2e-2 * gradient.norm()


def test_formulas() -> None:
    activations = torch.tensor([[[1.0, 2.0], [0.0, -4.0]]])  # two channels, two positions
    energy = L2Energy(LayerContext())
    assert energy.mean(activations) == 21 / 4
    assert energy.outer(torch.tensor(np.e)) == pytest.approx(1)
    mean = MeanActivation(LayerContext(rms=torch.tensor(2.0)))
    assert mean.mean(activations) == -1 / 8
    # The guide has two positions; at each, one channel is active. The first matches both best.
    guide = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    similarity = GuidedSimilarity(LayerContext(rms=torch.tensor(1.0), guide=guide))
    assert similarity.mean(activations) == (1 + 2) / 4
    scores = torch.tensor([[0.0, np.log(3.0)]], dtype=torch.float32)
    second = LayerContext(class_channel=1)
    assert ClassScore(second).mean(scores) == scores[0, 1]
    probability = ClassLogProbability(second).mean(scores).exp()
    torch.testing.assert_close(probability, torch.tensor(0.75))


def test_guide_matches_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    activations, guide = torch.rand(1, 5, 9, 7), torch.rand(5, 11)
    similarity = GuidedSimilarity(LayerContext(rms=torch.tensor(1.0), guide=guide))
    in_one_chunk = similarity.mean(activations)
    monkeypatch.setattr("dreamvideo.dream.objectives.MATCH_CHUNK", 4)
    assert similarity.mean(activations) == in_one_chunk


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"layer": "a=b"}, ["'b'", "not a finite number", "+"]),
        ({"layer": "a++b"}, ["a layer name is missing"]),
        ({"layer": "=1"}, ["a layer name is missing"]),
        ({"layer": "a=0"}, ["all weights are 0"]),
        ({"layer": "a=nan"}, ["not a finite number"]),
        ({"layer": [(0, "a"), (2, "b=x")]}, ["'x'"]),
        ({"channel": 3, "strongest": 2}, ["--channel and --strongest"]),
        ({"strongest": 3, "weakest": 2}, ["--strongest and --weakest"]),
        ({"guide": "x.png", "objective": "mean"}, ["--objective and --guide"]),
        ({"class_": "tabby", "layer": "stem"}, ["--class and --layer"]),
        ({"class_": "tabby", "guide": "x.png"}, ["--class and --guide"]),
        ({"strongest": 0}, ["strongest", "of at least 1"]),
        ({"channel": (-1,)}, ["channel", "-1"]),
        ({"channel": ("a",)}, ["channel", "'a'"]),
        ({"mean": (0.5, 0.5)}, ["mean", "three numbers"]),
        ({"std": (0, 1, 1)}, ["std", "0.001"]),
        ({"objective": "l1"}, ["objective", "l2, mean"]),
        ({"mix": 1.1}, ["mix", "0 to 1"]),
    ],
    ids=str,
)
def test_invalid_options_are_refused(values: dict[str, Any], words: Sequence[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**values)
    for word in words:
        assert word in str(caught.value)


def test_layers_can_be_given_in_several_ways() -> None:
    expected = (("a", 0.75), ("b", -0.25))
    for layer in ("a=3+b=-1", " a = 3 + b=-1 ", ["a=3", "b=-1"], "a+a+a+b=-1"):
        assert Settings(layer=layer).layers_at(0.0) == expected  # type: ignore[arg-type]
    halfway = Settings(layer=[(0, "a+b"), (2, "b")]).layers_at(1.0)  # type: ignore[arg-type]
    assert dict(halfway) == {"a": 0.25, "b": 0.75}


def test_a_missing_channel_is_refused(sample_still: Path) -> None:
    with pytest.raises(UnknownLayerError, match=r"no channel 672: allowed is 0 to 671"):
        load_dreamer(Settings(channel=672), CPU)  # type: ignore[arg-type]


def test_a_missing_guide_is_refused(tmp_path: Path) -> None:
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
