"""Receptive field and stride of every tensor, followed through the operations of a network.

Formula after Araujo et al. (2019), "Computing receptive fields of convolutional neural networks",
section 2: a window of k positions with dilation d widens the receptive field by (k − 1) · d times
the stride, and a window with stride s makes the stride s times as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

# (size of the receptive field, stride), px, along the rows and along the columns.
Field = tuple[tuple[float, float], tuple[float, float]]
INPUT_FIELD: Field = ((1.0, 1.0), (1.0, 1.0))
GLOBAL_FIELD: Field = ((math.inf, 1.0), (math.inf, 1.0))
# Names of operations whose result depends on a window around each position.
WINDOW_OPERATIONS = ("conv2d", "max_pool2d", "avg_pool2d", "max_pool2d_with_indices")
# Names of operations whose result at every position may depend on all positions of the input.
# Attention within windows is treated like global attention.
GLOBAL_OPERATIONS = (
    *("adaptive_avg_pool2d", "adaptive_max_pool2d", "matmul", "bmm", "softmax", "einsum"),
    *("scaled_dot_product_attention", "multi_head_attention_forward"),
    *("_native_multi_head_attention", "mean", "fft2", "rfft2"),
    *("group_norm", "instance_norm", "var_mean", "std_mean", "var", "std", "norm", "vector_norm"),
    *("linalg_vector_norm", "amax", "logsumexp", "cumsum", "roll", "interpolate", "grid_sample"),
    "adaptive_max_pool2d_with_indices",
)


class ReceptiveFieldTracker(TorchFunctionMode):
    """While active, records the receptive field of every new tensor, and how often it is used."""

    def __init__(self) -> None:
        super().__init__()
        self._fields: dict[int, Field] = {}
        self._uses: dict[int, int] = {}
        self._newly_used: list[int] = []
        # Kept alive, since the id of a freed tensor could be given to another one.
        self._tensors: list[Tensor] = []

    def start(self, image: Tensor) -> None:
        """Declare a tensor (N, 3, H, W) the image that receptive fields refer to."""
        self._fields[id(image)] = INPUT_FIELD
        self._tensors.append(image)

    def declare_global(self, tensor: Tensor) -> None:
        """Declare that a tensor may depend on the whole image."""
        self._fields[id(tensor)] = GLOBAL_FIELD
        self._tensors.append(tensor)

    def size_px(self, tensor: Tensor) -> float | None:
        """The longer side of a receptive field; None if the tensor does not depend on the image."""
        field = self._fields.get(id(tensor))
        return None if field is None else max(size for size, _ in field)

    def stride_px(self, tensor: Tensor) -> float:
        """The distance on the image of neighbouring positions of a tensor; the longer of both."""
        return max(stride for _, stride in self._fields.get(id(tensor), GLOBAL_FIELD))

    def uses(self, tensor: Tensor) -> int:
        """How many operations took the tensor as an input."""
        return self._uses.get(id(tensor), 0)

    def newly_used(self) -> list[int]:
        """Identities of tensors that an operation took for the first time, since the last call."""
        newly_used, self._newly_used = self._newly_used, []
        return newly_used

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operation of PyTorch and record the fields of its results."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        outputs = list(_tensors_in(result))
        if outputs:
            inputs = list(_tensors_in([args, list(kwargs.values())]))
            for tensor in inputs:
                if id(tensor) not in self._uses:
                    self._newly_used.append(id(tensor))
                self._uses[id(tensor)] = self._uses.get(id(tensor), 0) + 1
            fields = [self._fields[id(one)] for one in inputs if id(one) in self._fields]
            self._tensors += outputs
            if fields:
                name = getattr(func, "__name__", "")
                field = _after_operation(_union(fields), name, args, kwargs)
                self._fields.update((id(tensor), field) for tensor in outputs)
        return result


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors_in(item)


def _union(fields: Sequence[Field]) -> Field:
    """The largest size and stride along each axis."""
    rows, columns = zip(*fields, strict=True)
    return (
        (max(size for size, _ in rows), max(stride for _, stride in rows)),
        (max(size for size, _ in columns), max(stride for _, stride in columns)),
    )


def _after_operation(field: Field, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Field:
    if name in GLOBAL_OPERATIONS:
        return GLOBAL_FIELD
    # PyTorch's pooling functions that may return indices are wrapped as `boolean_dispatch`.
    if name.lstrip("_") not in WINDOW_OPERATIONS and name != "boolean_dispatch":
        return field
    if name == "conv2d":
        options = _by_name(("", "", "", "stride", "padding", "dilation"), args, kwargs)
        weight = kwargs.get("weight", args[1] if len(args) > 1 else None)
        kernel = weight.shape[-2:] if weight is not None else (1, 1)
        stride = options.get("stride") or 1
    else:
        options = _by_name(("", "kernel_size", "stride", "padding", "dilation"), args, kwargs)
        if "avg" in name:
            options.pop("dilation", None)  # the fifth argument of average pooling is another one
        kernel = _pair(options["kernel_size"])
        stride = options.get("stride") or kernel
    axes = zip(field, kernel, _pair(stride), _pair(options.get("dilation", 1)), strict=True)
    rows, columns = [
        (size + (positions - 1) * dilation * outer_stride, outer_stride * stride)
        for (size, outer_stride), positions, stride, dilation in axes
    ]
    return rows, columns


def _by_name(names: Sequence[str], args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _pair(value: Any) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    return first, second
