"""Tiles give the gradient of the whole image; too little memory leads to smaller tiles."""

from __future__ import annotations

import contextlib
import gc
import math
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dreamvideo import Settings
from dreamvideo.cli.main import main
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.objectives import LayerContext, LayerObjective, Objective, ObjectiveTerm
from dreamvideo.dream.tiling import Evaluator, ReceptiveField, plan_tiles
from dreamvideo.errors import MemoryShortError, SettingsError, UnknownLayerError
from dreamvideo.job.image import load_dreamer, make_dreamer
from dreamvideo.networks.extractor import load_extractor
from dreamvideo.networks.introspection import inspect_network
from dreamvideo.settings.frame_params import frame_params
from tests.conftest import CPU, params

MEBIBYTE = 2**20
# Its receptive field of 67 px leaves room for tiles in the small images of these tests.
EARLY_LAYER = "blocks.5.expand"


@pytest.fixture(scope="module")
def cat(sample_still: Path) -> Tensor:
    pixels = iio.imread(sample_still)[..., :3].astype(np.float32) / 255
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    return nn.functional.interpolate(image, size=(221, 301), mode="bilinear")


def evaluated(image: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """The value of the objective of an image, and its gradient, given options."""
    settings = Settings(device="cpu", **options)
    dreamer = load_dreamer(settings, CPU)
    objective = dreamer.objectives.build(frame_params(settings, 0.0), image)
    value, gradient = dreamer.evaluator.value_and_gradient(image, objective)
    torch.testing.assert_close(dreamer.evaluator.value(image, objective), value)
    return value, gradient


def assert_same_in_tiles(image: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """Compare value and gradient of the whole image with those of tiles; returns the gradients."""
    torch.manual_seed(0)  # for random weights
    value, gradient = evaluated(image, tile="none", **options)
    torch.manual_seed(0)
    tiled_value, tiled_gradient = evaluated(image, tile="64", **options)
    torch.testing.assert_close(tiled_value, value, rtol=1e-4, atol=1e-4)
    # Rounding moves single activations to the other side of the corner of ReLU6.
    assert (tiled_gradient - gradient).norm() < 2e-2 * gradient.norm()
    return gradient, tiled_gradient


class TestGeometry:
    @pytest.mark.parametrize("length_px", [16, 63, 300, 301, 433, 1000])
    @pytest.mark.parametrize("side_px", [64, 100, 256])
    def test_every_position_belongs_to_one_tile(self, length_px: int, side_px: int) -> None:
        field = ReceptiveField(size_px=67, strides_px=(8, 16))
        image = torch.arange(length_px * 40).view(1, 1, length_px, 40)
        counts = {
            stride_px: torch.zeros(-(-length_px // stride_px)) for stride_px in field.strides_px
        }
        tiles = plan_tiles((length_px, 40), side_px, field)
        for tile in tiles:
            cropped = tile.crop(image)
            assert cropped.shape[-2] % 16 == length_px % 16
            for stride_px, count in counts.items():
                activations = cropped[..., ::stride_px, ::stride_px]
                rows = tile.core_of(activations, stride_px)[0, 0, :, 0] // 40 // stride_px
                count[rows] += 1
        assert all((count == 1).all() for count in counts.values())
        assert len({tile.rows.end - tile.rows.begin for tile in tiles}) == 1

    def test_a_tile_contains_the_receptive_fields_of_its_core(self) -> None:
        field = ReceptiveField(size_px=67, strides_px=(16,))
        for tile in plan_tiles((1000, 1000), 128, field):
            core_end = tile.rows.core_end or 1000
            assert tile.rows.begin in (0, *range(tile.rows.core_begin - 34 + 1)[-600:])
            assert tile.rows.begin == 0 or tile.rows.core_begin - tile.rows.begin >= 34
            assert tile.rows.end == 1000 or tile.rows.end - core_end >= 34


class TestGradient:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"layer": "blocks.5.expand"},
            {"layer": "blocks.10.expand+blocks.4=0.5+stem=-0.2"},
            {"strongest": 8},
            {"objective": "mean", "channel": (3, 5)},
            {"model": "resnet18", "weights": "random", "layer": "layer2"},
            {"model": "vgg16", "weights": "random", "layer": "features.16"},
        ],
        ids=str,
    )
    def test_is_that_of_the_whole_image(self, cat: Tensor, options: dict[str, Any]) -> None:
        gradient, tiled_gradient = assert_same_in_tiles(cat, **options)
        differs = (tiled_gradient - gradient).abs().amax(1) > 1e-3 * gradient.abs().max()
        assert differs.float().mean() < 1e-3

    def test_an_edge_too_narrow_for_a_position_belongs_to_the_tile_before(
        self, cat: Tensor
    ) -> None:
        """In networks whose layers leave out the remainder of a side."""
        network: dict[str, Any] = {"model": "vgg16", "weights": "random", "layer": "features.16"}
        for size in ((67, 90), (131, 66)):  # 64 + 3, 2 · 64 + 3
            assert_same_in_tiles(cat[..., : size[0], : size[1]], **network)

    def test_layers_after_a_norm_over_the_image_cannot_be_tiled(self) -> None:
        network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU())
        known = inspect_network(network, "normed", (64, 64))
        first, normed, *_ = known.layers
        assert known.receptive_field([first]) == (3, (1,))
        assert known.receptive_field([normed]) is None

    def test_a_tiled_refresh_is_that_of_the_whole_image(self, cat: Tensor) -> None:
        """From the same carried residual, within 1/255."""
        backbone = load_extractor(Settings(), CPU)
        settings = [Settings(tile=tile, warm_octaves=1) for tile in ("none", "64")]
        whole, tiled = (make_dreamer(backbone, each, CPU) for each in settings)
        carried = 0.1 * torch.randn(1, 3, *cat.shape[-2:], generator=torch.manual_seed(1))
        one, other = (
            dreamer.dream(cat, 1, params(warm_octaves=1), carried) for dreamer in (whole, tiled)
        )
        assert (one - other).abs().max() < 1 / 255
        assert (one - other).square().mean() < 1e-5  # 50 dB
        assert (one - carried).square().mean() > 1e-4

    def test_guides_and_classes(self, cat: Tensor, sample_still: Path) -> None:
        options = {"guide": str(sample_still), "layer": "blocks.5"}
        _, gradient = evaluated(cat, tile="none", **options)
        _, tiled = evaluated(cat, tile="64", **options)
        assert (tiled - gradient).norm() < 2e-2 * gradient.norm()
        with pytest.raises(UnknownLayerError, match=r"cannot be dreamed in tiles.*leave --tile"):
            evaluated(cat, tile="64", class_="tabby")


