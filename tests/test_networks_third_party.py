"""Networks of timm, and of callables that other people write."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import timm
import torch

from dreamvideo.cli.main import main
from dreamvideo.errors import UnknownModelError
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.networks.introspection import inspect_network
from dreamvideo.networks.registry import load_model
from dreamvideo.settings import Settings
from tests.conftest import CPU
from tests.network_comparison import assert_same_activations, with_trained_norms
from tests.unknown_networks import Faces

COMPARED_LAYERS = 6
MAKES_A_NETWORK = "from torch import nn\n\n\ndef make():\n    return nn.Conv2d(3, 4, 3)\n"


class TestCallable:
    def test_dreams_an_image(self, tmp_path: Path, sample_still: Path) -> None:
        words = [str(sample_still), str(tmp_path / "o.png"), "--size", "96", "--quiet"]
        model = ["--model", "tests.unknown_networks:Faces", "--iterations", "2"]
        assert main([*words, *model, "--layer", "repeat_2", "--mean", "0.5,0.5,0.5"]) == 0

    def test_activations_are_those_of_the_network(self) -> None:
        torch.manual_seed(0)
        settings = Settings(model="tests.unknown_networks:Faces", mean=(0.5,) * 3, std=(0.5,) * 3)
        model = load_model(settings)
        with_trained_norms(model.network)
        layers = ["conv2d_1a", "mixed_5", "repeat_2.1.conv2d", "repeat_2", "output"]
        extractor = FeatureExtractor(model, layers, CPU)
        assert len(extractor.summary.folds) >= 10
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            reference = with_trained_norms(Faces())
        assert_same_activations(extractor, layers, torch.rand(1, 3, 160, 160), reference)

    def test_arguments_are_passed_on(self) -> None:
        model = load_model(Settings(model='tests.unknown_networks:Faces(width=8, name="x")'))
        assert isinstance(model.network, Faces)
        assert model.network.width == 8

    def test_lazy_modules_get_their_shapes(self) -> None:
        settings = Settings(model="tests.unknown_networks:make_lazy", layer="output")
        (activation,) = load_extractor(settings, CPU)(torch.rand(1, 3, 64, 64), ["output"])
        assert activation.shape[1] == 12

    def test_tensors_kept_between_images(self) -> None:
        settings = Settings(model="tests.unknown_networks:Remembering", layer="second")
        extractor = load_extractor(settings, CPU, ["output"])
        assert extractor.layer("second").calls == 1
        for size in (64, 100):
            (activation,) = extractor(torch.rand(1, 3, size, size), ["output"])
            assert activation.isfinite().all()

    def test_images_are_padded_to_the_multiples_that_a_network_needs(self) -> None:
        settings = Settings(model="tests.unknown_networks:Hourglass", layer="output")
        extractor = load_extractor(settings, CPU)
        sizes = {(97, 131): (100, 132), (64, 64): (64, 64), (450, 601): (452, 604)}
        for size, expected in sizes.items():
            (activation,) = extractor(torch.rand(1, 3, *size), ["output"])
            assert activation.shape[2:] == expected

    def test_a_network_without_gradients_is_refused(
        self, sample_still: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = [str(sample_still), str(tmp_path / "o.png"), "--size", "64", "--quiet"]
        model = ["--model", "tests.unknown_networks:WithoutGradients", "--layer", "only"]
        assert main([*words, *model]) == 2
        assert "no gradient" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no.such.package:make", ["no.such.package", "ModuleNotFoundError"]),
        ("tests.unknown_networks:nobody", ["nobody", "AttributeError"]),
        ("tests.unknown_networks:Faces(width=open('x'))", ["plain values"]),
        ("tests.unknown_networks:Faces(8)", ["plain values"]),
        ("tests.unknown_networks:return_text", ["returned a str", "torch.nn.Module"]),
        ("tests.unknown_networks:fail", ["ValueError", "not today"]),
        ("tests.unknown_networks:exit_program", ["SystemExit"]),
        ("tests.unknown_networks:take_no_images", ["does not take an image"]),
        ("timm:resnet18.no_such_tag", ["no_such_tag"]),
        ("timm:no_such_net_50", ["timm", "nearest", "timm.list_models"]),
        ("resnet51", ["nearest are resnet50", "dreamvideo models"]),
    ],
)
def test_unknown_networks_are_refused(name: str, words: list[str]) -> None:
    with pytest.raises(UnknownModelError) as caught:
        load_extractor(Settings(model=name, weights="random"), CPU)
    for word in words:
        assert word in str(caught.value)


class TestImport:
    def test_the_current_folder_is_searched(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "network_in_a_folder.py").write_text(MAKES_A_NETWORK)
        monkeypatch.chdir(tmp_path)
        settings = Settings(model="network_in_a_folder:make", layer="output")
        (activation,) = load_extractor(settings, CPU)(torch.rand(1, 3, 20, 30), ["output"])
        assert activation.shape == (1, 4, 18, 28)
        assert str(tmp_path) not in sys.path

    @pytest.mark.parametrize("is_searched", [False, True])
    def test_the_import_path_is_restored(
        self, is_searched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also where the module replaces it; what the module adds stays."""
        name = f"adds_paths_{is_searched}"
        replaces_path = "import os\nimport sys\n\nsys.path = ['/first', os.getcwd(), *sys.path]\n"
        (tmp_path / f"{name}.py").write_text(replaces_path + MAKES_A_NETWORK)
        monkeypatch.chdir(tmp_path)
        before = [*sys.path, str(tmp_path), "/last"] if is_searched else [*sys.path]
        monkeypatch.setattr(sys, "path", [*before])
        load_model(Settings(model=f"{name}:make"))
        assert sys.path == ["/first", str(tmp_path), *before]

    def test_the_import_path_is_restored_after_a_failure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        before = [*sys.path]
        with pytest.raises(UnknownModelError, match="no_such_module"):
            load_model(Settings(model="no_such_module:make"))
        assert sys.path == before


class TestTimm:
    @pytest.mark.parametrize(
        "name", ["resnet10t", "vit_tiny_patch16_224", "efficientnet_b0", "resnetv2_50"]
    )
    def test_activations_are_those_of_timm(self, name: str) -> None:
        torch.manual_seed(0)
        model = load_model(Settings(model=f"timm:{name}", weights="random"))
        with_trained_norms(model.network)
        reference = timm.create_model(name)
        reference.load_state_dict(model.network.state_dict())
        layers = [*inspect_network(model.network, name).spread_layers(COMPARED_LAYERS), "output"]
        extractor = FeatureExtractor(model, layers, CPU)
        image = torch.rand(1, 3, 224, 224)
        assert_same_activations(extractor, layers, image, reference.eval())
        (activation,) = extractor(torch.rand(1, 3, 96, 130), layers[:1])
        assert activation.isfinite().all()

    def test_without_timm_the_message_names_its_extra(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "timm", None)
        with pytest.raises(UnknownModelError, match=r"dreamvideo\[timm\]"):
            load_extractor(Settings(model="timm:resnet18"), CPU)
