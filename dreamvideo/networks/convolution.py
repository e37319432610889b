"""A convolution with fixed weights: it answers, and takes a gradient back to the picture.

What training would need is neither reckoned nor kept: on one core this takes less time than
PyTorch's own convolution and activation, and half of their memory. Refuses to know which network it
is a part of.
"""

from __future__ import annotations

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
        answer: Tensor = _Convolve.apply(features, self)
        return answer

    def is_product(self, picture: Tensor) -> bool:
        """Whether a matrix product does it: each place is looked at alone, and on a CPU.

        GPUs may take a convolution's products at a lower precision than a matrix product's.
        """
        return self.kernel == self.stride == self.groups == 1 and picture.device.type == "cpu"

    def answer(self, features: Tensor) -> Tensor:
        """See `forward`, without the activation and without a gradient."""
        if self.is_product(features):
            rows = torch.addmm(self.bias, _as_rows(features), self.weight[:, :, 0, 0].t())
            return _as_picture(rows, features)
        height, width = features.shape[-2:]
        answer = nn.functional.conv2d(
            features,
            self.weight,
            self.bias,
            self.stride,
            self._padding((height, width)),
            groups=self.groups,
        )
        return answer[..., height // -self.stride :, width // -self.stride :]

    def back(self, gradient: Tensor, size: Size) -> Tensor:
        """The gradient of `answer` (N, channels_out, …) as one of features of a (height, width)."""
        if self.is_product(gradient):
            return _as_picture(_as_rows(gradient) @ self.weight[:, :, 0, 0], gradient)
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


class _Convolve(torch.autograd.Function):
    """Keeps nothing but the answer, and that only where it is active."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, convolution: Convolution) -> Tensor:
        answer = convolution.answer(features)
        ctx.convolution, ctx.size = convolution, tuple(features.shape[-2:])
        if convolution.active:
            answer = answer.clamp_(0, CEILING)
            ctx.save_for_backward(answer)
        return answer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        if ctx.convolution.active:
            # Where the answer was clamped, it lies on one of the ends.
            (answer,) = ctx.saved_tensors
            gradient = torch.ops.aten.hardtanh_backward(gradient, answer, 0, CEILING)
        return ctx.convolution.back(gradient, ctx.size), None


def _as_rows(picture: Tensor) -> Tensor:
    """(N, C, H, W) to (N · H · W, C), without a copy where channels are last in memory."""
    return picture.permute(0, 2, 3, 1).reshape(-1, picture.shape[1])


def _as_picture(rows: Tensor, like: Tensor) -> Tensor:
    """(N · H · W, C) to (N, C, H, W), with the places of another picture."""
    count, _, height, width = like.shape
    return rows.view(count, height, width, rows.shape[1]).permute(0, 3, 1, 2)
