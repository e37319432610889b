"""How wide a part of the picture each tensor sees, followed through a network's operations.

Receptive fields after Araujo et al. (2019), "Computing receptive fields of convolutional neural
networks", section 2: a window of k places, d apart, widens the field by (k − 1) · d steps, and a
stride of s makes each step s times as long. Refuses to know what a layer is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

# (width of the field, length of a step), px, for rows and for columns.
Field = tuple[tuple[float, float], tuple[float, float]]
INPUT_FIELD: Field = ((1.0, 1.0), (1.0, 1.0))
GLOBAL_FIELD: Field = ((math.inf, 1.0), (math.inf, 1.0))
WINDOWS = ("conv2d", "max_pool2d", "avg_pool2d", "max_pool2d_with_indices")
# Operations in whose result every place can depend on every other one. Attention within windows
# counts as such, too.
MIXING = (
    *("adaptive_avg_pool2d", "adaptive_max_pool2d", "matmul", "bmm", "softmax", "einsum"),
    *("scaled_dot_product_attention", "multi_head_attention_forward"),
    *("_native_multi_head_attention", "mean", "fft2", "rfft2"),
    *("group_norm", "instance_norm", "var_mean", "std_mean", "var", "std", "norm", "vector_norm"),
    *("linalg_vector_norm", "amax", "logsumexp", "cumsum", "roll", "interpolate", "grid_sample"),
    "adaptive_max_pool2d_with_indices",
)


class ReceptiveFieldTracker(TorchFunctionMode):
    """While active, notes the field of every tensor that is made, and how often each is used."""

    def __init__(self) -> None:
        super().__init__()
        self._fields: dict[int, Field] = {}
        self._uses: dict[int, int] = {}
        self._alive: list[Tensor] = []  # else another tensor could get the same identity

    def begin(self, picture: Tensor) -> None:
        """Say which tensor is the picture."""
        self._fields[id(picture)] = INPUT_FIELD
        self._alive.append(picture)

    def of(self, tensor: Tensor) -> float | None:
        """The wider side of a tensor's field, px; None if it does not depend on the picture."""
        field = self._fields.get(id(tensor))
        return None if field is None else max(width for width, _ in field)

    def step_of(self, tensor: Tensor) -> float:
        """How far apart neighbouring places of a tensor lie on the picture, px; the larger side."""
        return max(step for _, step in self._fields.get(id(tensor), GLOBAL_FIELD))

    def uses(self, tensor: Tensor) -> int:
        """How many operations took a tensor."""
        return self._uses.get(id(tensor), 0)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operation of torch and note what came of it."""
        result = func(*args, **(kwargs or {}))
        made = list(_tensors(result))
        if made:
            taken = list(_tensors([args, list((kwargs or {}).values())]))
            for tensor in taken:
                self._uses[id(tensor)] = self._uses.get(id(tensor), 0) + 1
            known = [self._fields[id(one)] for one in taken if id(one) in self._fields]
            self._alive += made
            if known:
                field = _after_operation(
                    _union(known), getattr(func, "__name__", ""), args, kwargs or {}
                )
                self._fields.update((id(tensor), field) for tensor in made)
        return result


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _tensors(one)


def _union(fields: Sequence[Field]) -> Field:
    rows, columns = zip(*fields, strict=True)
    return (
        (max(width for width, _ in rows), max(step for _, step in rows)),
        (max(width for width, _ in columns), max(step for _, step in columns)),
    )


def _after_operation(field: Field, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Field:
    if name in MIXING:
        return GLOBAL_FIELD
    if name.lstrip("_") not in WINDOWS and name != "boolean_dispatch":
        return field
    if name == "conv2d":
        given = _named(("", "", "", "stride", "padding", "dilation"), args, kwargs)
        weight = kwargs.get("weight", args[1] if len(args) > 1 else None)
        kernel = weight.shape[-2:] if weight is not None else (1, 1)
        stride = given.get("stride") or 1
    else:
        given = _named(("", "kernel_size", "stride", "padding", "dilation"), args, kwargs)
        if "avg" in name:
            given.pop("dilation", None)  # its fifth argument is another one
        kernel = _pair(given["kernel_size"])
        stride = given.get("stride") or kernel
    sides = zip(field, kernel, _pair(stride), _pair(given.get("dilation", 1)), strict=True)
    rows, columns = [
        (width + (places - 1) * apart * step, step * stride)
        for (width, step), places, stride, apart in sides
    ]
    return rows, columns


def _named(names: Sequence[str], args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _pair(value: Any) -> tuple[int, int]:
    one, other = (value, value) if isinstance(value, int) else value
    return one, other
