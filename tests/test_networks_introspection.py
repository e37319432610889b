"""Receptive fields, costs and channels of layers, and which batch-norms can be folded."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from dreamvideo.dream.objective_factory import ObjectiveFactory
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.networks.introspection import cost_shares
from dreamvideo.networks.model import Model
from dreamvideo.networks.registry import describe_model
from dreamvideo.settings import Settings
from dreamvideo.settings.frame_params import frame_params
from tests.conftest import CPU
from tests.network_comparison import activations_of, with_trained_norms
from tests.unknown_networks import PAIRS


@pytest.mark.parametrize(
    ("name", "layer", "receptive_field_px"),
    [
        # From Araujo et al. 2019, table 1, and computed by hand.
        ("alexnet", "features.12", 195),
        ("vgg16", "features.30", 212),
        ("resnet18", "layer4", 435),
        ("resnet50", "layer4", 427),
        ("vgg16", "features.0", 3),
        ("inception_v3", "Mixed_7c", 1311),
    ],
)
def test_receptive_fields(name: str, layer: str, receptive_field_px: float) -> None:
    layers = {info.name: info for info in describe_model(name)[1].layers}
    assert layers[layer].receptive_field_px == pytest.approx(receptive_field_px, rel=0.02)
    assert layers["output"].receptive_field_px == float("inf")


def test_cost_shares() -> None:
    """Of VGG16, whose multiplications follow from its table 1."""
    model, summary = describe_model("vgg16")
    sides = [224, 224, 112, 112, 56, 56, 56, 28, 28, 28, 14, 14, 14]
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    costs = [s * s * 9 * a * b for s, a, b in zip(sides, channels, channels[1:], strict=False)]
    total = sum(costs) + 25088 * 4096 + 4096 * 4096 + 4096 * 1000
    shares = cost_shares(model.network, summary)
    assert shares["features.0"] == pytest.approx(costs[0] / total)
    assert shares["features.21"] == pytest.approx(sum(costs[:10]) / total)
    assert shares["output"] == 1
    in_order = [shares[layer.name] for layer in summary.layers]
    assert in_order == sorted(in_order)


@pytest.mark.parametrize("kind", PAIRS)
def test_only_plain_pairs_are_folded(kind: str) -> None:
    torch.manual_seed(0)
    network = PAIRS[kind]().eval()
    image = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        network(image)
    if kind not in ("without statistics", "lazy"):
        with_trained_norms(network)
    expected = activations_of(copy.deepcopy(network), image)
    model = Model(kind, network, mean=(0.0,) * 3, std=(1.0,) * 3)
    for layers in (["convolution", "output"], ["output"]):
        extractor = FeatureExtractor(replace(model, network=copy.deepcopy(network)), layers, CPU)
        for layer, activation in zip(layers, extractor(image, layers), strict=True):
            torch.testing.assert_close(activation, expected[layer], rtol=1e-4, atol=1e-5)


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
def test_channels_are_distinguished_from_positions(name: str, layer: str, channels: int) -> None:
    settings = Settings(model=name, weights="random", layer=layer, strongest=3)
    extractor = load_extractor(settings, CPU)
    assert extractor.layer(layer).channels == channels
    image = torch.rand(1, 3, 224, 224)
    (activation,) = extractor(image, [layer])
    assert activation.shape[:2] == (1, channels)
    guided = replace(settings, strongest=None, guide="any")
    for objectives, frame in (
        (ObjectiveFactory(extractor), frame_params(settings, 0.0)),
        (ObjectiveFactory(extractor, torch.rand(1, 3, 64, 64)), frame_params(guided, 0.0)),
    ):
        assert objectives.build(frame, image)(image).isfinite()


@pytest.mark.parametrize("options", [{"guide": "any"}, {"strongest": 3}], ids=str)
def test_activations_without_positions_can_be_raised(options: dict[str, Any]) -> None:
    settings = Settings(model="squeezenet1_1", weights="random", layer="output", **options)
    extractor, image = load_extractor(settings, CPU), torch.rand(1, 3, 96, 96)
    objectives = ObjectiveFactory(extractor, image.flip(2) if "guide" in options else None)
    assert objectives.build(frame_params(settings, 0.0), image)(image).isfinite()
