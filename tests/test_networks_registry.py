"""Networks are found by name; their random weights, normalisation and classes."""

from __future__ import annotations

import pytest
import torch

from dreamvideo.errors import UnknownLayerError
from dreamvideo.networks.extractor import load_extractor
from dreamvideo.networks.registry import load_model, model_entries
from dreamvideo.networks.torchvision_models import torchvision_names
from dreamvideo.settings import Settings
from tests.conftest import CPU


def test_every_network_of_torchvision_is_listed() -> None:
    listed = {entry.name for entry in model_entries()}
    assert set(torchvision_names()) | {"efficientnet_lite0", "timm:NAME"} <= listed
    assert {"vgg16", "vgg19", "googlenet", "resnet50", "vit_b_16", "densenet121"} <= listed


def test_networks_are_frozen_and_in_evaluation_mode() -> None:
    network = load_model(Settings(model="resnet18", weights="random")).network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


class TestRandomState:
    def test_random_weights_are_always_the_same(self) -> None:
        first, second = (
            load_model(Settings(model="alexnet", weights="random")).network.state_dict()
            for _ in range(2)
        )
        assert all(torch.equal(first[key], second[key]) for key in first)

    def test_the_programs_random_numbers_stay_the_same(self) -> None:
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        load_model(Settings(model="alexnet", weights="random"))
        assert torch.equal(torch.rand(3), expected)

    def test_cuda_is_seeded_only_where_it_is_in_use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else loading a network would start it, or seed it when it starts."""
        seeds: list[int] = []
        states, restored = {0: "of device 0", 1: "of device 1"}, dict[int, str]()
        monkeypatch.setattr("torch.cuda.manual_seed_all", seeds.append)
        monkeypatch.setattr("torch.cuda.device_count", lambda: len(states))
        monkeypatch.setattr("torch.cuda.get_rng_state", states.__getitem__)
        monkeypatch.setattr(
            "torch.cuda.set_rng_state", lambda state, device: restored.update({device: state})
        )
        for is_in_use in (False, True):
            monkeypatch.setattr("torch.cuda.is_initialized", lambda is_used=is_in_use: is_used)
            load_model(Settings(model="tests.unknown_networks:Faces"))
            assert len(seeds) == is_in_use
            assert restored == (states if is_in_use else {})


def test_normalisation_is_that_of_the_weights_or_of_the_settings() -> None:
    settings = Settings(model="alexnet", weights="random", mean=(0.1, 0.2, 0.3), std=(1, 2, 3))
    model = load_model(settings)
    assert model.mean == (0.1, 0.2, 0.3)
    assert model.std == (1.0, 2.0, 3.0)
    default = load_model(Settings(model="inception_v3", weights="random"))
    assert default.mean == (0.485, 0.456, 0.406)
    assert default.size_px == (299, 299)


@pytest.mark.parametrize(
    ("name", "index"), [("tabby", 281), ("Tiger Cat", 282), ("281", 281), ("goldfish", 1)]
)
def test_classes_by_name_and_number(name: str, index: int) -> None:
    assert load_extractor(Settings(class_="0"), CPU).class_index(name) == index


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("taby", ["tabby"]),
        ("1000", ["0 to 999"]),
        ("cardigan", ["264", "474"]),
        ("-1", ["0 to 999"]),
    ],
)
def test_unknown_classes_are_refused(name: str, words: list[str]) -> None:
    extractor = load_extractor(Settings(class_="0"), CPU)
    with pytest.raises(UnknownLayerError) as caught:
        extractor.class_index(name)
    for word in words:
        assert word in str(caught.value)
