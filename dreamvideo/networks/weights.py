"""Reads weights from files and loads them into networks, without running what a file contains.

A weights file holds names and numbers. A pickle can hold programs as well: those are refused.
"""

from __future__ import annotations

import copy
import pickle
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from dreamvideo.errors import WeightsError

# Keys under which training programs store the weights in a checkpoint.
CHECKPOINT_KEYS = ("state_dict", "model_state_dict", "model", "weights", "params")
# What DataParallel puts before every name.
PARALLEL_PREFIX = "module."
# Counts batches in training; not needed afterwards, and missing in old files.
COUNTER_SUFFIX = "num_batches_tracked"
# Torchvision's DenseNet files have names with one dot more than the modules.
DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
# A message lists at most this many names.
MAX_LISTED_NAMES = 3


def read_weights(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a `.safetensors` file, or of a file that PyTorch wrote.

    Raises:
        WeightsError: the file is missing or damaged, or contains more than weights.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is no file; --weights takes a .pth or .safetensors file")
    try:
        if path.suffix.lower() == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is refused, nothing in it was run: it is damaged, or contains more than names "
            "and tensors; save its state_dict() alone, or convert it to .safetensors"
        ) from error
    except Exception as error:  # damaged files make PyTorch raise many types
        raise WeightsError(f"cannot read the weights {path}: {error}; give another file") from error
    return _find_state_dict(content, path)


def load_weights(network: nn.Module, weights: dict[str, Tensor], name: str, origin: str) -> None:
    """Load weights, which must fit exactly, into a network.

    Args:
        network: receives the weights.
        weights: names and tensors, as `read_weights` returns them.
        name: of the network, for messages.
        origin: of the weights, for messages.

    Raises:
        WeightsError: names are missing or unexpected, or shapes differ.
    """
    own = network.state_dict()
    # A copy keeps the versions of modules that a state dict carries: networks translate old names.
    weights = copy.copy(weights)
    if not isinstance(weights, OrderedDict):  # no state dict: the versions are those of this one
        weights, given = network.state_dict(), weights
        weights.clear()
        weights.update(given)
    if all(map(_is_prefixed, weights)) and not any(map(_is_prefixed, own)):
        consume_prefix_in_state_dict_if_present(weights, PARALLEL_PREFIX)
    for key in list(weights):
        weights[DENSE_LAYER.sub(r"\1\2", key)] = weights.pop(key)
    misshaped = _compare_shapes(own, weights)
    for key in misshaped:
        del weights[key]
    try:
        result = network.load_state_dict(weights, strict=False)
    except (RuntimeError, ValueError) as error:  # raised by a network's own conversion of names
        raise WeightsError(
            f"the weights in {origin} do not fit {name}: {error}; give other --weights"
        ) from error
    missing = [key for key in result.missing_keys if key not in misshaped]
    _refuse_misfit(missing, result.unexpected_keys, misshaped.values(), name, origin)


def check_fit(
    expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], name: str, origin: str
) -> None:
    """Check the names and shapes of weights.

    Args:
        expected: all names, and tensors of their shapes.
        weights: names and tensors.
        name: of the network, for messages.
        origin: of the weights, for messages.

    Raises:
        WeightsError: names are missing or unexpected, or shapes differ; names some of each.
    """
    missing = [key for key in expected if key not in weights]
    unexpected = [key for key in weights if key not in expected]
    misshaped = _compare_shapes(expected, weights)
    _refuse_misfit(missing, unexpected, misshaped.values(), name, origin)


def _find_state_dict(content: object, path: Path) -> dict[str, Tensor]:
    """The weights in the content of a file: the mapping itself, or one inside a checkpoint."""
    for key in CHECKPOINT_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    weights: dict[str, Tensor] = copy.copy(content) if isinstance(content, dict) else {}
    for key, value in list(weights.items()):
        if not (isinstance(key, str) and isinstance(value, Tensor)):
            del weights[key]
    if not weights:
        raise WeightsError(
            f"{path} contains no weights; save the state_dict (names and tensors), by itself or "
            f"as one of {', '.join(CHECKPOINT_KEYS)}"
        )
    return weights


def _is_prefixed(key: str) -> bool:
    return key.startswith(PARALLEL_PREFIX)


def _compare_shapes(
    expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, str]:
    """For each name whose shapes differ, a description."""
    return {
        key: f"{key} {tuple(weights[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in weights and weights[key].shape != tensor.shape
    }


def _refuse_misfit(
    missing: Iterable[str],
    unexpected: Iterable[str],
    misshaped: Iterable[str],
    name: str,
    origin: str,
) -> None:
    """Raise WeightsError if anything but counters is listed."""
    faults = {"missing": missing, "unexpected": unexpected, "shape": misshaped}
    listed = {
        fault: [key for key in keys if not key.endswith(COUNTER_SUFFIX)]
        for fault, keys in faults.items()
    }
    parts = [f"{fault} {_list_some(keys)}" for fault, keys in listed.items() if keys]
    if parts:
        raise WeightsError(
            f"the weights in {origin} do not fit {name}: {'; '.join(parts)}; give weights of this "
            "network, or another --model"
        )


def _list_some(keys: Sequence[str]) -> str:
    some = ", ".join(keys[:MAX_LISTED_NAMES])
    return some if len(keys) <= MAX_LISTED_NAMES else f"{some} … ({len(keys)} in all)"