class TestMemory:
    def passed_pixels(self, cat: Tensor, budget_bytes: float) -> list[int]:
        """How many pixels each pass through the network has."""
        backbone = load_extractor(Settings(layer=EARLY_LAYER), CPU)
        pixels: list[int] = []

        def features(image: Tensor, layers: Sequence[str]) -> list[Tensor]:
            pixels.append(image[0, 0].numel())
            return backbone(image, layers)

        def find_receptive_field(layers: Sequence[str]) -> ReceptiveField | None:
            field = backbone.receptive_field(layers)
            return None if field is None else ReceptiveField(*field)

        term = ObjectiveTerm(EARLY_LAYER, 1.0, MeanSquare(LayerContext()))
        evaluator = Evaluator(find_receptive_field, None, budget_bytes)
        evaluator.value_and_gradient(cat, Objective(features, (term,)))
        return pixels

    def test_tiles_are_planned_by_measured_memory_use(self, cat: Tensor) -> None:
        assert self.passed_pixels(cat, math.inf) == [cat[0, 0].numel()]
        assert self.passed_pixels(cat, 1024 * MEBIBYTE)[-1] == cat[0, 0].numel()
        in_tiles = self.passed_pixels(cat, 20 * MEBIBYTE)
        assert len(in_tiles) > 2
        assert max(in_tiles[1:]) < cat[0, 0].numel()

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"),
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
        ],
        ids=["cuda", "cpu"],
    )
    def test_an_out_of_memory_error_leads_to_tiles(
        self, cat: Tensor, error: Exception, limited_dreamer: LimitedDreamer
    ) -> None:
        dreamer, pixels = limited_dreamer(60_000, error)
        residual = dreamer.dream(cat, 0, EARLY_WARM, is_warm=True)
        assert residual.abs().max() > 0
        assert max(pixels) > 60_000 >= min(pixels)
        before = len(pixels)
        dreamer.dream(cat, 1, EARLY_WARM, is_warm=True)
        assert max(pixels[before:]) <= 60_000  # the next frame is tiled from the beginning

    def test_a_failed_pass_keeps_no_activations(self, cat: Tensor) -> None:
        backbone = load_extractor(Settings(layer="blocks.2+blocks.5"), CPU)
        block = backbone.network.get_submodule("blocks.4")
        hook = block.register_forward_pre_hook(lambda module, inputs: 1 / 0)
        image = cat.clone().requires_grad_()
        kept = weakref.ref(image)  # activations keep the graph, and that keeps the image
        with contextlib.suppress(ZeroDivisionError):
            backbone(image, ["blocks.2", "blocks.5"])
        del image
        gc.collect()
        assert kept() is None
        hook.remove()
        assert len(backbone(cat, ["blocks.2", "blocks.5"])) == 2

    def test_too_little_memory_for_any_tile_is_an_error(
        self, cat: Tensor, limited_dreamer: LimitedDreamer
    ) -> None:
        dreamer, _ = limited_dreamer(1000, torch.OutOfMemoryError("out of memory"))
        with pytest.raises(MemoryShortError, match=r"64×64 pixels.*--size"):
            dreamer.dream(cat, 0, EARLY_WARM, is_warm=True)

    def test_other_errors_are_raised(self, cat: Tensor, limited_dreamer: LimitedDreamer) -> None:
        dreamer, _ = limited_dreamer(1000, RuntimeError("shapes do not fit"))
        with pytest.raises(RuntimeError, match="shapes do not fit"):
            dreamer.dream(cat, 0, EARLY_WARM, is_warm=True)


