"""Every network works by its name: torchvision's, timm's and strangers'; so do files of weights."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import sys
import urllib.error
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from dreamvideo.cli.main import main
from dreamvideo.dream.ascent import ascend, value_and_gradient
from dreamvideo.dream.conditioning import Conditioning
from dreamvideo.dream.objective_factory import ObjectiveFactory
from dreamvideo.dream.pyramid import texture_map
from dreamvideo.errors import DreamVideoWarning, UnknownLayerError, UnknownModelError, WeightsError
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.networks.introspection import cost_shares, first_tensor, inspect_network
from dreamvideo.networks.model import Model
from dreamvideo.networks.registry import describe_model, load_model, model_entries
from dreamvideo.networks.torchvision_models import (
    INCEPTIONS,
    Download,
    build_untrained,
    torchvision_names,
)
from dreamvideo.networks.weights import load_weights, read_weights
from dreamvideo.settings import Settings
from dreamvideo.settings.frame_params import frame_params
from tests.conftest import params
from tests.unknown_networks import PAIRS, Faces

CPU = torch.device("cpu")
# The smallest of each architecture.
FAMILIES = [
    *("alexnet", "vgg11_bn", "squeezenet1_1", "densenet121", "resnet18", "googlenet"),
    *("inception_v3", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5"),
    *("efficientnet_b0", "regnet_x_400mf", "regnet_y_400mf", "convnext_tiny", "vit_b_32"),
    *("swin_t", "swin_v2_t", "maxvit_t"),
]
# Of these every layer is compared: they change answers in place, branch, and share modules.
COMPARED_WHOLE = ("resnet18", "googlenet", "squeezenet1_1", "mobilenet_v3_small", "densenet121")
# Weights are folded in singles: most was 5e-5. What was computed in singles differed by 1.5e-3 on
# some processor.
MOST_DIFFERENCE = 5e-4
MOST_DIFFERENCE_OF_SINGLES = 1e-2
HOW_MANY = 6


def unlike_its_beginning(network: nn.Module) -> nn.Module:
    """Batch-norms that do something: fresh ones change nothing, so that any folding would do."""
    generator = torch.Generator().manual_seed(1)
    norms = [module for module in network.eval().modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.copy_(torch.rand(norm.weight.shape, generator=generator) + 0.5)
            norm.bias.copy_(torch.randn(norm.bias.shape, generator=generator) * 0.1)
            norm.momentum = 1.0  # takes over what it sees in one pass
            norm.train()
        network(torch.rand(1, 3, 224, 224, generator=generator))
        for norm in norms:
            assert norm.running_var is not None
            norm.running_var.clamp_(min=0.05)  # what hardly varies would only blow up rounding
    return network.eval()


def untouched(name: str) -> nn.Module:
    """Torchvision's own network, as it makes it."""
    options: dict[str, Any] = {"init_weights": False} if name in INCEPTIONS else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return unlike_its_beginning(models.get_model(name, weights=None, **options))


def answers_of(network: nn.Module, picture: Tensor) -> dict[str, Tensor]:
    """What every part of a network answers, by its name."""
    activations: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def note(module: nn.Module, inputs: object, activation: object) -> None:
            if (tensor := first_tensor(activation)) is not None:
                activations[name] = tensor.clone()

        return note

    for name, module in network.named_modules():
        module.register_forward_hook(keep(name or "output"))
    with torch.no_grad():
        network(picture)
    return activations


def check_alike(
    backbone: FeatureExtractor, layers: list[str], picture: Tensor, plain: nn.Module
) -> None:
    """In doubles: how processors round single floats grows in some networks a ten-thousandfold."""
    mean, std = (
        torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1)
        for colour in (backbone.model.mean, backbone.model.std)
    )
    expected = answers_of(plain.double(), (picture.double() - mean) / std)
    for asked in (layers, layers[:2]):  # the second time it stops early
        with torch.no_grad():
            singles = backbone(picture, asked)
            backbone.network.double()
            activations = backbone(picture.double(), asked)
            backbone.network.float()
        for name, activation, single in zip(asked, activations, singles, strict=True):
            wanted = expected[name].movedim(backbone.layer(name).channel_axis, 1)
            assert activation.shape == wanted.shape
            assert _difference(activation, wanted) < MOST_DIFFERENCE, name
            assert _difference(single, wanted) < MOST_DIFFERENCE_OF_SINGLES, name


