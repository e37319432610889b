"""Tiles give the gradient of the whole, and memory that is short leads to smaller ones."""

from __future__ import annotations

import math
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
from dreamvideo.dream.objectives import Objective, ObjectiveTerm
from dreamvideo.dream.tiling import Evaluator, ReceptiveField, plan_tiles
from dreamvideo.errors import MemoryShortError, SettingsError, UnknownLayerError
from dreamvideo.job.image import load_dreamer, make_dreamer
from dreamvideo.networks.extractor import load_extractor
from dreamvideo.networks.introspection import inspect_network

CPU = torch.device("cpu")
MEBIBYTE = 2**20
# Places of this layer see 67 px, so that tiles of the small pictures here are parts of them.
SHORT_SIGHTED = "blocks.5.expand"


@pytest.fixture(scope="module")
def cat(sample_still: Path) -> Tensor:
    pixels = iio.imread(sample_still)[..., :3].astype(np.float32) / 255
    picture = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    return nn.functional.interpolate(picture, size=(221, 301), mode="bilinear")


def evaluation_of(dreamer: Dreamer) -> Evaluator:
    return dreamer.evaluator


def evaluated(cat: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """The value of the goal of some settings for the cat, and its gradient."""
    dreamer = load_dreamer(Settings(device="cpu", **options), CPU)
    objective = dreamer.objectives.objective(0.0, cat)
    evaluation = evaluation_of(dreamer)
    value, gradient = evaluation.value_and_gradient(cat, objective)
    torch.testing.assert_close(evaluation.value(cat, objective), value)
    return value, gradient


def assert_same_in_tiles(picture: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """Compare value and gradient of the whole with those of tiles of 64 px; gives the gradients."""
    torch.manual_seed(0)  # for random weights
    value, gradient = evaluated(picture, tile="none", **options)
    torch.manual_seed(0)
    tiled_value, tiled_gradient = evaluated(picture, tile="64", **options)
    torch.testing.assert_close(tiled_value, value, rtol=1e-4, atol=1e-4)
    # Now and then an activation at its very end comes to lie on the other side of it.
    assert (tiled_gradient - gradient).norm() < 2e-2 * gradient.norm()
    return gradient, tiled_gradient


class TestGeometry:
    @pytest.mark.parametrize("length_px", [16, 63, 300, 301, 433, 1000])
    @pytest.mark.parametrize("side_px", [64, 100, 256])
    def test_every_place_belongs_to_one_tile(self, length_px: int, side_px: int) -> None:
        reach = ReceptiveField(receptive_field_px=67, strides_px=(8, 16))
        picture = torch.arange(length_px * 40).view(1, 1, length_px, 40)
        owners = {
            stride_px: torch.zeros(-(-length_px // stride_px)) for stride_px in reach.strides_px
        }
        tiles = plan_tiles((length_px, 40), side_px, reach)
        for tile in tiles:
            shown = tile.cut(picture)
            assert shown.shape[-2] % 16 == length_px % 16
            for stride_px, owner in owners.items():
                activation = shown[..., ::stride_px, ::stride_px]
                rows = tile.own(activation, stride_px)[0, 0, :, 0] // 40 // stride_px
                owner[rows] += 1
        assert all((owner == 1).all() for owner in owners.values())
        assert len({tile.rows.end - tile.rows.begin for tile in tiles}) == 1

    def test_a_tile_sees_what_its_places_see(self) -> None:
        reach = ReceptiveField(receptive_field_px=67, strides_px=(16,))
        for tile in plan_tiles((1000, 1000), 128, reach):
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
    def test_is_that_of_the_whole(self, cat: Tensor, options: dict[str, Any]) -> None:
        gradient, tiled_gradient = assert_same_in_tiles(cat, **options)
        off = (tiled_gradient - gradient).abs().amax(1) > 1e-3 * gradient.abs().max()
        assert off.float().mean() < 1e-3

    def test_an_edge_too_narrow_for_a_place_belongs_to_the_tile_before(self, cat: Tensor) -> None:
        """Networks whose layers leave out what is left over at the edge."""
        network: dict[str, Any] = {"model": "vgg16", "weights": "random", "layer": "features.16"}
        for size in ((67, 90), (131, 66)):  # 64 + 3, 2 · 64 + 3
            picture = cat[..., : size[0], : size[1]]
            assert_same_in_tiles(picture, **network)

    def test_norms_over_the_picture_are_seen(self) -> None:
        network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU())
        known = inspect_network(network, "normed", 64)
        first, normed, *_ = known.layers
        assert known.reach([first]) == (3, (1,))
        assert known.reach([normed]) is None

    def test_a_refreshed_frame_is_that_of_the_whole(self, cat: Tensor) -> None:
        """From the same dream before, within 1/255 at the pixels."""
        backbone = load_extractor(Settings(), CPU)
        settings = [Settings(tile=tile, warm_octaves=1) for tile in ("none", "64")]
        whole, tiled = (make_dreamer(backbone, each, CPU) for each in settings)
        carried = 0.1 * torch.randn(1, 3, *cat.shape[-2:], generator=torch.manual_seed(1))
        one, other = (dreamer.dream(cat, 1, carried) for dreamer in (whole, tiled))
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
    def needs(self, cat: Tensor, budget_bytes: float) -> list[int]:
        """Numbers of pixels that the network is shown at once."""
        backbone = load_extractor(Settings(layer=SHORT_SIGHTED), CPU)
        shown: list[int] = []

        def features(image: Tensor, layers: Sequence[str]) -> list[Tensor]:
            shown.append(image[0, 0].numel())
            return backbone(image, layers)

        def find_reach(layers: Sequence[str]) -> ReceptiveField | None:
            found = backbone.reach(layers)
            return None if found is None else ReceptiveField(*found)

        objective = Objective(
            features,
            (ObjectiveTerm(SHORT_SIGHTED, 1.0, lambda activation: activation.square().mean()),),
        )
        Evaluator(find_reach, None, budget_bytes).value_and_gradient(cat, objective)
        return shown

    def test_tiles_are_planned_by_the_need_of_a_probe(self, cat: Tensor) -> None:
        assert self.needs(cat, math.inf) == [cat[0, 0].numel()]
        assert self.needs(cat, 1024 * MEBIBYTE)[-1] == cat[0, 0].numel()
        small = self.needs(cat, 20 * MEBIBYTE)
        assert len(small) > 2
        assert max(small[1:]) < cat[0, 0].numel()

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"),
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
        ],
        ids=["cuda", "cpu"],
    )
    def test_short_memory_leads_to_tiles(
        self, cat: Tensor, error: Exception, short_of: ShortOf
    ) -> None:
        dreamer, shown = short_of(60_000, error)
        residual = dreamer.dream(cat, 0, is_warm=True)
        assert residual.abs().max() > 0
        assert max(shown) > 60_000 >= min(shown)
        before = len(shown)
        dreamer.dream(cat, 1, is_warm=True)
        assert max(shown[before:]) <= 60_000  # it is remembered

    def test_nothing_of_what_failed_is_kept(self, cat: Tensor) -> None:
        backbone = load_extractor(Settings(layer="blocks.2+blocks.5"), CPU)
        block = backbone.network.get_submodule("blocks.4")
        hook = block.register_forward_pre_hook(lambda module, inputs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            backbone(cat, ["blocks.2", "blocks.5"])
        assert not backbone._pass.wanted
        hook.remove()
        assert len(backbone(cat, ["blocks.2", "blocks.5"])) == 2

    def test_memory_too_short_for_any_tile_is_told(self, cat: Tensor, short_of: ShortOf) -> None:
        dreamer, _ = short_of(1000, torch.OutOfMemoryError("out of memory"))
        with pytest.raises(MemoryShortError, match=r"64×64 pixels.*--size"):
            dreamer.dream(cat, 0, is_warm=True)

    def test_other_errors_pass(self, cat: Tensor, short_of: ShortOf) -> None:
        dreamer, _ = short_of(1000, RuntimeError("shapes do not fit"))
        with pytest.raises(RuntimeError, match="shapes do not fit"):
            dreamer.dream(cat, 0, is_warm=True)


ShortOf = Callable[[int, Exception], tuple[Dreamer, list[int]]]


@pytest.fixture
def short_of() -> ShortOf:
    """Makes a dreamer whose network fails for more pixels than that; and what it was shown."""

    def make(max_px: int, error: Exception) -> tuple[Dreamer, list[int]]:
        settings = Settings(layer=SHORT_SIGHTED, warm_octaves=1)
        backbone = load_extractor(settings, CPU)
        network, shown = backbone.network.forward, list[int]()

        def forward(image: Tensor) -> Tensor:
            shown.append(image[0, 0].numel())
            if image[0, 0].numel() > max_px:
                raise error
            result: Tensor = network(image)
            return result

        backbone.network.forward = forward
        return make_dreamer(backbone, settings, CPU), shown

    return make


@pytest.mark.parametrize("tile", ["0", "63", "-5", "huge", "1.5", ""])
def test_wrong_tiles_are_refused(tile: str) -> None:
    with pytest.raises(SettingsError, match=r"tile cannot be .*auto or none, or a whole number"):
        Settings(tile=tile)


def test_the_command_takes_tiles(
    sample_still: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--size", "160", "--iterations", "1", "--quiet", "--device", "cpu"]
    assert main([str(sample_still), str(tmp_path / "a.png"), "--tile", "64", *words]) == 0
    assert main([str(sample_still), str(tmp_path / "b.png"), "--tile", "x", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]
