"""Networks of many kinds dream at any layer that runs, whatever they take, return or compute in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dreamvideo.cli.main import main
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.errors import (
    DreamVideoWarning,
    SettingsError,
    UnknownLayerError,
    UnknownModelError,
    UsageError,
)
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.networks.introspection import inspect_network
from dreamvideo.networks.model import Model
from dreamvideo.settings import Settings
from dreamvideo.types import LUMA_BT709
from tests.conftest import CPU, params
from tests.unknown_networks import Returns, Small

HERE = "tests.unknown_networks"


def load(factory: str, layer: str = "auto", **options: Any) -> FeatureExtractor:
    """A network of `unknown_networks`, prepared for a layer; it takes images as they are."""
    plain = {"mean": (0.0,) * 3, "std": (1.0,) * 3, **options}
    return load_extractor(Settings(model=f"{HERE}:{factory}", layer=layer, **plain), CPU)


def activation(extractor: FeatureExtractor, layer: str, image: Tensor) -> Tensor:
    """Of one layer."""
    with torch.no_grad():
        return extractor(image, [layer])[0]


def stage_of(network: Small, image: Tensor) -> Tensor:
    """The activation of the stage, computed directly."""
    with torch.no_grad():
        return network.stages(image)[1]


@pytest.fixture
def image() -> Tensor:
    """Of no size that is a multiple of anything."""
    torch.manual_seed(3)
    return torch.rand(1, 3, 53, 71)


@pytest.fixture
def small() -> Small:
    """The network as its factory builds it here."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Small().eval()


