"""Torchvision's networks: activations of every family, images of any size, downloads."""

from __future__ import annotations

import hashlib
import urllib.error
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from dreamvideo.cli.main import main
from dreamvideo.dream.ascent import ascend, value_and_gradient
from dreamvideo.dream.conditioning import Conditioning
from dreamvideo.dream.objective_factory import ObjectiveFactory
from dreamvideo.dream.pyramid import texture_map
from dreamvideo.errors import DreamVideoWarning, WeightsError
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.networks.introspection import cost_shares, inspect_network
from dreamvideo.networks.registry import load_model, model_entries
from dreamvideo.networks.torchvision_models import INCEPTIONS, Download, build_untrained
from dreamvideo.settings import Settings
from tests.conftest import CPU, params
from tests.network_comparison import assert_same_activations, with_trained_norms
from tests.unknown_networks import Malice

# The smallest network of each architecture.
FAMILIES = [
    *("alexnet", "vgg11_bn", "squeezenet1_1", "densenet121", "resnet18", "googlenet"),
    *("inception_v3", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5"),
    *("efficientnet_b0", "regnet_x_400mf", "regnet_y_400mf", "convnext_tiny", "vit_b_32"),
    *("swin_t", "swin_v2_t", "maxvit_t"),
]
# Networks with in-place activations, branches and shared modules: every layer is compared.
COMPARED_WHOLE = ("resnet18", "googlenet", "squeezenet1_1", "mobilenet_v3_small", "densenet121")
COMPARED_LAYERS = 6
WEIGHTS_FILE = "squeezenet1_1-b8a52dc0.pth"


def torchvision_network(name: str) -> nn.Module:
    """The network as torchvision builds it."""
    options: dict[str, Any] = {"init_weights": False} if name in INCEPTIONS else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return with_trained_norms(models.get_model(name, weights=None, **options))


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> FeatureExtractor:
    """The smallest network of an architecture, for some of its layers."""
    model = load_model(Settings(model=request.param, weights="random"))
    with_trained_norms(model.network)
    summary = inspect_network(model.network, model.name, model.size_px)
    layers = ["auto", *summary.spread_layers(COMPARED_LAYERS), "output"]
    return FeatureExtractor(model, layers, CPU)


class TestFamily:
    def test_activations_are_those_of_torchvision(self, family: FeatureExtractor) -> None:
        torch.manual_seed(0)
        layers = [*family.summary.spread_layers(COMPARED_LAYERS), "output"]
        reference = torchvision_network(family.model.name)
        assert_same_activations(family, layers, torch.rand(1, 3, 224, 224), reference)

    def test_three_steps_of_ascent_raise_a_middle_layer(self, family: FeatureExtractor) -> None:
        torch.manual_seed(0)
        image = torch.rand(1, 3, 96, 128)
        layer = family.layer("auto")
        assert 0.2 < cost_shares(family.network, family.summary)[layer.name] < 0.8
        objective = ObjectiveFactory(family).build(params(), image)
        values = [float(objective(image))]
        for _ in range(3):
            image = ascend(
                image,
                partial(value_and_gradient, objective=objective),
                Conditioning(1.0, 0.8),
                texture_map(image),
                [(0, 0)],
                0.01,
            )
            values.append(float(objective(image)))
        assert values == sorted(values)
        assert values[-1] > values[0]


@pytest.mark.parametrize("name", COMPARED_WHOLE)
def test_every_layer_in_one_pass(name: str) -> None:
    torch.manual_seed(0)
    model = load_model(Settings(model=name, weights="random"))
    with_trained_norms(model.network)
    layers = [layer.name for layer in inspect_network(model.network, name).layers]
    extractor = FeatureExtractor(model, layers, CPU)
    image, reference = torch.rand(1, 3, 224, 224), torchvision_network(name)
    assert_same_activations(extractor, layers, image, reference)


@pytest.mark.parametrize("name", [*FAMILIES[:-1], "vit_b_16", "mnasnet1_3", "regnet_y_1_6gf"])
def test_networks_are_built_for_their_best_weights(name: str) -> None:
    best = models.get_model_weights(name).DEFAULT
    parameters = dict(build_untrained(name).named_parameters())
    auxiliary = sum(
        parameter.numel() for key, parameter in parameters.items() if key.lower().startswith("aux")
    )
    count = sum(parameter.numel() for parameter in parameters.values())
    assert best.meta["num_params"] in (count, count - auxiliary)


@pytest.mark.parametrize("name", ["vit_b_32", "alexnet", "maxvit_t"])
@pytest.mark.parametrize("size", [(1, 1), (40, 70), (224, 300), (230, 401)])
def test_images_of_any_size(name: str, size: tuple[int, int]) -> None:
    extractor = load_extractor(Settings(model=name, weights="random"), CPU)
    (activation,) = extractor(torch.rand(1, 3, *size), ["auto"])
    assert activation.isfinite().all()


def test_vision_transformers_keep_the_names_of_their_layers() -> None:
    extractor = load_extractor(Settings(model="vit_b_32", weights="random"), CPU)
    names = {name for name, _ in models.vit_b_32(weights=None).named_modules() if name}
    assert {name for name, _ in extractor.network.named_modules() if name} == names


def test_the_first_deepdreams_of_vgg(sample_still: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.png"
    words = ["--model", "vgg16", "--layer", "features.22", "--octaves", "4", "--octave-scale"]
    words += ["1.8", "--iterations", "10", "--weights", "random", "--size", "128", "--quiet"]
    assert main([str(sample_still), str(out), *words]) == 0
    assert out.exists()


@pytest.fixture
def cached_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where PyTorch's cache, empty in this test, stores the weights of a small network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / WEIGHTS_FILE
    path.parent.mkdir(parents=True)
    return path


class TestDownload:
    def test_offline_the_message_names_the_file(
        self,
        cached_weights: Path,
        tmp_path: Path,
        sample_still: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise urllib.error.URLError("no route to host")

        monkeypatch.setattr("torch.hub.urlopen", refuse)
        out = tmp_path / "o.png"
        assert main([str(sample_still), str(out), "--model", "squeezenet1_1", "--quiet"]) == 1
        message = capsys.readouterr().err
        path = str(cached_weights)
        for word in ("squeezenet1_1", "https://", "no route to host", path, "--weights"):
            assert word in message
        assert message.count("\n") == 1
        assert not out.exists()

    def test_a_malicious_file_in_the_cache_does_not_run(
        self, cached_weights: Path, tmp_path: Path
    ) -> None:
        torch.save({"features.0.weight": Malice(tmp_path / "trap")}, cached_weights)
        with pytest.raises(WeightsError, match="nothing in it was run"):
            load_model(Settings(model="squeezenet1_1"))
        assert not (tmp_path / "trap").exists()

    @pytest.mark.parametrize("content", [b"", b"just some text, no weights", b"PK\x03\x04 cut off"])
    def test_a_damaged_file_in_the_cache_is_named(
        self, content: bytes, cached_weights: Path
    ) -> None:
        cached_weights.write_bytes(content)
        with pytest.raises(WeightsError, match=r"PyTorch's cache: delete .*, and it is") as caught:
            load_model(Settings(model="squeezenet1_1"))
        assert f"delete {cached_weights}, " in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_writes_one_file_and_nothing_to_standard_output(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Standard output may carry the video."""
        served = tmp_path / "weights.pth"
        torch.save(models.squeezenet1_1(weights=None).state_dict(), served)
        digest = hashlib.sha256(served.read_bytes()).hexdigest()[:8]
        served = served.rename(tmp_path / f"net-{digest}.pth")
        path = tmp_path / "hub" / "checkpoints" / served.name
        self.serve(Download(served.as_uri(), path, 5.0), monkeypatch)
        with pytest.warns(DreamVideoWarning, match=r"downloading .* \(5 MB\)"):
            load_model(Settings(model="squeezenet1_1"))
        assert path.read_bytes() == served.read_bytes()
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        assert capsys.readouterr().out == ""

    def test_a_file_with_another_hash_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        served = tmp_path / "net-12345678.pth"
        torch.save(models.squeezenet1_1(weights=None).state_dict(), served)
        download = Download(served.as_uri(), tmp_path / "hub" / served.name, 5.0)
        self.serve(download, monkeypatch)
        with pytest.warns(DreamVideoWarning), pytest.raises(WeightsError, match="hash"):
            load_model(Settings(model="squeezenet1_1"))
        assert not download.path.exists()

    def test_a_downloaded_file_is_used(self, cached_weights: Path) -> None:
        state = models.squeezenet1_1(weights=None).state_dict()
        state["features.0.bias"] += 3
        torch.save(state, cached_weights)
        model = load_model(Settings(model="squeezenet1_1"))
        torch.testing.assert_close(
            model.network.state_dict()["features.0.bias"], state["features.0.bias"]
        )
        entry = next(entry for entry in model_entries() if entry.name == "squeezenet1_1")
        assert entry.is_available
        assert str(cached_weights) in entry.remark

    @staticmethod
    def serve(download: Download, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "dreamvideo.networks.torchvision_models.weights_download", lambda name: download
        )
