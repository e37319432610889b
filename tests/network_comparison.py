"""Compares the activations of an extractor with those of the network that it was made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dreamvideo.networks.extractor import FeatureExtractor
from dreamvideo.networks.observation import first_tensor

# Batch-norms are folded in float32, so that float64 activations differ by up to 5e-5.
MAX_DIFFERENCE = 5e-4
# In some networks rounding grows with depth; on some processor float32 activations differed by
# 1.5e-3.
MAX_FLOAT32_DIFFERENCE = 1e-2


def with_trained_norms(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, with batch-norms that change their input.

    Batch-norms without training pass on their input, so that faults of folding would not show.
    """
    generator = torch.Generator().manual_seed(1)
    norms = [module for module in network.eval().modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.copy_(torch.rand(norm.weight.shape, generator=generator) + 0.5)
            norm.bias.copy_(torch.randn(norm.bias.shape, generator=generator) * 0.1)
            norm.momentum = 1.0  # one pass sets the statistics
            norm.train()
        network(torch.rand(1, 3, 224, 224, generator=generator))
        for norm in norms:
            assert norm.running_var is not None
            norm.running_var.clamp_(min=0.05)  # division by less would only amplify rounding
    return network.eval()


def activations_of(network: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """The activation of every module, by its name."""
    activations: dict[str, Tensor] = {}

    def recorder(name: str) -> Callable[[nn.Module, object, object], None]:
        def record(module: nn.Module, inputs: object, output: object) -> None:
            if (tensor := first_tensor(output)) is not None:
                activations[name] = tensor.clone()

        return record

    for name, module in network.named_modules():
        module.register_forward_hook(recorder(name or "output"))
    with torch.no_grad():
        network(image)
    return activations


def assert_same_activations(
    extractor: FeatureExtractor, layers: Sequence[str], image: Tensor, reference: nn.Module
) -> None:
    """Check the activations of layers, in float32 and, more strictly, in float64."""
    mean, std = (
        torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1)
        for values in (extractor.model.mean, extractor.model.std)
    )
    expected = activations_of(reference.double(), (image.double() - mean) / std)
    for requested in (layers, layers[:2]):  # the second pass ends early
        with torch.no_grad():
            float32 = extractor(image, requested)
            extractor.network.double()
            float64 = extractor(image.double(), requested)
            extractor.network.float()
        for name, *activations in zip(requested, float32, float64, strict=True):
            reference_activation = expected[name].movedim(extractor.layer(name).channel_axis, 1)
            limits = (MAX_FLOAT32_DIFFERENCE, MAX_DIFFERENCE)
            for activation, limit in zip(activations, limits, strict=True):
                assert activation.shape == reference_activation.shape
                difference = (activation - reference_activation).norm()
                assert difference < limit * (reference_activation.norm() + 1e-12), name