def _difference(activation: Tensor, wanted: Tensor) -> float:
    return float((activation - wanted).norm() / (wanted.norm() + 1e-12))


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> FeatureExtractor:
    """The smallest of an architecture, folded, and loaded for some layers."""
    model = load_model(Settings(model=request.param, weights="random"))
    unlike_its_beginning(model.network)
    known = inspect_network(model.network, model.name, model.side_px)
    return FeatureExtractor(model, ["auto", *known.spread_layers(HOW_MANY), "output"], CPU)


class TestFamily:
    """What holds for every architecture."""

    def test_answers_as_the_untouched_network(self, family: FeatureExtractor) -> None:
        torch.manual_seed(0)
        picture = torch.rand(1, 3, 224, 224)
        layers = [*family.summary.spread_layers(HOW_MANY), "output"]
        check_alike(family, layers, picture, untouched(family.model.name))

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
def test_every_layer_at_once_is_as_in_the_untouched_network(name: str) -> None:
    torch.manual_seed(0)
    model = load_model(Settings(model=name, weights="random"))
    unlike_its_beginning(model.network)
    layers = [layer.name for layer in inspect_network(model.network, name).layers]
    backbone = FeatureExtractor(model, layers, CPU)
    check_alike(backbone, layers, torch.rand(1, 3, 224, 224), untouched(name))


@pytest.mark.parametrize("name", [*FAMILIES[:-1], "vit_b_16", "mnasnet1_3", "regnet_y_1_6gf"])
def test_what_is_built_is_what_the_published_weights_were_trained_for(name: str) -> None:
    """Whatever torchvision's builder takes from the weights, ours takes too."""
    published = models.get_model_weights(name).DEFAULT
    network = build_untrained(name)
    auxiliary = sum(
        parameter.numel()
        for part, parameter in network.named_parameters()
        if part.lower().startswith("aux")
    )
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert published.meta["num_params"] in (counted, counted - auxiliary)


def test_every_network_of_torchvision_is_there() -> None:
    here = {entry.name for entry in model_entries()}
    assert set(torchvision_names()) | {"efficientnet_lite0", "timm:NAME"} <= here
    assert {"vgg16", "vgg19", "googlenet", "resnet50", "vit_b_16", "densenet121"} <= here


@pytest.mark.parametrize(
    ("name", "layer", "receptive_field_px"),
    [
        # Known from Araujo et al. 2019, table 1, and by hand.
        ("alexnet", "features.12", 195),
        ("vgg16", "features.30", 212),
        ("resnet18", "layer4", 435),
        ("resnet50", "layer4", 427),
        ("vgg16", "features.0", 3),
        ("inception_v3", "Mixed_7c", 1311),
    ],
)
def test_receptive_fields(name: str, layer: str, receptive_field_px: float) -> None:
    known = {one.name: one for one in describe_model(name)[1].layers}
    assert known[layer].receptive_field_px == pytest.approx(receptive_field_px, rel=0.02)
    assert known["output"].receptive_field_px == float("inf")


def test_costs_are_counted() -> None:
    """Those of VGG16, by hand from its table 1: all multiplications of each layer so far."""
    model, known = describe_model("vgg16")
    sides = [224, 224, 112, 112, 56, 56, 56, 28, 28, 28, 14, 14, 14]
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    costs = [s * s * 9 * a * b for s, a, b in zip(sides, channels, channels[1:], strict=False)]
    total = sum(costs) + 25088 * 4096 + 4096 * 4096 + 4096 * 1000
    shares = cost_shares(model.network, known)
    assert shares["features.0"] == pytest.approx(costs[0] / total)
    assert shares["features.21"] == pytest.approx(sum(costs[:10]) / total)
    assert shares["output"] == 1
    in_order = [shares[layer.name] for layer in known.layers]
    assert in_order == sorted(in_order)


