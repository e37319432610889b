"""Our convolution answers, and takes gradients back, as PyTorch's own does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dreamvideo.networks.convolution import Convolution


def convolution(kernel: int, stride: int, depthwise: bool, active: bool) -> Convolution:
    channels = (24, 24) if depthwise else (24, 40)
    made = Convolution(
        *channels, kernel, stride=stride, groups=24 if depthwise else 1, active=active
    )
    generator = torch.manual_seed(kernel)
    made.weight.copy_(torch.randn(made.weight.shape, generator=generator))
    made.bias.copy_(torch.randn(made.bias.shape, generator=generator))
    return made


def same_padded(features: Tensor, made: Convolution) -> Tensor:
    """TensorFlow's "same" padding, as its documentation writes it, and a plain convolution."""
    missing = []
    for side in features.shape[:1:-1]:
        wanted = -(-side // made.stride)
        total = max((wanted - 1) * made.stride + made.kernel - side, 0)
        missing += [total // 2, total - total // 2]
    padded = nn.functional.pad(features, missing)
    activation = nn.functional.conv2d(
        padded, made.weight, made.bias, made.stride, groups=made.groups
    )
    return nn.functional.relu6(activation) if made.active else activation


@pytest.mark.parametrize("size", [(16, 24), (17, 24), (16, 23), (15, 21), (1, 1), (2, 3)])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "depthwise"),
    [
        *((1, 1, False), (3, 1, False), (3, 2, False), (5, 2, False)),
        *((3, 1, True), (3, 2, True), (5, 1, True), (5, 2, True)),
    ],
)
def test_answers_and_gradients(
    kernel: int, stride: int, depthwise: bool, active: bool, batch: int, size: tuple[int, int]
) -> None:
    made = convolution(kernel, stride, depthwise, active)
    features = torch.randn(batch, 24, *size, generator=torch.manual_seed(0))
    for layout in (torch.contiguous_format, torch.channels_last):
        leaves = [features.to(memory_format=layout).requires_grad_() for _ in range(2)]
        ours, plain = made(leaves[0]), same_padded(leaves[1], made)
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)
        onward = torch.randn(plain.shape, generator=torch.manual_seed(2))
        gradients = [
            torch.autograd.grad(activation, leaf, onward)[0]
            for activation, leaf in zip((ours, plain), leaves, strict=True)
        ]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
