"""The dream of one image: ascent raises the objective, stays in range and is repeatable."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from dreamvideo import Settings, dream_image, keyframes
from dreamvideo.dream.ascent import add_step, ascend, value_and_gradient
from dreamvideo.dream.conditioning import (
    Conditioning,
    SubsampledGaussian,
    upsample,
    upsampling_variance,
)
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.objectives import energy
from dreamvideo.dream.pyramid import MIN_SIDE_PX, octave_sizes, resize, texture_map
from dreamvideo.errors import InputError, UnknownLayerError
from dreamvideo.networks.extractor import FeatureExtractor
from tests.conftest import params

Features = Callable[[Tensor], Tensor]


@pytest.fixture(scope="module")
def cat(sample_still: Path) -> Tensor:
    pixels = iio.imread(sample_still)[60:216, 100:308].astype(np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def test_three_steps_raise_the_energy(cat: Tensor, features: Features) -> None:
    conditioning = Conditioning(2.0, 0.8)

    def objective(image: Tensor) -> Tensor:
        return energy(features(image)).log()

    image = cat
    energies = [float(energy(features(image)))]
    for _ in range(3):
        image = ascend(
            image,
            partial(value_and_gradient, objective=objective),
            conditioning,
            texture_map(cat),
            [(0, 0)],
            0.015,
        )
        energies.append(float(energy(features(image))))
    assert energies == sorted(energies)
    assert energies[-1] > 1.1 * energies[0]


def test_the_gradient_matches_finite_differences(cat: Tensor, features: Features) -> None:
    def objective(image: Tensor) -> Tensor:
        return energy(features(image)).log()

    value, gradient = value_and_gradient(cat, objective)
    torch.testing.assert_close(value, energy(features(cat)).log())
    direction = gradient / gradient.norm()
    step = 0.01
    with torch.no_grad():
        rise = objective(cat + step * direction) - objective(cat - step * direction)
    torch.testing.assert_close(rise / (2 * step), gradient.norm(), rtol=0.05, atol=0)


def test_steps_shrink_above_the_level(cat: Tensor, features: Features) -> None:
    """Below it they keep their size; far above it there are none."""
    conditioning = Conditioning(2.0, 0.8)

    def objective(image: Tensor) -> Tensor:
        return energy(features(image)).log()

    def step(level: Tensor | None) -> float:
        after = ascend(
            cat,
            partial(value_and_gradient, objective=objective),
            conditioning,
            texture_map(cat),
            [(0, 0)],
            0.005,
            level,
        )
        return float((after - cat).std())

    start, free = objective(cat), step(None)
    assert step(start - 0.3) == 0
    assert step(start - 0.1) == pytest.approx(0.6 * free, rel=1e-3)
    assert step(start + 0.1) == free
    image = cat
    for _ in range(40):
        image = ascend(
            image,
            partial(value_and_gradient, objective=objective),
            conditioning,
            texture_map(cat),
            [(0, 0)],
            0.015,
            start + 0.4,
        )
    assert 0.4 < objective(image) - start < 0.4 + 0.26


def test_several_layers_rise_together(
    cat: Tensor, backbone: FeatureExtractor, dreamer: Dreamer
) -> None:
    layers = ("blocks.10.expand", "blocks.5.expand")
    gains = {}
    for name, keys in {
        "deep": [(0, layers[0])],
        "both": [(0, layers[0]), (2, layers[1])],
        "early": [(0, layers[1])],
    }.items():
        blend = params(1.0, layer=keyframes(*keys), iterations=3)
        dreamed = (cat + dreamer.dream(cat, 0, blend)).clamp(0, 1)
        gains[name] = [
            float((energy(after) / energy(before)).log())
            for after, before in zip(backbone(dreamed, layers), backbone(cat, layers), strict=True)
        ]
    # With equal weights each layer gets its share.
    assert gains["both"][0] > gains["early"][0] + 0.3 * (gains["deep"][0] - gains["early"][0])
    assert gains["both"][1] > gains["deep"][1] + 0.3 * (gains["early"][1] - gains["deep"][1])
    assert gains["deep"][0] > 1.3 * gains["early"][0]
    assert gains["early"][1] > 1.3 * gains["deep"][1]


def test_a_dream_has_gain_and_stays_in_range(cat: Tensor, dreamer: Dreamer) -> None:
    few_steps = params(iterations=4)
    dreamed = cat + dreamer.dream(cat, 0, few_steps)
    assert dreamer.gain(cat, dreamed, few_steps) > 1.3
    assert dreamed.min() > -1e-6
    assert dreamed.max() < 1 + 1e-6
    clipped = ((dreamed <= 0) | (dreamed >= 1)).float().mean()
    assert clipped < 0.02


def test_the_source_stays_sharp(cat: Tensor, dreamer: Dreamer) -> None:
    """A coarse dream leaves the finest detail of the source as it is."""
    dreamed = cat + dreamer.dream(cat, 0, params(iterations=2, smoothing=4.0))
    fine_source, fine_dream = (
        image - resize(resize(image, (78, 104)), (156, 208)) for image in (cat, dreamed)
    )
    similarity = nn.functional.cosine_similarity(fine_source.flatten(), fine_dream.flatten(), 0)
    assert similarity > 0.8


def test_strength_scales_the_dream(cat: Tensor, dreamer: Dreamer) -> None:
    assert dreamer.dream(cat, 0, params(strength=0)).abs().max() == 0
    stds = [
        float(dreamer.dream(cat, 0, params(strength=strength, iterations=2)).std())
        for strength in (0.25, 0.5, 1, 2)
    ]
    assert stds == sorted(stds)
    assert 1.5 < stds[1] / stds[0] < 2.1


def test_seed_and_frame_index_determine_the_dream(cat: Tensor, dreamer: Dreamer) -> None:
    short, other_seed = (params(iterations=2, octaves=2, seed=seed) for seed in (0, 1))
    first = dreamer.dream(cat, 3, short)
    assert torch.equal(first, dreamer.dream(cat, 3, short))
    assert not torch.equal(first, dreamer.dream(cat, 4, short))
    assert not torch.equal(first, dreamer.dream(cat, 3, other_seed))


def test_a_warm_dream_refreshes_a_carried_residual(cat: Tensor, dreamer: Dreamer) -> None:
    few_steps = params(iterations=4)
    cold = dreamer.dream(cat, 0, few_steps)
    carried = cold * 0.95
    warm = dreamer.dream(cat, 1, few_steps, carried)
    assert dreamer.gain(cat, cat + warm, few_steps) > dreamer.gain(cat, cat + carried, few_steps)
    correlation = torch.corrcoef(torch.stack([cold.flatten(), warm.flatten()]))[0, 1]
    assert correlation > 0.95
    unrefreshed = dreamer.dream(cat, 1, params(warm_iterations=0), carried)
    torch.testing.assert_close(unrefreshed, carried, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 3), (47, 90), (97, 131)])
def test_images_of_any_size_are_dreamed(size: tuple[int, int], dreamer: Dreamer) -> None:
    torch.manual_seed(0)
    residual = dreamer.dream(torch.rand(1, 3, *size), 0, params(iterations=1))
    assert residual.shape == (1, 3, *size)
    assert residual.isfinite().all()


def test_dreams_of_flat_images_are_finite(dreamer: Dreamer) -> None:
    for value in (0.0, 0.5, 1.0):
        residual = dreamer.dream(torch.full((1, 3, 64, 64), value), 0, params(iterations=2))
        assert residual.isfinite().all()


def test_octave_sizes() -> None:
    assert octave_sizes(216, 384, 4, 1.4) == [(79, 140), (110, 196), (154, 274), (216, 384)]
    assert octave_sizes(60, 60, 4, 1.4) == [(60, 60)]
    assert all(min(size) >= MIN_SIDE_PX for size in octave_sizes(500, 300, 12, 1.3))
    assert octave_sizes(4, 4, 3, 1.5) == [(4, 4)]


def test_step_has_unit_size_and_no_fine_noise_on_flat_areas() -> None:
    torch.manual_seed(0)
    conditioning = Conditioning(2.0, 0.8)
    noise = torch.randn(1, 3, 96, 128)
    rich = conditioning(noise, torch.ones(1, 1, 96, 128))
    flat = conditioning(noise, torch.zeros(1, 1, 96, 128))
    assert rich.shape == flat.shape == (1, 3, 48, 64)
    rich, flat = (upsample(step, conditioning.stride, (96, 128)) for step in (rich, flat))
    assert float(rich.square().mean().sqrt()) == pytest.approx(1, abs=0.02)
    assert float(flat.square().mean().sqrt()) == pytest.approx(1.1, abs=0.03)

    def fine_share(step: Tensor) -> float:
        spectrum = torch.fft.rfft2(step[0]).abs().square()
        spectrum[..., 0, 0] = 0
        fine = spectrum.clone()
        fine[..., :12, :16] = 0  # up to a quarter of the Nyquist frequency
        fine[..., -12:, :16] = 0
        return float(fine.sum() / spectrum.sum())

    assert fine_share(flat) < 0.5 * fine_share(rich)
    assert conditioning(torch.zeros_like(noise), torch.ones(1, 1, 96, 128)).abs().max() == 0


@pytest.mark.parametrize(("stride", "size"), [(2, (97, 128)), (3, (96, 127)), (1, (64, 64))])
def test_a_subsampled_gaussian_matches_the_full_one(stride: int, size: tuple[int, int]) -> None:
    """In the middle and at the edges."""
    std_px = 1.5 * stride
    noise = torch.randn(1, 3, *size, generator=torch.manual_seed(0))
    noise = SubsampledGaussian(1.0, 1)(noise)  # gradients have no single pixels
    shrunk = SubsampledGaussian(math.sqrt(std_px**2 - upsampling_variance(stride)), stride)(noise)
    assert shrunk.shape[-2:] == (-(-size[0] // stride), -(-size[1] // stride))
    smoothed, expected = upsample(shrunk, stride, size), SubsampledGaussian(std_px, 1)(noise)
    assert (smoothed - expected).norm() < 0.08 * expected.norm()
    flat = torch.ones(1, 3, *size)
    torch.testing.assert_close(upsample(SubsampledGaussian(2.0, stride)(flat), stride, size), flat)


@pytest.mark.parametrize("smoothing_px", [0.0, 0.3, 0.44, 1.1, 2.0, 7.5])
@pytest.mark.parametrize("size", [(100, 100), (97, 4), (1, 1), (7, 2)])
def test_any_smoothing_gives_a_step(smoothing_px: float, size: tuple[int, int]) -> None:
    gradient = torch.randn(1, 3, *size, generator=torch.manual_seed(0))
    conditioning = Conditioning(smoothing_px, 0.8)
    stride = conditioning.stride
    for texture_share in (0.0, 1.0):
        step = conditioning(gradient, torch.full((1, 1, 1, 1), texture_share))
        assert step.shape == (1, 3, -(-size[0] // stride), -(-size[1] // stride))
        assert step.isfinite().all()
        assert 1 - 1e-5 < step.square().mean().sqrt() < 1.25
        image = add_step(torch.full_like(gradient, 0.5), step * 0.01, stride)
        assert image.shape == gradient.shape
        assert 0 < (image - 0.5).abs().max() < 0.1


@pytest.mark.parametrize("smoothing_px", [1.0, 2.0, 3.0, 5.0])
def test_steps_have_unit_size_after_upsampling(smoothing_px: float) -> None:
    gradient = torch.randn(1, 3, 192, 192, generator=torch.manual_seed(0))
    conditioning = Conditioning(smoothing_px, 0.0)
    step = conditioning(gradient, torch.ones(1, 1, 1, 1))
    size = upsample(step, conditioning.stride, (192, 192)).square().mean().sqrt()
    assert float(size) == pytest.approx(1, abs=0.03)


def test_row_bands_do_not_change_the_blur(monkeypatch: pytest.MonkeyPatch) -> None:
    image, smoothing = torch.rand(1, 3, 61, 47), SubsampledGaussian(2.0, 2)
    whole = smoothing(image)
    monkeypatch.setattr("dreamvideo.dream.conditioning.BAND_PIXELS", 500)
    torch.testing.assert_close(smoothing(image), whole)


def test_natural_colour_reduces_chroma() -> None:
    torch.manual_seed(0)
    noise = torch.randn(1, 3, 64, 64)
    texture_everywhere = torch.ones(1, 1, 64, 64)
    chroma = [
        float((step - step.mean(1, keepdim=True)).std())
        for step in (Conditioning(2.0, colour)(noise, texture_everywhere) for colour in (0, 0.5, 1))
    ]
    assert chroma[0] > chroma[1] > chroma[2]


def test_texture_is_low_on_flat_areas() -> None:
    torch.manual_seed(0)
    image = torch.full((1, 3, 64, 128), 0.7)
    image[..., 64:] = torch.rand(1, 3, 64, 64)
    texture = texture_map(image)
    assert texture.shape == (1, 1, 8, 16)
    assert texture[..., :8].max() < 0.05
    assert texture[..., 8:].min() > 0.7


@pytest.mark.parametrize(("height", "width"), [(64, 64), (37, 61), (5, 40), (1, 9), (1, 1)])
def test_shading_does_not_count_as_texture(height: int, width: int) -> None:
    down, across = torch.linspace(0, 0.3, height), torch.linspace(0, 0.4, width)
    shaded = (0.1 + down[:, None] + across).expand(1, 3, -1, -1)
    assert texture_map(shaded).max() < 0.01


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_steps_are_shortened_near_black_and_white(stride: int) -> None:
    for value, up, down in (
        *((0.0, 0.02, 0.0), (0.05, 0.02, -0.01), (0.5, 0.02, -0.02)),
        *((0.95, 0.01, -0.02), (1.0, 0.0, -0.02)),
    ):
        image = torch.full((1, 3, 9, 13), value)
        for expected, size in ((up, 0.02), (down, -0.02)):
            step = torch.full((1, 3, -(-9 // stride), -(-13 // stride)), size)
            changed = add_step(image, step, stride) - image
            torch.testing.assert_close(changed, torch.full_like(image, expected))


def test_the_brightest_neighbour_shortens_a_step() -> None:
    """If every pixel counted alone, the finest detail of the source would appear in the step."""
    image = torch.full((1, 3, 32, 32), 0.5)
    image[..., :8, :8] = 0.98
    image[..., ::2, 16:] = 0.98
    step = add_step(image, torch.full((1, 3, 16, 16), 0.02), 2) - image
    near, fine, far = step[..., 8:10, 8:10], step[..., 24:], step[..., 20:, :12]
    torch.testing.assert_close(near, torch.full_like(near, 0.004), atol=0.003, rtol=0)
    assert fine.std() < 1e-6
    torch.testing.assert_close(far, torch.full_like(far, 0.02))


@pytest.mark.parametrize("stride", [2, 4, 5, 7])
def test_steps_with_a_stride_are_shortened_beside_every_bright_spot(stride: int) -> None:
    is_spot = torch.zeros(1, 3, 96, 96, dtype=torch.bool)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        is_spot[..., down::32, right::32] = True
    image = torch.where(is_spot, 0.98, 0.5)
    side = -(-96 // stride)
    step = add_step(image, torch.full((1, 3, side, side), 0.01), stride) - image
    assert step[~is_spot].max() == pytest.approx(0.01)
    assert step[is_spot].mean() < 0.003
    assert step[is_spot].max() < 0.006


class TestDreamImage:
    OPTIONS = Settings(octaves=2, iterations=2, device="cpu")

    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
    def test_type_and_range_are_kept(self, cat: Tensor, dtype: str) -> None:
        unit = cat[0].permute(1, 2, 0).numpy()
        top = np.iinfo(dtype).max if dtype.startswith("uint") else 1
        image = (unit * top).astype(dtype)
        before = image.copy()
        dreamed = dream_image(image, self.OPTIONS)
        assert dreamed.dtype == image.dtype
        assert dreamed.shape == image.shape
        assert np.array_equal(image, before)
        assert 0.01 < np.abs(dreamed / top - image / top).mean() < 0.2

    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
    def test_strength_zero_changes_nothing(self, cat: Tensor, dtype: str) -> None:
        top = np.iinfo(dtype).max if dtype.startswith("uint") else 1
        image = (cat[0].permute(1, 2, 0).numpy() * top).astype(dtype)
        assert np.array_equal(dream_image(image, Settings(strength=0, device="cpu")), image)

    @pytest.mark.parametrize(
        ("image", "words"),
        [
            (np.zeros((4, 4)), "shape"),
            (np.zeros((4, 4, 4), np.uint8), "shape"),
            (np.zeros((0, 4, 3), np.uint8), "shape"),
            (np.zeros((4, 4, 3), np.int32), "uint8"),
            (np.zeros((4, 4, 3), np.uint32), "uint8"),
            (np.full((4, 4, 3), 200.0), r"\[0, 1\]"),
            (np.full((4, 4, 3), np.nan), r"\[0, 1\]"),
        ],
    )
    def test_other_arrays_are_refused(self, image: npt.NDArray[Any], words: str) -> None:
        with pytest.raises(InputError, match=words):
            dream_image(image)

    def test_unknown_layers_are_refused(self) -> None:
        with pytest.raises(UnknownLayerError):
            dream_image(np.zeros((4, 4, 3), np.uint8), Settings(layer="nope"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gives_the_same_dream(cat: Tensor) -> None:
    image = cat[0].permute(1, 2, 0).numpy()
    on_cpu, on_gpu = (
        dream_image(image, Settings(device=device, octaves=2, iterations=1))
        for device in ("cpu", "cuda")
    )
    error = np.square(on_cpu - on_gpu).mean()
    assert 10 * np.log10(1 / error) > 35
