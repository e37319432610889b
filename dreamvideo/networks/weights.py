"""Reads weights from files, and puts them into networks. Refuses to run what a file contains.

A file of weights holds names and numbers. A pickle can hold programs as well: those are refused.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from dreamvideo.errors import WeightsError

# What trainers wrap around the weights of a checkpoint.
WRAPPERS = ("state_dict", "model_state_dict", "model", "weights", "params")
# What DataParallel puts before every name.
PARALLEL_PREFIX = "module."
# Of names that do not fit, so many are given.
MAX_LISTED_NAMES = 3
# Counted while training, and of no use afterwards; old files lack it.
COUNTER = "num_batches_tracked"
# Torchvision's files of DenseNet were saved with names that have a dot more than its modules.
DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


class Weights(OrderedDict[str, Tensor]):
    """Names and tensors, and what torch notes beside them."""

    _metadata: Any = None


def read_weights(path: Path) -> Weights:
    """Names and tensors out of a `.safetensors` file, or one that torch wrote.

    Raises:
        WeightsError: the file is missing or damaged, or holds more than weights.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is no file; --weights names a .pth or .safetensors file")
    try:
        if path.suffix.lower() == ".safetensors":
            return Weights(safetensors.torch.load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is refused, nothing in it was run: it is damaged, or holds more than names "
            "and tensors; save its state_dict() alone, or convert it to .safetensors"
        ) from error
    except Exception as error:  # what a damaged file makes torch raise has no common type
        raise WeightsError(f"cannot read the weights {path}: {error}") from error
    return _unwrap(content, path)


def _unwrap(content: object, path: Path) -> Weights:
    wrapped = content
    for wrapper in WRAPPERS:
        if isinstance(wrapped, Mapping) and isinstance(wrapped.get(wrapper), Mapping):
            wrapped = wrapped[wrapper]
    tensors = wrapped.items() if isinstance(wrapped, Mapping) else ()
    weights = {name: value for name, value in tensors if isinstance(value, Tensor)}
    if not weights:
        raise WeightsError(
            f"{path} holds no weights: a state_dict (names and tensors) is wanted, by itself or as "
            f"one of {', '.join(WRAPPERS)}"
        )
    result = Weights((str(name), value) for name, value in weights.items())
    # In it some networks find which version of themselves saved the file.
    result._metadata = getattr(wrapped, "_metadata", None)
    return result


def load_into(network: nn.Module, weights: Weights, name: str, origin: str) -> None:
    """Fill a network with weights that have to fit it exactly.

    Args:
        network: is filled.
        weights: names and tensors.
        name: of the network, for messages.
        origin: of the weights, for messages.

    Raises:
        WeightsError: names are missing or unexpected, or a shape is another.
    """
    own = network.state_dict()
    is_parallel = all(map(_is_prefixed, weights))
    prefix = PARALLEL_PREFIX if is_parallel and not any(map(_is_prefixed, own)) else ""
    given = Weights(
        (DENSE_LAYER.sub(r"\1\2", key.removeprefix(prefix)), value)
        for key, value in weights.items()
    )
    given._metadata = (
        getattr(own, "_metadata", None) if prefix or not weights._metadata else weights._metadata
    )
    check_fit(own, given, name, origin)
    network.load_state_dict(given, strict=False)


def _is_prefixed(key: str) -> bool:
    """Whether a name is such as DataParallel makes."""
    return key.startswith(PARALLEL_PREFIX)


def check_fit(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], name: str, origin: str
) -> None:
    """Refuse weights that are not those of a network.

    Args:
        own: the network's names, and tensors of the right shapes.
        given: the names and tensors received.
        name: of the network.
        origin: of the weights.

    Raises:
        WeightsError: names are missing or unexpected, or a shape is another; names some of each.
    """
    missing = [key for key in own if key not in given and not key.endswith(COUNTER)]
    unexpected = [key for key in given if key not in own and not key.endswith(COUNTER)]
    other = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in given and given[key].shape != own[key].shape
    ]
    wrong = [
        f"{what} {_list_names(keys)}"
        for what, keys in {"missing": missing, "unexpected": unexpected, "shape": other}.items()
        if keys
    ]
    if wrong:
        raise WeightsError(
            f"the weights in {origin} do not fit {name}: {'; '.join(wrong)}; give weights of this "
            "network, or another --model"
        )


def _list_names(keys: list[str]) -> str:
    some = ", ".join(keys[:MAX_LISTED_NAMES])
    return some if len(keys) <= MAX_LISTED_NAMES else f"{some} … ({len(keys)} in all)"