@pytest.mark.parametrize("name", ["vit_b_32", "alexnet", "maxvit_t"])
@pytest.mark.parametrize("size", [(1, 1), (40, 70), (224, 300), (230, 401)])
def test_pictures_of_any_size(name: str, size: tuple[int, int]) -> None:
    backbone = load_extractor(Settings(model=name, weights="random"), CPU)
    (activation,) = backbone(torch.rand(1, 3, *size), ["auto"])
    assert activation.isfinite().all()


def test_the_network_dreams_of_the_seed_project(sample_still: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.png"
    words = ["--model", "vgg16", "--layer", "features.22", "--octaves", "4", "--octave-scale"]
    words += ["1.8", "--iterations", "10", "--weights", "random", "--size", "128", "--quiet"]
    assert main([str(sample_still), str(out), *words]) == 0
    assert out.exists()


class TestStrangers:
    """Networks that are not torchvision's."""

    def test_a_callable_is_a_network(self, tmp_path: Path, sample_still: Path) -> None:
        words = [str(sample_still), str(tmp_path / "o.png"), "--size", "96", "--quiet"]
        model = ["--model", "tests.unknown_networks:Faces", "--iterations", "2"]
        assert main([*words, *model, "--layer", "repeat_2", "--mean", "0.5,0.5,0.5"]) == 0

    def test_answers_as_the_untouched_network(self) -> None:
        torch.manual_seed(0)
        settings = Settings(model="tests.unknown_networks:Faces", mean=(0.5,) * 3, std=(0.5,) * 3)
        model = load_model(settings)
        unlike_its_beginning(model.network)
        layers = ["conv2d_1a", "mixed_5", "repeat_2.1.conv2d", "repeat_2", "output"]
        backbone = FeatureExtractor(model, layers, CPU)
        assert len(backbone.summary.folds) >= 10
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            plain = unlike_its_beginning(Faces())
        check_alike(backbone, layers, torch.rand(1, 3, 160, 160), plain)

    def test_plain_arguments_are_passed_on(self) -> None:
        model = load_model(Settings(model='tests.unknown_networks:Faces(width=8, name="x")'))
        assert isinstance(model.network, Faces)
        assert model.network.width == 8

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("no.such.package:make", ["no.such.package", "ModuleNotFoundError"]),
            ("tests.unknown_networks:nobody", ["nobody", "AttributeError"]),
            ("tests.unknown_networks:Faces(width=open('x'))", ["plain values"]),
            ("tests.unknown_networks:Faces(8)", ["plain values"]),
            ("tests.unknown_networks:no_network", ["returned a str", "torch.nn.Module"]),
            ("tests.unknown_networks:fails", ["ValueError", "not today"]),
            ("tests.unknown_networks:leaves", ["SystemExit"]),
            ("timm:resnet18.no_such_tag", ["no_such_tag"]),
            ("tests.unknown_networks:blind", ["does not take an image"]),
            ("timm:no_such_net_50", ["timm", "nearest", "timm.list_models"]),
            ("resnet51", ["nearest are resnet50", "dreamvideo models"]),
        ],
    )
    def test_what_is_none_is_refused(self, name: str, words: list[str]) -> None:
        with pytest.raises(UnknownModelError) as caught:
            load_extractor(Settings(model=name, weights="random"), CPU)
        for word in words:
            assert word in str(caught.value)

    def test_files_of_the_current_folder_count(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "my_own_network.py").write_text(
            "from torch import nn\n\n\ndef make():\n    return nn.Conv2d(3, 4, 3)\n"
        )
        monkeypatch.chdir(tmp_path)
        (activation,) = load_extractor(Settings(model="my_own_network:make", layer="output"), CPU)(
            torch.rand(1, 3, 20, 30), ["output"]
        )
        assert activation.shape == (1, 4, 18, 28)
        assert str(tmp_path) not in sys.path

    @pytest.mark.parametrize("is_searched", [False, True])
    def test_the_import_path_is_restored(
        self, is_searched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also where the module changes it; what the module adds stays."""
        name = f"adds_paths_{is_searched}"
        (tmp_path / f"{name}.py").write_text(
            "import os\nimport sys\n\nfrom torch import nn\n\n"
            "sys.path = ['/added/first', os.getcwd(), *sys.path]\n\n\n"
            "def make():\n    return nn.Conv2d(3, 4, 3)\n"
        )
        monkeypatch.chdir(tmp_path)
        before = [*sys.path, str(tmp_path), "/searched/last"] if is_searched else [*sys.path]
        monkeypatch.setattr(sys, "path", [*before])
        load_extractor(Settings(model=f"{name}:make", layer="output"), CPU)
        assert sys.path == ["/added/first", str(tmp_path), *before]

    def test_the_import_path_is_restored_after_a_failure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        before = [*sys.path]
        with pytest.raises(UnknownModelError, match="no_such_module"):
            load_model(Settings(model="no_such_module:make"))
        assert sys.path == before

    @pytest.mark.parametrize(
        "name", ["resnet10t", "vit_tiny_patch16_224", "efficientnet_b0", "resnetv2_50"]
    )
    def test_timm(self, name: str) -> None:
        torch.manual_seed(0)
        model = load_model(Settings(model=f"timm:{name}", weights="random"))
        unlike_its_beginning(model.network)
        plain = timm.create_model(name)
        plain.load_state_dict(model.network.state_dict())
        layers = [*inspect_network(model.network, name).spread_layers(HOW_MANY), "output"]
        backbone = FeatureExtractor(model, layers, CPU)
        check_alike(backbone, layers, torch.rand(1, 3, 224, 224), plain.eval())
        (activation,) = backbone(torch.rand(1, 3, 96, 130), layers[:1])
        assert activation.isfinite().all()

    @pytest.mark.parametrize("kind", PAIRS)
    def test_only_plain_pairs_are_folded(self, kind: str) -> None:
        torch.manual_seed(0)
        network = PAIRS[kind]().eval()
        picture = torch.rand(1, 3, 224, 224)
        with torch.no_grad():
            network(picture)
        unlike_its_beginning(network) if kind not in ("without statistics", "lazy") else None
        plain = answers_of(copy.deepcopy(network), picture)
        model = Model(kind, network, mean=(0.0,) * 3, std=(1.0,) * 3)
        for layers in (["convolution", "output"], ["output"]):
            backbone = FeatureExtractor(replace(model, network=copy.deepcopy(network)), layers, CPU)
            for layer, activation in zip(layers, backbone(picture, layers), strict=True):
                torch.testing.assert_close(activation, plain[layer], rtol=1e-4, atol=1e-5)

    def test_lazy_modules_learn_their_sizes(self) -> None:
        backbone = load_extractor(
            Settings(model="tests.unknown_networks:make_lazy", layer="output"), CPU
        )
        assert backbone(torch.rand(1, 3, 64, 64), ["output"])[0].shape[1] == 12

    def test_what_a_network_keeps_is_no_matter(self) -> None:
        settings = Settings(model="tests.unknown_networks:Remembering", layer="second")
        backbone = load_extractor(settings, CPU, ["output"])
        assert backbone.layer("second").calls == 1
        for size in (64, 100):
            assert backbone(torch.rand(1, 3, size, size), ["output"])[0].isfinite().all()

    def test_sides_that_have_to_be_multiples(self) -> None:
        settings = Settings(model="tests.unknown_networks:Hourglass", layer="output")
        backbone = load_extractor(settings, CPU)
        for size, expected in {
            (97, 131): (100, 132),
            (64, 64): (64, 64),
            (450, 601): (452, 604),
        }.items():
            (activation,) = backbone(torch.rand(1, 3, *size), ["output"])
            assert activation.shape[2:] == expected

    def test_a_network_without_gradients_is_refused(
        self, sample_still: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = [str(sample_still), str(tmp_path / "o.png"), "--size", "64", "--quiet"]
        assert main([*words, "--model", "tests.unknown_networks:Numb", "--layer", "only"]) == 2
        assert "no gradient" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("name", "layer", "channels"),
        [
            ("maxvit_t", "blocks.2.layers.1.layers.window_attention.attn_layer", 256),
            ("maxvit_t", "stem.0.0", 64),
            ("timm:swin_tiny_patch4_window7_224", "layers.0.blocks.0", 96),
            ("timm:swin_tiny_patch4_window7_224", "layers.0.blocks.0.attn.qkv", 288),
            ("swin_t", "features.3.0.mlp.0", 768),
            ("vit_b_32", "encoder.layers.encoder_layer_1", 768),
        ],
    )
    def test_channels_are_told_from_places(self, name: str, layer: str, channels: int) -> None:
        settings = Settings(model=name, weights="random", layer=layer, strongest=3)
        backbone = load_extractor(settings, CPU)
        assert backbone.layer(layer).channels == channels
        image = torch.rand(1, 3, 224, 224)
        (activation,) = backbone(image, [layer])
        assert activation.shape[:2] == (1, channels)
        guided = replace(settings, strongest=None, guide="any")
        for objectives, frame in (
            (ObjectiveFactory(backbone), frame_params(settings, 0.0)),
            (ObjectiveFactory(backbone, torch.rand(1, 3, 64, 64)), frame_params(guided, 0.0)),
        ):
            assert objectives.build(frame, image)(image).isfinite()

    @pytest.mark.parametrize("options", [{"guide": "any"}, {"strongest": 3}], ids=str)
    def test_outputs_without_places_will_do(self, options: dict[str, Any]) -> None:
        settings = Settings(model="squeezenet1_1", weights="random", layer="output", **options)
        backbone, image = load_extractor(settings, CPU), torch.rand(1, 3, 96, 96)
        objectives = ObjectiveFactory(backbone, image.flip(2) if "guide" in options else None)
        assert objectives.build(frame_params(settings, 0.0), image)(image).isfinite()

    def test_without_timm_its_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "timm", None)
        with pytest.raises(UnknownModelError, match=r"dreamvideo\[timm\]"):
            load_extractor(Settings(model="timm:resnet18"), CPU)


class Malice:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Of a ResNet-18."""
    torch.manual_seed(7)
    state = models.resnet18(weights=None).state_dict()
    return {key: tensor + 0.01 for key, tensor in state.items()}


class TestWeights:
    """Files of weights are read, or refused."""

    @pytest.mark.parametrize("form", ["plain", "wrapped", "parallel", "safetensors", "old"])
    def test_are_read(self, form: str, weights: dict[str, Tensor], tmp_path: Path) -> None:
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

    def test_that_do_not_fit_are_refused(self, weights: dict[str, Tensor], tmp_path: Path) -> None:
        file = tmp_path / "w.pth"
        changed = {key: tensor for key, tensor in weights.items() if key != "conv1.weight"}
        torch.save({**changed, "stranger": torch.zeros(1), "fc.bias": torch.zeros(3)}, file)
        with pytest.raises(WeightsError) as caught:
            load_model(Settings(model="resnet18", weights=str(file)))
        for word in ("missing conv1.weight", "unexpected stranger", "(3,) instead of (1000,)"):
            assert word in str(caught.value)

    @pytest.mark.parametrize("is_old", [True, False])
    def test_a_malicious_pickle_is_refused_and_does_not_run(
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

    @pytest.mark.parametrize(
        ("content", "words"),
        [(b"", ["w.pth"]), (b"PK\x03\x04 not a zip", ["w.pth"]), (b"hello", ["w.pth"])],
    )
    def test_damaged_ones_are_refused(
        self, content: bytes, words: list[str], tmp_path: Path
    ) -> None:
        for name in ("w.pth", "w.safetensors"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(WeightsError, match=name):
                load_model(Settings(model="resnet18", weights=str(tmp_path / name)))

    def test_of_networks_with_a_part_called_module(self, tmp_path: Path) -> None:
        network = nn.Sequential()
        network.add_module("module", nn.Conv2d(3, 4, 3))
        torch.save(network.state_dict(), tmp_path / "w.pth")
        other = copy.deepcopy(network)
        load_weights(other, read_weights(tmp_path / "w.pth"), "it", "w.pth")

    def test_of_mnasnet_say_their_version(self, tmp_path: Path) -> None:
        state = models.mnasnet0_5(weights=None).state_dict()
        torch.save(state, tmp_path / "w.pth")
        safetensors.torch.save_file(dict(state), tmp_path / "w.safetensors")
        for name in ("w.pth", "w.safetensors"):
            load_model(Settings(model="mnasnet0_5", weights=str(tmp_path / name)))

    def test_missing_ones_are_named(self) -> None:
        with pytest.raises(WeightsError, match=r"no_such\.pth is no file"):
            load_model(Settings(model="alexnet", weights="no_such.pth"))

    @pytest.mark.parametrize("form", ["state dict", "checkpoint", "parallel"])
    def test_old_names_of_vision_transformers_are_known(self, form: str, tmp_path: Path) -> None:
        """Torchvision renames them itself, by the versions that a state dict carries."""
        network = models.vit_b_32(weights=None)
        network.class_token.data += 1
        if form == "parallel":
            network = nn.DataParallel(network)
        state, renamed = network.state_dict(), {".mlp.0.": "1", ".mlp.3.": "2"}
        for new, number in renamed.items():
            for key in [key for key in state if new in key]:
                state[key.replace(new, f".mlp.linear_{number}.")] = state.pop(key)
        for versions in state._metadata.values():
            versions["version"] = 1
        torch.save({"model": state} if form == "checkpoint" else state, tmp_path / "w.pth")
        other = build_untrained("vit_b_32")
        load_weights(other, read_weights(tmp_path / "w.pth"), "vit_b_32", "w.pth")
        expected = getattr(network, "module", network)
        for name, tensor in expected.state_dict().items():
            assert torch.equal(other.state_dict()[name], tensor)

    def test_old_names_of_densenet_are_known(self, tmp_path: Path) -> None:
        state = models.densenet121(weights=None).state_dict()
        old = {
            key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): tensor
            for key, tensor in state.items()
        }
        assert old.keys() != state.keys()
        file = tmp_path / "w.pth"
        torch.save(old, file)
        load_model(Settings(model="densenet121", weights=str(file)))

    def test_without_a_network_the_download_is_named(
        self,
        tmp_path: Path,
        sample_still: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise urllib.error.URLError("no route to host")

        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("torch.hub.urlopen", refuse)
        out = tmp_path / "o.png"
        assert main([str(sample_still), str(out), "--model", "squeezenet1_1", "--quiet"]) == 1
        message = capsys.readouterr().err
        place = str(tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth")
        for word in ("squeezenet1_1", "https://", "no route to host", place, "--weights"):
            assert word in message
        assert message.count("\n") == 1
        assert not out.exists()

    def test_a_malicious_file_in_the_cache_does_not_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        place = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
        place.parent.mkdir(parents=True)
        torch.save({"features.0.weight": Malice(tmp_path / "trap")}, place)
        with pytest.raises(WeightsError, match="nothing in it was run"):
            load_model(Settings(model="squeezenet1_1"))
        assert not (tmp_path / "trap").exists()

    def test_a_download_is_written_nowhere_but_to_its_place(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Standard output may be the film."""
        served = tmp_path / "squeezenet1_1-b8a52dc0.pth"
        torch.save(models.squeezenet1_1(weights=None).state_dict(), served)
        served = served.rename(
            tmp_path / f"net-{hashlib.sha256(served.read_bytes()).hexdigest()[:8]}.pth"
        )
        place = tmp_path / "hub" / "checkpoints" / served.name
        download = Download(served.as_uri(), place, 5.0)
        monkeypatch.setattr(
            "dreamvideo.networks.torchvision_models.weights_download", lambda name: download
        )
        with pytest.warns(DreamVideoWarning, match=r"downloading .* \(5 MB\)"):
            load_model(Settings(model="squeezenet1_1"))
        assert place.read_bytes() == served.read_bytes()
        assert capsys.readouterr().out == ""
        place.unlink()
        (tmp_path / "net-12345678.pth").write_bytes(served.read_bytes())
        wrong = Download(
            (tmp_path / "net-12345678.pth").as_uri(), place.with_name("net-12345678.pth"), 5.0
        )
        monkeypatch.setattr(
            "dreamvideo.networks.torchvision_models.weights_download", lambda name: wrong
        )
        with pytest.warns(DreamVideoWarning), pytest.raises(WeightsError, match="hash"):
            load_model(Settings(model="squeezenet1_1"))
        assert not wrong.path.exists()

    def test_a_downloaded_file_is_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file in its place in the cache is all that is needed."""
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        place = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
        place.parent.mkdir(parents=True)
        state = models.squeezenet1_1(weights=None).state_dict()
        state["features.0.bias"] += 3
        torch.save(state, place)
        model = load_model(Settings(model="squeezenet1_1"))
        torch.testing.assert_close(
            model.network.state_dict()["features.0.bias"], state["features.0.bias"]
        )
        entry = next(entry for entry in model_entries() if entry.name == "squeezenet1_1")
        assert entry.is_available
        assert str(place) in entry.remark


def test_random_states_of_the_program_are_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_model(Settings(model="alexnet", weights="random"))
    assert torch.equal(torch.rand(3), expected)


def test_cuda_is_seeded_where_it_is_in_use_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeding every device would change, or start, those of the program."""
    seeds: list[int] = []
    monkeypatch.setattr("torch.cuda.manual_seed_all", seeds.append)
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: False)
    load_model(Settings(model="tests.unknown_networks:Faces"))
    assert seeds == []
    states = {0: "of device 0", 1: "of device 1"}
    restored: dict[int, str] = {}
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: len(states))
    monkeypatch.setattr("torch.cuda.get_rng_state", states.__getitem__)
    monkeypatch.setattr(
        "torch.cuda.set_rng_state", lambda state, device: restored.update({device: state})
    )
    load_model(Settings(model="tests.unknown_networks:Faces"))
    assert len(seeds) == 1
    assert restored == states


def test_random_weights_are_always_the_same() -> None:
    one, other = (
        load_model(Settings(model="alexnet", weights="random")).network.state_dict()
        for _ in range(2)
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("wanted", "index"), [("tabby", 281), ("Tiger Cat", 282), ("281", 281), ("goldfish", 1)]
)
def test_classes_by_name_and_number(wanted: str, index: int) -> None:
    assert load_extractor(Settings(class_="0"), CPU).class_index(wanted) == index


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("taby", ["tabby"]),
        ("1000", ["0 to 999"]),
        ("cardigan", ["264", "474"]),
        ("-1", ["0 to 999"]),
    ],
)
def test_classes_that_are_none(wanted: str, words: list[str]) -> None:
    backbone = load_extractor(Settings(class_="0"), CPU)
    with pytest.raises(UnknownLayerError) as caught:
        backbone.class_index(wanted)
    for word in words:
        assert word in str(caught.value)


def test_normalisation_is_that_of_the_weights_or_ones_own() -> None:
    own = Settings(model="alexnet", weights="random", mean=(0.1, 0.2, 0.3), std=(1, 2, 3))
    assert load_model(own).mean == (0.1, 0.2, 0.3)
    assert load_model(own).std == (1.0, 2.0, 3.0)
    typical_log_gain = load_model(Settings(model="inception_v3", weights="random"))
    assert typical_log_gain.mean == (0.485, 0.456, 0.406)
    assert typical_log_gain.side_px == 299