class TestOutputs:
    @pytest.mark.parametrize(
        "kind",
        [
            *("dictionary", "list", "tuple with a loss", "named tuple", "dataclass"),
            "ordered dictionary",
        ],
    )
    def test_the_activation_is_found_in_any_container(self, kind: str, image: Tensor) -> None:
        network = Returns(kind).eval()
        model = Model("it", network, mean=(0.0,) * 3, std=(1.0,) * 3)
        expected = network.stages(image)[-1]
        extractor = FeatureExtractor(model, ["output", "stage"], CPU)
        torch.testing.assert_close(activation(extractor, "output", image), expected)

    @pytest.mark.parametrize("kind", ["text", "index"])
    def test_inner_layers_do_not_need_one(self, kind: str, small: Small, image: Tensor) -> None:
        extractor = load(f"Returns(kind={kind!r})", "stage")
        torch.testing.assert_close(activation(extractor, "stage", image), stage_of(small, image))
        assert extractor.layer("stage").channels == 8
        with pytest.raises(UnknownLayerError, match="its output contains no activation"):
            load(f"Returns(kind={kind!r})", "output")

    def test_auto_has_a_gradient(self) -> None:
        assert load("Detached").layer("auto").has_gradient
        summary = inspect_network(Small(), "it")
        assert [layer.name for layer in summary.layers if not layer.has_gradient] == []

    def test_segmentation_by_the_command_line(
        self, tmp_path: Path, sample_still: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model = f"{HERE}:Returns(kind='dictionary')"
        assert main(["layers", model]) == 0
        listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
        assert listed == ["layer", "stem", "norm", "stage.0", "stage.1", "stage", "head", "output"]
        for layer in ("auto", "stage.0"):
            out = tmp_path / f"{layer}.png"
            words = [str(sample_still), str(out), "--model", model, "--layer", layer]
            assert main([*words, "--size", "64", "--iterations", "1", "--quiet"]) == 0
            assert out.exists()


class TestInputs:
    def test_luma(self, image: Tensor) -> None:
        extractor = load("Gray", "stem", mean=(0.5,) * 3, std=(0.25,) * 3)
        assert extractor.summary.image.channels == 1
        luma = sum(weight * image[:, i : i + 1] for i, weight in enumerate(LUMA_BT709))
        expected = extractor.network.get_submodule("stem")((luma - 0.5) / 0.25)
        extractor = load("Gray", "stem", mean=(0.5,) * 3, std=(0.25,) * 3)
        torch.testing.assert_close(activation(extractor, "stem", image), expected.detach())

    def test_a_fixed_size_is_found(self, image: Tensor) -> None:
        words = r"head of .* takes images of 64x64 pixels only: .* layers before head take any size"
        with pytest.warns(DreamVideoWarning, match=words):
            extractor = load("FixedSize", "head")
        assert activation(extractor, "head", image).shape == (1, 10)
        assert extractor.receptive_field(["head"]) is None

    def test_layers_before_the_head_keep_the_size(self, small: Small, image: Tensor) -> None:
        for factory in ("FixedSize", "FixedPortrait"):
            extractor = load(factory, "stage")
            assert activation(extractor, "stage", image).shape == stage_of(small, image).shape

    def test_the_list_of_layers_says_where_the_network_fails(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["layers", f"{HERE}:FixedPortrait"]) == 0
        printed = capsys.readouterr()
        assert [line.split()[0] for line in printed.out.splitlines()][-1] == "stage"
        assert "fails after these layers, on an image of 224x224 pixels: RuntimeErr" in printed.err

    def test_a_fixed_size_that_is_given(self, image: Tensor) -> None:
        with pytest.raises(
            UnknownLayerError,
            match=r"fails before head gives .* on an image of 224x224.*mat1.*--network-size",
        ):
            load("FixedPortrait", "head")
        with pytest.warns(DreamVideoWarning, match="images of 24x48 pixels only"):
            extractor = load("FixedPortrait", "head", network_size="24x48")
        assert activation(extractor, "head", image).shape == (1, 10)

    @pytest.mark.parametrize("size", ["", "0", "64x", "x64", "64x64x3", "-3", "64.5"])
    def test_malformed_sizes(self, size: str) -> None:
        with pytest.raises(SettingsError, match="network-size cannot be"):
            Settings(network_size=size)

    @pytest.mark.parametrize(
        ("factory", "words"),
        [
            ("FourChannels", "takes images of 4 channels; allowed are 3"),
            ("Volumes(channels=3)", "takes videos or volumes"),
            ("Volumes(channels=1)", "takes videos or volumes"),
            ("TwoInputs", "a network whose only input is an image"),
            ("EvenBatches", "images come in pairs"),
        ],
    )
    def test_what_is_no_image_is_refused(self, factory: str, words: str) -> None:
        with pytest.raises(UnknownModelError, match=words) as caught:
            load(factory)
        assert "\n" not in str(caught.value)

    def test_a_volume_inside(self, image: Tensor) -> None:
        assert activation(load("InnerVolume", "output"), "output", image).isfinite().all()


class TestKinds:
    @pytest.mark.parametrize(
        "kind",
        [
            *("half", "bfloat16", "double", "train", "compiled", "compiled in place"),
            *("parallel", "averaged", "parts"),
        ],
    )
    def test_computes_in_float32(self, kind: str, small: Small, image: Tensor) -> None:
        extractor = load(f"wrapped(kind={kind!r})", "stage")
        rounding = {"half": 1e-3, "bfloat16": 1e-2}.get(kind, 0) + 1e-6
        result = activation(extractor, "stage", image)
        assert result.dtype == torch.float32
        expected = stage_of(small, image)
        torch.testing.assert_close(result, expected, rtol=rounding, atol=rounding)
        names = [layer.name for layer in extractor.summary.layers]
        assert names == ["stem", "norm", "stage.0", "stage.1", "stage", "head", "output"]

    def test_its_own_precision_stays_inside(self, image: Tensor) -> None:
        assert activation(load("Autocast", "stage"), "stage", image).dtype == torch.float32

    def test_methods_that_return_nothing(self, small: Small, image: Tensor) -> None:
        result = activation(load("OwnMode", "stage"), "stage", image)
        torch.testing.assert_close(result, stage_of(small, image))

    def test_random_networks_are_named(self) -> None:
        state = torch.get_rng_state()
        with pytest.warns(DreamVideoWarning, match="draws random numbers in every pass"):
            load("AlwaysDropout", "stage")
        assert torch.equal(torch.get_rng_state(), state)
        load("AlwaysDropout", "norm")  # before the dropout


@pytest.mark.filterwarnings("ignore:.*jit.*:FutureWarning", "ignore:.*jit.*:DeprecationWarning")
class TestScript:
    def test_its_output_can_be_dreamed(self, small: Small, image: Tensor) -> None:
        extractor = load("scripted", "output")
        expected = small(image).detach()
        torch.testing.assert_close(activation(extractor, "output", image), expected)
        with torch.enable_grad():
            leaf = image.clone().requires_grad_()
            assert torch.autograd.grad(extractor(leaf, ["output"])[0].sum(), leaf)[0].any()

    def test_its_layers_cannot_be_reached(self) -> None:
        with pytest.raises(UnknownLayerError, match=r"'stage'.* TorchScript program; give the net"):
            load("scripted", "stage")

    def test_a_part_that_is_a_script(self, small: Small, image: Tensor) -> None:
        extractor = load("scripted(part='stage')", "stage")
        torch.testing.assert_close(activation(extractor, "stage", image), stage_of(small, image))
        assert [layer.name for layer in extractor.summary.layers][-1] == "output"


class TestNotFinite:
    @pytest.mark.parametrize("kind", ["activation", "gradient"])
    def test_the_first_dream_names_the_layer(
        self, kind: str, tmp_path: Path, sample_still: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "o.png"
        out.write_bytes(b"an earlier result")
        words = [str(sample_still), str(out), "--model", f"{HERE}:NotFinite(kind={kind!r})"]
        words += ["--size", "48", "--octaves", "1", "--quiet", "--overwrite", "--layer"]
        assert main([*words, "output"]) == 1
        message = capsys.readouterr().err
        assert f"NaN or infinity: the {kind} of output is not finite" in message
        assert message.count("\n") == 1
        assert out.read_bytes() == b"an earlier result"
        assert main([*words, "stage"]) == 0

    def test_only_the_first_dream_is_checked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Reading the number would make every frame wait for the device."""
        read: list[int] = []
        is_true = Tensor.__bool__

        def count(tensor: Tensor) -> bool:
            read.append(len(read))
            return is_true(tensor)

        dreamer = Dreamer(load("Small", "stage"), CPU)
        frame, source = params(layer="stage", iterations=1), torch.rand(1, 3, 40, 40)
        dreamer.dream(source, 0, frame)  # also tries which sizes the network takes
        monkeypatch.setattr(Tensor, "__bool__", count)
        dreamer.dream(source, 1, frame)
        assert read == []
        Dreamer(dreamer.objectives.build(frame, source).features, CPU).dream(source, 0, frame)
        assert len(read) == 1

    def test_infinite_masks_are_allowed(self, image: Tensor) -> None:
        network = Small().eval()
        network.stem.register_buffer("mask", torch.full((2, 2), -torch.inf))
        model = Model("it", network)
        assert activation(FeatureExtractor(model, ["stem"], CPU), "stem", image).isfinite().all()


class TestClassNames:
    def names(self, text: str, folder: Path, model: str = "Small") -> FeatureExtractor:
        """`Small`, which has ten classes, with class names."""
        path = folder / "names.txt"
        path.write_text(text, encoding="utf-8")
        settings = Settings(model=f"{HERE}:{model}", class_names=str(path), class_="0")
        return load_extractor(settings, CPU)

    def test_one_per_line(self, tmp_path: Path) -> None:
        extractor = self.names("\ufeff" + "\n".join(f"thing {i}" for i in "abcdefghij"), tmp_path)
        assert extractor.class_index("thing_C") == 2
        assert extractor.class_index("9") == 9

    def test_numbers_at_the_end_are_part_of_names_unless_they_count(self, tmp_path: Path) -> None:
        planes = [f"boeing {number}" for number in range(700, 790, 10)] + ["a 320"]
        assert self.names("\n".join(planes), tmp_path).class_index("boeing 710") == 1
        numbered = "\n".join(f"/{chr(97 + i)}/kind_{i} {9 - i}" for i in range(10))
        assert self.names(numbered, tmp_path).class_index("kind 3") == 6

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            (
                "arfield",
                "nearest are airfield; allowed is a number from 0 to 9, or the name of one",
            ),
            ("10", "allowed is a number from 0 to 9"),
        ],
    )
    def test_unknown_names(self, name: str, words: str, tmp_path: Path) -> None:
        extractor = self.names("airfield\n" + "\n".join("bcdefghij"), tmp_path)
        with pytest.raises(UnknownLayerError, match=words):
            extractor.class_index(name)

    def test_another_number_of_names(self, tmp_path: Path) -> None:
        with pytest.raises(UnknownLayerError, match=r"has 3 names, and .*Small has 10 outputs"):
            self.names("a\nb\nc", tmp_path).class_index("a")

    @pytest.mark.parametrize("content", [None, b"", b"\n\n", b"\xff\xfe\x00\xd8"])
    def test_files_without_names(self, content: bytes | None, tmp_path: Path) -> None:
        path = tmp_path / "names.txt"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UsageError, match=r"names\.txt.* one name per line"):
            load("Small", class_names=str(path))

    def test_without_a_file_numbers_are_allowed(self) -> None:
        extractor = load_extractor(Settings(model=f"{HERE}:Small", class_="3"), CPU)
        assert extractor.class_index("3") == 3
        with pytest.raises(UnknownLayerError, match="with a file of its class names for --class-n"):
            extractor.class_index("tabby")


def test_tensors_of_a_layer() -> None:
    """Those of modules that start, or that an operation takes, before it finishes."""
    summary = inspect_network(Small().eval(), "it")
    norm = {f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var")}
    first = {"stem.weight", "norm.num_batches_tracked"}
    assert set(summary.tensors_needed(["stem"])) == {"stem.weight"}
    assert set(summary.tensors_needed(["norm"])) == first | norm
    assert not any("auxiliary" in name for name in summary.tensors_needed(["output"]))
    assert summary.last_layer_without(["stage.1.weight"]) == "stage.0"
    assert summary.last_layer_without(["auxiliary.weight"]) == ""
    parts = {name for name, _ in nn.Module.named_parameters(Small())} - {"auxiliary.weight"}
    assert parts - {"auxiliary.bias"} <= set(summary.tensors_needed(["output"]))
