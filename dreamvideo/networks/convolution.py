"""A convolution with fixed weights: it answers, and takes a gradient back to the picture.

What training would need is neither reckoned nor kept: on one core this takes less time than
PyTorch's own convolution and activation, and half of their memory. Refuses to know which network it
is a part of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# The ceiling of ReLU6 (Krizhevsky 2010, "Convolutional deep belief networks on CIFAR-10").
CEILING = 6.0

Size: TypeAlias = tuple[int, int]


class Convolution(nn.Module):
    """A convolution with its batch-norm folded in, TensorFlow's "same" padding and ReLU6.

    The padding follows the published weights: with stride 2 and an even size, one more row and
    column is padded after than before. PyTorch pads evenly, so the input is padded one wider and
    the first output dropped, which costs less than a padded copy of the input.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.groups, self.active = kernel, stride, groups, active
        shape = (channels_out, channels_in // groups, kernel, kernel)
        self.weight = nn.Parameter(torch.zeros(shape), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(channels_out), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """(N, channels_in, H, W) to (N, channels_out, ceil(H / stride), ceil(W / stride))."""
        return in_a_row([self], features)

    def activation(self, features: Tensor) -> Tensor:
        """See `forward`, without a gradient."""
        if self._is_product(features):
            places = nn.functional.linear(_places(features), self.weight.flatten(1), self.bias)
            return (places.clamp_(0, CEILING) if self.active else places).permute(0, 3, 1, 2)
        height, width = features.shape[-2:]
        whole = nn.functional.conv2d(
            features,
            self.weight,
            self.bias,
            self.stride,
            self._padding((height, width)),
            groups=self.groups,
        )
        kept = whole[..., height // -self.stride :, width // -self.stride :]
        if not self.active:
            return kept
        # A part of it is not dense in memory, which slows down what follows: it is copied.
        return kept.clamp_(0, CEILING) if self.stride == 1 else kept.clamp(0, CEILING)

    def back(self, gradient: Tensor, size: Size) -> Tensor:
        """The gradient of the answer before its activation as one of the features, new in memory.

        Args:
            gradient: (N, channels_out, …).
            size: (height, width) of the features.

        Returns:
            (N, channels_in, height, width).
        """
        if self._is_product(gradient):
            return (_places(gradient) @ self.weight.flatten(1)).permute(0, 3, 1, 2)
        if self.stride == 1:
            return self._back_mirrored(gradient)
        back = self._back_by_phases if self.groups == 1 else self._back_each
        return back(gradient, size)

    def _is_product(self, picture: Tensor) -> bool:
        """Whether a matrix product does it: each place is looked at alone, and on a CPU.

        GPUs may take a convolution's products at a lower precision than a matrix product's.
        """
        return self.kernel == self.stride == self.groups == 1 and picture.device.type == "cpu"

    def _back_mirrored(self, gradient: Tensor) -> Tensor:
        """Without stride, what leads back is a convolution, too, with mirrored weights.

        On a CPU that takes a quarter to a half less time than PyTorch's own way back.
        """
        mirrored = self.weight.flip(2, 3)
        if self.groups == 1:
            mirrored = mirrored.transpose(0, 1)
        padding = (self.kernel - 1) // 2
        return nn.functional.conv2d(gradient, mirrored, None, 1, padding, groups=self.groups)

    def _back_by_phases(self, gradient: Tensor, size: Size) -> Tensor:
        """With stride 2, even and odd rows and columns are four pictures with weights of their own.

        One convolution without stride answers with all four, as channels. Back to a picture of
        three channels, on a CPU, that takes 40 % less time than PyTorch's own way; where each
        channel is filtered alone, it would take longer.
        """
        channels_out, channels_in = self.weight.shape[:2]
        taps = (self.kernel + 1) // 2
        # Of even size: (out, in, row's tap, row's phase, column's tap, column's phase).
        whole = nn.functional.pad(self.weight, (0, 2 * taps - self.kernel) * 2)
        whole = whole.view(channels_out, channels_in, taps, 2, taps, 2).flip(2, 4)
        weight = whole.permute(3, 5, 1, 0, 2, 4).reshape(-1, channels_out, taps, taps)
        phases = _places(nn.functional.conv2d(gradient, weight, None, 1, taps - 1))
        count, rows, columns = phases.shape[:3]
        woven = phases.view(count, rows, columns, 2, 2, channels_in).transpose(2, 3)
        padded = woven.reshape(count, 2 * rows, 2 * columns, channels_in).permute(0, 3, 1, 2)
        # Of an odd number that is missing, less is padded before than after.
        top, left = (
            max((kept - 1) * 2 + self.kernel - side, 0) // 2
            for side, kept in zip(size, gradient.shape[-2:], strict=True)
        )
        return padded[..., top : top + size[0], left : left + size[1]]

    def _back_each(self, gradient: Tensor, size: Size) -> Tensor:
        """With stride, each channel alone."""
        padding = self._padding(size)
        dropped = [
            (side + 2 * around - self.kernel) // self.stride + 1 - kept
            for side, around, kept in zip(size, padding, gradient.shape[-2:], strict=True)
        ]
        if any(dropped):
            gradient = nn.functional.pad(gradient, (dropped[1], 0, dropped[0], 0))
        channels_in = self.weight.shape[1] * self.groups
        # Only the shape of the features counts for their gradient.
        features = torch.empty(
            (gradient.shape[0], channels_in, *size),
            dtype=gradient.dtype,
            device=gradient.device,
            memory_format=torch.channels_last,
        )
        strides = [self.stride, self.stride]
        result: Tensor = torch.ops.aten.convolution_backward(
            gradient, features, self.weight, None, strides, padding, [1, 1], False, [0, 0],
            self.groups, [True, False, False],
        )[0]  # fmt: skip
        return result

    def _padding(self, size: Size) -> Size:
        even_padding = (self.kernel - 1) // 2
        height, width = (
            even_padding + 1 if self.stride == 2 and side % 2 == 0 else even_padding
            for side in size
        )
        return height, width


def in_a_row(
    convolutions: Sequence[Convolution], features: Tensor, *, has_shortcut: bool = False
) -> Tensor:
    """The last answer of convolutions of which each takes that of the one before.

    To autograd they are one step: between them, gradients are written one over the other.

    Args:
        convolutions: at least one; with a shortcut, the last is not active.
        features: (N, channels_in of the first, H, W).
        has_shortcut: whether the features are added to the answer.

    Returns:
        (N, channels_out of the last, …).
    """
    activation: Tensor = _InARow.apply(features, has_shortcut, *convolutions)
    return activation


class _InARow(torch.autograd.Function):
    """Keeps nothing but the answers of those that are active."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, has_shortcut: bool, *convolutions: Convolution
    ) -> Tensor:
        activation, activations, sizes = features, list[Tensor](), list[Size]()
        for convolution in convolutions:
            sizes.append((activation.shape[-2], activation.shape[-1]))
            activation = convolution.activation(activation)
            if convolution.active:
                activations.append(activation)
        ctx.convolutions, ctx.sizes, ctx.has_shortcut = convolutions, sizes, has_shortcut
        ctx.save_for_backward(*activations)
        return activation.add_(features) if has_shortcut else activation

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        activations, result = list(ctx.saved_tensors), gradient
        for convolution, size in zip(reversed(ctx.convolutions), reversed(ctx.sizes), strict=True):
            if convolution.active:
                result = _unclamp(result, activations.pop(), is_ours=result is not gradient)
            result = convolution.back(result, size)
        if ctx.has_shortcut:
            result.add_(gradient)
        return result, None, *(None for _ in ctx.convolutions)


def _unclamp(gradient: Tensor, activation: Tensor, *, is_ours: bool) -> Tensor:
    """The gradient before the activation: where the answer was clamped, it lies on an end.

    Written over what is ours, which takes half the time. What autograd hands over may be another
    branch's as well, or one number for all places; and on MPS, before macOS 15, PyTorch loses what
    is written over a tensor whose channels are last.
    """
    if not is_ours or gradient.device.type == "mps":
        result: Tensor = torch.ops.aten.hardtanh_backward(gradient, activation, 0, CEILING)
        return result
    torch.ops.aten.hardtanh_backward.grad_input(
        gradient, activation, 0, CEILING, grad_input=gradient
    )
    return gradient


def _places(picture: Tensor) -> Tensor:
    """(N, C, H, W) to (N, H, W, C), without a copy where channels are last in memory."""
    return picture.permute(0, 2, 3, 1).contiguous()