class MeanSquare(LayerObjective):
    """The energy without a logarithm."""

    def mean(self, activations: Tensor) -> Tensor:
        return activations.square().mean()


EARLY_SETTINGS = Settings(layer=EARLY_LAYER, warm_octaves=1)
EARLY_WARM = frame_params(EARLY_SETTINGS, 0.0)
LimitedDreamer = Callable[[int, Exception], tuple[Dreamer, list[int]]]


@pytest.fixture
def limited_dreamer() -> LimitedDreamer:
    """Makes a dreamer whose network fails for larger images, and a list of the sizes it got."""

    def make(max_px: int, error: Exception) -> tuple[Dreamer, list[int]]:
        backbone = load_extractor(EARLY_SETTINGS, CPU)
        network, pixels = backbone.network.forward, list[int]()

        def forward(image: Tensor) -> Tensor:
            pixels.append(image[0, 0].numel())
            if image[0, 0].numel() > max_px:
                raise error
            result: Tensor = network(image)
            return result

        backbone.network.forward = forward
        return make_dreamer(backbone, EARLY_SETTINGS, CPU), pixels

    return make


@pytest.mark.parametrize("tile", ["0", "63", "-5", "huge", "1.5", ""])
def test_wrong_tiles_are_refused(tile: str) -> None:
    with pytest.raises(SettingsError, match=r"tile cannot be .*auto, none, or a whole number"):
        Settings(tile=tile)


def test_the_command_takes_tiles(
    sample_still: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--size", "160", "--iterations", "1", "--quiet", "--device", "cpu"]
    assert main([str(sample_still), str(tmp_path / "a.png"), "--tile", "64", *words]) == 0
    assert main([str(sample_still), str(tmp_path / "b.png"), "--tile", "x", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]
