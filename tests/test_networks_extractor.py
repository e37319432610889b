"""A network runs up to the requested layers, in any thread, and whatever it catches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from dreamvideo.errors import UnknownLayerError
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.networks.model import Model
from dreamvideo.settings import Settings
from tests.conftest import CPU
from tests.unknown_networks import CATCHING, Selective, StoresResults


def extractor_of(network: nn.Module, *layers: str) -> FeatureExtractor:
    """Of a network that takes images as they are."""
    model = Model("test", network, mean=(0.0,) * 3, std=(1.0,) * 3, has_unknown_code=True)
    return FeatureExtractor(model, layers, CPU)


class TestStop:
    """A pass ends at the deepest requested layer."""

    def test_later_layers_do_not_run(self) -> None:
        extractor = load_extractor(Settings(), CPU, ["blocks.3", "head"])
        ran: list[str] = []
        for layer in ("blocks.3", "blocks.4.expand", "head"):
            extractor.network.get_submodule(layer).register_forward_hook(
                lambda *_, layer=layer: ran.append(layer)
            )
        image = torch.rand(1, 3, 64, 64)
        extractor(image, ["head"])  # the first call also tries which sizes the network takes
        extractor(image, ["blocks.3"])
        ran.clear()
        extractor(image, ["blocks.3"])
        assert ran == []  # the hook that ends the pass runs before the one that is added here
        extractor(image, ["blocks.3", "head"])
        assert ran == ["blocks.3", "blocks.4.expand"]

    @pytest.mark.parametrize("kind", CATCHING)
    def test_a_network_that_catches_errors(self, kind: str) -> None:
        network = CATCHING[kind]().eval()
        image = torch.rand(1, 3, 40, 48)
        first = network.first(image)
        second = network.second(first)
        last = network.last(second)
        extractor = extractor_of(network, "first", "second", "last")
        calls: list[str] = []
        for name in ("fallback", "last"):
            network.get_submodule(name).register_forward_hook(
                lambda *_, name=name: calls.append(name)
            )
        for _ in range(2):
            calls.clear()
            activations = extractor(image, ["second", "first"])
            torch.testing.assert_close(activations, [second, first], rtol=1e-4, atol=1e-5)
        if kind == "errors":
            assert calls == []
        torch.testing.assert_close(extractor(image, ["last"]), [last], rtol=1e-4, atol=1e-5)

    def test_errors_of_the_network_are_raised(self) -> None:
        extractor = extractor_of(Selective(), "first", "last")
        extractor(torch.rand(1, 3, 40, 48), ["last"])
        extractor.network.get_submodule("first").register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            extractor(torch.rand(1, 3, 40, 48), ["last"])

    def test_a_layer_that_does_not_run_is_named(self) -> None:
        extractor = extractor_of(Selective(), "small_only", "first")
        assert len(extractor(torch.rand(1, 3, 40, 48), ["small_only", "first"])) == 2
        with pytest.raises(UnknownLayerError, match=r"small_only of test does not run .* 400x300"):
            extractor(torch.rand(1, 3, 300, 400), ["small_only", "first"])


def test_unknown_layer_names_the_nearest() -> None:
    with pytest.raises(UnknownLayerError, match=r"'block9\.expand'.*nearest are blocks\.9\.expand"):
        load_extractor(Settings(layer="blocks.3+block9.expand"), CPU)


def test_third_party_networks_run_in_one_thread_at_a_time() -> None:
    """Other threads run the network on later frames while the main thread dreams."""
    extractor = extractor_of(StoresResults(), "output")
    images = [torch.rand(1, 3, side, side) for side in (32, 48, 64, 80)] * 4
    alone = [extractor(image, ["output"])[0] for image in images]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda image: extractor(image, ["output"])[0], images))
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)


def test_the_default_network_runs_in_several_threads() -> None:
    extractor = load_extractor(Settings(layer="blocks.2+blocks.5"), CPU)
    images = [torch.rand(1, 3, side, side) for side in (32, 48, 64, 80)] * 4
    layers = [["blocks.2"], ["blocks.5", "blocks.2"]] * 8
    alone = [extractor(*arguments) for arguments in zip(images, layers, strict=True)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(extractor, images, layers))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other)
