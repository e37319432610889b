"""Blocks of the default network, as a whole and step by step, answer as PyTorch's own parts do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import torch
from torch import Tensor, nn

from dreamvideo.networks.convolution import Convolution
from dreamvideo.networks.efficientnet_lite import Block

# (channels in, channels out, expansion, kernel, stride); the last two have a shortcut.
SHAPES = ((8, 8, 1, 3, 1), (8, 12, 1, 3, 1), (8, 12, 6, 5, 2), (8, 8, 6, 3, 1), (8, 8, 6, 5, 1))
CHANNELS = 8
STEPS = ("expand", "depthwise", "project")
Raised = Callable[[Tensor], Tensor]


def filled(shape: tuple[int, int, int, int, int]) -> Block:
    block = Block(*shape)
    generator = torch.manual_seed(0)
    for parameter in block.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return block


def steps_of(block: Block) -> dict[str, Convolution]:
    named = {name: getattr(block, name) for name in STEPS}
    return {name: step for name, step in named.items() if step is not None}


def plain(block: Block, features: Tensor) -> dict[str, Tensor]:
    """Every answer in a block, by plain operations."""
    activations, activation = dict[str, Tensor](), features
    for name, step in steps_of(block).items():
        missing = []
        for side in activation.shape[:1:-1]:
            total = max((-(-side // step.stride) - 1) * step.stride + step.kernel - side, 0)
            missing += [total // 2, total - total // 2]
        padded = nn.functional.pad(activation, missing)
        activation = nn.functional.conv2d(
            padded, step.weight, step.bias, step.stride, groups=step.groups
        )
        activation = activations[name] = (
            nn.functional.relu6(activation) if step.active else activation
        )
    activations["block"] = activation + features if block.has_shortcut else activation
    return activations


def heard(block: Block, features: Tensor, names: list[str]) -> dict[str, Tensor]:
    """The answers of some steps, and the block's."""
    activations: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name in names:
            hook = steps_of(block)[name].register_forward_hook(
                lambda module, inputs, activation, name=name: activations.update(
                    {name: activation.clone()}
                )
            )
            stack.callback(hook.remove)
        activations["block"] = block(features)
    return activations


def picture(batch: int = 1, size: tuple[int, int] = (10, 13)) -> Tensor:
    generator = torch.Generator().manual_seed(1)  # of its own, since threads ask at the same time
    picture = torch.randn(batch, CHANNELS, *size, generator=generator)
    return picture.contiguous(memory_format=torch.channels_last)


def gradients(raised: dict[str, Tensor], leaf: Tensor) -> Tensor:
    total = torch.stack([activation.square().mean() for activation in raised.values()]).sum()
    return torch.autograd.grad(total, leaf)[0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("size", [(10, 13), (9, 12), (1, 1)])
@pytest.mark.parametrize("asked", [[], ["depthwise"], ["project"], list(STEPS)])
def test_answers_and_gradients(
    shape: tuple[int, int, int, int, int], batch: int, size: tuple[int, int], asked: list[str]
) -> None:
    block = filled(shape)
    names = [name for name in asked if name in steps_of(block)]
    leaves = [picture(batch, size).requires_grad_() for _ in range(2)]
    ours, expected = heard(block, leaves[0], names), plain(block, leaves[1])
    expected = {name: expected[name] for name in ours}
    for name, activation in ours.items():
        torch.testing.assert_close(activation, expected[name], rtol=1e-4, atol=1e-4)
    found, wanted = gradients(ours, leaves[0]), gradients(expected, leaves[1])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "raised",
    [
        pytest.param(torch.mean, id="one number for all places"),
        pytest.param(lambda activation: activation.permute(0, 1, 3, 2).square().sum(), id="turned"),
        pytest.param(lambda activation: activation[..., 1:, 1:].square().sum(), id="a part"),
        pytest.param(
            lambda activation: (activation * activation.mean((2, 3), True)).sum(), id="two branches"
        ),
    ],
)
def test_gradients_of_any_form(shape: tuple[int, int, int, int, int], raised: Raised) -> None:
    block = filled(shape)
    leaves = [picture(size=(14, 10)).requires_grad_() for _ in range(2)]
    activations = block(leaves[0]), plain(block, leaves[1])["block"]
    found, wanted = (
        torch.autograd.grad(raised(activation), leaf)[0]
        for activation, leaf in zip(activations, leaves, strict=True)
    )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_gradients_that_are_anothers_stay_as_they_are() -> None:
    leaf = picture().requires_grad_()
    block = filled((CHANNELS, CHANNELS, 6, 3, 1))
    for part in (block, *steps_of(block).values()):
        features = leaf.repeat(1, 6, 1, 1) if part in (block.depthwise, block.project) else leaf
        activation = part(features)
        for onward in (torch.randn_like(activation), torch.ones(1).expand_as(activation)):
            before = onward.clone()
            torch.autograd.grad(activation, leaf, onward, retain_graph=True)
            assert torch.equal(onward, before)


def test_gradients_that_two_blocks_share() -> None:
    """A shortcut hands its gradient both to the block and past it."""
    blocks = [filled((CHANNELS, CHANNELS, 6, kernel, 1)) for kernel in (3, 5)]
    leaves = [picture().requires_grad_() for _ in range(2)]
    for block in blocks:  # so that a second one's answer is not all clamped
        block.project.weight.mul_(0.01)
    ours = blocks[1](blocks[0](leaves[0])) + blocks[0](leaves[0])
    first = plain(blocks[0], leaves[1])["block"]
    expected = plain(blocks[1], first)["block"] + first
    found, wanted = gradients({"": ours}, leaves[0]), gradients({"": expected}, leaves[1])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_several_threads_and_without_a_gradient() -> None:
    block = filled((CHANNELS, CHANNELS, 6, 3, 1))

    def run(scale: float) -> tuple[Tensor, Tensor]:
        leaf = (scale * picture()).requires_grad_()
        activation = block(leaf)
        return activation.detach(), gradients({"": activation}, leaf)

    scales = [0.25 * number for number in range(1, 17)]
    alone = [run(scale) for scale in scales]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, scales))
    for one, other, scale in zip(alone, together, scales, strict=True):
        torch.testing.assert_close(one, other)
        with torch.no_grad():
            torch.testing.assert_close(block(scale * picture()), one[0])
