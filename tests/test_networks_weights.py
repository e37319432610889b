"""Weights files of many forms are loaded; those that do not fit or hold programs are refused."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision import models

from dreamvideo.cli.main import main
from dreamvideo.errors import WeightsError
from dreamvideo.networks.registry import load_model
from dreamvideo.networks.torchvision_models import build_untrained
from dreamvideo.networks.weights import load_weights, read_weights
from dreamvideo.settings import Settings
from tests.unknown_networks import Malice, OldTransformerMLP


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Weights of a ResNet-18."""
    torch.manual_seed(7)
    state = models.resnet18(weights=None).state_dict()
    return {key: tensor + 0.01 for key, tensor in state.items()}


class TestForms:
    @pytest.mark.parametrize("form", ["plain", "wrapped", "parallel", "safetensors", "old"])
    def test_are_loaded(self, form: str, weights: dict[str, Tensor], tmp_path: Path) -> None:
        file = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
        if form == "safetensors":
            safetensors.torch.save_file(weights, file)
        elif form == "wrapped":
            torch.save({"epoch": 3, "state_dict": weights}, file)
        elif form == "parallel":
            torch.save({f"module.{key}": tensor for key, tensor in weights.items()}, file)
        elif form == "old":
            torch.save({k: t for k, t in weights.items() if "num_batches" not in k}, file)
        else:
            torch.save(weights, file)
        network = load_model(Settings(model="resnet18", weights=str(file))).network
        torch.testing.assert_close(network.state_dict()["fc.weight"], weights["fc.weight"])

    def test_a_network_with_a_module_named_module(self, tmp_path: Path) -> None:
        network = nn.Sequential()
        network.add_module("module", nn.Conv2d(3, 4, 3))
        torch.save(network.state_dict(), tmp_path / "w.pth")
        other = copy.deepcopy(network)
        load_weights(other, read_weights(tmp_path / "w.pth"), "it", "w.pth")

    def test_mnasnet_needs_the_version_of_its_weights(self, tmp_path: Path) -> None:
        """A `.safetensors` file has none: the current version is assumed."""
        state = models.mnasnet0_5(weights=None).state_dict()
        torch.save(state, tmp_path / "w.pth")
        safetensors.torch.save_file(dict(state), tmp_path / "w.safetensors")
        for name in ("w.pth", "w.safetensors"):
            load_model(Settings(model="mnasnet0_5", weights=str(tmp_path / name)))

    @pytest.mark.parametrize("form", ["state dict", "checkpoint", "parallel"])
    def test_old_names_of_vision_transformers(self, form: str, tmp_path: Path) -> None:
        """Torchvision renames them, by the versions of modules that a state dict carries."""
        network = models.vit_b_32(weights=None)
        network.class_token.data += 1
        for layer in network.encoder.layers:
            layer.mlp = OldTransformerMLP(layer.mlp)
        parallel = nn.DataParallel(network) if form == "parallel" else network
        state = parallel.state_dict()
        torch.save({"model": state} if form == "checkpoint" else state, tmp_path / "w.pth")
        loaded = build_untrained("vit_b_32")
        load_weights(loaded, read_weights(tmp_path / "w.pth"), "vit_b_32", "w.pth")
        for old, new in zip(network.parameters(), loaded.parameters(), strict=True):
            assert torch.equal(old, new)

    def test_old_names_of_densenet(self, tmp_path: Path) -> None:
        state = models.densenet121(weights=None).state_dict()
        old = {
            key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): tensor
            for key, tensor in state.items()
        }
        assert old.keys() != state.keys()
        torch.save(old, tmp_path / "w.pth")
        load_model(Settings(model="densenet121", weights=str(tmp_path / "w.pth")))


class TestRefusal:
    def test_weights_of_another_network(self, weights: dict[str, Tensor], tmp_path: Path) -> None:
        file = tmp_path / "w.pth"
        changed = {key: tensor for key, tensor in weights.items() if key != "conv1.weight"}
        torch.save({**changed, "extra": torch.zeros(1), "fc.bias": torch.zeros(3)}, file)
        with pytest.raises(WeightsError) as caught:
            load_model(Settings(model="resnet18", weights=str(file)))
        for word in ("missing conv1.weight", "unexpected extra", "(3,) instead of (1000,)"):
            assert word in str(caught.value)

    @pytest.mark.parametrize("is_old", [True, False])
    def test_a_malicious_pickle_does_not_run(
        self, is_old: bool, tmp_path: Path, sample_still: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file, trap = tmp_path / "w.pth", tmp_path / "trap"
        if is_old:
            file.write_bytes(pickle.dumps({"conv1.weight": Malice(trap)}))
        else:
            torch.save({"conv1.weight": Malice(trap)}, file)
        for model in ("resnet18", "efficientnet_lite0", "tests.unknown_networks:Faces"):
            words = [str(sample_still), str(tmp_path / "o.png"), "--model", model]
            assert main([*words, "--weights", str(file)]) == 1
            message = capsys.readouterr().err
            assert "refused, nothing in it was run" in message
            assert message.count("\n") == 1
        assert not trap.exists()
        assert not (tmp_path / "o.png").exists()

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"hello"])
    @pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
    def test_damaged_files(self, content: bytes, name: str, tmp_path: Path) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            load_model(Settings(model="resnet18", weights=str(tmp_path / name)))

    @pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(1)], torch.zeros(1)])
    def test_files_without_weights(self, content: object, tmp_path: Path) -> None:
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match=r"w\.pth contains no weights; save the state_dict"):
            load_model(Settings(model="resnet18", weights=str(tmp_path / "w.pth")))

    def test_missing_files(self) -> None:
        with pytest.raises(WeightsError, match=r"no_such\.pth is no file"):
            load_model(Settings(model="alexnet", weights="no_such.pth"))
